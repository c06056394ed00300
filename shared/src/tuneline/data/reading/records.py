"""Cuts JSON text into the records of conversations: lines, one value over many lines, lists, or all of these.

What a file is follows from its content, not from its name. A list is cut as it is read, so that an export of any size
takes the memory of its longest conversation.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from tuneline.data.reading.ids import names_conversation
from tuneline.data.reading.logs.calls import is_turn
from tuneline.data.reading.messages.content import key_of
from tuneline.data.reading.shapes import KNOWN, has_shape
from tuneline.errors import BadJson
from tuneline.parsing.cutting import RawValue, ValueCutter
from tuneline.parsing.json import is_json, lines_of, parse_json
from tuneline.parsing.problems import Loc

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""A longer record is refused unread: the largest conversations people have are a hundred times shorter."""
CHUNK = 2**18
HOLDERS = (
    "conversations", "data", "items", "records", "rows", "results", "runs", "transcripts", "examples", "chats",
    "sessions", "threads", "traces", "dialogs", "dialogues", "train", "logs", "tickets", "spans",
)  # fmt: skip
"""Keys under which an export of one object has its list of conversations."""
SPLITS = ("test", "validation", "valid", "val", "dev", "eval")
"""Keys beside `train` whose conversations are held out."""
ROWS = ("data", "items", "records", "rows", "results", "examples", "train", "logs")
"""Those under which it may be a list of messages of several conversations."""
MAX_GROWTH = 100
"""Text shrinks to a tenth or so when it is compressed."""
GROWN = f"more than {MAX_GROWTH} times as large as its file; was it made to fill the memory?"
LEFT = "`{}` holds conversations beside `{}`; write those to be read into a file of their own"
TOO_LONG = "longer than {} MiB"

Lines = Callable[[Sequence[Loc]], list[int]]


class Record(NamedTuple):
    """One record of a file. With `problem` there is nothing to read.

    `path`, fit to be shown, is relative to the input, with `/` between folders; `lines` says where values stand. `kind`
    is the problem's.
    """

    path: str
    line: int
    value: object = None
    problem: str | None = None
    lines: Lines | None = None
    kind: str = "unreadable"

    def lines_of(self, locs: Sequence[Loc]) -> list[int]:
        """Return the line of each value."""
        return self.lines(locs) if self.lines and locs else [self.line] * len(locs)


def cut_records(stream: BinaryIO, head: bytes, path: str) -> Iterator[Record]:
    """Yield the records of a file of JSON text that begins with `head`."""
    text = begin_of(head)
    if text[:1] == b"[" or (text[:1] == b"{" and _is_spread(text)):
        yield from _by_value(stream, path)
    else:
        yield from _by_line(stream, path)


def begin_of(head: bytes) -> bytes:
    """Return how a text begins, behind the mark of UTF-8 and blanks."""
    return head.removeprefix(BOM_UTF8).lstrip()


def _is_spread(text: bytes) -> bool:
    """Tell whether the first value goes over many lines; one that is cut off before a whole line does not."""
    first, ended, rest = text.partition(b"\n")
    if not ended or first.rstrip().endswith(b"}") or is_json(first):
        return False
    return not is_json(rest.lstrip().partition(b"\n")[0])


def _records_of(value: object, path: str, line: int, lines: Lines | None) -> Iterator[Record]:
    """Yield the records in a parsed value: itself, its items if it is a list of conversations, or those it holds."""
    if isinstance(value, list) and value and is_turn(value[0]) and not names_conversation(value[0]):
        # Its messages stand one level higher than in a record.
        yield Record(path, line, {"messages": value}, lines=lines and (lambda locs: lines([loc[1:] for loc in locs])))
        return
    prefix: Loc = ()
    items = value
    if isinstance(value, Mapping) and not _is_conversation(value):
        keys = {key_of(str(key)): key for key in reversed(list(value))}
        inner = value.get("chats")
        if isinstance(inner, Mapping) and isinstance(inner.get("list"), list):  # a whole account of Telegram
            yield from _records_of(inner["list"], path, line, None)
            return
        there = [name for name in HOLDERS if name in keys]
        key = next((keys[name] for name in there if _holds_records(value[keys[name]], rows=name in ROWS)), None)
        prefix, items = ((key,), value[key]) if key else ((), value)
        if key:
            others = [name for name in (*HOLDERS, *SPLITS) if keys.get(name, key) != key]
            left = [keys[name] for name in others if _holds_records(value[keys[name]], rows=name in ROWS)]
            starts_of = lines([(other,) for other in left]) if lines else [line] * len(left)
            for other, start in zip(left, starts_of, strict=True):
                yield Record(path, start, problem=LEFT.format(other, key), kind="shape")
    if isinstance(items, Mapping) and _are_named(items):
        yield from _by_name(items, path, line, lines)
        return
    if not isinstance(items, list):
        yield Record(path, line, value, lines=lines)
        return
    if not items:
        yield Record(path, line, problem="an empty list")
    starts: list[int] = []
    for place, item in enumerate(items):

        def first_line(locs: Sequence[Loc], place: int = place) -> list[int]:
            if lines and not starts:
                starts.extend(lines([(*prefix, other) for other in range(len(items))]))
            return [starts[place] if starts else line] * len(locs)

        yield Record(path, line, item, lines=first_line)


