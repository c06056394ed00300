"""Recordings become timed text, each paid once, and what cannot be used has one clear line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kit.scripted_openai import Answer, Call, error, serve_openai
from kit.sounds import tone
from kit.speech import SENTENCES, make, output, pdf, rows_of, run_file, speak, spoken, write_wave
from tuneline.data.transcripts import read_transcripts
from tuneline.errors import UserError
from tuneline_transcriber.hearing.decoding import decoded
from tuneline_transcriber.pairs import pair_lines

pytestmark = pytest.mark.slow


def test_made_speech_is_heard_with_its_sentences_and_few_errors(tmp_path: Path) -> None:
    folder = tmp_path / "references"
    speak(SENTENCES, folder / "falls.wav")
    (folder / "falls.pdf").write_bytes(pdf(["Fall sensors.", "They work."]))
    speak(SENTENCES, folder / "given.wav")
    (folder / "given.txt").write_text("A document.")
    (folder / "given.transcript.txt").write_text(SENTENCES)
    manifest = make(run_file(tmp_path, measure_errors=True), tmp_path / "store")
    falls, given = rows_of(tmp_path / "store", manifest, "pairs.jsonl")
    assert (falls["status"], falls["engine"], falls["language"], falls["pages"]) == ("ready", "faster-whisper", "en", 2)
    assert given["engine"] == "given" and given["word_error_rate"] <= 0.2 and 0.5 < falls["confidence"] <= 1
    talk, told = rows_of(tmp_path / "store", manifest, "talks.jsonl")
    assert sum(segment["text"].count(".") for segment in talk["segments"]) == 3
    assert abs(talk["segments"][-1]["end"] - falls["seconds"]) < 2 and 100 < talk["words_a_minute"] < 220
    assert " ".join(segment["text"] for segment in told["segments"]) == SENTENCES
    assert output(tmp_path / "store", manifest, "falls.txt").read_text() == "Fall sensors.\fThey work.\n"


def test_what_cannot_be_used_has_one_status_each_and_the_others_go_on_by_choice(tmp_path: Path) -> None:
    folder = tmp_path / "references"
    good = speak(SENTENCES, folder / "good.wav")
    tone(folder / "coded.mp3", "libmp3lame", 22_050, samples=np.concatenate([*decoded(good, 1)]))
    (folder / "broken.mp3").write_bytes(b"\x00rubbish" * 500)
    (folder / "short.wav").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    write_wave(folder / "silence.wav", [[0] * 16_000 * 5], 16_000)
    for name in ("good", "coded", "broken", "short", "silence", "locked", "alone"):
        (folder / f"{name}.txt").write_text("A document.")
    speak("Hello.", folder / "lost.wav")
    (folder / "sealed.docx").write_bytes(b"PK\3\4")
    (folder / "late.vtt").write_text("WEBVTT\n\n01:00:00.000 --> 01:00:09.000\nOf another talk.\n")
    for name in ("sealed", "late"):
        shutil.copy(good, folder / f"{name}.wav")
    (folder / "late.txt").write_text("A document.")
    file = run_file(tmp_path)
    with pytest.raises(UserError) as refused:
        make(file, tmp_path / "store")
    assert "alone: no_audio" in str(refused.value) and "lost: no_source" in str(refused.value)
    manifest = make(run_file(tmp_path, on_bad="skip"), tmp_path / "store")
    found = {row["pair"]: row["status"] for row in rows_of(tmp_path / "store", manifest, "pairs.jsonl")}
    assert found == {
        "alone": "no_audio", "broken": "unreadable_audio", "coded": "ready", "good": "ready", "locked": "no_audio",
        "lost": "no_source", "short": "unreadable_audio", "silence": "no_speech", "sealed": "unreadable_source",
        "late": "unreadable_transcript",
    }  # fmt: skip


def test_two_channels_become_a_conversation_that_the_assessor_reads(tmp_path: Path) -> None:
    folder = tmp_path / "references"
    asked, rate = spoken("Hello, where is my parcel? I have waited for a week.")
    told, _ = spoken("I am sorry. It comes tomorrow in the morning.")
    write_wave(folder / "call.wav", [[*asked, *[0] * len(told)], [*[0] * len(asked), *told]], rate)
    file = run_file(tmp_path, channels="speakers", assistant="2", require_source=False)
    manifest = make(file, tmp_path / "store")
    [transcript] = read_transcripts(output(tmp_path / "store", manifest, "transcripts.jsonl")).transcripts
    [exchange] = transcript.exchanges
    assert "parcel" in exchange.user and "tomorrow" in exchange.assistant


def test_a_renamed_recording_and_a_stopped_run_pay_for_no_chunk_twice(tmp_path: Path) -> None:
    folder = tmp_path / "references"
    speak(SENTENCES, folder / "a.wav")
    (folder / "a.txt").write_text("A document.")
    with serve_openai(hears) as server:
        hosted = {"provider": "openai", "model": "whisper-1", "base_url": server.url, "minute_usd": 0.006}
        file = run_file(tmp_path, hosted, chunk_seconds=10)
        first = make(file, tmp_path / "store")
        paid = len(server.calls)
        (folder / "a.wav").rename(folder / "b.wav")
        (folder / "a.txt").rename(folder / "b.txt")
        second = make(run_file(tmp_path, hosted, "renamed", chunk_seconds=10), tmp_path / "store")
        assert paid == len(server.calls) == 3 and first.fingerprint != second.fingerprint  # one was refused for now
    [talk] = rows_of(tmp_path / "store", second, "talks.jsonl")
    [pair] = rows_of(tmp_path / "store", second, "pairs.jsonl")
    assert [segment["text"] for segment in talk["segments"]] == [
        "Falls are common and a sensor sees them every time."
    ] * 2
    assert talk["segments"][1]["start"] > 5 and pair["engine"] == "openai" and pair["language"] == "english"
    assert first.metrics.cost.now_usd > 0 == second.metrics.cost.now_usd
    assert first.metrics.cost.total_usd == second.metrics.cost.total_usd


def hears(call: Call) -> Answer:
    """Answer as the transcription endpoint does, and be busy once."""
    if call.number == 0:
        return error(503)
    assert call.path.endswith("/audio/transcriptions") and b"verbose_json" in call.raw and b"RIFF" in call.raw
    said = {
        "start": 0.5,
        "end": 4.0,
        "text": " Falls are common and a sensor sees them every time.",
        "avg_logprob": -0.2,
    }
    body = {"text": said["text"], "language": "english", "duration": 9.0, "segments": [said | {"no_speech_prob": 0.01}]}
    return Answer(body=json.dumps(body).encode())


def test_a_transcript_with_times_stands_without_its_recording_and_one_without_times_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "references"
    folder.mkdir()
    for name in ("timed", "plain", "clock"):
        (folder / f"{name}.txt").write_text("A document.")
    said = "Falls are common, and sensors see them."
    (folder / "clock.transcript.txt").write_text(f"[Ann] 10:02:23\n{said}\n\n[Ben] 10:02:27\n{said}\n")
    (folder / "timed.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:09.000\nFalls are common, and sensors see them.\n")
    (folder / "plain.transcript.txt").write_text("Falls are common.")
    manifest = make(run_file(tmp_path, {"provider": "given"}, on_bad="skip"), tmp_path / "store")
    clock, plain, timed = rows_of(tmp_path / "store", manifest, "pairs.jsonl")
    assert (clock["status"], clock["seconds"]) == ("ready", 6.8)
    assert (plain["status"], timed["status"], timed["seconds"]) == ("no_audio", "ready", 9)
    assert timed["audio_sha256"] is None and timed["engine"] == "given"
    assert [line for line in pair_lines(folder) if "timed" in line] == ["timed: timed.txt (1 page, 2 words), timed.vtt"]


def test_what_can_be_known_to_be_broken_stops_a_run_before_anything_is_paid(tmp_path: Path) -> None:
    folder = tmp_path / "references"
    write_wave(folder / "a.wav", [[n % 99 * 100 for n in range(8000)] * 12], 8000)
    (folder / "z.mp3").write_bytes(b"no sound")
    (folder / "y.vtt").write_text("WEBVTT\n")
    for name in "ayz":
        (folder / f"{name}.txt").write_text("A document.")
    with serve_openai(hears) as server:
        hosted = {"provider": "openai", "model": "whisper-1", "base_url": server.url}
        with pytest.raises(UserError, match="2 of 3 references cannot be used"):
            make(run_file(tmp_path, hosted), tmp_path / "store")
        assert not server.calls
        manifest = make(run_file(tmp_path, hosted, on_bad="skip"), tmp_path / "store")
    found = {
        row["pair"]: (row["status"], row.get("words")) for row in rows_of(tmp_path / "store", manifest, "pairs.jsonl")
    }
    assert found == {"a": ("ready", 2), "y": ("unreadable_transcript", 2), "z": ("unreadable_audio", 2)}


def test_a_talk_in_a_script_without_spaces_is_no_silence(tmp_path: Path) -> None:
    folder = tmp_path / "references"
    folder.mkdir()
    (folder / "bridge.txt").write_text("这座桥在风中摇晃。")
    (folder / "bridge.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:09.000\n这座桥在风中摇晃，所以我们装了阻尼器。\n")
    manifest = make(run_file(tmp_path, {"provider": "given"}), tmp_path / "store")
    [pair] = rows_of(tmp_path / "store", manifest, "pairs.jsonl")
    [talk] = rows_of(tmp_path / "store", manifest, "talks.jsonl")
    assert (pair["status"], pair["words"]) == ("ready", 8) and talk["words_a_minute"] == 60 * 17 / 8
