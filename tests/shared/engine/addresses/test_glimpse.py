from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit.s3_proxy import Proxy
from kit.scripted_hub import COMMIT, REPOSITORY, serve_hub
from tuneline.engine.addresses.glimpse import glimpse
from tuneline.engine.pipelines import Address
from tuneline.model.weights import read_shapes
from tuneline.store.base import open_store
from tuneline.store.verify import FileCache

PATTERNS = ("*.json", "*.safetensors")
HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1 << 20, 4], "data_offsets": [0, 1 << 24]}}).encode()
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(1 << 24)
FILES = {"config.json": b"{}", "README.md": b"not read", "deep/model.safetensors": WEIGHTS}
LOOK = f"""
import sys
from pathlib import Path
from tuneline.engine.addresses.glimpse import glimpse
from tuneline.engine.pipelines import Address
from tuneline.store.base import open_store
from tuneline.store.verify import FileCache
folder = Path(sys.argv[2])
store = open_store(str(folder / "store"))
print(glimpse(Address(sys.argv[1]), "base_model", {{{PATTERNS!r}}}, folder / "inputs", store, FileCache()))
"""
"""In a process of its own: the Hub's library reads its environment when it is imported."""


def look(uri: str, folder: Path, cache: Path, patterns: tuple[str, ...] = PATTERNS) -> Path:
    store = open_store(str(folder / "store"))
    return glimpse(Address(uri), "base_model", {patterns}, folder / "inputs", store, FileCache(cache))


def is_whole_without_weights(path: Path) -> bool:
    """Whether the files are there as their readers need them, and the weights take no space."""
    weights = path / "deep" / "model.safetensors"
    assert {file.relative_to(path).as_posix() for file in path.rglob("*.*")} == {
        "config.json",
        "deep/model.safetensors",
    }
    assert read_shapes(weights) == {"w": (1 << 20, 4)}
    assert weights.stat().st_size == len(WEIGHTS)
    return weights.stat().st_blocks * 512 < 1 << 20


def test_of_weights_in_a_bucket_only_the_header_travels(s3: str, network: Proxy, tmp_path: Path) -> None:
    given = open_store(f"{s3}/base")
    for name, data in FILES.items():
        given.put(name, data)
    network.brought.clear()
    assert is_whole_without_weights(look(given.uri, tmp_path / "1", tmp_path / "cache"))
    brought = {path.partition("/base/")[2]: size for path, size in network.brought.items() if "/base/" in path}
    assert brought == {"config.json": 2, "deep/model.safetensors": 8 + len(HEADER)}
    assert is_whole_without_weights(look(given.uri, tmp_path / "2", tmp_path / "cache"))
    assert sum(size for path, size in network.brought.items() if path.endswith("/config.json")) == 2


def test_a_model_whose_weights_are_of_the_other_kind_is_read_whole(s3: str, tmp_path: Path) -> None:
    given = open_store(f"{s3}/whisper")
    for name, data in {"model.bin": b"weights", "config.json": b"{}", "README.md": b""}.items():
        given.put(name, data)
    patterns = ("model.bin", "model.safetensors", "*.json")
    found = look(given.uri, tmp_path / "1", tmp_path / "cache", patterns)
    assert {path.name: path.read_bytes() for path in found.iterdir()} == {"model.bin": b"weights", "config.json": b"{}"}