def _are_named(value: Mapping[str, object]) -> bool:
    """Tell whether an object holds conversations by their names: `{"c1": {"messages": …}, "c2": [ … ]}`."""
    names = KNOWN.isdisjoint(key_of(str(key)) for key in value)
    return len(value) > 1 and names and not _is_conversation(value) and all(map(_is_named, value.values()))


def _is_named(item: object) -> bool:
    if isinstance(item, list):
        return bool(item) and is_turn(item[0])
    return has_shape(item) and not is_turn(item)


def _by_name(value: Mapping[str, object], path: str, line: int, lines: Lines | None) -> Iterator[Record]:
    for name, item in value.items():

        def lines_in(locs: Sequence[Loc], name: str = name, inner: int = isinstance(item, list)) -> list[int]:
            return lines([(name, *loc[inner:]) for loc in locs]) if lines else [line] * len(locs)

        about = item if isinstance(item, Mapping) else {"messages": item}
        yield Record(path, line, {"id": name, **about}, lines=lines_in)


def _is_conversation(value: Mapping[str, object]) -> bool:
    """Tell whether an object is a conversation itself rather than a holder of some."""
    return has_shape(
        {key: item for key, item in value.items() if not _holds_records(item, rows=key_of(str(key)) in ROWS)}
    )


def _holds_records(value: object, *, rows: bool) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return rows and names_conversation(value[0]) if is_turn(value[0]) else has_shape(value[0])


def _by_line(stream: BinaryIO, path: str) -> Iterator[Record]:
    number = 0
    while data := stream.readline(MAX_RECORD_BYTES + 1):
        number += 1
        if len(data) > MAX_RECORD_BYTES:
            yield Record(path, number, problem=TOO_LONG.format(MAX_RECORD_BYTES // 2**20))
            while data and not data.endswith(b"\n"):
                data = stream.readline(2**20)
        elif data.strip(b" \t\r\n" + BOM_UTF8):
            yield from _parsed(data.rstrip(b"\r\n"), path, number, is_line=True)


def _by_value(stream: BinaryIO, path: str) -> Iterator[Record]:
    """Cut values that go over many lines, one after the other, and the items of lists."""
    cutter = ValueCutter(MAX_RECORD_BYTES)
    messages = _Messages(path)
    while data := stream.read(CHUNK):
        for cut in cutter.cut(data):
            yield from messages.add(cut)
    if cutter.in_list:
        yield Record(path, cutter.end_line, problem="not JSON: it ends too early; is the file cut off?")
    elif left := cutter.rest():
        yield from messages.add(left)
    yield from messages.end()


class _Messages:
    """Reads what was cut. A list whose first item is a message is one conversation."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._number, self._size, self._line = 0, 0, 1
        self._items: list[object] = []
        self._lines: list[int] = []

    def add(self, cut: RawValue) -> Iterator[Record]:
        if cut.list_number != self._number:
            yield from self.end()
        if cut.too_long or self._size > MAX_RECORD_BYTES:
            yield Record(self._path, cut.line, problem=TOO_LONG.format(MAX_RECORD_BYTES // 2**20))
            return
        for record in _parsed(cut.data, self._path, cut.line, is_line=False):
            is_one = cut.is_first and is_turn(record.value) and not names_conversation(record.value)
            starts = cut.list_number and (self._items or is_one)
            if not starts or record.problem:
                yield record
            else:
                self._number, self._size = cut.list_number, self._size + len(cut.data)
                self._items.append(record.value)
                self._lines.append(cut.line)

    def end(self) -> Iterator[Record]:
        if self._items:
            lines, first = self._lines, self._lines[0]
            yield Record(
                self._path, first, {"messages": self._items},
                lines=lambda locs: [lines[int(loc[1])] if len(loc) > 1 else first for loc in locs],
            )  # fmt: skip
        self._items, self._lines, self._size, self._number = [], [], 0, 0


def _parsed(data: bytes, path: str, line: int, *, is_line: bool) -> Iterator[Record]:
    try:
        value = parse_json(data)
    except BadJson as bad:
        yield Record(path, line + bad.line - 1, problem=bad.problem)
        return
    shift = line - 1
    lines: Lines | None = None if is_line else lambda locs: [shift + at for at in lines_of(data, locs)]
    yield from _records_of(value, path, line, lines)
