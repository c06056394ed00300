"""Transcripts as programs and services write them, with times and speakers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneline_transcriber.conversation import call_of
from tuneline_transcriber.documents import Unusable
from tuneline_transcriber.given_transcripts import read_given

ANNA, BEN = "Where is my parcel?", "It comes today."
FIRST, SECOND = "00:00:01.000 --> 00:00:03.000", "00:00:03.500 --> 00:00:05.000"
TEAMS = f"WEBVTT\n\n1\n{FIRST}\n<v Anna>{ANNA}</v>\n\n{SECOND}\n<v Ben>{BEN}</v>\n"
ZOOM = f"WEBVTT\r\n\r\n1\r\n{FIRST}\r\nAnna: {ANNA}\r\n\r\n2\r\n{SECOND}\r\nBen: {BEN}\r\n"
WHISPERX_SRT = f"1\n00:00:01,000 --> 00:00:03,000\n[Anna]: {ANNA}\n\n2\n00:00:03,500 --> 00:00:05,000\n[Ben]: {BEN}\n"
OTTER = f"Anna  0:01\n{ANNA}\n\nBen  0:03\n{BEN}\n"
LINES = f"Anna: {ANNA}\nBen: {BEN}\n"


def two(start: str, end: str, text: str, speaker: str, times: int = 1) -> list[dict[str, Any]]:
    return [
        {start: 1.0 * times, end: 3.0 * times, text: ANNA, speaker: "Anna"},
        {start: 3.5 * times, end: 5.0 * times, text: BEN, speaker: "Ben"},
    ]


EXPORTS: dict[str, Any] = {
    "whisperx": {"segments": two("start", "end", "text", "speaker"), "word_segments": []},
    "podcasting": {"version": "1.0.0", "segments": two("startTime", "endTime", "body", "speaker")},
    "deepgram": {"metadata": {}, "results": {"utterances": two("start", "end", "transcript", "speaker")}},
    "assemblyai": {"text": "…", "utterances": two("start", "end", "text", "speaker", 1000)},
    "aws": {"results": {"audio_segments": two("start_time", "end_time", "transcript", "speaker_label")}},
    "rev": {
        "monologues": [
            {"speaker": who, "elements": [{"type": "text", "value": said, "ts": start, "end_ts": end}]}
            for who, said, start, end in (("Anna", ANNA, 1.0, 3.0), ("Ben", BEN, 3.5, 5.0))
        ]
    },
}
FORMS = {"teams.vtt": TEAMS, "zoom.vtt": ZOOM, "whisperx.srt": WHISPERX_SRT, "otter.txt": OTTER, "lines.txt": LINES} | {
    f"{name}.json": json.dumps(content) for name, content in EXPORTS.items()
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_gives_the_same_two_turns(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FORMS[name].encode())
    given = read_given(tmp_path / name)
    assert [(one.speaker, one.text) for one in given.segments] == [("Anna", ANNA), ("Ben", BEN)]
    assert given.timed == (name != "lines.txt")
    if name not in ("lines.txt", "otter.txt"):
        assert [(one.start, one.end) for one in given.segments] == [(1.0, 3.0), (3.5, 5.0)]
    call = call_of("a", given.segments, "ben")
    assert call is not None and [m.role for m in call.messages] == ["user", "assistant"]


def test_colons_by_chance_name_no_speaker_and_words_without_times_are_spread(tmp_path: Path) -> None:
    path = tmp_path / "talk.txt"
    path.write_text("One thing: sensors help.\nThey see falls.\nThey call for help.\nThat is all.\n")
    given = read_given(path)
    assert all(one.speaker is None for one in given.segments) and call_of("a", given.segments, "Ben") is None
    spread = given.spread(13.0)
    assert (
        spread[0].start == 0
        and spread[-1].end == 13
        and spread[0].end == spread[1].start == pytest.approx(4 * 13 / 14, abs=0.001)
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", b"{"), ("a.json", b"{}"), ("a.json", b'{"segments": [{"start": "x"}]}'), ("a.txt", b" \n"),
     ("a.vtt", b"WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n\n"), ("a.txt", b"\xe4\xff"), ("a.json", b"[" * 20_000)],
)  # fmt: skip
def test_what_says_nothing_or_has_no_known_form_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Unusable):
        read_given(tmp_path / name)
