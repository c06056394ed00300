"""A second run, and every step of a run after the first reader, moves no byte of an input that it does not open."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.s3_proxy import Proxy
from kit.scripted_hub import COMMIT, REPOSITORY, serve_hub
from kit.toys import COUNTER, STAGES
from tuneline.engine.runfile import read_run_file
from tuneline.engine.runner import find, new_job, run_job
from tuneline.errors import Changed
from tuneline.store.base import Store, open_store

STEPS = ("counter", "counter@short", "adder")
TABLE = {"a.txt": b"one table " * 100, "deep/b.txt": b"another " * 100}
OPENED: list[str] = []
"""Files that this process opened while a test listened."""
LISTENING: list[Path] = []


def hear(event: str, args: tuple[object, ...]) -> None:
    if LISTENING and event == "open" and str(args[0]).startswith(f"{LISTENING[-1]}/"):
        OPENED.append(str(args[0]))


sys.addaudithook(hear)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[list[str]]:
    """The given files that are opened while a test runs."""
    OPENED.clear()
    LISTENING.append(tmp_path / "given")
    yield OPENED
    LISTENING.clear()


def run(folder: Path, name: str, inputs: dict[str, Any], store: Store, *steps: str) -> list[bool]:
    """Run steps as those of one `tuneline run` do, with the files they share; say which results were found."""
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump({"run": name, "inputs": inputs}))
    run_file, reused = read_run_file(file, STAGES), []
    for step in steps:
        with new_job(run_file, run_file.step(step), store, folder / "scratch", cache=folder / f"cache-{name}") as job:
            reused.append(run_job(job).reused)
    return reused


def test_on_s3_each_byte_of_an_input_moves_once(network: Proxy, s3: str, tmp_path: Path) -> None:
    given = open_store(f"{s3}/given")
    for name, data in {"words.txt": b"one\ntwo\n", **{f"table/{n}": d for n, d in TABLE.items()}}.items():
        given.put(name, data)
    inputs = {"words": f"{given.uri}/words.txt", "table": f"{given.uri}/table"}
    store = open_store(f"{s3}/store")
    assert run(tmp_path, "first", inputs, store, *STEPS) == [False] * 3
    moved = {path.partition("/given/")[2]: size for path, size in network.brought.items() if "/given/" in path}
    assert moved == {"words.txt": 8, **{f"table/{name}": len(data) for name, data in TABLE.items()}}
    results = {path for path in network.brought if "/results/" in path and not path.endswith("/manifest.json")}
    network.brought.clear()
    for name in ("first", "second"):
        assert run(tmp_path, name, inputs, store, *STEPS) == [True] * 3
    assert len(results) > 2
    assert not [path for path in network.brought if "/given/" in path]
    assert not [path for path in network.brought if "/results/" in path and not path.endswith("/manifest.json")]


def test_a_changed_file_in_a_folder_on_s3_is_the_only_one_that_is_read(network: Proxy, s3: str, tmp_path: Path) -> None:
    given, store = open_store(f"{s3}/given"), open_store(f"{s3}/store")
    for name, data in {"words.txt": b"one\n", **{f"table/{n}": d for n, d in TABLE.items()}}.items():
        given.put(name, data)
    inputs = {"words": f"{given.uri}/words.txt", "table": f"{given.uri}/table"}
    run(tmp_path, "first", inputs, store, "counter")
    given.put("table/a.txt", b"changed")
    network.brought.clear()
    file = tmp_path / "next.yaml"
    file.write_text(yaml.safe_dump({"inputs": inputs}))
    run_file = read_run_file(file, STAGES)
    with new_job(run_file, run_file.step("counter"), store, tmp_path / "scratch") as job:
        find(job)
    assert [path.partition("/given/")[2] for path in network.brought if "/given/" in path] == ["table/a.txt"]


def test_bytes_that_are_not_those_of_the_recorded_hash_are_an_error(s3: str, tmp_path: Path) -> None:
    given, store = open_store(f"{s3}/given"), open_store(f"{s3}/store")
    given.put("words.txt", b"one\n")
    inputs = {"words": f"{given.uri}/words.txt"}
    run(tmp_path, "first", inputs, store, "counter")
    (known,) = (entry.key for entry in store.list("inputs/"))
    record = json.loads(store.get(known) or b"")
    record["words.txt"][2] = "f" * 64
    store.put(known, json.dumps(record).encode())
    with pytest.raises(Changed, match=r"words\.txt has changed although its ETag is the same"):
        run(tmp_path, "next", inputs, store, "counter@short")


def test_of_a_folder_nothing_is_opened_again(opened: list[str], tmp_path: Path) -> None:
    for name, data in {"words.txt": b"one\ntwo\n", **{f"table/{n}": d for n, d in TABLE.items()}}.items():
        (tmp_path / "given" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "given" / name).write_bytes(data)
    inputs = {"words": str(tmp_path / "given/words.txt"), "table": str(tmp_path / "given/table")}
    opened.clear()
    store = open_store(str(tmp_path / "store"))
    assert run(tmp_path, "first", inputs, store, *STEPS) == [False] * 3
    assert len([path for path in opened if "/table/" in path]) == 2  # hashed once; the counter opens no table
    opened.clear()
    for name in ("first", "second"):
        assert run(tmp_path, name, inputs, store, *STEPS) == [True] * 3
    assert opened == []


HUB_RUN = """
import json, sys
from pathlib import Path
from contract.test_identity_before_bytes import run
from tuneline.store.base import open_store
folder, name, inputs, steps = json.loads(sys.argv[1])
print(json.dumps(run(Path(folder), name, inputs, open_store(f"{folder}/store"), *steps)))
"""


def test_of_a_model_in_the_hub_only_what_a_stage_opens_is_downloaded_and_once(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("one\n")
    inputs = {"words": str(tmp_path / "words.txt"), "table": f"hf://{REPOSITORY}@{COMMIT}"}
    with serve_hub({**TABLE, "model.bin": b"never read" * 1000}, tmp_path / "hf") as hub:

        def go(name: str, *steps: str) -> list[bool]:
            command = [sys.executable, "-c", HUB_RUN, json.dumps([str(tmp_path), name, inputs, steps])]
            environ = os.environ | hub.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
            done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            found: list[bool] = json.loads(done.stdout)
            return found

        assert go("first", "counter@short") == [False]  # it reads no table
        assert (hub.listed, hub.sent) == (0, [])
        assert go("first", "counter") == [False]
        assert sorted(hub.sent) == sorted(TABLE)
        hub.listed = 0
        hub.sent.clear()
        assert go("first", *STEPS[:2]) == go("second", *STEPS[:2]) == [True, True]
        assert (hub.listed, hub.sent) == (0, [])


def test_a_toy_reads_what_this_module_says() -> None:
    assert [(port.name, port.patterns) for port in COUNTER.input_ports()] == [("words", ()), ("table", ("*.txt",))]
