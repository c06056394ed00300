"""What the tests of faults share: processes that run a stage for real, a reader that races them, and what must hold."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import yaml
from botocore.exceptions import ClientError

from kit import forks
from kit.judge_parts import CANARY
from kit.s3_server import KEY, SECRET
from tuneline.engine.records import Manifest, read_manifest
from tuneline.store import s3_transfers
from tuneline.store.base import Store, open_store

PACE = {"store.s3_client.LONGEST_PAUSE": 0.01, "store.s3_client.READ_TIMEOUT": 1.0, "engine.context.BEAT_SECONDS": 0.2}
"""Seconds that a process under test waits between tries, for an answer and between flushes: as always, but short."""


forks.preload(
    "boto3", "openai", "tuneline.commands.tuneline", "tuneline.engine.runner", "tuneline.store.file",
    "tuneline.store.s3",
)  # fmt: skip


class Ended(NamedTuple):
    """How a process ended. `said` is all that it printed, `message` the lines that are not of its log."""

    code: int
    said: str
    seconds: float

    @property
    def message(self) -> list[str]:
        return [line for line in self.said.splitlines() if not line.startswith("timestamp=")]


class Child:
    """A command in a process of its own, forked from one that has done the imports."""

    def __init__(self, words: tuple[str, ...], log: Path, pace: Mapping[str, float]) -> None:
        self.log, self.began = log, time.monotonic()
        self.process = forks.start(obey, words, log, dict(os.environ), pace)

    def end(self, within: float = 60) -> Ended:
        """Wait for its end, and kill it when it takes too long."""
        self.process.join(within)
        seconds = time.monotonic() - self.began
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        code = self.process.exitcode
        assert code is not None
        return Ended(code, self.log.read_text(), seconds)


def obey(words: tuple[str, ...], log: Path, environ: dict[str, str], pace: Mapping[str, float]) -> None:
    """Be the process of a command: `tuneline …`, `tuneline-assessor …` or `walker FILE STORE SCRATCH`."""
    os.environ.clear()
    os.environ.update(environ)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for name, seconds in pace.items():
        module, _, constant = name.rpartition(".")
        setattr(import_module(f"tuneline.{module}"), constant, seconds)
    s3_transfers.PART_SIZE = 5 << 20
    sys.argv = list(words)
    match words[0]:
        case "tuneline":
            from tuneline.commands.tuneline import main

            main()
        case "tuneline-assessor":
            from tuneline_assessor.stage import main as assessor

            assessor()
        case "walker":
            run_walker(*words[1:])


def run_walker(file: str, uri: str, scratch: str) -> None:
    """Run the walker as a stage's command line would."""
    import typer

    from kit.walker import STAGES
    from tuneline.commands.stage import configure_logging, exit_codes
    from tuneline.engine.runfile import read_run_file
    from tuneline.engine.runner import new_job, run_job

    configure_logging()
    try:
        with exit_codes():
            run_file = read_run_file(Path(file), STAGES)
            with new_job(run_file, run_file.step("walker"), open_store(uri), Path(scratch)) as job:
                run_job(job)
    except typer.Exit as end:
        sys.exit(end.exit_code)


