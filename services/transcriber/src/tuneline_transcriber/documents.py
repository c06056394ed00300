"""The text of a document: PDF, HTML, Markdown or plain text, with a form feed between pages."""

from __future__ import annotations

import hashlib
import logging
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from tuneline_transcriber.rows import Status

MOST_BYTES = 200 * 2**20
MOST_PAGES = 2_000
MOST_CHARACTERS = 20_000_000
"""Of a document's text."""

_SILENT = frozenset({"script", "style", "noscript", "template", "svg", "head"})
_BLOCKS = frozenset(
    [
        "p",
        "div",
        "br",
        "li",
        "ul",
        "ol",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "tr",
        "table",
        "section",
        "article",
        "header",
        "footer",
        "blockquote",
        "pre",
        "hr",
        "dt",
        "dd",
    ]
)
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset=[\"' ]?([A-Za-z0-9_-]{1,40})", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff]")


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
        return len(self.text.split())


def read_document(path: Path) -> Document:
    """Read a document. Raises Unusable."""
    if path.stat().st_size > MOST_BYTES:
        raise Unusable(f"the document has more than {MOST_BYTES // 2**20} MiB")
    data, suffix = path.read_bytes(), path.suffix.lower()
    if suffix == ".pdf" or data.startswith(b"%PDF-"):
        text = _pdf_text(path)
    elif suffix in (".html", ".htm"):
        text = _html_text(data)
    else:
        text = _plain_text(data)
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    if not text.strip():
        raise Unusable("the document has no text; scanned pages need to go through text recognition (OCR) first")
    if len(text) > MOST_CHARACTERS:
        raise Unusable(f"the document has more than {MOST_CHARACTERS:,} characters")
    return Document(text, hashlib.sha256(data).hexdigest())


def _pdf_text(path: Path) -> str:
    import pypdf
    from pypdf.errors import DependencyError, FileNotDecryptedError, PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it quotes what it reads
    try:
        with pypdf.PdfReader(path) as reader:
            if reader.is_encrypted and not reader.decrypt(""):
                raise Unusable("the PDF is encrypted; save it without a password")
            if len(reader.pages) > MOST_PAGES:
                raise Unusable(f"the PDF has more than {MOST_PAGES:,} pages")
            pages, room = [], MOST_CHARACTERS
            for page in reader.pages:
                pages.append(page.extract_text().replace("\f", "\n").strip())
                room -= len(pages[-1])
                if room < 0:
                    break
    except FileNotDecryptedError:
        raise Unusable("the PDF is encrypted; save it without a password") from None
    except (
        PyPdfError,
        DependencyError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        RecursionError,
        NotImplementedError,
        EOFError,
        OSError,
    ):  # fmt: skip  (what its parser raises, where a file is not what it says it is)
        raise Unusable("the PDF is broken: it cannot be read; save it anew") from None
    return "\f".join(pages) if any(pages) else ""


def _plain_text(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return _decoded(data, "utf-16")
    return _decoded(data, "utf-8-sig")


def _html_text(data: bytes) -> str:
    found = _CHARSET.search(data[:4096])
    reader = _TextOfHtml()
    reader.feed(
        _decoded(data, found[1].decode()) if found and not data.startswith(b"\xef\xbb\xbf") else _plain_text(data)
    )
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        raise Unusable(f"the document is not {encoding.removesuffix('-sig').upper()} text; save it as UTF-8") from None


class _TextOfHtml(HTMLParser):
    """Collects what a page shows."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._silent is None and tag in _SILENT:
            self._silent = tag
        elif tag == "body":
            self._silent = None  # a head need not be closed
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._silent:
            self._silent = None
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if self._silent is None:
            self.parts.append(re.sub(r"\s+", " ", data))