def test_of_weights_in_the_hub_only_the_header_travels(tmp_path: Path) -> None:
    with serve_hub(FILES, tmp_path / "hub") as hub:
        words = [sys.executable, "-c", LOOK, f"hf://{REPOSITORY}@{COMMIT}", str(tmp_path)]
        done = subprocess.run(words, env=os.environ | hub.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert is_whole_without_weights(Path(done.stdout.splitlines()[-1]))
    assert sorted(set(hub.sent)) == ["config.json", "deep/model.safetensors"]
    assert not [file for file in (tmp_path / "hub").rglob("*") if file.is_file() and file.stat().st_size > 1 << 20]


MODEL = b"GGUF" + bytes(range(256)) * (1 << 10)
"""256 KiB, of which a check here reads no more than 1 KiB."""


def assert_has_beginnings(place: Path, name: str = "") -> None:
    model = place / name
    assert model.stat().st_size == len(MODEL)
    with model.open("rb") as file:
        assert file.read(1 << 10) == MODEL[: 1 << 10] and not file.read(1 << 16).strip(b"\0")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "match *.safetensors: it holds README.md, a.gguf."),
        ("LICENSE", "match *.json: it holds LICENSE, README.md, a.g"),
    ],
)
def test_a_model_of_the_hub_in_another_form_is_told_by_what_it_has(name: str, message: str, tmp_path: Path) -> None:
    with serve_hub({name: b"{}", "README.md": b"", "a.gguf": b"GGUF"}, tmp_path / "hub") as hub:
        words = [sys.executable, "-c", LOOK, f"hf://{REPOSITORY}@{COMMIT}", str(tmp_path)]
        done = subprocess.run(words, env=os.environ | hub.environ, capture_output=True, text=True, check=False)
    assert f"the folder has no files that {message}" in done.stderr.splitlines()[-1], done.stderr
    assert "a.gguf" in done.stderr.splitlines()[-1]


def test_of_a_model_to_compare_in_a_bucket_only_the_beginning_travels(
    s3: str, network: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuneline.engine.addresses.glimpse.GGUF_BYTES", 1 << 10)
    given = open_store(f"{s3}/arms")
    for name, data in {"a.gguf": MODEL, "deep/b[1].gguf": MODEL, "far.yaml": b"provider: openai"}.items():
        given.put(name, data)
    network.brought.clear()
    store, cache = open_store(str(tmp_path / "store")), FileCache(tmp_path / "cache")
    place = glimpse(Address(given.uri), "arms", {()}, tmp_path / "arms", store, cache)
    for name in ("a.gguf", "deep/b[1].gguf"):
        assert_has_beginnings(place, name)
    assert (place / "far.yaml").read_bytes() == b"provider: openai"
    one = glimpse(Address(f"{given.uri}/a.gguf"), "model", {()}, tmp_path / "model", store, cache)
    assert one.name == "a.gguf"
    assert_has_beginnings(one)
    assert sum(size for path, size in network.brought.items() if ".gguf" in path) == 3 << 10


def test_of_a_model_to_compare_in_the_hub_only_the_beginning_travels(tmp_path: Path) -> None:
    look = LOOK.replace(repr(PATTERNS), "()").replace("print(", "glimpse.__globals__['GGUF_BYTES'] = 1 << 10\nprint(")
    with serve_hub({"a.gguf": MODEL, "far.yaml": b"provider: openai"}, tmp_path / "hub") as hub:
        words = [sys.executable, "-c", look, f"hf://{REPOSITORY}@{COMMIT}", str(tmp_path)]
        done = subprocess.run(words, env=os.environ | hub.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    place = Path(done.stdout.splitlines()[-1])
    assert_has_beginnings(place, "a.gguf")
    assert (place / "far.yaml").read_bytes() == b"provider: openai"


KINDS = ("*.jsonl", "*.parquet")
MIXED = ("a.jsonl", "b.PARQUET", "C.JSONL", "README.txt", "Thumbs.db", "deep/p.png", ".DS_Store", "__MACOSX/._a.jsonl")


def test_files_of_other_kinds_in_a_bucket_are_counted_and_named(
    s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, store = open_store(f"{s3}/mixed"), open_store(str(tmp_path / "store"))
    for name in MIXED:
        given.put(name, b"{}")
    seen = glimpse(Address(given.uri), "transcripts", {KINDS}, tmp_path / "in", store, FileCache())
    assert sorted(path.name for path in seen.rglob("*.*")) == ["C.JSONL", "a.jsonl", "b.PARQUET"]
    said = capsys.readouterr().out
    assert "ignored because of their names" in said and "count=5" in said
    assert all(name in said for name in (".DS_Store", "README.txt", "Thumbs.db", "__MACOSX/._a.jsonl", "deep/p.png"))


def test_files_that_a_stage_asks_for_by_name_leave_the_others_unmentioned(
    s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, store = open_store(f"{s3}/base"), open_store(str(tmp_path / "store"))
    for name in ("config.json", "README.md"):
        given.put(name, b"{}")
    glimpse(Address(given.uri), "base_model", {("config.json",)}, tmp_path / "in", store, FileCache())
    assert "ignored" not in capsys.readouterr().out
