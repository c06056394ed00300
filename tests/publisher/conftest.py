from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from kit.published_runs import make_run
from kit.writable_hub import WritableHub, serve_writable_hub
from tuneline.store.base import open_store

TUNELINE = Path(sys.executable).with_name("tuneline")


class Ended(NamedTuple):
    """A command that ended, and all that it said."""

    code: int
    said: str


class Bench:
    """A run `demo` in a store, and commands that publish it."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder, self.environ = folder, dict(environ)
        self.store = str(folder / "store")

    def make(self, goal: str = "evaluator", **stages: Any) -> None:
        make_run(self.folder, open_store(self.store), goal, replace=True, **stages)

    def publish(self, target: str | None = "hf://team/coffee", *, replace: bool = False, **params: Any) -> Ended:
        file = self.folder / "publish.yaml"
        content = {"run": "demo", "goal": "publish", "publisher": {"target": target, **params}}
        file.write_text(yaml.safe_dump({k: v for k, v in content.items() if v}))
        return self.tuneline("run", str(file), *(["--replace"] if replace else []))

    def tuneline(self, *words: str) -> Ended:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | self.environ
        command = [str(TUNELINE), *words, "--store", self.store]
        done = subprocess.run(command, env=environ, cwd=self.folder, capture_output=True, text=True, check=False)
        return Ended(done.returncode, done.stdout + done.stderr)


@pytest.fixture
def hub() -> Iterator[WritableHub]:
    with serve_writable_hub() as served:
        yield served


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Bench(tmp_path_factory.mktemp("finished"), {})
    made.make()
    return Path(made.store)


@pytest.fixture
def bench(tmp_path: Path, hub: WritableHub, finished: Path) -> Bench:
    shutil.copytree(finished, tmp_path / "store", symlinks=True)
    return Bench(tmp_path, hub.environ(tmp_path / "cache"))
