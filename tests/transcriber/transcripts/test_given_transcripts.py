"""Transcripts as programs and services write them, with times and speakers."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from kit.transcript_exports import PLAIN_GOOGLE, TURNS
from kit.transcript_files import FILES
from tuneline_transcriber.conversation import call_of
from tuneline_transcriber.reading.documents import Unusable
from tuneline_transcriber.transcripts.given_transcripts import read_given


@pytest.mark.parametrize("name", FILES)
def test_each_form_gives_the_same_two_turns(name: str, tmp_path: Path) -> None:
    file = FILES[name]
    (tmp_path / name).write_bytes(file.content.encode() if isinstance(file.content, str) else file.content)
    given = read_given(tmp_path / name)
    assert [(one.speaker, one.text) for one in given.segments] == [
        (who, said) for who, (said, _, _) in zip(file.who, TURNS, strict=True)
    ]
    assert given.timed == (name not in ("lines.txt", "wrapped.txt", "play.txt"))
    if file.times:
        assert [(one.start, one.end) for one in given.segments] == [(start, end) for _, start, end in TURNS]
    call = call_of("a", given.segments, file.who[1] or "nobody")
    assert ([m.role for m in call.messages] if call else None) == (["user", "assistant"] if file.who[1] else None)


def test_text_in_other_encodings_is_the_same_text(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
        path = tmp_path / f"{encoding}.txt"
        path.write_bytes("A: Gr\u00fc\u00dfe.\r\nB: Ol\u00e9!\r\n".encode(encoding))
        assert [one.text for one in read_given(path).segments] == ["Gr\u00fc\u00dfe.", "Ol\u00e9!"]


def test_times_of_day_in_sentences_are_no_stamps_and_what_is_heard_is_not_said(tmp_path: Path) -> None:
    path = tmp_path / "talk.txt"
    path.write_text("We begin.\nLunch is at 12:30\n9:15 is too early for some.\nWe meet again at 14:00\n")
    given = read_given(path)
    assert len(given.segments) == 4 and not given.timed and given.segments[1].text == "Lunch is at 12:30"
    path.write_text("Before the first time.\n[00:00:10] After it,\nup to the next.\n[00:00:20] The end.\n")
    assert [(one.start, one.end, one.text) for one in read_given(path).segments] == [
        (0, 10, "Before the first time."), (10, 20, "After it, up to the next."), (20, 20.8, "The end."),
    ]  # fmt: skip
    path = tmp_path / "talk.srt"
    path.write_text(
        "1\n00:00:01,000 --> 00:00:02,000\n[Applause]\n\n2\n00:00:02,000 --> 00:00:03,000\n(laughs) Thanks.\n"
    )
    assert [one.text for one in read_given(path).segments] == ["(laughs) Thanks."]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "start\tend\ttext\n33500\t5000\tIt comes.\n"),
        ("a.srt", "1\n00:00:33,500 --> 00:00:05,000\nIt comes.\n"),
        ("a.sbv", "0:00:33.500,0:00:05.000\nIt comes.\n"),
        ("a.ass", "Dialogue: 0,0:00:33.50,0:00:05.00,Default,,0,0,0,,It comes.\n"),
        ("a.ttml", "<tt><body><div><p begin='33.5s' end='5s'>It comes.</p></div></body></tt>"),
        ("a.json", '[{"start": 33.5, "end": 5.0, "text": "It comes."}]'),
        ("a.csv", "start,end,text\n33.5,5.0,It comes.\n"),
    ],
)
def test_a_turn_that_ends_before_it_begins_ends_at_once(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    assert [(one.start, one.end, one.text) for one in read_given(tmp_path / name).segments] == [
        (33.5, 33.5, "It comes.")
    ]


def test_seconds_that_are_whole_stay_seconds_and_turns_without_an_end_last_until_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps([{"start": 0, "end": 12, "text": "Slowly said."}, {"start": 60, "end": 66, "text": "End"}])
    )
    assert [(one.start, one.end) for one in read_given(path).segments] == [(0, 12), (60, 66)]
    who = [{"display_name": "A", "matched_calendar_invitee_email": None}, {"display_name": "B"}]
    rows = [
        {"speaker": one, "text": "Hello there.", "timestamp": f"00:00:0{at}"}
        for one, at in zip(who, (1, 5), strict=True)
    ]
    path.write_text(json.dumps({"title": "A call", "transcript": rows}))
    assert [(one.speaker, one.start, one.end) for one in read_given(path).segments] == [("A", 1, 5), ("B", 5, 5.8)]


def test_lines_that_begin_with_times_are_no_names_where_they_differ_or_end_as_sentences_do(tmp_path: Path) -> None:
    path = tmp_path / "talk.txt"
    path.write_text("0:00 we begin with\nsensors\n0:05 then falls\nat home\n0:09 and the end\nof it\n")
    assert [(one.speaker, one.text) for one in read_given(path).segments] == [
        (None, "we begin with sensors"), (None, "then falls at home"), (None, "and the end of it")
    ]  # fmt: skip
    path.write_text("A talk\n0:00\nWe begin\n0:05\nwith falls\n0:09\nat home\n")
    assert [one.speaker for one in read_given(path).segments] == [None] * len(read_given(path).segments)


def test_google_without_words_has_the_ends_of_its_results(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(PLAIN_GOOGLE))
    assert [(one.speaker, one.start, one.end) for one in read_given(path).segments] == [("1", 0, 3), ("2", 3, 5)]


@pytest.mark.parametrize("form", ["assemblyai.json", "deepgram.json", "azure-fast.json"])
def test_a_day_of_turns_is_read_at_the_pace_of_an_hour(form: str, tmp_path: Path) -> None:
    content, many = FILES[form].content, 20_000
    assert isinstance(content, str)
    before, both, after = re.split(r"(?<=\[)(\{[^\[\]]*\})(?=\]\}+$)", content)
    path = tmp_path / form
    path.write_text(f"{before}{', '.join([both] * many)}{after}")
    began = time.process_time()
    assert len(read_given(path).segments) == 2 * many and time.process_time() - began < 40


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.srt", "\n" * 1_100_000, "1,000,000 lines"),
        ("a.txt", "-\n" * 210_000, "200,000 lines of text"),
    ],
)
def test_more_lines_than_a_recording_can_have_are_refused_before_they_are_read(
    name: str, content: str, problem: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    began = time.process_time()
    with pytest.raises(Unusable, match=f"more than {problem}"):
        read_given(tmp_path / name)
    assert time.process_time() - began < 5


def test_captions_with_thousands_of_lines_are_compared_at_once(tmp_path: Path) -> None:
    cue, lines = "00:00:0{}.000 --> 00:00:0{}.000\n{}\n\n", "a\n" * 20_000
    (tmp_path / "a.vtt").write_text("WEBVTT\n\n" + "".join(cue.format(n, n + 1, f"{lines}{n}") for n in range(4)))
    began = time.process_time()
    assert len(read_given(tmp_path / "a.vtt").segments) == 4 and time.process_time() - began < 20


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
     ("a.vtt", b"WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n\n"), ("a.txt", b"\xe4\xff"), ("a.json", b"[" * 20_000),
     ("a.transcript.docx", b"PK"), ("a.transcript.pdf", b"%PDF-"), ("a.xml", b"<a>x</a>"), ("a.ttml", b"<tt>"),
     ("a.ttml", b'<!DOCTYPE d [<!ENTITY a "ha">]><tt><body><p begin="1s">&a;</p></body></tt>'),
     ("a.csv", b"a,b\n1,2\n"),
     ("a.vtt", b"\xef\xbb\xbfWEBVTT\n\nNOTE empty\n"),
     ("a.lrc", b"[by:x]\n[00:01.00]\n"),
     ("a.ass", b"Dialogue: 0,0:00:01.00,0:00:02.00\n"),
     ("a.srt", b"00:01,000 --> 00:02,000\n[Music]\n")],
)  # fmt: skip
def test_what_says_nothing_or_has_no_known_form_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Unusable):
        read_given(tmp_path / name)
