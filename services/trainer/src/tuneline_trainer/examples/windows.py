"""From slices to token ids: the slices that begin at the same exchange of a transcript are one window.

The slicer has encoded them already; what comes from elsewhere, or was encoded for another model, is encoded here.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import structlog

from tuneline.data.io import read_lines
from tuneline.data.slices import Encoding, Slice, Split
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer
from tuneline.model.windows import encode_window

log = structlog.get_logger()

Range = tuple[int, int]


class Source(NamedTuple):
    """What is kept of a slice: where it ends, and which of its answers may be learnt, in order."""

    id: str
    transcript: str
    point: int
    dropped: int
    split: Split
    learn: tuple[bool, ...]


class Window(NamedTuple):
    """Slices of which each begins like the last one, in ids too; `answers` are ranges of the last one's `ids`."""

    ids: array[int]
    answers: list[Range]
    slices: list[Source]
    found_by: str
    exact: bool
    """Whether all slices that begin at this exchange of the transcript begin alike in ids."""

    def answers_of(self, source: Source) -> int:
        """Return how many of `answers` a slice holds."""
        return len(self.answers) - len(self.slices[-1].learn) + len(source.learn)

    def tokens_of(self, source: Source) -> int:
        """Return the tokens of a slice up to the end of its last answer."""
        held = self.answers_of(source)
        return self.answers[held - 1][1] if held else len(self.ids)


def read_windows(path: Path, chat: ChatTokenizer) -> Iterator[Window]:
    """Yield the windows of a file of slices; no more than one is held as text. Raises UserError for unreadable ones."""
    encoded_here = False
    for _, group in groupby(read_lines(path, Slice), key=lambda s: (s.transcript, s.dropped, s.split)):
        slices = sorted(group, key=lambda s: len(s.messages))
        encodings = [s.encoding for s in slices if s.encoding and s.encoding.by == chat.fingerprint]
        if len(encodings) < len(slices) or encodings[-1].ids is None:
            if not encoded_here:
                log.info("slices are encoded here: they have no token ids of this tokenizer and chat template")
            encoded_here = True
            found = encode_window(chat, [s.chat for s in slices])
            encodings = [Encoding(by="", ids=e.ids, answers=e.answers, found_by=e.found_by) for e in found]
        yield from _windows(slices, encodings)


def _windows(slices: Sequence[Slice], encodings: Sequence[Encoding]) -> Iterator[Window]:
    """Yield the slices that have ids of their own, each with those that begin like it: the last one has them."""
    sharing: list[Source] = []
    exact = all(encoding.ids is None for encoding in encodings[:-1])
    for source, encoding in zip(slices, encodings, strict=True):
        facts = source_of(source)
        if encoding.ids is None:
            sharing.append(facts)
        else:
            held = [*sharing, facts] if source is slices[-1] else [facts]
            yield Window(_ids(source, encoding), encoding.answers, held, encoding.found_by, exact)


def source_of(source: Slice) -> Source:
    """Keep what rows are made of."""
    learn = tuple(message.learn for message in source.messages if message.role == "assistant")
    return Source(source.id, source.transcript, source.point, source.dropped, source.split, learn)


def _ids(source: Slice, encoding: Encoding) -> array[int]:
    """Return the ids in four bytes each. Raises UserError for what no tokenizer makes."""
    borders = [0, *(border for answer in encoding.answers for border in answer), len(encoding.ids or [])]
    try:
        ids = array("i", encoding.ids or [])
    except OverflowError:
        ids = array("i", [-1])
    if borders != sorted(borders) or min(ids, default=0) < 0:
        raise UserError(f"slices: the token ids of {source.id} are damaged. Let the slicer make the file again.")
    return ids
