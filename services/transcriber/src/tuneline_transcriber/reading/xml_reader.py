"""XML of strangers, element by element: without entities of its own, and no deeper than programs write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, Protocol
from xml.parsers import expat

MOST_DEPTH = 200
MOST_ELEMENTS = 20_000
"""Of one name, of which all are wanted."""


class XmlError(Exception):
    """A file that is no XML, or XML that no program writes for people."""


class XmlVisitor(Protocol):
    """Is told what stands in a file, in its order, with names as they are without their spaces."""

    def starts(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""

    def ends(self, tag: str) -> None:
        """An element ends."""

    def says(self, text: str) -> None:
        """There is text, or a part of it."""


def visit(data: bytes, visitor: XmlVisitor) -> None:
    """Tell a visitor what stands in a file. Raises XmlError."""
    parser, depth = expat.ParserCreate(namespace_separator=" "), 0

    def starts(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MOST_DEPTH:
            raise XmlError
        spaced = sorted(attributes.items(), key=lambda one: " " in one[0])  # of `id` and `r:id` the latter stays
        visitor.starts(_local(tag), {_local(name): value for name, value in spaced})

    def ends(tag: str) -> None:
        nonlocal depth
        depth -= 1
        visitor.ends(_local(tag))

    def refuses(*_: object) -> NoReturn:
        raise XmlError  # a few entities that name each other become any number of characters

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = starts, ends
    parser.CharacterDataHandler, parser.EntityDeclHandler = visitor.says, refuses
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError):  # encodings that Python does not know, or are none of text
        raise XmlError from None


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


class Attributes:
    """Collects the attributes of elements of one name."""

    def __init__(self, tag: str) -> None:
        self.found: list[Mapping[str, str]] = []
        self._tag = tag

    def starts(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == self._tag:
            self.found.append(attributes)
        if len(self.found) > MOST_ELEMENTS:
            raise XmlError

    def ends(self, tag: str) -> None:
        pass

    def says(self, text: str) -> None:
        pass
