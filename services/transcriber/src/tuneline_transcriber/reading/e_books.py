"""E-books (EPUB): their chapters in the order in which they are read, with a form feed between them."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

from tuneline_transcriber.reading.web_pages import page_text
from tuneline_transcriber.reading.xml_reader import Attributes, visit
from tuneline_transcriber.reading.zip_parts import OfficeFileError, Parts

_PAGES = frozenset({"application/xhtml+xml", "text/html"})


def read_e_book(parts: Parts) -> str:
    """Return the text of an EPUB. Raises OfficeFileError and what a zip raises, for one with a lock on it, too."""
    roots, items, order = Attributes("rootfile"), Attributes("item"), Attributes("itemref")
    visit(parts.read("META-INF/container.xml"), roots)
    if not roots.found:
        raise OfficeFileError
    package = roots.found[0]["full-path"]
    data = parts.read(package)
    for wanted in (items, order):
        visit(data, wanted)
    pages = {one["id"]: one["href"] for one in items.found if one.get("media-type") in _PAGES}
    read = [one["idref"] for one in order.found if one["idref"] in pages and one.get("linear") != "no"]
    folder = posixpath.dirname(package)
    names = [posixpath.normpath(posixpath.join(folder, unquote(pages[one]))) for one in read]
    return "\f".join(page_text(parts.read(name).decode("utf-8-sig")).strip("\n").replace("\f", "\n") for name in names)
