"""YAML and JSON files written by people: read with the line of every field, so that an error can name it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tuneline.errors import UserError
from tuneline.parsing.problems import Loc, printable

MAX_DEPTH = 50
"""Levels of a file that a person writes; an alias that contains itself has no end."""


class YamlFile(NamedTuple):
    """A parsed file: its content, and the line (from 1) of every mapping key and list item by its path."""

    name: str
    content: Any
    lines: dict[Loc, int]

    @property
    def folder(self) -> Path | None:
        """The file's folder."""
        return Path(self.name).parent

    def where(self, loc: Sequence[int | str]) -> str:
        """Return `file:line: field` of a path, or of its nearest ancestor that stands in the file."""
        field = printable(".".join(map(str, loc)))
        line = next((self.lines[tuple(loc[:n])] for n in range(len(loc), -1, -1) if tuple(loc[:n]) in self.lines), 1)
        return f"{self.name}:{line}: {field}" if field else f"{self.name}:{line}"


def read_yaml(path: Path) -> YamlFile:
    """Read a YAML or JSON file. Raises UserError, with the line, if it is missing, malformed or has a key twice."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise UserError(f"{path}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: not UTF-8 text (byte {e.start}); save it as UTF-8") from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines = dict(_lines(node, (), path)) if node is not None else {}
        return YamlFile(str(path), loader.construct_document(node) if node is not None else None, lines)
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 1
        raise UserError(f"{path}:{line}: not valid YAML: {e.problem}") from None
    except yaml.YAMLError:
        raise UserError(f"{path}: not valid YAML: it holds a character that YAML forbids") from None


def _lines(node: yaml.Node, loc: Loc, path: Path) -> Iterator[tuple[Loc, int]]:
    """Yield the line of everything below `node`. On the way keys become text: YAML reads `yes:` as a boolean."""
    if len(loc) > MAX_DEPTH:
        raise UserError(f"{path}:{node.start_mark.line + 1}: nested more than {MAX_DEPTH} deep")
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            here = (*loc, str(key.value))
            if key.value in seen:
                raise UserError(f"{path}:{key.start_mark.line + 1}: {printable('.'.join(map(str, here)))}: given twice")
            seen.add(key.value)
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                key.tag = "tag:yaml.org,2002:str"
            yield here, key.start_mark.line + 1
            yield from _lines(value, here, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*loc, index), item.start_mark.line + 1
            yield from _lines(item, (*loc, index), path)
