"""References, prompt and models, read and held against each other before anything is paid."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel

from tuneline.data.io import read_lines
from tuneline.data.text.recordings import PairRow, Segment, TalkRow
from tuneline.data.text.words import word_count
from tuneline.errors import UserError
from tuneline.parsing.problems import printable
from tuneline.parsing.text import read_utf8

SLOTS = ("{source}", "{profile}")
"""What stands in a prompt once each: the text of the source, and what the references have in common."""
MOST_BYTES = 100_000
"""Of a prompt."""
MOST_NAME_BYTES = 200
"""Of a pair: file systems hold 255 with what comes behind it."""
MOST_SPREAD = 4
"""Times that the longest talk may be as long as the shortest before it is said that they are of two kinds."""
MOST_SECONDS = 1e6
"""Of a talk, eleven days: what ends later has times of a clock, or in milliseconds."""


_FORMS: Mapping[type[BaseModel], str] = {
    PairRow: '{"pair": "bread", "status": "ready"}',
    TalkRow: '{"pair": "bread", "segments": [{"start": 0.0, "end": 4.2, "text": "…"}]}, in seconds',
}
R = TypeVar("R", PairRow, TalkRow)


class Reference(NamedTuple):
    """A source, and a talk about it."""

    name: str
    source: str
    talk: list[Segment]
    source_sha256: str
    """Equal where several people talk about one source."""

    @property
    def text(self) -> str:
        """What is said in the talk."""
        return " ".join(segment.text.strip() for segment in self.talk)

    @property
    def seconds(self) -> float:
        """How long it is said, from the first word to the last."""
        return max(one.end for one in self.talk) - self.talk[0].start

    @property
    def words_a_minute(self) -> float:
        return 60 * word_count(self.text) / self.seconds


def read_references(pairs: Path, sources: Path, talks: Path) -> list[Reference]:
    """Return the pairs that are ready, by name. Raises UserError for files that do not belong together, or for none."""
    said = {row.pair: row.segments for row in _rows(talks, TalkRow)}
    ready = {row.pair for row in _rows(pairs, PairRow) if row.status == "ready"}
    if not ready:
        raise UserError(f"{pairs.name}: no pair is ready; look at their statuses")
    return [
        _reference(name, _source_of(name, pairs.name, sources), said.get(name), talks.name) for name in sorted(ready)
    ]


def _source_of(name: str, file: str, sources: Path) -> Path:
    shown = printable(name)
    if "/" in name or "\\" in name or name in (".", "..") or len(name.encode()) > MOST_NAME_BYTES:
        raise UserError(
            f"{file}: {shown} names a file outside of the sources, or none that can be; a pair is called like its file"
        )
    source = sources / f"{name}.txt"
    if not source.is_file():
        raise UserError(f"{file}: the pair {shown} is ready, and {shown}.txt is not among the sources")
    return source


def _rows(path: Path, kind: type[R]) -> Iterator[R]:
    """Yield rows. Raises UserError that says how one's own are written."""
    try:
        yield from read_lines(path, kind)
    except UserError as e:
        raise UserError(f"{e} One of your own has an object in each line: {_FORMS[kind]}") from None


def of_many_lengths(references: Sequence[Reference]) -> str:
    """Return what to say of talks whose lengths differ so much that one prompt cannot fit all; empty if they do not."""
    words = sorted(word_count(one.text) for one in references)
    if words[-1] <= MOST_SPREAD * words[0]:
        return ""
    return (
        f"the talks have {words[0]:,} to {words[-1]:,} words, and one prompt is to fit all: its scripts are told the "
        "median; calibrate talks of about one length together"
    )


def _reference(name: str, source: Path, talk: list[Segment] | None, file: str) -> Reference:
    shown = printable(name)
    if talk is None:
        raise UserError(f"{file}: no line is there for the pair {shown}, which is ready; is it spelt alike in both?")
    text = read_utf8(source).replace("\f", "\n")
    if not word_count(text) or not any(word_count(segment.text) for segment in talk):
        raise UserError(f"{file}: {shown}: source and talk must both have words; leave the pair out")
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    reference = Reference(name, text, [segment for segment in talk if segment.text.strip()], digest)
    starts, backwards = [one.start for one in reference.talk], any(one.end < one.start for one in reference.talk)
    if backwards or starts != sorted(starts) or not 0 < reference.seconds <= MOST_SECONDS:
        raise UserError(
            f"{file}: {shown}: the times of its segments are wrong: they are seconds, and none may begin "
            "before the one above it"
        )
    return reference


def read_prompt(path: Path) -> str:
    """Read a prompt. Raises UserError unless it has its slots once each."""
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"{path.name}: a prompt has at most {MOST_BYTES:,} bytes")
    text = read_utf8(path).strip()
    if has_controls(text):
        raise UserError(f"{path.name}: it has control characters; save it as plain text")
    for slot in SLOTS:
        if text.count(slot) != 1:
            raise UserError(f"{path.name}: {slot} must stand there once, and stands there {text.count(slot)} times")
    return text


def has_controls(text: str) -> bool:
    """Tell whether a text has control characters other than line ends and tabs."""
    return any(unicodedata.category(letter) == "Cc" and letter not in "\n\t\r" for letter in text)


def filled(prompt: str, source: str, profile: str) -> str:
    """Put source and profile into a prompt; braces in any of them mean nothing."""
    values = {"{source}": source, "{profile}": profile}
    return re.sub("|".join(map(re.escape, SLOTS)), lambda found: values[found[0]], prompt)