class Place:
    """A folder for one test, a store at `uri` behind a faulty network, and the same store seen `directly`."""

    def __init__(self, folder: Path, uri: str, endpoint: str) -> None:
        self.folder, self.uri, self.directly = folder, uri, open_store(uri)
        self.bucket, _, self.prefix = uri.removeprefix("s3://").partition("/")
        self.s3 = boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        self.scratch = folder / "scratch"
        self.children: list[Child] = []

    def run_file(self, name: str, **content: Any) -> Path:
        """Write a run file."""
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    def start(self, *words: str | Path, pace: Mapping[str, float] = PACE) -> Child:
        """Start a command."""
        log = self.folder / f"log-{len(self.children)}"
        log.touch()
        self.children.append(Child(tuple(map(str, words)), log, pace))
        return self.children[-1]

    def run(self, *words: str | Path, within: float = 60) -> Ended:
        """Run a command to its end."""
        return self.start(*words).end(within)

    def get(self, key: str) -> bytes | None:
        """Read an object, by nothing of ours."""
        try:
            body: bytes = self.s3.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}")["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            return None
        return body

    def all_keys(self) -> set[str]:
        """List all objects."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/")
        return {one["Key"].removeprefix(f"{self.prefix}/") for page in pages for one in page.get("Contents", [])}

    def uploads(self) -> list[str]:
        """List the uploads that nobody finished."""
        found = self.s3.list_multipart_uploads(Bucket=self.bucket, Prefix=f"{self.prefix}/")
        return [one["Key"] for one in found.get("Uploads", [])]


class Walk(NamedTuple):
    """A command that walks over words in the store, the same without pauses, and what both make undisturbed."""

    command: tuple[str | Path, ...]
    quick: tuple[str | Path, ...]
    calm: Manifest


def walk(place: Place, steps: int = 6, pause: float = 0.0, words: int = 1000) -> Walk:
    """Put words into the store, and walk over them once on a quiet store."""
    path = place.folder / "words.txt"
    path.write_text("".join(f"{n} {CANARY} " for n in range(words)))
    place.directly.upload(path, "given/words.txt")
    inputs = {"words": f"{place.uri}/given/words.txt"}
    slow = place.run_file("slow", run="walk", inputs=inputs, walker={"steps": steps, "pause": pause})
    fast = place.run_file("fast", run="walk", inputs=inputs, walker={"steps": steps})
    command, quick = (("walker", file, place.uri, place.scratch) for file in (slow, fast))
    [calm] = undisturbed(place, *quick)
    return Walk(command, quick, calm)


def undisturbed(place: Place, *command: str | Path) -> list[Manifest]:
    """Run a command on a quiet store of its own; return what it made."""
    calm = place.folder / "calm"
    ended = place.run(*(str(calm) if word == place.uri else word for word in command))
    assert ended.code == 0, ended.said
    return [Manifest.model_validate_json(path.read_bytes()) for path in calm.glob("results/*/*/manifest.json")]


def hashes(manifest: Manifest) -> dict[str, dict[str, str]]:
    """What a result is: the SHA-256 of each file by port and name."""
    return {port: {n: r.sha256 for n, r in output.files.items()} for port, output in manifest.outputs.items()}


def listed(manifest: Manifest) -> dict[str, tuple[str, int]]:
    """Hash and size of each file that a manifest lists, by key."""
    records = (record for output in manifest.outputs.values() for record in output.files.values())
    return {record.key: (record.sha256, record.size) for record in records}


def manifest_key(manifest: Manifest) -> str:
    return f"results/{manifest.stage}/{manifest.fingerprint}/manifest.json"


def made(store: Store, calm: Manifest) -> Manifest:
    """Return the result that is the same as `calm`."""
    manifest = read_manifest(store, calm.stage, calm.fingerprint)
    assert manifest is not None
    return manifest


def check_all(place: Place, *calm: Manifest, killed: bool = False) -> None:
    """After a good run and `gc`: the undisturbed run's bytes, nothing else, and no word of a transcript in between.

    Only processes that were `killed` may have left work files on their own disk.
    """
    ended = place.run("tuneline", "gc", "--store", place.uri, "--days", "0")
    assert ended.code == 0, ended.said
    for one in calm:
        manifest = made(place.directly, one)
        assert hashes(manifest) == hashes(one)
        for key, (sha256, size) in listed(manifest).items():
            data = place.get(key)
            assert data is not None and (hashlib.sha256(data).hexdigest(), len(data)) == (sha256, size)
    assert leftovers(place, *calm) == set()
    assert place.uploads() == []
    assert killed or not list(place.scratch.glob("*"))
    told = [child.log.read_bytes() for child in place.children]
    told += [place.get(k) or b"" for k in place.all_keys() if k.startswith(("runs/", "inputs/")) or "/manifest" in k]
    assert not [text for text in told if CANARY.encode() in text or b"Traceback" in text]


def leftovers(place: Place, *calm: Manifest) -> set[str]:
    """Return what lies in the store and belongs to no result, run or journal."""
    results = [made(place.directly, one) for one in calm]
    known = {key for one in results for key in (manifest_key(one), *listed(one))}
    return {k for k in place.all_keys() - known if not k.startswith(("journals/", "inputs/", "runs/", "given/"))}


def journal_rows(place: Place) -> list[str]:
    """Return the key of every row in the store's journals."""
    segments = [place.get(key) or b"" for key in place.all_keys() if key.startswith("journals/")]
    return [json.loads(line)["key"] for segment in segments for line in segment.splitlines()]


class Reader(threading.Thread):
    """Looks 50 times a second, until it is over, for a manifest whose files are not those that it lists."""

    def __init__(self, place: Place, calm: Manifest) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.absent = self.whole = 0
        self.problems: list[str] = []
        self._place, self._key, self._first = place, manifest_key(calm), b""

    def run(self) -> None:
        while not self.over.wait(0.02):
            self.look()

    def look(self) -> None:
        data = self._place.get(self._key)
        if data is None:
            self.absent += 1
            self.problems += ["the manifest is gone"] if self._first else []
            return
        self._first = self._first or data
        if data != self._first:
            self.problems.append("the manifest changed")
        for key, expected in listed(Manifest.model_validate(json.loads(data))).items():
            if expected[1] < 1 << 20 or self.whole % 25 == 0:  # a large file only twice a second
                found = self._place.get(key) or b""
                if (hashlib.sha256(found).hexdigest(), len(found)) != expected:
                    self.problems.append(f"{key}: {len(found)} bytes that are not the listed ones")
        self.whole += 1


@contextmanager
def racing_reader(place: Place, calm: Manifest) -> Iterator[Reader]:
    """Let a reader race what happens in the block; it must see no result, then a whole one that stays."""
    reader = Reader(place, calm)
    reader.start()
    try:
        yield reader
    finally:
        reader.over.set()
        reader.join()
    reader.look()
    assert reader.problems == []
    assert reader.absent and reader.whole
