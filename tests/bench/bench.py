"""Measures the ratios that we claim and writes docs/benchmarks.md: `make bench`.

Ratios are taken within one run on one machine, because machines are noisy and figures of two of them do not compare.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from slicing import real_bench
from tuneline.manifest import pinned_manifest
from tuneline.store import open_store

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "therapy-coach"
RERUNS = 5


class Ratio(NamedTuple):
    """One line of the table."""

    what: str
    target: str
    measured: str


def main() -> None:
    """Measure everything and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        ratios = [*slicing(Path(folder)), *whole_chain(Path(folder))]
    rows = "\n".join(f"| {r.what} | {r.target} | {r.measured} |" for r in ratios)
    page = f"""\
# Benchmarks

Written by `make bench`. Every figure is a ratio within one run on one machine ({os.cpu_count()} cores, no GPU).

| what | target | measured |
|---|---|---|
{rows}
"""
    (ROOT / "docs" / "benchmarks.md").write_text(page)
    print(page)


def slicing(folder: Path) -> Iterator[Ratio]:
    """Slice 35 real conversations of 26,000 tokens each; the data set is not part of the project."""
    if not DATA.exists():
        print(f"skipped: the data set is not at {DATA}", file=sys.stderr)
        return
    whole = real_bench(folder / "whole", DATA, context=400_000).slice()
    encoded = whole.done.manifest.metrics["bytes_encoded_per_unique_byte"]
    yield Ratio("bytes encoded / unique bytes, slicer, 297 slices of 35 long transcripts", "≤ 1.05", f"{encoded:.3f}")
    small = real_bench(folder / "small", DATA, context=16_384).slice()
    kept = sum(row["messages"][-1]["role"] == "assistant" for row in small.slices)
    yield Ratio(
        "examples whose target survives a context of 16,384 tokens", "100 %", f"{100 * kept / len(small.slices):.0f} %"
    )


def whole_chain(folder: Path) -> Iterator[Ratio]:
    """Run the demonstration on an empty store, then again with nothing changed."""
    store = open_store(str(folder / "store"))
    program, file = Path(sys.executable).parent / "tuneline", ROOT / "examples" / "demo.yaml"
    command = [str(program), "run", str(file), "--store", store.uri]

    def seconds() -> float:
        start = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - start

    cold = seconds()
    again = statistics.median(seconds() for _ in range(RERUNS))
    yield Ratio(f"run again with nothing changed (median of {RERUNS}) / cold run", "≤ 0.05", f"{again / cold:.3f}")
    evaluator = pinned_manifest(store, "demo", "evaluator")
    assert evaluator is not None
    reread = evaluator.metrics["prompt_tokens_ratio"]
    yield Ratio("prompt tokens evaluated / unique tokens of the conversations, llama-server", "≤ 1.1", f"{reread:.2f}")


if __name__ == "__main__":
    main()
