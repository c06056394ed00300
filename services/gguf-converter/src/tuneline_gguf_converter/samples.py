"""The conversations on which the file and the merged model are compared: built-in probes and held-out slices."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from tuneline.data.io import read_lines
from tuneline.data.slices import Slice, Split
from tuneline.model.chat import ChatTokenizer
from tuneline_gguf_converter.probes import PROBES

Messages = list[dict[str, str]]


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

    At most `positions` tokens of each are predicted, spread over the answers in its first `tokens` tokens.
    """
    probes = [_sample(tokenizer, name, _conversation(turns), positions, tokens) for name, turns in PROBES.items()]
    chosen, kind = _choose(slices, conversations) if slices else ([], "probe")
    real = [_sample(tokenizer, row.id, [m.model_dump() for m in row.messages], positions, tokens) for row in chosen]
    return Samples(probes + real, real or probes, kind if real else "probe")


def _choose(path: Path, conversations: int) -> tuple[list[Slice], Literal["held-out", "training"]]:
    """Keep the longest slice of each transcript by its place in the file, then read evenly spaced ones of those."""
    longest: dict[Split, dict[str, tuple[int, int]]] = {"train": {}, "validation": {}}
    for place, row in enumerate(read_lines(path, Slice)):
        of_split, size = longest[row.split], len(row.model_dump_json())
        if size > of_split.get(row.transcript, (0, 0))[0]:
            of_split[row.transcript] = (size, place)
    found = longest["validation"] or longest["train"]
    places = [found[name][1] for name in sorted(found)]
    chosen = [places[index] for index in evenly(len(places), conversations)]
    rows = {place: row for place, row in enumerate(read_lines(path, Slice)) if place in chosen}
    return [rows[place] for place in chosen], "held-out" if longest["validation"] else "training"


def _conversation(turns: tuple[str, ...]) -> Messages:
    return [{"role": "assistant" if index % 2 else "user", "content": turn} for index, turn in enumerate(turns)]


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
