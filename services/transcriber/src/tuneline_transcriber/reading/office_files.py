"""Files of office programs: what they show, line by line, with a form feed where a page or a slide ended.

They are zips with XML in them; those of Word and PowerPoint are read here. Text that was taken out (tracked changes),
hidden text and slides, notes and a second copy of drawings for old programs are left out; cells of a table's row stand
in one line.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from collections.abc import Iterator, Mapping

from tuneline_transcriber.reading.e_books import read_e_book
from tuneline_transcriber.reading.open_documents import read_open_document
from tuneline_transcriber.reading.xml_reader import Attributes, XmlError, visit
from tuneline_transcriber.reading.zip_parts import MOST_FILES, OfficeFileError, Parts

_SILENT = frozenset({"pPr", "tblPr", "tcPr", "trPr", "sectPr", "del", "moveFrom", "Fallback", "rt", "instrText", "fld"})
"""Settings, and what is not shown; a field of a slide is its number or date."""
_OFF = frozenset({"0", "false", "off"})

_BROKEN = (
    XmlError, zipfile.BadZipFile, zlib.error, LookupError, NotImplementedError, RuntimeError, EOFError, OSError,
    ValueError,
)  # fmt: skip
"""What is raised for a zip that is not what it says it is."""


def read_office_file(data: bytes) -> str:
    """Return the text of a .docx, .pptx, .odt, .odp or .epub. Raises OfficeFileError."""
    if data.count(b"PK\1\2") > MOST_FILES:  # each file of a zip's list begins so: no reader needs to be asked
        raise OfficeFileError
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as files:
            parts = Parts(files)
            kind = parts.read("mimetype") if "mimetype" in files.namelist() else b""
            if kind.startswith(b"application/vnd.oasis.opendocument."):
                return read_open_document(parts)
            if kind.startswith(b"application/epub+zip"):
                return read_e_book(parts)
            [main] = _relations(parts, "", "/officeDocument").values()  # some programs call it document2.xml
            if main.startswith("ppt/"):
                return "\f".join(_slides(parts, main))
            text = _Text()
            visit(parts.read(main), text)
            return text.whole()
    except _BROKEN:
        raise OfficeFileError from None


def _slides(parts: Parts, main: str) -> Iterator[str]:
    """Yield the text of the slides that are shown, in their order."""
    files, order = _relations(parts, main, "/slide"), Attributes("sldId")
    visit(parts.read(main), order)
    for slide in order.found:
        text = _Text()
        visit(parts.read(files[slide["id"]]), text)
        if not text.unshown:
            yield text.whole().strip("\n")


def _relations(parts: Parts, part: str, kind: str) -> dict[str, str]:
    """Return the parts of a kind that a part names, by their ids."""
    folder, _, name = part.rpartition("/")
    relations = Attributes("Relationship")
    visit(parts.read(posixpath.join(folder, "_rels", f"{name}.rels")), relations)
    return {
        one["Id"]: posixpath.normpath(posixpath.join("/", folder, one["Target"])).lstrip("/")
        for one in relations.found if one["Type"].endswith(kind)
    }  # fmt: skip


class _Text:
    """Collects what is shown."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._silent = self._cells = 0
        self._hidden, self._inside = False, False
        self.unshown = False
        """Whether it is a slide that is passed over."""
        self._page_has_text = self._cell_has_text = False

    def whole(self) -> str:
        return "".join(self._said)

    def starts(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag in _SILENT:
            self._silent += 1
        if self._silent:
            return
        if tag == "sld":
            self.unshown = attributes.get("show", "1") in _OFF
        elif tag == "r":
            self._hidden = False
        elif tag == "vanish":
            self._hidden = attributes.get("val", "1") not in _OFF
        elif tag == "tc":
            self._cells, self._cell_has_text = self._cells + 1, False
        elif tag == "p" and self._cells and self._cell_has_text:
            self._said.append("\n")
        elif tag == "lastRenderedPageBreak" or (tag == "br" and attributes.get("type") == "page"):
            self._said += ["\f"] * self._page_has_text  # Word marks a page that was ended by hand twice
            self._page_has_text = False
        elif tag in _MARKS:
            self._said.append(_MARKS[tag])
        self._inside = tag == "t" and not self._hidden

    def ends(self, tag: str) -> None:
        self._inside = False
        if tag in _SILENT:
            self._silent -= 1
        elif self._silent:
            return
        elif tag == "tc":
            self._cells -= 1
            self._said.append("\t")
        elif tag == "tr" or (tag == "p" and not self._cells):
            self._said.append("\n")

    def says(self, text: str) -> None:
        if self._inside and not self._silent:
            self._said.append(text)
            if text.strip():
                self._page_has_text = self._cell_has_text = True


_MARKS = {"br": "\n", "cr": "\n", "tab": "\t", "ptab": "\t", "noBreakHyphen": "-"}
"""Elements that are characters; tabs of a paragraph's settings are silent."""
