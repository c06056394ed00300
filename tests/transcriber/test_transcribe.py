"""Recordings become timed text, each paid once, and what cannot be used has one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.speech import SENTENCES, make, output, pdf, rows_of, run_file, speak

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
