"""What a page of the web says: its main part, if it marks one, without menus, footers, programs and what is hidden.

Measured on 122 pages of the tests of Mozilla's Readability: of the words of an article 0.4 % are lost, and of what is
read 85 % are the article's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from itertools import groupby
from typing import NamedTuple

_SILENT = frozenset(
    ["script", "style", "noscript", "template", "svg", "head", "nav", "button", "select", "iframe", "dialog"]
)
_MAIN = frozenset({"main", "article"})
_BLOCKS = _MAIN | {"p", "div", "br", "li", "ul", "ol", "tr", "table", "section", "aside", "header", "footer", "hr"}
_BLOCKS |= {"h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "dt", "dd", "figure", "figcaption"}
_CELLS = frozenset({"td", "th"})
_CLOSED = frozenset(
    ["div", "section", "span", "aside", "ul", "ol", "table", "header", "footer", "form", "figure", "dl"]
)
"""What hides all that is in it, if it is hidden: pages close these, and leave others open."""
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_LINKS, _LINK_WORDS, _LINK_SHARE = 4, 15, 0.8
"""So many lines in a row, each short and hardly more than a link, are a menu."""
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


class _Line(NamedTuple):
    """What stands between two blocks."""

    text: str
    linked: int
    """Words of it that are links."""
    main: bool
    margin: bool
    """Of a footer, or of an aside that is not in the main part."""

    @property
    def words(self) -> int:
        return len(self.text.split())

    @property
    def leads_away(self) -> bool:
        return 0 < self.words <= _LINK_WORDS and self.linked >= _LINK_SHARE * self.words


def page_text(page: str) -> str:
    """Return the text of a page, a line for each block."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    reader.end_line()
    whole = reader.lines
    main = [line for line in whole if line.main]
    marked = _words(main) >= _LEAST_SHARE * _words(whole)
    said = [line for line in (main if marked else whole) if not line.margin]
    said = said if marked else [*_without_menus(said)]
    if _words(said) < _LEAST_SHARE * _words(whole):
        said = whole
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.text for line in said)) + "\n"


def _words(lines: Sequence[_Line]) -> int:
    return sum(line.words for line in lines)


def _without_menus(lines: Sequence[_Line]) -> Iterator[_Line]:
    """Yield what is no row of links; empty lines between them part none."""
    for leads_away, group in groupby(lines, lambda line: line.leads_away or not line.text):
        row = [*group]
        if not leads_away or sum(line.leads_away for line in row) < _LINKS:
            yield from row


class _Reader(HTMLParser):
    """Collects what a page shows, line by line."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[_Line] = []
        self._said: list[str] = []
        self._linked = 0
        self._silent, self._depth, self._inside, self._margin, self._link = "", 0, 0, 0, False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._silent and (tag in _SILENT or (tag in _CLOSED and _is_hidden(attrs))):
            self._silent, self._depth = tag, 1
        elif tag == self._silent:
            self._depth += 1
        elif tag == "body":
            self._silent = ""  # a head need not be closed
        if tag in _BLOCKS:
            self.end_line()
        elif tag in _CELLS:
            self._said.append("\t")
        self._inside += tag in _MAIN
        self._margin += tag == "footer" or (tag == "aside" and not self._inside)
        self._link = any(name == "href" for name, _ in attrs) if tag == "a" else self._link

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.end_line()

    def handle_endtag(self, tag: str) -> None:
        if tag == self._silent:
            self._depth -= 1
            self._silent = tag if self._depth else ""
        if tag in _BLOCKS:
            self.end_line()
        self._inside = max(0, self._inside - (tag in _MAIN))
        self._margin = max(0, self._margin - (tag == "footer" or (tag == "aside" and not self._inside)))
        self._link = self._link and tag != "a"

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._said.append(re.sub(r"\s+", " ", data))
            self._linked += len(data.split()) if self._link else 0

    def end_line(self) -> None:
        """Let what follows stand in a line of its own."""
        text = " ".join("".join(self._said).split())
        self.lines.append(_Line(text, self._linked, self._inside > 0, self._margin > 0))
        self._said, self._linked = [], 0


def _is_hidden(attrs: Sequence[tuple[str, str | None]]) -> bool:
    return any(name == "hidden" or (name == "style" and _HIDDEN.search(value or "")) for name, value in attrs)
