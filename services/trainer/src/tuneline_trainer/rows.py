"""From slices to token ids and labels: rendered, labelled and checked by us, so that nothing is ever cut."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

from tuneline.data.io import read_lines
from tuneline.data.slices import Slice
from tuneline.errors import UserError
from tuneline.model.answers import FoundBy
from tuneline.model.chat import ChatTokenizer

IGNORED = -100
"""Label of a token that is not learnt (the convention of torch's cross-entropy)."""

Supervise = Literal["new", "all", "last"]


class Example(NamedTuple):
    """One slice as the model sees it: `labels` are the ids where an answer is learnt, else IGNORED."""

    slice_id: str
    input_ids: list[int]
    labels: list[int]

    @property
    def supervised(self) -> int:
        """Tokens that are learnt. The first token has nothing before it to be predicted from, so it never counts."""
        return sum(label != IGNORED for label in self.labels[1:])


class Examples(NamedTuple):
    """The examples of a run, in the order of their file, and what is learnt of their transcripts."""

    train: list[Example]
    validation: list[Example]
    found_by: FoundBy
    learnt_per_third: tuple[float, float, float]
    """How often an answer of the first, second and last third of a transcript is learnt in one pass, on average."""

    @property
    def longest(self) -> int:
        return max(len(e.input_ids) for e in (*self.train, *self.validation))


def read_examples(path: Path, tokenizer: ChatTokenizer, supervise: Supervise, max_length: int) -> Examples:
    """Render and label every slice. Raises UserError if one is unreadable, too long or teaches nothing."""
    slices = list(read_lines(path, Slice))
    wanted = dict(answers_to_learn(slices, supervise))
    learnt: list[tuple[Slice, int]] = []
    sides: dict[str, list[Example]] = {"train": [], "validation": []}
    found_by: FoundBy = "generation prompts"
    for source in slices:
        example, found_by = encode(tokenizer, source, wanted[source.id])
        sides[source.split].append(example)
        if source.split == "train":
            learnt.append((source, 1 if found_by == "last answer" else wanted[source.id]))
    refuse_unusable([*sides["train"], *sides["validation"]], max_length)
    if not learnt:
        raise UserError(f"slices: none of {len(slices)} has the split `train`: give more transcripts to the slicer")
    return Examples(sides["train"], sides["validation"], found_by, learnt_per_third(learnt))


def encode(tokenizer: ChatTokenizer, source: Slice, answers: int) -> tuple[Example, FoundBy]:
    """Return ids of the whole conversation, with labels on its last `answers` answers and the tokens that end them.

    Answers that are marked as context have none.
    """
    encoded = tokenizer.encode_conversation(source.chat)
    mask = learnt_runs(encoded.assistant_mask, answers, unlearnt(source))
    labels = [token if on else IGNORED for token, on in zip(encoded.input_ids, mask, strict=True)]
    return Example(source.id, encoded.input_ids, labels), encoded.found_by


def answers_to_learn(slices: Sequence[Slice], supervise: Supervise) -> Iterator[tuple[str, int]]:
    """Yield each slice's id and how many of its last answers it teaches.

    `new` are those since the slice before it of the same transcript, so that every answer is learnt once.
    """
    before: dict[str, int] = {}
    for source in sorted(slices, key=lambda s: s.point):
        since = {"all": 0, "last": source.point - 1, "new": before.get(source.transcript, 0)}[supervise]
        yield source.id, source.point - max(since, source.dropped)
        before[source.transcript] = source.point


def learnt_per_third(learnt: Sequence[tuple[Slice, int]]) -> tuple[float, float, float]:
    """Return how often an answer is learnt in one pass, for each third of the transcripts up to their last slice."""
    lengths: dict[str, int] = {}
    for source, _ in learnt:
        lengths[source.transcript] = max(source.point, lengths.get(source.transcript, 0))
    times = [Fraction(0)] * 3
    for source, answers in learnt:
        whole = Fraction(lengths[source.transcript], 3)
        since, until = Fraction(source.point - answers), Fraction(source.point)
        for third in range(3):
            times[third] += max(Fraction(0), min((third + 1) * whole, until) - max(third * whole, since))
    total = Fraction(sum(lengths.values()), 3)
    first, second, last = (round(float(of_third / total), 2) for of_third in times)
    return first, second, last


def unlearnt(source: Slice) -> list[int]:
    """Return which answers of a slice are context only, counted from its last one, which is 1."""
    answers = [message for message in source.messages if message.role == "assistant"]
    return [place for place, message in enumerate(reversed(answers), 1) if not message.learn]


def learnt_runs(mask: Sequence[int], answers: int, unlearnt: Collection[int]) -> list[int]:
    """Keep the last `answers` runs of ones, less those whose place, counted from the last one (1), is unlearnt.

    Answers never touch, because a user's turn stands between them.
    """
    kept = list(mask)
    place = 0
    for at in reversed(range(len(mask))):
        ends_here = mask[at] and not (at + 1 < len(mask) and mask[at + 1])
        place += bool(ends_here)
        if place > answers or place in unlearnt:
            kept[at] = 0
    return kept


def refuse_unusable(examples: Sequence[Example], max_length: int) -> None:
    """Raise UserError if an example is longer than `max_length` tokens or has no token to learn."""
    if long := [f"{e.slice_id} ({len(e.input_ids):,} tokens)" for e in examples if len(e.input_ids) > max_length]:
        raise UserError(
            f"slices: {len(long)} of {len(examples)} are longer than {max_length:,} tokens "
            f"(the smaller of `max_length` and the model's context): {_listed(long)}. "
            "Raise trainer `max_length` if the model allows it, or lower slicer `max_tokens`"
        )
    if empty := [e.slice_id for e in examples if not e.supervised]:
        raise UserError(
            f"slices: {len(empty)} of {len(examples)} have no assistant token to learn: {_listed(empty)}. "
            "Check that every slice has an answer, and that the chat template writes it"
        )


def refuse_token(highest: int, rows: int) -> None:
    """Raise UserError if a token is beyond the rows of the model's embeddings."""
    if highest >= rows:
        raise UserError(
            f"base_model: its tokenizer makes token {highest} and config.json has a vocab_size of {rows}: resize the "
            "model's embeddings (resize_token_embeddings in transformers), or take the added token out"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
