"""The talk of `transcript_exports` as files: captions, plain text, and JSON."""

from __future__ import annotations

import json
from typing import NamedTuple

from kit.office import docx
from kit.transcript_exports import A_B, JSON, NOBODY, TURNS, ZERO_ONE, Who


class Export(NamedTuple):
    """A file, and the names that it gives to the two people; None where it gives none."""

    content: str | bytes
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
    "youtube-converted.srt": Export(
        "".join(
            f"{number}\n00:00:0{start},000 --> 00:00:0{end},000\n{text}\n\n"
            for number, (start, end, text) in enumerate(
                [(1, 2, ONE), (2, 3, ONE), (3, 4, f"{ONE}\n{TWO}"), (4, 5, TWO), (5, 6, f"{TWO}\n[Music]")], 1
            )
        ),
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
    "graph.vtt": Export(
        "WEBVTT\n\n"
        + "".join(
            f"{at}\n{json.dumps({'startDateTime': '2026-11-25T10:00:00Z', 'speakerName': who, 'spokenText': said})}\n\n"
            for at, who, said in ((AT, "A", ONE), (THEN, "B", TWO))
        )
    ),
    "aegisub.ass": Export(
        "[Script Info]\nTitle: x\n\n[Events]\n"
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        f"Dialogue: 0,0:00:01.00,0:00:03.00,Default,A,0,0,0,,{{\\i1}}{ONE}\n"
        "Dialogue: 0,0:00:03.50,0:00:05.00,Default,B,0,0,0,,It comes\\Ntoday.\n"
    ),
    "whisper-cpp.csv": Export(f'start,end,text\n1000,3000," {ONE}"\n3500,5000," {TWO}"\n', NOBODY),
    "whisper-cpp-speakers.csv": Export(
        f'start,end,speaker,text\n1000,3000,0," {ONE}"\n3500,5000,1," {TWO}"\n', ZERO_ONE
    ),
    "premiere.csv": Export(
        f"Speaker Name;Start Time;End Time;Text\nA;00:00:01:00;00:00:03:00;{ONE}\nB;00:00:03:12;00:00:05:00;{TWO}\n",
        times=False,
    ),
    "whisper-cpp.lrc": Export(f"[by:whisper.cpp]\n[00:01.00] {ONE}\n[00:03.50] {TWO}\n", NOBODY, False),
    "karaoke.lrc": Export(
        f"[ti:A talk]\n[length:00:05]\n[offset:+500]\n[00:01.50]A: {ONE}\n[00:03.50]\n"
        "[00:04.00]B: <00:04.00>It <00:04.20>comes <00:04.40>today.\n[00:05.50]\n"
    ),
    "ttml.ttml": Export(
        '<?xml version="1.0"?><tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttm="http://www.w3.org/ns/ttml#metadata"><head>'
        '<metadata><ttm:title>x</ttm:title><ttm:agent xml:id="p1" type="person"><ttm:name>A</ttm:name></ttm:agent>'
        '<ttm:agent xml:id="p2" type="person"><ttm:name type="full">B</ttm:name></ttm:agent></metadata></head>'
        f'<body><div><p begin="00:00:01.000" end="00:00:03.000" ttm:agent="p1">{ONE}</p><p xml:id="s2" '
        'begin="3500ms" dur="1.5s" ttm:agent="p2"><span tts:color="red" xmlns:tts="x">It comes</span><br/>today.</p>'
        "</div></body></tt>"
    ),
    "netflix.dfxp": Export(
        '<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttp="http://www.w3.org/ns/ttml#parameter" ttp:tickRate="10000000" '
        'ttp:frameRate="24" ttp:frameRateMultiplier="1000 1001"><body><div>'
        f'<p begin="10000000t" end="30000000t">{ONE}</p>'
        f'<p begin="35000000t" end="50000000t"><span>{TWO}</span></p></div></body></tt>',
        NOBODY,
    ),
    "broadcast.xml": Export(
        '<tt:tt xmlns:tt="http://www.w3.org/ns/ttml" xmlns:x="http://www.w3.org/ns/ttml#parameter" x:frameRate="25">'
        f'<tt:body begin="00:00:00:00"><tt:div begin="00:00:01:00"><tt:p end="2s">{ONE}</tt:p>'
        '<tt:p><tt:span begin="62.5f" end="75f">It comes</tt:span> <tt:span begin="3s" end="00:00:04">today.</tt:span>'
        "</tt:p></tt:div></tt:body></tt:tt>",
        NOBODY,
    ),
    "youtube.en.srv1": Export(
        f'<?xml version="1.0" encoding="utf-8" ?><transcript><text start="1" dur="2">{ONE}</text>'
        f'<text start="3.5" dur="1.5">{TWO}</text></transcript>',
        NOBODY,
    ),
    "youtube.en.srv3": Export(
        f'<timedtext format="3"><body><p t="1000" d="2000" w="1"><s>Where</s><s t="500"> is my parcel?</s></p>'
        f'<p t="3000" d="500" w="1" a="1">\n</p><p t="3500" d="1500">{TWO}</p></body></timedtext>',
        NOBODY,
    ),
    "teams.transcript.docx": Export(
        docx(
            [
                "Team call-20261125_100000-Meeting Recording",
                "25 November 2026, 10:00am",
                "5s",
                "A started transcription",
                f"A   0:01\n{ONE}",
                "B   0:03\nIt comes\ntoday.",
                "A stopped transcription",
            ]
        ),
        times=False,
    ),
    "old-teams.transcript.docx": Export(docx([f"0:0:1.0 --> 0:0:3.0\nA\n{ONE}", f"0:0:3.500 --> 0:0:5.0\nB\n{TWO}"])),
    "word.transcript.docx": Export(
        docx(["Audio file", "talk.wav", "Transcript", "00:00:01 A", ONE, "00:00:03 B", TWO]), times=False
    ),
    "fathom.txt": Export(
        f"A talk - November 25\nVIEW RECORDING - 1 min\n\n---\n\n0:01 - A\n  {ONE}\n\n0:03 - B\n  {TWO}\n",
        times=False,
    ),
    "recap.txt": Export(f"A\n0:01\n{ONE}\nB\n0:03\n{TWO}\n", times=False),
    "zencastr.txt": Export(f"00:01.00\nA\n{ONE}\n\n00:03.50\nB\n{TWO}\n", times=False),
    **{f"{name}.json": Export(json.dumps(content), who) for name, (content, who) in JSON.items()},
}
