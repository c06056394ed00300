"""The talk of `transcript_exports` as files: captions, plain text, and JSON."""

from __future__ import annotations

import json
from typing import NamedTuple

from kit.transcript_exports import A_B, JSON, NOBODY, TURNS, ZERO_ONE, Who


class Export(NamedTuple):
    """A file, and the names that it gives to the two people; None where it gives none."""

    content: str
    who: Who = A_B
    times: bool = True
    """Whether it says when turns begin and end."""


(ONE, _, _), (TWO, _, _) = TURNS
AT, THEN = "00:00:01.000 --> 00:00:03.000", "00:00:03.500 --> 00:00:05.000"
SRT_AT, SRT_THEN = AT.replace(".", ","), THEN.replace(".", ",")
FILES: dict[str, Export] = {
    "teams.vtt": Export(f"WEBVTT\n\n1\n{AT}\n<v A>{ONE}</v>\n\n{THEN}\n<v B>{TWO}</v>\n"),
    "stream.vtt": Export(
        'WEBVTT\n\nNOTE duration:"00:00:05"\n\nNOTE Confidence: 0.9\n\n1bc-2\n'
        f"{AT}\n<v.loud A>{ONE}</v>\n\nNOTE Confidence: 0.8\n\n"
        f"2ef\n{THEN} align:start position:0%\n<v B>It comes\ntoday.</v>\n"
    ),
    "zoom.vtt": Export(f"WEBVTT\r\n\r\n1\r\n{AT}\r\nA: {ONE}\r\n\r\n2\r\n{THEN}\r\nB: {TWO}\r\n"),
    "styled.vtt": Export(
        "WEBVTT - A talk\n\nSTYLE\n::cue { color: red }\n\n"
        f"00:01.000 --> 00:03.000\n<c.a><i>{ONE}</i></c>\n\n00:03.500 --> 00:05.000 line:0\nIt comes&nbsp;today.\n",
        NOBODY,
    ),
    "youtube.en.vtt": Export(
        "WEBVTT\nKind: captions\nLanguage: en\n\n00:00:01.000 --> 00:00:02.990 align:start position:0%\n \n"
        "Where<00:00:01.500><c> is</c><00:00:02.000><c> my</c><00:00:02.500><c> parcel?</c>\n\n"
        "00:00:02.990 --> 00:00:03.500 align:start position:0%\nWhere is my parcel?\n \n\n"
        "00:00:03.500 --> 00:00:05.000 align:start position:0%\nWhere is my parcel?\n"
        "It<00:00:04.000><c> comes</c><00:00:04.500><c> today.</c>\n\n00:00:05.000 --> 00:00:06.000\n[Music]\n",
        NOBODY,
        False,
    ),
    "whisperx.srt": Export(f"1\n{SRT_AT}\n[A]: {ONE}\n\n2\n{SRT_THEN}\n[B]: {TWO}\n"),
    "whisper-cpp.srt": Export(f"1\n{SRT_AT}\n(speaker 0) {ONE}\n\n2\n{SRT_THEN}\n(speaker 1) {TWO}\n", ZERO_ONE),
    "tight.srt": Export(f'1\n{SRT_AT}\n{{\\an8}}<font color="#fff">{ONE}</font>\n2\n{SRT_THEN}\n{TWO}\n', NOBODY),
    "broadcast.srt": Export(
        f"1\n{SRT_AT}\n>> A: {ONE}\n\n2\n{SRT_THEN}\n>> B: {TWO}\n\n3\n00:00:06,000 --> 00:00:07,000\n♪♪\n"
    ),
    "youtube.sbv": Export(f"0:00:01.000,0:00:03.000\n{ONE}\n\n0:00:03.500,0:00:05.000\n{TWO}\n", NOBODY),
    "whisper.tsv": Export(f"start\tend\ttext\n1000\t3000\t{ONE}\n3500\t5000\t{TWO}\n", NOBODY),
    "printed.transcript.txt": Export(f"[{AT}]   {ONE}\n[{THEN}]   {TWO}\n", NOBODY),
    "printed-2.transcript.txt": Export(f"[00:01.000 --> 00:03.000] {ONE}\n[00:03.500 --> 00:05.000] {TWO}\n", NOBODY),
    "otter.txt": Export(
        f"A title\nWed, Nov 25, 2026 10:02AM • 30:12\n\nSUMMARY KEYWORDS\nparcel\n\nSPEAKERS\nB, A\n\n"
        f"A  00:01\n{ONE}\n\nB  00:03\n{TWO}\n\nTranscribed by https://otter.ai\n",
        times=False,
    ),
    "rev.txt": Export(f"A (00:01):\n{ONE}\n\nB (00:03):\n{TWO}\n", times=False),
    "rev-line.txt": Export(f"A: (00:01)\n{ONE}\n\nB: (00:03)\n{TWO}\n", times=False),
    "descript.txt": Export(f"**A:** [00:00:01] {ONE}\n\n**B:** [00:00:03] {TWO}\n", times=False),
    "trint.txt": Export(f"[00:00:01] A: {ONE}\n[00:00:03] B: {TWO}\n", times=False),
    "sonix.txt": Export(f"00:00:01 - A: {ONE}\n00:00:03 - B: {TWO}\n", times=False),
    "caption-file.txt": Export(f"[A] 00:00:01\n{ONE}\n\n[B] 00:00:03\n{TWO}\n", times=False),
    "meet.txt": Export(
        "Team call (2026-11-25 10:00 GMT) - Transcript\nAttendees\nA, B\nTranscript\n00:00:00\n \n"
        f"A: {ONE}\nB: {TWO}\n",
        times=False,
    ),
    "wrapped.txt": Export("A: Where is\nmy\nparcel?\n\nB: It\ncomes\ntoday.\n", times=False),
    "play.txt": Export(f"A:\n{ONE}\n\nB:\n{TWO}\n", times=False),
    "lines.txt": Export(f"A: {ONE}\nB: {TWO}\n", times=False),
    **{f"{name}.json": Export(json.dumps(content), who) for name, (content, who) in JSON.items()},
}
