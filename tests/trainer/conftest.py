"""Models and runs that the trainer's tests share; they are made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit import forks
from trainer import runs


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Gemma-2."""
    folder = tmp_path_factory.mktemp("trainer") / "base"
    assert runs.ended(forks.start(runs.write_base, folder)) == 0
    return folder


@pytest.fixture(scope="session")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices to train on."""
    return runs.write_slices(tmp_path_factory.mktemp("trainer") / "slices.jsonl")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, base: Path, slices: Path) -> Path:
    """The folder of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("trainer") / "undisturbed"
    outcome = runs.train(folder, base, slices)
    assert outcome.exit_code == 0, outcome.error
    return folder
