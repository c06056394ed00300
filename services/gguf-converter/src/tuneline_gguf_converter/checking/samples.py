"""The conversations on which the file and the merged model are compared: built-in probes and held-out slices."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from tuneline.data.io import read_lines
from tuneline.data.slices import Slice, Split
from tuneline.model.chat import ChatTokenizer

Messages = list[dict[str, str]]

MARKS = "probe: combining marks"
"""Letters of several characters, as in Devanagari: llama.cpp splits them otherwise than some tokenizers do."""
# What chat templates and tokenizers trip over; user and assistant take turns.
PROBES = {
    "probe: plain": (
        "Good morning! Can you help me to plan my week?",
        "Of course. Which days are already taken, and what matters most to you this week?",
        "Monday and Thursday are full. I want to run three times.",
        "Then Tuesday, Wednesday and Saturday would work well. Shall we start with twenty minutes each time?",
    ),
    "probe: white space": (
        "  two spaces first\n\n\n\tthen a tab,   three spaces and a line end \n",
        "A list:\n\n  1. one\n  2. two\n\n\n     deep\n",
        "trailing   ",
        "\n\nleading line ends, and   gaps\tinside",
    ),
    "probe: unicode": (
        "Grüße aus Zürich: naïve café, e\u0301 and é, ½ ﬁ ™ “quotes” … — ‑ \u200b \u00a0 end",
        "日本語とEnglishの混在、한국어도. Русский текст, العربية والعبرية עברית.",
        "👩🏽\u200d💻🏳️\u200d🌈 🙂🙂 𝒳 \U0001f9d1\u200d🚀 ok?",
        "Ναι! ¿Qué tal? Ça va — très bien ✅",
    ),
    MARKS: (
        "हिन्दी में बात करो।",
        "ठीक है, आप कैसे हैं?",
        "தமிழ் தெரியுமா?",
        "சிறிது தெரியும்.",
    ),
    "probe: code": (
        'Why does this fail?\n```python\ndef f(x):\n    return {"a": [1, 2.50, 1e-9], \'b\': x["c"]}  # 100%\n```',
        "`x` has no key `c`:\n\n```python\nf({'c': None})  # {'a': [1, 2.5, 1e-09], 'b': None}\n```\nUse `.get`.",
        "<b>HTML</b> &amp; {{ jinja }} {% raw %} ${shell} \\n \\u0041 C:\\temp\\new",
        "SELECT * FROM t WHERE a <> 'it''s' AND b >= 10000000;",
    ),
    "probe: odd words": (
        "aaaaaaaaaaaaaaaaaaaaaaaa 1234567890 00000 3.14159265358979 I'm you're THEY'LL",
        "Don't—can't!?!? ... (((nested))) #hashtag @name a_b_c camelCaseWord https://example.org/?q=a%20b&c=d",
        "Y",
        "N",
    ),
}


class Sample(NamedTuple):
    """One conversation: `ids` is its beginning, and `positions` are the tokens in it that are to be predicted."""

    name: str
    messages: Messages
    ids: list[int]
    positions: list[int]


class Samples(NamedTuple):
    """What is compared: template and ids on `texts`, the next token on `predicted`, whose source is `kind`."""

    texts: list[Sample]
    predicted: list[Sample]
    kind: Literal["held-out", "training", "probe"]


def choose_samples(
    tokenizer: ChatTokenizer, slices: Path | None, conversations: int, positions: int, tokens: int
) -> Samples:
    """Return the probes, and up to `conversations` transcripts of `slices`: held-out ones, if there are any.

    In all, `conversations` × `positions` tokens are predicted, if there are so many, spread over the answers in the
    first `tokens` tokens of each: where there are fewer conversations, more of each.
    """
    chosen, kind = _choose(slices, conversations) if slices else ([], "probe")
    positions = -(-conversations * positions // (len(chosen) or len(PROBES.keys() - {MARKS})))
    probes = []
    for name, turns in PROBES.items():
        messages = [
            {"role": role, "content": tokenizer.neutralise(turn)}
            for role, turn in zip(("user", "assistant") * 2, turns, strict=True)
        ]
        probes.append(_sample(tokenizer, name, messages, positions, tokens))
    real = [_sample(tokenizer, row.id, row.chat, positions, tokens) for row in chosen]
    return Samples(probes + real, real or [p for p in probes if p.name != MARKS], kind if real else "probe")


def _choose(path: Path, conversations: int) -> tuple[list[Slice], Literal["held-out", "training"]]:
    found = longest_of_each(path)
    kind: Split = "validation" if found["validation"] else "train"
    places = found[kind]
    chosen = [places[index] for index in evenly(len(places), conversations)]
    return slices_at(path, chosen), "held-out" if kind == "validation" else "training"


def longest_of_each(path: Path) -> dict[Split, list[int]]:
    """Return where in `path` the longest slice of each transcript is, by the transcripts' ids."""
    longest: dict[Split, dict[str, tuple[int, int]]] = {"train": {}, "validation": {}}
    for place, row in enumerate(read_lines(path, Slice)):
        of_split, size = longest[row.split], len(row.model_dump_json())
        if size > of_split.get(row.transcript, (0, 0))[0]:
            of_split[row.transcript] = (size, place)
    return {split: [found[name][1] for name in sorted(found)] for split, found in longest.items()}


def slices_at(path: Path, places: list[int]) -> list[Slice]:
    """Read the slices in those places, in that order."""
    rows = {place: row for place, row in enumerate(read_lines(path, Slice)) if place in places}
    return [rows[place] for place in places]


def _sample(tokenizer: ChatTokenizer, name: str, messages: Messages, positions: int, tokens: int) -> Sample:
    encoded = tokenizer.encode_conversation(messages)
    ids = encoded.input_ids[:tokens]
    answers = [place for place in range(1, len(ids)) if encoded.assistant_mask[place]] or list(range(1, len(ids)))
    return Sample(name, messages, ids, [answers[index] for index in evenly(len(answers), positions)])


def evenly(count: int, wanted: int) -> list[int]:
    """Return at most `wanted` of the indices below `count`, evenly spaced."""
    if count <= wanted:
        return list(range(count))
    return [(2 * index + 1) * count // (2 * wanted) for index in range(wanted)]
