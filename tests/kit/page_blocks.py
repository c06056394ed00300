"""The blocks of the pages: what they hold, and a shell that types what a reader would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from kit.places import EXAMPLES, ROOT

PAGES = sorted([*ROOT.glob("docs/*.md"), *(ROOT / f"{name}README.md" for name in ("", "examples/", "images/", "k8s/"))])
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class Block(NamedTuple):
    """A block of a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def typed(self) -> list[tuple[str, list[str]]]:
        """What is typed, a command with its continued lines each, and the lines that the page shows below it."""
        found: list[tuple[str, list[str]]] = []
        continued = False
        for line in self.text.splitlines():
            if continued or self.language == "sh" or line.startswith("$ "):
                text = line.removeprefix("$ ")
                command, shown = found.pop() if continued else ("", [])
                found.append((f"{command}\n{text}".lstrip("\n"), shown))
                continued = text.endswith("\\")
            elif found:
                found[-1][1].append(line)
        return found


def blocks() -> list[Block]:
    """Return every block of every page."""
    return [
        Block(str(page.relative_to(ROOT)), text[: found.start()].count("\n") + 1, found[1], found[2])
        for page in PAGES
        for text in [page.read_text()]
        for found in _FENCE.finditer(text)
    ]


def desk(folder: Path, base: Path) -> Path:
    """Make a folder like that of a reader: the project's files, with examples of its own, a base model, no results."""
    for name in (".venv", ".uv", "Makefile", "requirements", "services", "shared", "tools", "pyproject.toml"):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    shutil.copytree(EXAMPLES, folder / "examples")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "tiny-base").symlink_to(base)
    return folder


def type_all(block: Block, folder: Path) -> None:
    """Type what a block says into a shell; fail where it fails or says something else than the page, figures aside."""
    path = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
    for command, shown in block.typed:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=folder, env={**os.environ, "PATH": path},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        refused = bool(shown) and any(re.match(r"[\w./-]+:\d+: ", line) for line in shown)
        assert done.returncode == (2 if refused else 0), f"{block.page}:{block.line}: {command}\n{said}"
        lines = [_plain(line) for line in said.splitlines()]
        for line in filter(None, map(_plain, shown)):
            pieces = [re.escape(piece.strip()) for piece in line.split("…")]
            assert any(re.search(".*".join(pieces), one) for one in lines), (
                f"{block.page}:{block.line}: {command}\nno longer says: {line}\nbut:\n{said}"
            )


def _plain(line: str) -> str:
    """Return a line without its digits and with single spaces, as figures differ from machine to machine."""
    return " ".join(_NUMBER.sub("#", line).split())
