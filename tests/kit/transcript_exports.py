"""One talk of two people as services export it in JSON; the text is our own, the forms are those of their manuals.

What is said lasts from 1 to 3 and from 3.5 to 5 seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

TURNS = (("Where is my parcel?", 1.0, 3.0), ("It comes today.", 3.5, 5.0))


def two(start: str, end: str, text: str, who: Mapping[str, Sequence[Any]], times: float = 1) -> list[dict[str, Any]]:
    """Return both turns as objects with these keys."""
    return [
        {start: a * times, end: b * times, text: said, **{key: values[place] for key, values in who.items()}}
        for place, (said, a, b) in enumerate(TURNS)
    ]


def words_of(turn: int) -> list[tuple[str, float, float]]:
    """Return the words of a turn, with times of equal length."""
    said, start, end = TURNS[turn]
    words, step = said.split(), (end - start) / len(said.split())
    return [(word, start + place * step, start + (place + 1) * step) for place, word in enumerate(words)]


def pieces(turn: int) -> list[tuple[str, float | None, float | None]]:
    """Return the words of a turn, and its last mark on its own and without times."""
    *words, (last, start, end) = words_of(turn)
    return [*words, (last[:-1], start, end), (last[-1], None, None)]


def aws_items(turn: int, **who: str) -> list[dict[str, Any]]:
    return [
        {"type": "punctuation", "alternatives": [{"confidence": "0.0", "content": text}], **who}
        if start is None
        else {"type": "pronunciation", "start_time": f"{start:.3f}", "end_time": f"{end:.3f}",
              "alternatives": [{"confidence": "0.99", "content": text}], **who}
        for text, start, end in pieces(turn)
    ]  # fmt: skip


def google_words(turn: int, start: str, end: str, **who: Any) -> list[dict[str, Any]]:
    return [{"word": text, start: f"{a:.1f}s", end: f"{b:.1f}s", **who} for text, a, b in words_of(turn)]


def speechmatics(turn: int) -> list[dict[str, Any]]:
    who = f"S{turn + 1}"
    return [
        {"type": "punctuation" if start is None else "word", "start_time": start or TURNS[turn][2],
         "end_time": end or TURNS[turn][2], "alternatives": [{"content": text, "confidence": 0.9, "speaker": who}],
         **({"attaches_to": "previous"} if start is None else {})}
        for text, start, end in pieces(turn)
    ]  # fmt: skip


AB: dict[str, Sequence[Any]] = {"speaker": ["A", "B"]}
NUMBERS: dict[str, Sequence[Any]] = {"speaker": [0, 1]}
WHISPER: dict[str, Sequence[Any]] = {
    "seek": [0, 0],
    "tokens": [[1], [2]],
    "avg_logprob": [-0.2, -0.3],
    "no_speech_prob": [0.01, 0.02],
}
LABELS: dict[str, Any] = {
    "speakers": 2,
    "segments": [
        {"speaker_label": f"spk_{turn}", "items": [
            {"speaker_label": f"spk_{turn}", "start_time": f"{a:.3f}", "end_time": f"{b:.3f}"}
            for _, a, b in words_of(turn)]}
        for turn in (0, 1)
    ],
}  # fmt: skip
TEXTS = [said for said, _, _ in TURNS]

Who = tuple[str | None, str | None]
NOBODY: Who = (None, None)
A_B, ZERO_ONE, ONE_TWO = ("A", "B"), ("0", "1"), ("1", "2")
TURN = list(enumerate(TURNS))
WORDS = [(turn, *word) for turn in (0, 1) for word in words_of(turn)]
PLAIN_GOOGLE = {
    "name": "1",
    "done": True,
    "response": {
        "results": [
            {"alternatives": [{"transcript": TEXTS[0]}], "channelTag": 1, "resultEndTime": "3.000s"},
            {"alternatives": [{"transcript": TEXTS[1]}], "channelTag": 2, "resultEndTime": "5.000s"},
        ]
    },
}
JSON: dict[str, tuple[Any, Who]] = {
    "whisper": ({"text": " ".join(TEXTS), "segments": two("start", "end", "text", WHISPER), "language": "en"}, NOBODY),
    "faster-whisper": (two("start", "end", "text", WHISPER), NOBODY),
    "whisperx": (
        {
            "segments": two("start", "end", "text", {"speaker": ["SPEAKER_00", "SPEAKER_01"], "words": [[], []]}),
            "word_segments": [],
            "language": "en",
        },
        ("SPEAKER_00", "SPEAKER_01"),
    ),
    "openai-diarized": (
        {
            "task": "transcribe",
            "duration": 5.0,
            "text": "…",
            "segments": two(
                "start", "end", "text", {"type": ["transcript.text.segment"] * 2, "id": ["seg_1", "seg_2"], **AB}
            ),
        },
        A_B,
    ),
    "openai-words": (
        {"text": "…", "words": [{"word": word, "start": a, "end": b} for turn, word, a, b in WORDS]},
        NOBODY,
    ),
    "podcasting": ({"version": "1.0.0", "segments": two("startTime", "endTime", "body", AB)}, A_B),
    "transformers": (
        {"text": "…", "chunks": [{"timestamp": [a, b], "text": f" {said}"} for said, a, b in TURNS]},
        NOBODY,
    ),
    "insanely-fast": (
        {
            "speakers": [{"speaker": f"SPEAKER_0{n}", "timestamp": [a, b], "text": said} for n, (said, a, b) in TURN],
            "chunks": [],
            "text": "…",
        },
        ("SPEAKER_00", "SPEAKER_01"),
    ),
    "whisper.cpp": (
        {
            "systeminfo": "…",
            "result": {"language": "en"},
            "transcription": [
                {
                    "timestamps": {"from": "00:00:01,000", "to": "00:00:03,000"},
                    "offsets": {"from": int(a * 1000), "to": int(b * 1000)},
                    "text": f" {said}",
                    "speaker": str(n),
                }
                for n, (said, a, b) in TURN
            ],
        },
        ZERO_ONE,
    ),
    "deepgram": (
        {
            "metadata": {},
            "results": {
                "channels": [],
                "utterances": two("start", "end", "transcript", {"channel": [0, 0], **NUMBERS}),
            },
        },
        ZERO_ONE,
    ),
    "deepgram-channels": (
        {"results": {"utterances": two("start", "end", "transcript", {"channel": [0, 1]})}},
        ZERO_ONE,
    ),
    "deepgram-paragraphs": (
        {
            "results": {
                "channels": [
                    {
                        "alternatives": [
                            {
                                "transcript": "…",
                                "words": [],
                                "paragraphs": {
                                    "paragraphs": [
                                        {
                                            "speaker": n,
                                            "start": a,
                                            "end": b,
                                            "sentences": [{"text": said, "start": a, "end": b}],
                                        }
                                        for n, (said, a, b) in TURN
                                    ]
                                },
                            }
                        ]
                    }
                ]
            }
        },
        ZERO_ONE,
    ),
    "deepgram-words": (
        {
            "results": {
                "channels": [
                    {
                        "alternatives": [
                            {
                                "transcript": "…",
                                "words": [
                                    {
                                        "word": word.lower(),
                                        "punctuated_word": word,
                                        "start": a,
                                        "end": b,
                                        "speaker": turn,
                                    }
                                    for turn, word, a, b in WORDS
                                ],
                            }
                        ]
                    }
                ]
            }
        },
        ZERO_ONE,
    ),
    "assemblyai": ({"text": "…", "words": [], "utterances": two("start", "end", "text", AB, 1000)}, A_B),
    "assemblyai-words": (
        {
            "text": "…",
            "utterances": None,
            "words": [
                {"text": word, "start": int(a * 1000), "end": int(b * 1000), "confidence": 0.9, "speaker": "AB"[turn]}
                for turn, word, a, b in WORDS
            ],
        },
        A_B,
    ),
    "gladia": (
        {
            "id": "…",
            "result": {
                "metadata": {},
                "transcription": {
                    "full_transcript": "…",
                    "utterances": two("start", "end", "text", {"channel": [0, 0], **NUMBERS}),
                },
            },
        },
        ZERO_ONE,
    ),
    "aws": (
        {
            "jobName": "j",
            "results": {
                "items": [],
                "transcripts": [],
                "audio_segments": two("start_time", "end_time", "transcript", {"speaker_label": ["spk_0", "spk_1"]}),
            },
        },
        ("spk_0", "spk_1"),
    ),
    "aws-items": (
        {
            "results": {
                "transcripts": [],
                "items": [*aws_items(0, speaker_label="spk_0"), *aws_items(1, speaker_label="spk_1")],
            }
        },
        ("spk_0", "spk_1"),
    ),
    "aws-labels": (
        {"results": {"speaker_labels": LABELS, "items": [*aws_items(0), *aws_items(1)]}},
        ("spk_0", "spk_1"),
    ),
    "aws-channels": (
        {
            "results": {
                "channel_labels": {
                    "number_of_channels": 2,
                    "channels": [{"channel_label": f"ch_{turn}", "items": aws_items(turn)} for turn in (0, 1)],
                }
            }
        },
        ("ch_0", "ch_1"),
    ),
    "aws-calls": (
        {
            "JobStatus": "COMPLETED",
            "Transcript": two(
                "BeginOffsetMillis", "EndOffsetMillis", "Content", {"ParticipantRole": ["CUSTOMER", "AGENT"]}, 1000
            ),
        },
        ("CUSTOMER", "AGENT"),
    ),
    "contact-lens": (
        {
            "Channel": "VOICE",
            "Segments": [
                {"Transcript": one}
                for one in two(
                    "BeginOffsetMillis", "EndOffsetMillis", "Content", {"ParticipantRole": ["CUSTOMER", "AGENT"]}, 1000
                )
            ],
        },
        ("CUSTOMER", "AGENT"),
    ),
    "google": (
        {
            "results": [
                {
                    "alternatives": [
                        {
                            "transcript": " ".join(TEXTS),
                            "words": [
                                *google_words(0, "startTime", "endTime"),
                                *google_words(1, "startTime", "endTime"),
                            ],
                        }
                    ],
                    "resultEndTime": "5s",
                },
                {
                    "alternatives": [
                        {
                            "words": [
                                *google_words(0, "startTime", "endTime", speakerTag=1),
                                *google_words(1, "startTime", "endTime", speakerTag=2),
                            ]
                        }
                    ]
                },
            ]
        },
        ONE_TWO,
    ),
    "google-v2": (
        {
            "results": {
                "gs://b/a.wav": {
                    "transcript": {
                        "results": [
                            {
                                "alternatives": [
                                    {
                                        "transcript": "…",
                                        "words": [
                                            *google_words(0, "startOffset", "endOffset", speakerLabel="1"),
                                            *google_words(1, "startOffset", "endOffset", speakerLabel="2"),
                                        ],
                                    }
                                ]
                            }
                        ]
                    }
                }
            }
        },
        ONE_TWO,
    ),
    "azure-batch": (
        {
            "source": "…",
            "combinedRecognizedPhrases": [],
            "recognizedPhrases": [
                {
                    "recognitionStatus": "Success",
                    "channel": 0,
                    "speaker": n + 1,
                    "offset": f"PT{a}S",
                    "duration": f"PT{b - a}S",
                    "offsetInTicks": a * 1e7,
                    "durationInTicks": (b - a) * 1e7,
                    "nBest": [{"lexical": "…", "display": said}],
                }
                for n, (said, a, b) in TURN
            ],
        },
        ONE_TWO,
    ),
    "azure-iso": (
        {
            "recognizedPhrases": [
                {"channel": n, "offset": f"PT{a}S", "duration": f"PT{b - a}S", "nBest": [{"display": said}]}
                for n, (said, a, b) in TURN
            ]
        },
        ZERO_ONE,
    ),
    "azure-fast": (
        {
            "durationMilliseconds": 5000,
            "combinedPhrases": [{"text": "…"}],
            "phrases": [
                {
                    "offsetMilliseconds": int(a * 1000),
                    "durationMilliseconds": int((b - a) * 1000),
                    "text": said,
                    "speaker": n,
                }
                for n, (said, a, b) in TURN
            ],
        },
        ZERO_ONE,
    ),
    "elevenlabs": (
        {
            "language_code": "en",
            "text": "…",
            "words": [
                one
                for turn in (0, 1)
                for word, a, b in words_of(turn)
                for one in (
                    {"text": word, "start": a, "end": b, "type": "word", "speaker_id": f"speaker_{turn}"},
                    {"text": " ", "start": b, "end": b, "type": "spacing", "speaker_id": f"speaker_{turn}"},
                )
            ],
        },
        ("speaker_0", "speaker_1"),
    ),
    "speechmatics": ({"format": "2.9", "metadata": {}, "results": [*speechmatics(0), *speechmatics(1)]}, ("S1", "S2")),
    "ibm": (
        {
            "results": [
                {
                    "final": True,
                    "alternatives": [
                        {"transcript": "…", "timestamps": [[word, a, b] for word, a, b in words_of(turn)]}
                    ],
                }
                for turn in (0, 1)
            ],
            "speaker_labels": [{"from": a, "to": b, "speaker": turn} for turn in (0, 1) for _, a, b in words_of(turn)],
        },
        ZERO_ONE,
    ),
    "rev": (
        {
            "monologues": [
                {
                    "speaker": n,
                    "elements": [
                        {
                            "type": "punct" if a is None else "text",
                            "value": text,
                            **({} if a is None else {"ts": a, "end_ts": b}),
                        }
                        for word, a, b in pieces(n)
                        for text, a, b in (
                            [(word, a, b)] if a is None or word[0].isupper() else [(" ", None, None), (word, a, b)]
                        )
                    ],
                }
                for n in (0, 1)
            ]
        },
        ZERO_ONE,
    ),
    "youtube": (
        {
            "wireMagic": "pb3",
            "events": [
                {
                    "tStartMs": int(a * 1000),
                    "dDurationMs": int((b - a) * 1000),
                    "segs": [{"utf8": said[:5]}, {"utf8": said[5:]}],
                }
                for said, a, b in TURNS
            ],
        },
        NOBODY,
    ),
    "youtube-api": ([{"text": said, "start": a, "duration": b - a} for said, a, b in TURNS], NOBODY),
    "teams": (
        {
            "$schema": "http://stream.office.com/schemas/transcript.json",
            "version": "1.0.0",
            "type": "Transcript",
            "entries": [
                {
                    "id": f"1f-2/{n}",
                    "text": said,
                    "rawText": None,
                    "speakerId": f"{n}@tenant",
                    "speakerDisplayName": "AB"[n],
                    "startOffset": f"00:00:0{a}000000",
                    "endOffset": f"00:00:0{b}000000",
                }
                for n, (said, a, b) in TURN
            ],
            "events": [],
        },
        A_B,
    ),
    "fireflies": (
        {
            "data": {
                "transcript": {
                    "title": "…",
                    "sentences": two(
                        "start_time",
                        "end_time",
                        "text",
                        {"index": [0, 1], "raw_text": TEXTS, "speaker_id": [0, 1], "speaker_name": ["A", "B"]},
                    ),
                }
            }
        },
        A_B,
    ),
    "assemblyai-sentences": (
        {"sentences": two("start", "end", "text", {"words": [[], []], **AB}, 1000), "id": "…", "audio_duration": 5},
        A_B,
    ),
    "twilio": (
        {
            "sentences": two(
                "start_time", "end_time", "transcript", {"media_channel": [1, 2], "sentence_index": [0, 1]}
            ),
            "meta": {"key": "sentences"},
        },
        ONE_TWO,
    ),
    "gong": (
        {
            "requestId": "…",
            "records": {"totalRecords": 1},
            "callTranscripts": [
                {
                    "callId": "7",
                    "transcript": [
                        {
                            "speakerId": "AB"[n],
                            "topic": None,
                            "sentences": [{"start": int(a * 1000), "end": int(b * 1000), "text": said}],
                        }
                        for n, (said, a, b) in TURN
                    ],
                }
            ],
        },
        A_B,
    ),
    "recall": (
        [
            {
                "participant": {"id": 100 + n, "name": "AB"[n], "is_host": True},
                "words": [
                    {
                        "text": word,
                        "start_timestamp": {"relative": a, "absolute": "2026-11-25T10:00:00Z"},
                        "end_timestamp": {"relative": b, "absolute": "2026-11-25T10:00:01Z"},
                    }
                    for word, a, b in words_of(n)
                ],
            }
            for n in (0, 1)
        ],
        A_B,
    ),
    "grain": (two("start", "end", "text", {"participant_id": ["x", "y"], **AB}, 1000), A_B),
    "tldv": ({"id": "…", "meetingId": "…", "data": two("startTime", "endTime", "text", AB)}, A_B),
    "premiere": (
        {
            "language": "en-us",
            "segments": [
                {
                    "start": TURNS[n][1],
                    "duration": TURNS[n][2] - TURNS[n][1],
                    "speaker": f"uuid-{n}",
                    "words": [
                        {"text": word, "start": a, "duration": b - a, "eos": False, "type": "word"}
                        for word, a, b in words_of(n)
                    ],
                }
                for n in (0, 1)
            ],
            "speakers": [{"id": "uuid-0", "name": "A"}, {"id": "uuid-1", "name": "B"}],
        },
        A_B,
    ),
    "rev-people": (
        {
            "speakers": [{"id": 0, "name": "A"}, {"id": 1, "name": "B"}],
            "monologues": [
                {
                    "speaker": n,
                    "elements": [
                        {
                            "type": "text",
                            "value": said,
                            "timestamp": f"00:00:0{int(a)},{int(a % 1 * 1000):03}",
                            "end_timestamp": f"00:00:0{int(b)},000",
                        }
                    ],
                }
                for n, (said, a, b) in TURN
            ],
        },
        A_B,
    ),
    "video-indexer": (
        {
            "accountId": "…",
            "videos": [
                {
                    "insights": {
                        "transcript": [
                            {
                                "id": n + 1,
                                "text": said,
                                "speakerId": n + 1,
                                "instances": [{"start": f"0:00:0{a}", "end": f"0:00:0{b}"}],
                            }
                            for n, (said, a, b) in TURN
                        ],
                        "speakers": [{"id": 1, "name": "A"}, {"id": 2, "name": "B"}],
                    }
                }
            ],
        },
        A_B,
    ),
    "turns": (
        [
            {
                "speaker": {"id": 1, "name": "AB"[n]},
                "start_time": f"00:00:0{a:.3f}",
                "end_time": f"00:00:0{b:.3f}",
                "sentence": said,
            }
            for n, (said, a, b) in TURN
        ],
        A_B,
    ),
}
