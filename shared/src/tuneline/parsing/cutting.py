"""Cuts JSON text into its values while it is read, so that a list of any length takes the memory of one item.

Only brackets and quotes are looked at; whether what stands between them is JSON is for the parser to say.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import NamedTuple

_SHALLOW = re.compile(rb'["\[\]{},]')
_DEEP = re.compile(rb'["\[\]{}]')
_QUOTED = re.compile(rb'["\\]')


class RawValue(NamedTuple):
    """The text of one value, and the line that it begins in, from 1.

    `list_number`: the list that it is an item of, from 1, or 0; `too_long`: only its beginning is there.
    """

    data: bytes
    line: int
    list_number: int
    is_first: bool = False
    too_long: bool = False


class ValueCutter:
    """Takes text in pieces and yields each value when it is whole: the items of a list, and what is in no list."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self.line = 1
        """Line in which the value that is not whole yet, with the white space before it, begins."""
        self.in_list = False
        self._lists = self._items = 0
        self._depth = self._skip = 0
        self._quoted = False
        self._parts: list[bytes] = []
        self._kept = self._newlines = 0
        self._is_new = True

    def cut(self, data: bytes) -> Iterator[RawValue]:
        """Yield the values that end in this piece."""
        if self._is_new:
            data, self._is_new = data.removeprefix(BOM_UTF8), False
        begin, at = 0, self._skip
        while found := self._pattern().search(data, at):
            mark, at = found[0], found.end()
            if self._quoted:
                self._quoted = mark != b'"'
                at += mark == b"\\"  # whatever comes next is no end of the text
            elif mark == b'"':
                self._quoted = True
            elif mark in b"{[":
                if mark == b"[" and not self._depth and not self._has_text(data[begin : found.start()]):
                    self._keep(data[begin:at])
                    self._drop()
                    self.in_list, self._lists, self._items, begin = True, self._lists + 1, 0, at
                self._depth += 1
            elif ends := self._ends(mark):
                yield from self._whole(data[begin : at - (ends == "item")], is_item=ends == "item", mark=mark)
                begin = at
        self._skip = max(0, at - len(data))
        self._keep(data[begin:])

    @property
    def end_line(self) -> int:
        """Line that the text has come to."""
        return self.line + self._newlines

    def rest(self) -> RawValue | None:
        """Return what is left at the end, which is not whole."""
        text = b"".join(self._parts)
        return RawValue(text, self.line, 0, too_long=self._kept > self._max) if text.strip() else None

    def _pattern(self) -> re.Pattern[bytes]:
        if self._quoted:
            return _QUOTED
        return _SHALLOW if self._depth <= self.in_list else _DEEP

    def _ends(self, mark: bytes) -> str | None:
        """Return what a comma or a closing bracket ends: an item of the list, a value in no list, or nothing."""
        if mark == b",":
            return "item" if self.in_list else None
        self._depth = max(self._depth - 1, 0)
        if self.in_list:
            return "item" if not self._depth else None
        return "value" if not self._depth else None

    def _whole(self, data: bytes, *, is_item: bool, mark: bytes) -> Iterator[RawValue]:
        self._keep(data)
        whole = b"".join(self._parts)
        text = whole.lstrip(b" \t\r\n")
        if text or (is_item and mark == b","):
            line = self.line + whole.count(b"\n", 0, len(whole) - len(text))
            self._items += 1
            yield RawValue(text, line, self._lists if is_item else 0, self._items == 1, self._kept > self._max)
        self._drop()
        if is_item and mark != b",":
            self.in_list = False

    def _has_text(self, data: bytes) -> bool:
        return bool(data.strip() or any(part.strip() for part in self._parts))

    def _keep(self, data: bytes) -> None:
        """Keep a piece of a value; of one that is too long only its lines are counted on."""
        self._newlines += data.count(b"\n")
        if data and self._kept <= self._max:
            self._parts.append(data)
        self._kept += len(data)

    def _drop(self) -> None:
        self.line += self._newlines
        self._parts, self._kept, self._newlines = [], 0, 0
