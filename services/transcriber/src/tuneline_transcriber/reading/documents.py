"""The text of a document: PDF, HTML, Markdown, plain text or of office programs, with a form feed between pages."""

from __future__ import annotations

import codecs
import hashlib
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import NamedTuple

from tuneline.data.text.recordings import Status
from tuneline.data.text.words import word_count
from tuneline.errors import Temporary
from tuneline.model.children import ending, environment, tied_to_us
from tuneline.parsing.text import ONLY_A_POINTER, POINTER, cleaned, read_text
from tuneline_transcriber.reading.office_files import read_office_file
from tuneline_transcriber.reading.references import OFFICE, PAGES, SEALED
from tuneline_transcriber.reading.web_pages import charset, page_text
from tuneline_transcriber.reading.zip_parts import OfficeFileError

MOST_BYTES = 200 * 2**20
MOST_CHARACTERS = 20_000_000
"""Of a document's text."""

_LIGATURES = str.maketrans({"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl"})
_FRONT = re.compile(
    r"\A(?:---[ \t]*\n(?=[\w\"'-]+[ \t]*:).*?\n---|\+\+\+[ \t]*\n.*?\n\+\+\+)[ \t]*(?:\n|\Z)", re.DOTALL
)
"""What programs say of a Markdown file before it begins."""
_DRAWN = re.compile(r"!\[([^\]\n]{0,1000})\]\(data:[^)\s]*\)|<!--.*?-->", re.DOTALL)
"""Pictures inside of Markdown, and comments."""
_NUMBERS = re.compile(r"\d+")
_LEAST_PAGES, _MOST_HEADS = 3, 3
"""Pages on which a line stands before it is their head or foot, and lines of which one may consist."""
_PARTED = re.compile(r"\b([^\W\d_]+)-\n([^\W\d_]+)(?![\w-]) ?")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}>\s*)?<(?:!doctype\s+html|html)\b", re.IGNORECASE)
"""How a page of the web begins, whatever its name is."""
_FEW_WRONG = 5
"""Characters of a page that may be none in its encoding."""
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_SEALED = (b"PK\x03\x04", _OLD_OFFICE, b"{\\rtf")
"""How files of Word, PowerPoint, OpenDocument and EPUB begin."""


class Unusable(Exception):  # noqa: N818  (a state of one file; it becomes a status)
    """A document, recording or transcript that cannot be read; the message says why, and the way out.

    `status` is what becomes of its reference, where that is not said by which of the files it is.
    """

    def __init__(self, why: str, status: Status | None = None) -> None:
        super().__init__(why)
        self.status = status


class Document(NamedTuple):
    """What a document says."""

    text: str
    """Pages with a form feed between them."""
    sha256: str
    """Of the file."""

    @property
    def pages(self) -> int:
        return self.text.count("\f") + 1

    @property
    def words(self) -> int:
        return word_count(self.text)


def read_document(path: Path) -> Document:
    """Read a document. Raises Unusable, or Temporary if somebody ends the process that reads it."""
    if path.stat().st_size > MOST_BYTES:
        raise Unusable(f"the document has more than {MOST_BYTES // 2**20} MiB")
    data, suffix = path.read_bytes(), path.suffix.lower()
    refuse_stub(data, "document")
    if suffix not in OFFICE and (data.startswith(_SEALED) or suffix in SEALED):
        raise Unusable("the document is of a writing program, or an archive; save it as PDF, .docx, HTML or text")
    if data.startswith(b"%PDF-") or suffix == ".pdf":
        text = cleaned(_pdf_text(data))
    elif suffix in OFFICE:
        text = office_text(data, "document")
    elif suffix in PAGES or _PAGE.match(data):
        text = _html_text(data)
    else:
        text = _markdown_text(data) if suffix in (".md", ".markdown") else _plain_text(data)
    text = text.translate(_LIGATURES).strip(" \t\n")
    if not text.strip():
        scanned = "; scanned pages need to go through text recognition (OCR) first"
        raise Unusable(f"the document has no text{scanned if data.startswith(b'%PDF-') else ''}")
    if len(text) > MOST_CHARACTERS:
        raise Unusable(f"the document has more than {MOST_CHARACTERS:,} characters")
    return Document(text, hashlib.sha256(data).hexdigest())


