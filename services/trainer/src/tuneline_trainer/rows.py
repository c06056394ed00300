"""From slices to token ids and labels: rendered, labelled and checked by us, so that nothing is ever cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tuneline.data.io import read_lines
from tuneline.data.slices import Slice
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer

IGNORED = -100
"""Label of a token that is not learnt (the convention of torch's cross-entropy)."""


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
    """The examples of a run, in the order of their file."""

    train: list[Example]
    validation: list[Example]

    @property
    def longest(self) -> int:
        return max(len(e.input_ids) for e in (*self.train, *self.validation))


def read_examples(path: Path, base_model: Path, supervise: Literal["all", "last"], max_length: int) -> Examples:
    """Render and label every slice. Raises UserError if one is unreadable, too long or teaches nothing."""
    tokenizer = ChatTokenizer.from_folder(base_model)
    slices = list(read_lines(path, Slice))
    examples = [encode(tokenizer, s, supervise) for s in slices]
    refuse_unusable(examples, max_length)
    by_split = Examples([], [])
    for example, source in zip(examples, slices, strict=True):
        (by_split.train if source.split == "train" else by_split.validation).append(example)
    if not by_split.train:
        raise UserError(f"slices: none of {len(slices)} has the split `train`: give more transcripts to the slicer")
    return by_split


def encode(tokenizer: ChatTokenizer, source: Slice, supervise: Literal["all", "last"]) -> Example:
    """Return ids of the whole conversation; labels on the assistant's answers and the tokens that end them."""
    encoded = tokenizer.encode_conversation([m.model_dump() for m in source.messages])
    mask = encoded.assistant_mask if supervise == "all" else _last_run(encoded.assistant_mask)
    labels = [token if learnt else IGNORED for token, learnt in zip(encoded.input_ids, mask, strict=True)]
    return Example(source.id, encoded.input_ids, labels)


def _last_run(mask: Sequence[int]) -> list[int]:
    """Keep the last run of ones: answers never touch, because a user's turn stands between them."""
    until_end = "".join(map(str, mask)).rstrip("0")
    start, end = len(until_end.rstrip("1")), len(until_end)
    return [int(start <= position < end) for position in range(len(mask))]


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


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
