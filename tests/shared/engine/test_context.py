from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from kit.places import KIT
from tuneline.engine.context import Live
from tuneline.errors import Temporary, UserError
from tuneline.store.base import Store, open_store

TOYS = KIT / "toys.py"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def live(store: Store, folder: Path, attempt: str = "a") -> Live:
    return Live(store, "counter", "f" * 64, attempt, folder / attempt, {}, lambda: None)


def test_rows_are_durable_within_about_a_second(store: Store, tmp_path: Path) -> None:
    with live(store, tmp_path) as context:
        context.journal("x").put("k", {"n": 1})
        deadline = time.monotonic() + 30
        while not list(store.list("journals/")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(store.list("journals/"))


def test_threads_that_open_journals_first_wait_for_each_other(store: Store, tmp_path: Path) -> None:
    begun = []

    def begin() -> None:
        time.sleep(0.05)
        begun.append(1)

    with (
        Live(store, "counter", "f" * 64, "a", tmp_path / "a", {}, begin) as context,
        ThreadPoolExecutor(8) as threads,
    ):
        opened = list(threads.map(lambda number: context.journal(f"scope {number % 2}"), range(32)))
    assert begun == [1] and len(set(map(id, opened))) == 2


def test_progress_is_written_to_the_file_that_the_environment_names(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARGO_PROGRESS_FILE", str(tmp_path / "told"))
    with live(store, tmp_path) as context:
        context.progress(3, 7)
    assert (tmp_path / "told").read_text() == "3/7"


def test_after_sigterm_the_next_safe_point_raises_temporary(store: Store, tmp_path: Path) -> None:
    with live(store, tmp_path) as context:
        context.progress(0, 2)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Temporary, match="stopped at 1 of 2"):
            context.progress(1, 2)


def test_a_secret_comes_from_the_environment_or_from_a_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = live(store, tmp_path)
    with pytest.raises(UserError, match=r"A_KEY is not set.*A_KEY_FILE"):
        context.secret("A_KEY")
    (tmp_path / "key").write_text("from file\n")
    monkeypatch.setenv("A_KEY_FILE", str(tmp_path / "key"))
    assert context.secret("A_KEY") == "from file"
    for wrong, problem in (
        ("", "not set"),
        ("a\nb", "line break"),
        ("sch\u00f6n", "no key has"),
        ("a\x1bb", "no key has"),
    ):
        (tmp_path / "key").write_text(wrong)
        with pytest.raises(UserError, match=problem) as refused:
            context.secret("A_KEY")
        assert not wrong or wrong not in str(refused.value)
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="no key has"):
        context.secret("A_KEY")
    monkeypatch.setenv("A_KEY", "from environment")
    assert context.secret("A_KEY") == "from environment"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_stage_goes_on_without_paying_again(tmp_path: Path, number: signal.Signals) -> None:
    words = [f"w{n}" for n in range(40)]
    (tmp_path / "words.txt").write_text("\n".join(words))
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({"inputs": {"words": "words.txt"}, "counter": {"pause": 0.1}}))
    store = open_store(str(tmp_path / "store"))
    command = [sys.executable, str(TOYS), str(file), store.uri, str(tmp_path / "scratch"), "-1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not list(store.list("journals/")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(number)
        process.communicate()
    paid = sum((store.get(e.key) or b"").count(b"\n") for e in store.list("journals/"))
    assert 0 < paid < len(words)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    rows = sum((store.get(e.key) or b"").count(b"\n") for e in store.list("journals/"))
    assert rows == len(words)
    assert list(store.list("results/counter/")) and not [e for e in store.list("") if "/state/" in e.key]
