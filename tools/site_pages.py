"""Lays out the pages of the documentation site: `make docs` runs it and builds the site of them.

The pages stay where they are and link to each other as they lie in the project. So that those links hold, what is
laid out has the project's own folders: each page, each file that a page links to, and for a linked folder a list of
its files.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
BLOCK = re.compile(r"^(?:[-*] |[|]|\d+[.] )")
"""How a list or a table begins."""


def lay_out(dest: Path) -> None:
    """Write the pages below `dest`, which must not be there yet."""
    linked = set[Path]()
    for page in pages():
        place = dest / page.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(LINK.sub(partial(_link, page, linked), _spaced(page.read_text())))
    for target in sorted(linked):
        place = dest / target.relative_to(ROOT)
        (place if target.is_dir() else place.parent).mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            (place / "README.md").write_text(_list(target))
        for file in _files(target) if target.is_dir() else [target]:
            if file.suffix != ".md":
                shutil.copy(file, dest / file.relative_to(ROOT))


def pages() -> list[Path]:
    """Return every page of the project."""
    found = (page for page in ROOT.rglob("*.md") if not any(p.startswith(".") for p in page.relative_to(ROOT).parts))
    return sorted(found)


def _link(page: Path, linked: set[Path], found: re.Match[str]) -> str:
    if "://" in found[2]:
        return found[0]
    target = (page.parent / found[2]).resolve()
    if not target.exists():
        sys.exit(f"{page.relative_to(ROOT)}: {found[2]} is not there")
    linked.add(target)
    return f"{found[1]}{found[2].rstrip('/')}/README.md{found[3]}" if target.is_dir() else found[0]


def _list(folder: Path) -> str:
    rows = [f"- [{_title(file)}]({file.name})" for file in _files(folder)]
    return f"# {folder.relative_to(ROOT).as_posix().removeprefix('docs/').capitalize()}\n\n" + "\n".join(rows) + "\n"


def _files(folder: Path) -> list[Path]:
    return sorted((file for file in folder.iterdir() if file.is_file()), reverse=folder.name == "decisions")


def _title(file: Path) -> str:
    return file.read_text().partition("\n")[0].removeprefix("# ") if file.suffix == ".md" else file.name


def _spaced(text: str) -> str:
    """Return a page with an empty line before each list and table, which this kind of Markdown asks for."""
    return "\n".join(_lines(text))


def _lines(text: str) -> Iterator[str]:
    in_code, before = False, ""
    for line in text.split("\n"):
        if line.startswith("```"):
            in_code = not in_code
        if not in_code and BLOCK.match(line) and before and not BLOCK.match(before) and not before.startswith(" "):
            yield ""
        yield line
        before = line


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
