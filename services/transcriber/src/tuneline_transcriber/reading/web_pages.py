"""What a page of the web says: its main part, if it marks one, without menus and programs."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_SILENT = frozenset(
    ["script", "style", "noscript", "template", "svg", "head", "nav", "button", "select", "iframe", "dialog"]
)
_MAIN = frozenset({"main", "article"})
_BLOCKS = _MAIN | {"p", "div", "br", "li", "ul", "ol", "tr", "table", "section", "aside", "header", "footer", "hr"}
_BLOCKS |= {"h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "dt", "dd", "figure", "figcaption"}
_CELLS = frozenset({"td", "th"})
_LEAST_SHARE = 0.2
"""A main part with less of the page's words is none: it may be filled by a program, or be one of many."""
_CHARSET = re.compile(
    rb"""<(?:meta[^>]{0,200}charset|\?xml[^>]{0,200}encoding) ?= ?["' ]?([A-Za-z0-9_-]{1,40})""", re.I
)


_WEB = {"us-ascii": "cp1252", "ascii": "cp1252", "iso-8859-1": "cp1252", "latin1": "cp1252", "utf-16": "utf-8"} | {
    name: name
    for name in ["utf-8", "gb18030", "big5", "euc-jp", "euc-kr", "shift_jis", "koi8-r", "koi8-u", "macintosh"]
    + [f"iso-8859-{part}" for part in range(2, 17) if part != 12] + [f"windows-125{part}" for part in range(9)]
} | {"utf8": "utf-8", "gbk": "gb18030", "gb2312": "gb18030", "x-sjis": "shift_jis"}  # fmt: skip
"""Encodings of the web, and what browsers take them for; Python knows others, which decode what is no text."""


def charset(data: bytes) -> str | None:
    """Return the encoding that a page says it has, if it is one of the web."""
    found = _CHARSET.search(data[:4096])
    return _WEB.get(found[1].decode().lower()) if found else None


def page_text(page: str) -> str:
    """Return the text of a page, a line for each block."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    whole, main = ("".join(parts) for parts in (reader.whole, reader.main))
    said = main if len(main.split()) >= _LEAST_SHARE * len(whole.split()) else whole
    lines = (" ".join(line.split()) for line in said.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


class _Reader(HTMLParser):
    """Collects what a page shows, and what stands in its main part."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.whole: list[str] = []
        self.main: list[str] = []
        self._silent, self._depth, self._inside = "", 0, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._silent and tag in _SILENT:
            self._silent, self._depth = tag, 1
        elif tag == self._silent:
            self._depth += 1
        elif tag == "body":
            self._silent = ""  # a head need not be closed
        self._inside += tag in _MAIN
        if tag in _BLOCKS or tag in _CELLS:
            self._say("\n" if tag in _BLOCKS else "\t")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self._say("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._silent:
            self._depth -= 1
            self._silent = tag if self._depth else ""
        if tag in _BLOCKS:
            self._say("\n")
        self._inside = max(0, self._inside - (tag in _MAIN))

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._say(re.sub(r"\s+", " ", data))

    def _say(self, text: str) -> None:
        self.whole.append(text)
        if self._inside:
            self.main.append(text)
