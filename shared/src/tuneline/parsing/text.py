"""Texts of people: bytes in the encodings that editors write, without characters that nobody sees."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from tuneline.errors import UserError
from tuneline.parsing.problems import line_of, not_utf8, other_kind, printable

_UNSEEN = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\xad\ud800-\udfff]")
"""Control characters except tab, line ends and form feed; soft hyphens; and lone surrogates, which no file can hold."""
_LOOK = 400
POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins that Git has in place of a large one until that is fetched."""
ONLY_A_POINTER = "is Git's pointer to a large file, not the file: run `git lfs pull` in its folder, or download it"


def read_text(data: bytes) -> str:
    """Return UTF-8 or UTF-16 as text with `\\n` as line end and nothing unseen. Raises UnicodeDecodeError."""
    return cleaned(data.decode(_encoding(data)))


def read_utf8(path: Path) -> str:
    """Return all of a text file with `\\n` as line end. Raises UserError, with the line, if it is no such text."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except IsADirectoryError:
        raise UserError(f"{printable(path.name)} is a folder: give the text file in it") from None
    except UnicodeDecodeError as e:
        raise UserError(f"{printable(path.name)}:{line_of(e)}: {not_utf8(e)}") from None
    if other := no_text(text[: len(POINTER)].encode()):
        raise UserError(f"{printable(path.name)}:1: {other}")
    return text


def no_text(data: bytes) -> str | None:
    """Say what a file is that begins as a file of another kind or as a pointer of Git, and the way out."""
    return ONLY_A_POINTER if data.startswith(POINTER) else other_kind(data)


def cleaned(text: str) -> str:
    """Return a text with `\\n` as line end, without control characters, soft hyphens and lone surrogates."""
    return _UNSEEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\x85", "\n"))


def _encoding(data: bytes) -> str:
    """Return how bytes are written, UTF-16 by its mark or, without one, by nearly every other byte being zero."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    first, second = data[:_LOOK:2].count(0), data[1:_LOOK:2].count(0)
    most, few = 3 * len(data[1:_LOOK:2]) / 4, len(data[1:_LOOK:2]) / 8
    if second > 1 and second >= most and first <= few:
        return "utf-16-le"
    return "utf-16-be" if first > 1 and first >= most and second <= few else "utf-8-sig"
