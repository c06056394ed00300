"""How long a result takes to S3 and back: boto3 run the way the store runs it, against the store as the runner uses it.

A result is one file of 256 MiB and 300 files of 1 to 8 kB. Both sides copy 16 files at once with 16 connections for the
parts of large ones, and send the SHA-256 of each part. Ours also hashes the whole file on the way up, verifies every
file on the way down, and asks for the ETag of a large one. Server, network and both clients share this machine's cores.
"""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from kit.s3_server import S3Server
from tuneline.store.base import TRANSFERS, in_parallel, open_store

ROUNDS = 5
LARGE_MIB, SMALL_FILES = 256, 300


class Ratios(NamedTuple):
    """Seconds of boto3 / seconds of ours, medians: of everything, and of the large file and the small files alone."""

    all: float
    large: float
    small: float


@contextmanager
def slow_network(server: S3Server, round_trip: float, rate: float) -> Iterator[str]:
    """Put a network between us and the server: `round_trip` seconds, `rate` bytes per second and connection."""
    program = Path(__file__).with_name("slow_network.py")
    command = [sys.executable, str(program), server.endpoint.rpartition(":")[2], str(round_trip), str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as network:
        assert network.stdout
        try:
            yield f"http://127.0.0.1:{network.stdout.readline().strip()}"
        finally:
            network.kill()


def compare(folder: Path, bucket: str) -> dict[str, Ratios]:
    """Send and fetch a result in turns, ROUNDS times, with the server that the environment names.

    Returns the ratios of "up" and "down".
    """
    files = {"large": [folder / "large"], "small": [folder / f"small-{n:03}" for n in range(SMALL_FILES)]}
    _write(files)
    seconds: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for n in range(ROUNDS):
        for what, paths in files.items():
            for name, way in (("boto3", _boto3), ("ours", _ours))[:: 1 if n % 2 else -1]:
                steps = way(bucket, paths, folder / "copy")
                for step in ("up", "down"):
                    start = time.monotonic()
                    next(steps)
                    seconds[step, name, what].append(time.monotonic() - start)
                _check(paths, folder / "copy")
                next(steps, None)
                shutil.rmtree(folder / "copy")
    return {step: _ratios(seconds, step) for step in ("up", "down")}


def _write(files: dict[str, list[Path]]) -> None:
    dice = random.Random(0)
    for path in files["small"]:
        path.write_bytes(dice.randbytes(dice.randint(1_000, 8_000)))
    with files["large"][0].open("wb") as file:
        file.writelines(dice.randbytes(1 << 20) for _ in range(LARGE_MIB))


def _boto3(bucket: str, paths: Sequence[Path], dest: Path) -> Iterator[None]:
    dest.mkdir()
    client = boto3.client("s3", config=Config(max_pool_connections=32))
    config = TransferConfig(max_concurrency=TRANSFERS)

    def send(path: Path) -> None:
        extra = {"ChecksumAlgorithm": "SHA256"}
        client.upload_file(str(path), bucket, f"boto3/{path.name}", Config=config, ExtraArgs=extra)

    in_parallel(send, paths)
    yield
    in_parallel(
        lambda path: client.download_file(bucket, f"boto3/{path.name}", str(dest / path.name), Config=config), paths
    )
    yield
    in_parallel(lambda path: client.delete_object(Bucket=bucket, Key=f"boto3/{path.name}"), paths)


def _ours(bucket: str, paths: Sequence[Path], dest: Path) -> Iterator[None]:
    store = open_store(f"s3://{bucket}/ours")
    names = [path.name for path in paths]
    records = in_parallel(store.upload, paths, names)
    yield
    in_parallel(store.download, records, [dest / name for name in names])
    yield
    store.delete(names)


def _check(paths: Sequence[Path], copy: Path) -> None:
    assert all((copy / path.name).stat().st_size == path.stat().st_size for path in paths)


def _ratios(seconds: dict[tuple[str, str, str], list[float]], step: str) -> Ratios:
    def median(name: str, *whats: str) -> float:
        return statistics.median(map(sum, zip(*(seconds[step, name, what] for what in whats), strict=True)))

    for (direction, name, what), found in seconds.items():
        if direction == step:
            print(f"{what:5}  {step:4}  {name:5}  {'  '.join(f'{s:.2f}' for s in found)} s", file=sys.stderr)
    return Ratios(*(median("boto3", *w) / median("ours", *w) for w in (("large", "small"), ("large",), ("small",))))
