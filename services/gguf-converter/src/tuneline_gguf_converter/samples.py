"""The conversations on which the file and the merged model are compared: built-in probes and held-out slices."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from tuneline.errors import UserError
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
    real = [_sample(tokenizer, row.id, row.messages, positions, tokens) for row in chosen]
    return Samples(probes + real, real or probes, kind if real else "probe")


class _Slice(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str
    transcript: str
    split: Literal["train", "validation"]
    messages: Messages


def _choose(path: Path, conversations: int) -> tuple[list[_Slice], Literal["held-out", "training"]]:
    """Keep the longest slice of each transcript by its place in the file, then read evenly spaced ones of those."""
    places: dict[str, dict[str, tuple[int, int]]] = {"train": {}, "validation": {}}
    with path.open("rb") as file:
        place = 0
        for number, line in enumerate(file, 1):
            row = _parse(line, path, number)
            of_split = places[row.split]
            if len(line) > of_split.get(row.transcript, (0, 0))[0]:
                of_split[row.transcript] = (len(line), place)
            place += len(line)
        split = "validation" if places["validation"] else "train"
        found = [place for _, place in (places[split][name] for name in sorted(places[split]))]
        rows = []
        for index in evenly(len(found), conversations):
            file.seek(found[index])
            rows.append(_parse(file.readline(), path, 0))
    return rows, "held-out" if split == "validation" else "training"


def _conversation(turns: tuple[str, ...]) -> Messages:
    return [{"role": "assistant" if index % 2 else "user", "content": turn} for index, turn in enumerate(turns)]


def _parse(line: bytes, path: Path, number: int) -> _Slice:
    try:
        return _Slice.model_validate_json(line)
    except ValidationError as error:
        field = ".".join(map(str, error.errors(include_input=False)[0]["loc"])) or "line"
        raise UserError(f"{path.name}:{number}: {field}: not as the slicer writes it") from None


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
