"""A split of a data set in the Hub as transcripts: pinned to its commit, only its files fetched, read by the stage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from kit.judge_parts import RUBRIC
from kit.scripted_hub import COMMIT, REPOSITORY, Hub, serve_hub

CARD = b"""---
configs:
- config_name: default
  data_files: [{split: train, path: data/train-*}, {split: test, path: data/test-*}]
- config_name: german
  data_files: [{split: test, path: "german/*.jsonl"}]
---
# Talks
"""


def talks(*names: str) -> bytes:
    rows = [{"id": name, "messages": [{"role": "user", "content": f"I am {name}."}, {"role": "bot", "content": "Hi."}]}
            for name in names]  # fmt: skip
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


FILES = {
    "README.md": CARD,
    "data/train-00000.jsonl": talks("a", "b"),
    "data/train-00001.jsonl": talks("c"),
    "data/test-00000.jsonl": talks("d"),
    "german/one.jsonl": talks("e", "f"),
    "picture.png": b"never read",
}
TUNELINE = str(Path(sys.executable).with_name("tuneline"))


class Done(NamedTuple):
    code: int
    said: str
    ids: list[str]
    uri: str


def assess(folder: Path, hub: Hub, address: str, run: str = "r") -> Done:
    inputs = {"transcripts": address, "rubric": RUBRIC, "judge": {"provider": "heuristic"}}
    (folder / "run.yaml").write_text(yaml.safe_dump({"run": run, "goal": "assessor", "inputs": inputs}))
    command = [TUNELINE, "run", str(folder / "run.yaml"), "--store", str(folder / "store")]
    environ = os.environ | hub.environ | {"TUNELINE_SCRATCH": str(folder)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    found = sorted((folder / "store" / "results" / "assessor").rglob("transcripts.jsonl"), key=os.path.getmtime)
    ids = [json.loads(line)["id"] for line in found[-1].read_text().splitlines()] if found else []
    [pin, *_] = [*(folder / "store" / "runs" / run).rglob("transcripts*.json"), Path("nowhere")]
    uri = json.loads(pin.read_text())["uri"] if pin.exists() else ""
    return Done(done.returncode, done.stdout + done.stderr, ids, uri)


@pytest.mark.slow
def test_a_split_is_pinned_to_its_commit_and_only_its_files_are_fetched_once(tmp_path: Path) -> None:
    with serve_hub(FILES, tmp_path / "hf", "dataset") as hub:
        done = assess(tmp_path, hub, f"hf://datasets/{REPOSITORY}@{COMMIT}/default/train")
        assert (done.code, done.ids) == (0, ["a", "b", "c"]), done.said
        assert done.uri == f"hf://datasets/{REPOSITORY}@{COMMIT}/default/train"
        assert sorted(set(hub.sent)) == ["README.md", "data/train-00000.jsonl", "data/train-00001.jsonl"]
        hub.sent.clear()
        again = assess(tmp_path, hub, f"hf://datasets/{REPOSITORY}@{COMMIT}/default/train", "again")
        assert (again.code, hub.sent) == (0, []), again.said
        other = assess(tmp_path, hub, f"hf://datasets/{REPOSITORY}@{COMMIT}/german/test", "german")
        assert (other.code, other.ids) == (0, ["e", "f"]), "files of another split lie in the same cache"


@pytest.mark.slow
def test_without_names_the_train_split_of_the_default_configuration_is_read(tmp_path: Path) -> None:
    with serve_hub(FILES, tmp_path / "hf", "dataset") as hub:
        done = assess(tmp_path, hub, f"hf://datasets/{REPOSITORY}@{COMMIT}")
        assert (done.code, done.ids) == (0, ["a", "b", "c"]), done.said
        wrong = assess(tmp_path, hub, f"hf://datasets/{REPOSITORY}@{COMMIT}/default/tset", "wrong")
    assert wrong.code == 2
    assert "it has no split tset" in wrong.said and "train, test" in wrong.said
