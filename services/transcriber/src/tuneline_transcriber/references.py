"""The references in a folder: which document, recording and given transcript belong together, by their names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tuneline.errors import UserError
from tuneline.parsing.problems import listed, printable

SOURCES = frozenset({".pdf", ".html", ".htm", ".md", ".markdown", ".txt"})
AUDIO = frozenset({".wav", ".mp3", ".m4a", ".flac", ".ogg", ".opus"})
CAPTIONS = frozenset({".srt", ".vtt", ".json"})
MARK = ".transcript"
"""In front of a given transcript's suffix; captions need none: `talk.transcript.txt`, `talk.vtt`."""
MOST_REFERENCES = 100_000
_HIDDEN = re.compile(r"[\x00-\x1f\x7f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


class Reference(NamedTuple):
    """Files of one name. What is not there is None."""

    name: str
    source: Path | None
    audio: Path | None
    transcript: Path | None


def read_folder(folder: Path) -> list[Reference]:
    """Return the references in a folder by name. Raises UserError that names every file which belongs to none."""
    if not folder.is_dir():
        raise UserError(f"{printable(folder.name)}: a folder of documents and recordings is needed")
    found: dict[str, dict[str, Path]] = {}
    problems = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        name, kind = _part_of(path)
        if kind is None:
            problems.append(f"{printable(path.name)}: {name}")
            continue
        parts = found.setdefault(name, {})
        if kind in parts:
            problems.append(f"{printable(path.name)}: {parts[kind].name} is a {kind} of that name, too; keep one")
        parts[kind] = path
    if problems:
        raise UserError("\n".join([f"{len(problems)} files are part of no reference:", *listed(problems)]))
    if not found:
        raise UserError(f"{printable(folder.name)}: no document or recording is in it")
    if len(found) > MOST_REFERENCES:
        raise UserError(f"{printable(folder.name)}: more than {MOST_REFERENCES:,} references")
    return [
        Reference(name, parts.get("document"), parts.get("recording"), parts.get("transcript"))
        for name, parts in sorted(found.items())
    ]


def _part_of(path: Path) -> tuple[str, str | None]:
    """Return name and kind of a file; without a kind, why it is none."""
    suffix, name = path.suffix.lower(), path.stem
    if not path.is_file():
        return "is a folder; put its files beside the others" if path.is_dir() else "is no file", None
    marked = name.lower().endswith(MARK)
    kind: str | None = "recording" if suffix in AUDIO else "document" if suffix in SOURCES else None
    if suffix in CAPTIONS or (marked and suffix == ".txt"):
        name, kind = name[: -len(MARK)] if marked else name, "transcript"
    if not name or _HIDDEN.search(name):
        return "its name is empty, or has characters that cannot be seen; rename it", None
    if kind is None:
        name = f"is no document ({', '.join(sorted(SOURCES))}) or recording ({', '.join(sorted(AUDIO))})"
    return name, kind
