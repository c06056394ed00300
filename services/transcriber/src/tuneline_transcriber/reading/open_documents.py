"""Files of LibreOffice and its kin (OpenDocument): what they show, with a form feed where a page or a slide ended.

Comments, notes, footnotes, hidden sections and what tracked changes took out are left out; cells of a table's row stand
in one line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tuneline_transcriber.reading.xml_reader import visit
from tuneline_transcriber.reading.zip_parts import Parts

_SILENT = frozenset({"tracked-changes", "annotation", "note", "notes", "ruby-text"})
_MARKS = {"tab": "\t", "line-break": "\n", "soft-page-break": "\f"}
_MOST_SPACES = 100


def read_open_document(parts: Parts) -> str:
    """Return the text of a .odt or .odp. Raises OfficeFileError and what a zip raises."""
    text = _Text()
    visit(parts.read("content.xml"), text)
    return "".join(text.said).removesuffix("\f")


class _Text:
    """Collects what paragraphs and headings show."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._silent, self._depth = "", 0
        self._paragraphs = self._cells = 0

    def starts(self, tag: str, attributes: Mapping[str, str]) -> None:
        if self._silent:
            self._depth += tag == self._silent
        elif tag in _SILENT or (tag == "section" and attributes.get("display") == "none"):
            self._silent, self._depth = tag, 1
        elif tag in ("p", "h"):
            self._paragraphs += 1
        elif tag == "table-cell":
            self._cells += 1
        elif tag == "s" and self._paragraphs:
            count = attributes.get("c", "1")
            self.said.append(" " * min(int(count), _MOST_SPACES) if count.isdecimal() else " ")
        elif tag in _MARKS:
            self.said.append(_MARKS[tag])

    def ends(self, tag: str) -> None:
        if self._silent:
            self._depth -= tag == self._silent
            self._silent = self._silent if self._depth else ""
        elif tag in ("p", "h"):
            self._paragraphs -= 1
            self.said.append(" " if self._cells else "\n")
        elif tag == "table-cell":
            self._cells -= 1
            self.said.append("\t")
        elif tag == "table-row":
            self.said.append("\n")
        elif tag == "page":
            self.said.append("\f")

    def says(self, text: str) -> None:
        if self._paragraphs and not self._silent:
            self.said.append(re.sub(r"\s+", " ", text))
