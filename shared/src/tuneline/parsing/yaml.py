"""YAML and JSON files written by people: read with the line of every field, so that an error can name it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from tuneline.errors import UserError
from tuneline.parsing.problems import Loc, line_of, not_utf8, printable, problems_of
from tuneline.parsing.text import no_text

M = TypeVar("M", bound=BaseModel)

MAX_DEPTH = 50
"""Levels of a file that a person writes; an alias that contains itself has no end."""
MAX_VALUES = 50_000
MAX_CHARACTERS = 16 * 2**20
"""What a person writes is smaller, also with all aliases written out: ten of them in ten others make a hundred."""
MAX_DIGITS = 100
NO_SCALAR = "no number or word of YAML; put it in quotes"
TOO_DEEP = f"nested more than {MAX_DEPTH} deep"
TOO_LARGE = f"more than {MAX_VALUES:,} values or 16 MiB, with all that its aliases (`*name`) stand for"

_COLUMNS = "keys of one mapping begin in one column, and each quote that opens is closed"
_QUOTES = "a text that holds `: ` or begins with one of *, &, @, %, {, [, `, ! takes quotes"
_COLON = "a key is followed by a colon and a space, as in `key: value`"
_CLOSED = "a comma is missing, or the bracket is not closed that opens in line {line}"
WAYS_OUT = {
    "mapping values are not allowed in this context": "a text with `: ` in it takes quotes, keys of one "
    "mapping begin in one column, and the colon of each is followed by a space",
    "did not find expected key": _COLUMNS,
    "did not find expected '-' indicator": _COLUMNS,
    "could not find expected ':'": _COLON,
    "did not find expected ',' or '}'": _CLOSED,
    "did not find expected ',' or ']'": _CLOSED,
    "found unexpected end of stream": "the quote is not closed that opens in line {line}",
    "found unknown escape character": "in single quotes a backslash is a backslash",
    "found character that cannot start any token": _QUOTES,
    "did not find expected alphabetic or numeric character": _QUOTES,
    "found undefined alias": _QUOTES,
    "did not find expected <document start>": "a file is one mapping, which has ended before; JSON Lines are no YAML",
    "but found another document": "it begins at `---`, and a file holds one",
}
"""What helps against what PyYAML finds, by its words; `line` is where it says that the trouble begins."""

KINDS = {f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null")}
MERGE, TEXT, DATE = (f"tag:yaml.org,2002:{name}" for name in ("merge", "str", "timestamp"))


class YamlFile(NamedTuple):
    """A parsed file: its content, and the line (from 1; 0 for what the command line set) of everything by its path."""

    name: str
    content: Any
    lines: dict[Loc, int]

    def where(self, loc: Sequence[int | str]) -> str:
        """Return `file:line: field` of a path, or of its nearest ancestor that stands in the file."""
        field = printable(".".join(map(str, loc)))
        line = next((self.lines[tuple(loc[:n])] for n in range(len(loc), -1, -1) if tuple(loc[:n]) in self.lines), 1)
        if line == 0:
            return f"--set {field}"
        return f"{self.name}:{line}: {field}" if field else f"{self.name}:{line}"

    def below(self, *loc: int | str) -> YamlFile:
        """Return what stands under a path; its problems are named by line, and by the path from there on."""
        content = self.content
        for key in loc:
            content = content[key]
        return YamlFile(self.name, content, {k[len(loc) :]: n for k, n in self.lines.items() if k[: len(loc)] == loc})

    def rearranged(self, content: Any, moved: Mapping[Loc, Loc]) -> YamlFile:
        """Return the file as if it held `content`; lines go from old places to new ones, with all below."""
        lines: dict[Loc, int] = {}
        for loc, line in self.lines.items():
            old = next((loc[:n] for n in range(len(loc), 0, -1) if loc[:n] in moved), None)
            lines[loc if old is None else moved[old] + loc[len(old) :]] = line
        return YamlFile(self.name, content, lines)

    def as_model(self, kind: type[M], what: str) -> M:
        """Return the content as `kind`. Raises UserError that lists every problem as `file:line: field: problem`."""
        if not isinstance(self.content, dict):
            raise UserError(f"{self.name}:1: {what} is a mapping with the keys {', '.join(kind.model_fields)}")
        try:
            return kind.model_validate(self.content)
        except ValidationError as error:
            raise UserError("\n".join(problems_of(error, kind, self))) from None


def read_yaml(path: Path) -> YamlFile:
    """Read a YAML or JSON file. Raises UserError, with the line, if it is missing, malformed or has a key twice."""
    name = printable(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CHARACTERS + 1)
    except OSError as e:
        raise UserError(f"{name}: cannot be read: {e.strerror}") from None
    return yaml_of(name, data)


def yaml_of(name: str, data: bytes) -> YamlFile:
    """Read what stands in the YAML file that is called `name`. Raises UserError as `read_yaml`."""
    if other := no_text(data):
        raise UserError(f"{name}:1: {other}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise UserError(f"{name}:{line_of(e)}: {not_utf8(e)}") from None
    if len(data) > MAX_CHARACTERS:
        raise UserError(f"{name}:1: longer than {MAX_CHARACTERS // 2**20} MiB")
    try:
        _refuse_depth(name, text)
        loader = yaml.CSafeLoader(text)
        node = loader.get_single_node()
        lines = dict(_Walk(name, loader).lines(node, ())) if node is not None else {}
        return YamlFile(name, loader.construct_document(node) if node is not None else None, lines)
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line if e.problem_mark else 0
        raise _fault(name, f"not valid YAML: {e.problem}{_way_out(e, text)}", line) from None
    except yaml.reader.ReaderError as e:
        line = data.count(b"\n", 0, e.position)
        raise _fault(name, "not valid YAML: it holds a character that YAML forbids", line) from None


def _refuse_depth(name: str, text: str) -> None:
    """Look at the events alone, which takes no memory, before anything is built that its own depth could break."""
    depth = count = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        opens, closes = isinstance(event, yaml.CollectionStartEvent), isinstance(event, yaml.CollectionEndEvent)
        depth, count = depth + opens - closes, count + (not closes)
        if depth > MAX_DEPTH or count > MAX_VALUES:
            line = event.start_mark.line if event.start_mark else 0
            raise _fault(name, TOO_DEEP if depth > MAX_DEPTH else TOO_LARGE, line)


def _way_out(error: yaml.MarkedYAMLError, text: str) -> str:
    """Return what a person can do about an error, as `; …`; nothing for those that nobody makes by hand."""
    line = error.problem_mark.line if error.problem_mark else 0
    indents = [one[: len(one) - len(one.lstrip())] for one in text.split("\n")[max(0, line - 1) : line + 1]]
    if any(set(indent) - {" ", "\r"} for indent in indents):
        return "; this line or the one before begins with a tab or a no-break space: indent with plain spaces"
    begins = (error.context_mark.line if error.context_mark else line) + 1
    way = WAYS_OUT.get(error.problem or "", "").replace("{line}", str(begins))
    return f"; {way}" if way else ""


def _fault(name: str, problem: str, line: int) -> UserError:
    return UserError(f"{name}:{line + 1}: {printable(problem)}")


class _Walk:
    """Finds the line of everything in a file, and whatever this program cannot take, before it is built."""

    def __init__(self, name: str, loader: yaml.CSafeLoader) -> None:
        self._name, self._loader, self._values, self._characters = name, loader, 0, 0

    def lines(self, node: yaml.Node, loc: Loc) -> Iterator[tuple[Loc, int]]:
        """Yield the line of all below `node`. On the way keys become text: YAML reads `yes:` as a boolean."""
        self._check(node)
        if len(loc) > MAX_DEPTH:
            raise _fault(self._name, TOO_DEEP, node.start_mark.line)
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                here = (*loc, self._key(key, seen, loc))
                yield here, key.start_mark.line + 1
                yield from self.lines(value, here)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                yield (*loc, index), item.start_mark.line + 1
                yield from self.lines(item, (*loc, index))

    def _check(self, node: yaml.Node) -> None:
        """Refuse what is too large with its aliases written out, and what is not what its tag says."""
        self._values += 1
        self._characters += len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        if self._values > MAX_VALUES or self._characters > MAX_CHARACTERS:
            raise _fault(self._name, TOO_LARGE, node.start_mark.line)
        if node.tag == DATE:
            node.tag = TEXT  # a date is written like any other text, and JSON has no other way to say it
        if node.tag not in KINDS:
            raise _fault(self._name, f"the tag {node.tag} has no meaning here", node.start_mark.line)
        if isinstance(node, yaml.ScalarNode) and node.tag != TEXT:
            try:
                if len(node.value) > MAX_DIGITS:
                    raise ValueError
                self._loader.construct_object(node)
            except (ValueError, LookupError, AttributeError):  # PyYAML's, for `!!int x` and its like
                raise _fault(self._name, NO_SCALAR, node.start_mark.line) from None

    def _key(self, key: yaml.Node, seen: set[str], loc: Loc) -> str:
        if not isinstance(key, yaml.ScalarNode):
            raise _fault(self._name, f"a key must be text; {_QUOTES}", key.start_mark.line)
        if key.value in seen:
            raise _fault(self._name, f"{'.'.join(map(str, (*loc, key.value)))}: given twice", key.start_mark.line)
        seen.add(key.value)
        key.tag = MERGE if key.tag == MERGE else TEXT
        return str(key.value)
