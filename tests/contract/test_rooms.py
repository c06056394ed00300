"""Who may enter which room of the library: read from the imports, so that the layout cannot drift."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.places import ROOT
from sizes import too_large

LIBRARY = ROOT / "shared" / "src" / "tuneline"
OPEN = {"errors", "stage", "data", "model", "llm", "judge", "parsing"}
"""What a stage may enter."""
MAY_ENTER = {
    "errors": set[str](),
    "parsing": {"errors"},
    "stage": {"errors"},
    "store": {"errors"},
    "model": {"errors", "stage", "parsing"},
    "llm": {"errors", "stage", "parsing"},
    "data": {"errors", "stage", "parsing"},
    "judge": {"errors", "stage", "parsing", "data", "llm"},
    "engine": {"errors", "stage", "parsing", "store"},
    "commands": {"errors", "stage", "parsing", "store", "engine", "data", "model", "llm", "judge"},
}
DOOR = "tuneline.commands.stage"
"""The one way out of a stage's own file: its `main` is the command line."""


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def rooms_entered(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("tuneline.") and name != DOOR}


@pytest.mark.parametrize("room", sorted(MAY_ENTER))
def test_a_room_is_entered_only_from_above(room: str) -> None:
    files = [LIBRARY / f"{room}.py"] if (LIBRARY / f"{room}.py").exists() else sorted((LIBRARY / room).glob("**/*.py"))
    assert files
    for path in files:
        assert rooms_entered(path) <= MAY_ENTER[room] | {room}, path


def test_every_room_is_known_and_the_house_has_at_most_twelve_entries() -> None:
    entries = {p.stem for p in LIBRARY.iterdir() if p.name != "__pycache__"} - {"py", "__init__"}
    assert entries == set(MAY_ENTER)
    assert len([p for p in LIBRARY.iterdir() if p.name != "__pycache__"]) <= 12


def test_the_library_knows_no_service() -> None:
    for path in LIBRARY.rglob("*.py"):
        assert not any(name.startswith("tuneline_") for name in imports(path)), path


def test_a_stage_enters_only_open_rooms_and_no_other_stage() -> None:
    for folder in sorted((ROOT / "services").iterdir()):
        own = f"tuneline_{folder.name.replace('-', '_')}"
        for path in folder.rglob("src/**/*.py"):
            assert rooms_entered(path) <= OPEN, path
            foreign = {name.split(".")[0] for name in imports(path) if name.startswith("tuneline_")} - {own}
            assert not foreign, path


STAGE_ROOMS = {
    "calibrator": ("talks", "models", "trials"),
    "evaluator": ("conversations", "comparison", "report"),
    "generator": ("writing", "recipes", "critic", "report"),
    "gguf-converter": ("merging", "checking"),
    "trainer": ("examples", "model", "record", "training"),
    "transcriber": ("reading", "transcripts", "hearing"),
}
"""Stages that are large enough for rooms of their own, in the order of the work: none enters a later one."""


@pytest.mark.parametrize("stage", STAGE_ROOMS)
def test_a_room_of_a_stage_enters_only_what_comes_before_it(stage: str) -> None:
    package, rooms = f"tuneline_{stage.replace('-', '_')}", STAGE_ROOMS[stage]
    source = ROOT / "services" / stage / "src" / package
    assert {path.name for path in source.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(rooms)
    for index, room in enumerate(rooms):
        files = [path for path in (source / room).glob("*.py") if path.stem != "__init__"]
        assert 4 <= len(files) <= 14, room
        for path in files:
            entered = {name.split(".")[1] for name in imports(path) if name.startswith(f"{package}.")}
            assert entered <= {"stage", *rooms[: index + 1]}, path


def test_what_a_stage_has_outside_of_its_rooms_can_be_taken_in_at_a_glance() -> None:
    for package in sorted((ROOT / "services").glob("*/src/*")):
        assert 3 <= len([path for path in package.glob("*.py") if path.stem != "__init__"]) <= 14, package.name


LARGE = {"engine", "commands"}
"""Rooms with a file for each of many things of one kind."""


def test_a_room_can_be_taken_in_at_a_glance() -> None:
    for folder in [f for f in LIBRARY.rglob("*") if f.is_dir() and (f / "__init__.py").exists()]:
        files = [path for path in folder.glob("*.py") if path.stem != "__init__"]
        assert 3 <= len(files) <= (25 if folder.name in LARGE else 15), folder.name


def test_a_function_or_module_that_nobody_holds_at_once_is_named(tmp_path: Path) -> None:
    long = "def long() -> None:\n" + "    pass\n" * 40
    (tmp_path / "large.py").write_text("def short() -> None:\n" + "    pass\n" * 39 + long + "\n" * 220)
    (tmp_path / "small.py").write_text("x = 1\n" * 300)
    assert [line.removeprefix(str(tmp_path)) for line in too_large(tmp_path / "large.py")] == [
        "/large.py: 301 lines, and a module has at most 300: split it by noun",
        "/large.py:41: long has 41 lines, a function at most 40",
    ]
    assert not list(too_large(tmp_path / "small.py"))
