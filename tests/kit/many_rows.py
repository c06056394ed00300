"""Thousands of rows from a scripted writer: pilot, then the whole in a process of its own, and what that took."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from kit.commands import command
from kit.generating import good, is_response, output_of, run_file, serve_writer
from kit.peak_memory import run_and_weigh
from kit.scripted_openai import Call
from tuneline.engine.records import Manifest, pinned_manifest
from tuneline.store.base import open_store

PRICES = {"input_usd": 1.0, "output_usd": 100.0}


class Made(NamedTuple):
    """What it took, and what is left behind."""

    rows: int
    items: int
    statuses: dict[str, int]
    seconds: float
    ideal_s: float
    """Calls that the pilot had left, one after the other at the server's latency, over `concurrency`."""
    mib: float
    """Peak memory of the process."""
    segments: int
    """Files of its journals."""
    shown: int
    page_bytes: int
    usd: float
    projected_usd: tuple[float, float]
    """From the pilot: what is expected, and at most."""
    projected_s: float


def sometimes_empty(call: Call) -> str:
    """A quarter of the responses are empty."""
    return " " if is_response(call) and int(call.body.get("seed", 1)) % 4 == 0 else good(call)


def make_many(folder: Path, count: int, *, latency_s: float, concurrency: int) -> Made:
    """Make `count` rows, as the command does it."""
    with serve_writer(sometimes_empty, latency_s=latency_s) as server:
        store = folder / "store"
        file = run_file(
            folder,
            server.url,
            prices=PRICES,
            count=count,
            pilot=100,
            concurrency=concurrency,
            max_usd=None,
            gates={"lost": 0.5},
        )
        subprocess.run(command("generator", file, store, "--variant", "pilot"), check=True, capture_output=True)
        before, began = len(server.calls), time.monotonic()
        peak = run_and_weigh(command("generator", file, store))
        seconds, calls = time.monotonic() - began, len(server.calls) - before
    pilot, made = (_manifest(store, node) for node in ("generator@pilot", "generator"))
    projection = json.loads(output_of(store, pilot, "quality"))["projection"]
    quality, html = json.loads(output_of(store, made, "quality")), output_of(store, made, "generated")
    return Made(
        rows=quality["statuses"]["kept"], items=quality["items"], statuses=quality["statuses"], seconds=seconds,
        ideal_s=calls * latency_s / concurrency, mib=peak / 2**20,
        segments=sum(path.is_file() for path in (store / "journals").rglob("*")), shown=html.count(b"<article>"),
        page_bytes=len(html), usd=quality["rows_usd"], projected_usd=(projection["usd"], projection["usd_high"]),
        projected_s=projection["hours"] * 3600,
    )  # fmt: skip


def _manifest(store: Path, node: str) -> Manifest:
    manifest = pinned_manifest(open_store(str(store)), "made", node)
    assert manifest
    return manifest