def refuse_stub(head: bytes, what: str) -> None:
    """Raise Unusable where a file is not there yet; `head` is how it begins."""
    if not head:
        raise Unusable(f"the {what} is an empty file: copy it anew")
    if head.startswith(POINTER):
        raise Unusable(f"the {what} {ONLY_A_POINTER}")


def _pdf_text(data: bytes) -> str:
    if b"%PDF-" not in data[:1024]:
        raise Unusable("the document is no PDF, whatever its name says")
    command = [sys.executable, "-I", "-m", "tuneline_transcriber.reading.pdf_worker", str(MOST_CHARACTERS)]
    done = subprocess.run(tied_to_us(command), input=data, stdout=PIPE, stderr=DEVNULL, env=environment(), check=False)
    if done.returncode in (-signal.SIGKILL, -signal.SIGTERM):
        raise Temporary(f"the process that reads PDFs was ended by {ending(done.returncode)}")
    if done.returncode:
        raise Unusable("the PDF is broken: it takes too long to read, or ends its reader; save it anew")
    answer = json.loads(done.stdout)
    if "problem" in answer:
        raise Unusable(answer["problem"])
    return _joined("\f".join(_without_heads(answer["pages"])))


def _without_heads(pages: Sequence[str]) -> list[str]:
    """Return pages without the lines that head or foot most of them, alike but for their numbers."""
    cut = [page.split("\n") for page in pages]
    for end in (0, -1):
        for _ in range(_MOST_HEADS):
            for lines in cut:
                while lines and not lines[end].strip():
                    lines.pop(end)
            counts = Counter(_unnumbered(lines[end]) for lines in cut if lines)
            heads = {line for line, count in counts.items() if count > max(_LEAST_PAGES, len(pages) / 2)}
            for lines in cut:
                if lines and _unnumbered(lines[end]) in heads:
                    lines.pop(end)
    return ["\n".join(lines) for lines in cut]


def _unnumbered(line: str) -> str:
    return _NUMBERS.sub("#", " ".join(line.split()))


def _joined(text: str) -> str:
    """Join words that are parted at the end of a line, if they stand elsewhere in one piece, or with the hyphen."""
    known = set(_WORD.findall(text.casefold()))

    def whole(found: re.Match[str]) -> str:
        one, two = found[1] + found[2], f"{found[1]}-{found[2]}"
        return next((f"{word}\n" for word in (one, two) if word.casefold() in known), found[0])

    return _PARTED.sub(whole, text)


def office_text(data: bytes, what: str) -> str:
    """Return the text of a file of an office program; `what` names it in messages. Raises Unusable."""
    if data.startswith(_OLD_OFFICE):
        raise Unusable(
            f"the {what} has a password, or is of an old Office; save it anew without one, or as PDF or text"
        )
    try:
        lines = cleaned(read_office_file(data)).split("\n")
    except OfficeFileError:
        raise Unusable(
            f"the {what} is no file of Word, PowerPoint, LibreOffice or EPUB that can be read; save it anew, or as text"
        ) from None
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.strip(" \t") for line in lines))


def _plain_text(data: bytes) -> str:
    try:
        return read_text(data)
    except UnicodeDecodeError:
        raise Unusable("the document is not UTF-8 text; save it as UTF-8") from None


def _html_text(data: bytes) -> str:
    declared = charset(data)
    if declared is None or data.startswith(codecs.BOM_UTF8):
        return page_text(_plain_text(data))
    page = data.decode(declared, "replace")  # as browsers do
    if page.count("\ufffd") > max(_FEW_WRONG, len(page) // 1000):
        raise Unusable(f"the document is not {declared.upper()} text, which it says it is; save it as UTF-8")
    return page_text(cleaned(page))


def _markdown_text(data: bytes) -> str:
    return _DRAWN.sub(lambda found: found[1] or "", _FRONT.sub("", _plain_text(data)))
