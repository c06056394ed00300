"""Where a message points: content of the run file itself is named by its line and field there, never by a work file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tuneline.engine.pipelines import Inline
from tuneline.engine.runfile import RunFile
from tuneline.errors import UserError


def inline_name(port: str) -> str:
    """Return the name of the file that holds inline content; every input has another one."""
    return f"inline-{port}.json"


def named_by_origin(text: str, run_file: RunFile, folder: Path) -> str:
    """Return a message with inline content, laid out below `folder`, named as `run.yaml:8: inputs.judge.model`."""
    ports = [name for name, value in run_file.inputs.items() if isinstance(value, Inline)]
    names = "|".join(re.escape(inline_name(port)) for port in ports)

    def origin(found: re.Match[str]) -> str:
        port = next(port for port in ports if inline_name(port) == found["name"])
        steps = re.findall(r"[^.\[\]]+", found["field"] or "")
        return run_file.source.where(("inputs", port, *(int(step) if step.isdecimal() else step for step in steps)))

    place = rf"(?:{re.escape(str(folder))}/(?:[^\n:]*/)?)?(?P<name>{names})(?::\d+)?(?:: (?P<field>[\w.\[\]-]+)(?=:))?"
    return "\n".join(_line(place, origin, line) for line in text.split("\n")) if ports else text


def _line(place: str, origin: Callable[[re.Match[str]], str], line: str) -> str:
    named, count = re.subn(place, origin, line)
    return re.sub(r" in line \d+", "", named) if count else line  # it is the work file's: all of it is in one line


@contextmanager
def refusals_named_by_origin(run_file: RunFile, folder: Path) -> Iterator[None]:
    """Name inline content by its origin in what is refused inside."""
    try:
        yield
    except UserError as e:
        text = named_by_origin(str(e), run_file, folder)
        if text == str(e):
            raise
        raise UserError(text) from None
