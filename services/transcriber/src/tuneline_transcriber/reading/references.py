"""The references in a folder: which document, recording and given transcript belong together, by their names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Set
from pathlib import Path
from typing import NamedTuple

from tuneline.errors import UserError
from tuneline.parsing.problems import listed, printable

OFFICE = frozenset({".docx", ".docm", ".dotx", ".pptx", ".pptm", ".ppsx", ".odt", ".odp", ".epub"})
PAGES = frozenset({".html", ".htm", ".xhtml"})
SOURCES = OFFICE | PAGES | frozenset({".pdf", ".md", ".markdown", ".txt"})
SEALED = frozenset({".doc", ".rtf", ".ppt", ".pages", ".mobi", ".azw3", ".key", ".mht", ".mhtml", ".webarchive"})
"""Documents of writing programs: they have a place in their reference, and are not read."""
_SOUND = {".wav", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".flac", ".wv", ".ape", ".tta"}
_SOUND |= {".mp3", ".mpga", ".mp2", ".m4a", ".m4b", ".m4r", ".3ga", ".aac", ".ac3", ".ogg", ".oga", ".opus", ".spx"}
_SOUND |= {".weba", ".mka", ".wma", ".amr", ".awb", ".dss"}
_FILMS = {".mp4", ".m4v", ".mov", ".qt", ".webm", ".mkv", ".avi", ".3gp", ".3g2", ".mpg", ".mpeg", ".ts", ".mts"}
_FILMS |= {".m2ts", ".asf", ".wmv", ".flv"}
AUDIO = frozenset(_SOUND | _FILMS)
TIMED_TEXT = frozenset({".ttml", ".dfxp", ".xml", ".srv1", ".srv2", ".srv3"})
JSON, TABLES = frozenset({".json", ".json3"}), frozenset({".csv", ".tsv"})
CAPTIONS = frozenset({".srt", ".vtt", ".sbv", ".ass", ".ssa", ".lrc"}) | TIMED_TEXT | JSON | TABLES
MARK = ".transcript"
"""In front of a given transcript's suffix; captions need none: `talk.transcript.txt`, `talk.vtt`."""
LITTER = frozenset({"thumbs.db", "desktop.ini"})
"""What Windows leaves in folders; elsewhere, such files begin with a dot."""
MOST_REFERENCES = 100_000
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
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
    files = [f for f in sorted(folder.iterdir()) if not f.name.startswith((".", "~$")) and f.name.lower() not in LITTER]
    recorded = {_stem(file).casefold() for file in files if _is_recording(file)}
    pages = tuple(f"{_stem(file)}{mark}" for file in files if file.suffix.lower() in PAGES for mark in "_-")
    for path in files:
        if path.is_dir() and _stem(path).startswith(pages) and not any(map(_is_recording, path.iterdir())):
            continue  # a browser puts there what a page needs that it saves: `talk_files` beside `talk.html`
        name, kind = _part_of(path, recorded)
        if kind is None:
            problems.append(f"{printable(path.name)}: {name}")
            continue
        parts = found.setdefault(name, {})
        if kind in parts:
            problems.append(
                f"{printable(path.name)}: {printable(parts[kind].name)} is a {kind} of that name, too; keep one"
            )
        parts[kind] = path
    if problems:
        stray = "1 file is" if len(problems) == 1 else f"{len(problems):,} files are"
        raise UserError("\n".join([f"{stray} part of no reference:", *listed(problems)]))
    if not found:
        raise UserError(f"{printable(folder.name)}: no document or recording is in it")
    if len(found) > MOST_REFERENCES:
        raise UserError(f"{printable(folder.name)}: more than {MOST_REFERENCES:,} references")
    return [
        Reference(name, parts.get("document"), parts.get("recording"), parts.get("transcript"))
        for name, parts in sorted(_joined(found).items())
    ]


def _joined(found: Mapping[str, Mapping[str, Path]]) -> dict[str, Mapping[str, Path]]:
    """Join what differs in case only, which is one name on Windows and macOS, where no kind is there twice."""
    alike: dict[str, list[str]] = {}
    for name in found:
        alike.setdefault(name.casefold(), []).append(name)
    joined: dict[str, Mapping[str, Path]] = {}
    for names in alike.values():
        parts = {kind: path for name in names for kind, path in found[name].items()}
        if len(parts) == sum(len(found[name]) for name in names):
            joined[max(names, key=lambda name: "recording" in found[name])] = parts
        else:
            joined |= {name: found[name] for name in names}
    return joined


def _is_recording(path: Path) -> bool:
    return path.suffix.lower() in AUDIO


def _stem(path: Path) -> str:
    """Return the name without its ending, composed: macOS writes accents as characters of their own."""
    return unicodedata.normalize("NFC", path.stem)


def _part_of(path: Path, recorded: Set[str]) -> tuple[str, str | None]:
    """Return name and kind of a file; without a kind, why it is none."""
    suffix, name = path.suffix.lower(), _stem(path)
    if not path.is_file():
        nothing = "is a link to a file that is not there" if path.is_symlink() else "is no file"
        return "is a folder; put its files beside the others" if path.is_dir() else nothing, None
    kind: str | None = "recording" if suffix in AUDIO else "document" if suffix in SOURCES | SEALED else None
    if suffix in CAPTIONS or (kind == "document" and name.lower().endswith(MARK)):
        name, kind = name[: -len(MARK)] if name.lower().endswith(MARK) else name, "transcript"
    before, _, added = name.rpartition(".")
    if before.casefold() in recorded and name.casefold() not in recorded and kind in ("transcript", "document"):
        if f".{added.lower()}" in AUDIO:  # whisper.cpp writes talk.wav.txt beside talk.wav
            name, kind = before, "transcript"
        elif kind == "transcript" and _LANGUAGE.fullmatch(added):  # yt-dlp writes talk.en.vtt
            name = before
    if not name or _HIDDEN.search(name):
        return "its name is empty, or has characters that cannot be seen; rename it", None
    if kind is None:
        name = f"is no document ({', '.join(sorted(SOURCES))}) or recording (.mp3, .wav, .m4a, .mp4 and the like)"
    return name, kind
