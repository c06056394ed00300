"""Measures the ratios that we claim and writes docs/benchmarks.md: `make bench`.

`bench.py s3` measures these lines anew (or `slicing`, `rows`, `conversion` …) and leaves the others alone. What stands
on the page under headings is measured elsewhere, by the commands that it names, and stays as it is.
Ratios are taken within one run on one machine, because machines are noisy and figures of two of them do not compare.
"""

from __future__ import annotations

import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from kit import conversions, rows_bench
from kit.bucket_api import serve_bucket
from kit.chain_times import critical_path
from kit.head_memory import TOKENS, VOCABULARY
from kit.head_memory import measure as measure_head
from kit.many_rows import make_many
from kit.places import ROOT
from kit.s3_server import serve_s3
from kit.s3_transfers import LARGE_MIB, ROUNDS, SMALL_FILES, Ratios, compare, slow_network
from kit.slicing import real_bench, survivors
from kit.training_memory import GRID, measure
from trainer import checks, runs
from tuneline.commands.results.rows import read_rows
from tuneline.data.conversations import Conversation
from tuneline.engine.records import pinned_manifest
from tuneline.engine.runfile import read_run_file
from tuneline.llm.client import LlmClient
from tuneline.llm.config import OpenAiConfig
from tuneline.stage import installed_stages
from tuneline.store.base import Store, open_store

DATA = ROOT.parent / "shared" / "data" / "therapy-coach"
SMOLLM2 = ROOT / ".cache" / "smollm2"
RERUNS = 5
ROUND_TRIP, RATE = 0.02, 2e6
"""How far S3 is: seconds, and bytes per second and connection, few enough for this machine not to be the limit."""


class Ratio(NamedTuple):
    """One line of the table."""

    what: str
    target: str
    measured: str


def main(*names: str) -> None:
    """Measure everything, or what is named, and write the page."""
    page = ROOT / "docs" / "benchmarks.md"
    elsewhere = "".join(page.read_text().partition("\n## ")[1:])
    lines: dict[str, str] = {}
    if names:
        table = page.read_text().partition("|---|---|---|\n")[2].partition("\n\n")[0]
        lines = {line.split(" | ")[0]: line for line in table.splitlines()}
    with tempfile.TemporaryDirectory() as folder:
        for measure in (slicing, rows, whole_chain, conversion, s3, judge, generation, memory, head, start):
            if not names or measure.__name__ in names:
                lines |= {f"| {r.what}": f"| {r.what} | {r.target} | {r.measured} |" for r in measure(Path(folder))}
    table = "\n".join(lines.values())
    text = f"""\
# Benchmarks

Written by `make bench`, up to the first heading below. Every figure of the table is a ratio within one run on one
machine ({os.cpu_count()} cores, no GPU).

| what | target | measured |
|---|---|---|
{table}

Tokens are those of SmolLM2's tokenizer on 35 real conversations. A window that teaches more than one and a half steps
is computed in several rows, so steps of fewer slices compute more of long windows. Missed by: a template whose
beginnings differ, slices that are sorted otherwise, tiles that repeat more than `min_context` exchanges.

S3 is SeaweedFS on the same cores, and the network to it is simulated. A result is a file of {LARGE_MIB} MiB and
{SMALL_FILES} files of 1 to 8 kB. Both copy 16 files at once, with 16 connections for the parts of a large one and
SHA-256 on each part; ours is the store as the runner uses it, which also hashes whole files and verifies them.
Medians of {ROUNDS}, in turns.

A slice point is lost when its last `min_context` exchanges alone exceed the context, as two of one conversation do, or
its answer is not the last of its slice. More is evaluated than is new where a conversation loses its slot, or a
template writes the past otherwise than it was said. The critical path is made of the stages' own times in the same run:
what is lost is the time between them, for starting processes, looking for results, fetching, publishing and waiting.

Both ways of the conversion end in the same weights, merged in fp32 and rounded once. What is read comes from disk each
time, and memory is that of the larger of PEFT's two programs. The converter alone reads the model once and writes it
once, which is what ours does: to move less than half of PEFT's way, a file would have to be left out. The whole stage
reads the base model for the converter and again for the reference, and the unquantised file once for each type, as
llama-quantize makes one at a time. What is still in memory does not come from disk again: a larger model moves more.

The judge's server rejects at once what its token bucket (one second's worth of calls) does not hold, and announces
nothing, so that the rate has to be found; the ideal knows it from the beginning. Missed by: halving on each 429, a
fixed number of calls in flight, a bucket of less than half a second (its rate is found later) or of several (two or
three rejections more), more than 20 ms to a 429, fewer than 200 calls, or cores that cannot keep up with the rate.

The generator's writer answers by a script from the same cores, a quarter of the responses empty. Its ideal is 160 calls
a second, all the time; each takes 3 ms of a core, so that a call waits for others' turns. What is behind the last call
(duplicates, gates, files) takes seconds.
"""
    page.write_text(text + elsewhere)
    print(text)


def start(folder: Path) -> Iterator[Ratio]:
    """Ask the command line for its help. Missed by: an import of pydantic or structlog before a command is known."""

    def seconds(*command: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    (folder / "nothing.py").write_text(
        "import typer\napp = typer.Typer(rich_markup_mode=None)\napp.command()(lambda: None)\napp()\n"
    )
    ours = [str(Path(sys.executable).parent / "tuneline"), "--help"]
    nothing = [sys.executable, str(folder / "nothing.py"), "--help"]
    ratio = statistics.median(seconds(*ours) / seconds(*nothing) for _ in range(2 * RERUNS))
    yield Ratio("CPU of `tuneline --help` / of a program of Typer that does nothing", "≤ 1.5", f"{ratio:.2f}")


def memory(folder: Path) -> Iterator[Ratio]:
    """Train the small real model in a process for each cell of a grid; it has to lie in .cache/smollm2."""
    measured = [measure(SMOLLM2, cell) for cell in GRID]
    ratios = [m.estimated / m.peak for m in measured]
    what = f"memory of a training on SmolLM2-135M, estimate / peak in {len(GRID)} settings: lowest; highest"
    yield Ratio(what, "0.7 to 1.3", f"{min(ratios):.2f}; {max(ratios):.2f}")


def head(folder: Path) -> Iterator[Ratio]:
    """Compute head and loss of a vocabulary of 262,144 for 1,024 tokens, with all logits at once and in chunks."""
    full, chunked = (measure_head(way) for way in ("full", "chunked"))
    what = f"head and loss of {TOKENS:,} tokens, vocabulary of {VOCABULARY:,}, all logits / chunks"
    yield Ratio(f"{what}: memory beside the weights", "≥ 10", f"{full.bytes / chunked.bytes:.1f}")
    yield Ratio(f"{what}: CPU seconds", "≥ 0.9", f"{full.seconds / chunked.seconds:.2f}")


def slicing(folder: Path) -> Iterator[Ratio]:
    """Slice 35 real conversations of 26,000 tokens each; the data set is not part of the project."""
    if not DATA.exists():
        print(f"skipped: the data set is not at {DATA}", file=sys.stderr)
        return
    whole = real_bench(folder / "whole", DATA, context=400_000).slice()
    encoded = whole.done.manifest.metrics.counts["bytes_encoded_per_unique_byte"]
    yield Ratio("bytes encoded / unique bytes, slicer, 297 slices of 35 long transcripts", "≤ 1.05", f"{encoded:.3f}")
    small = real_bench(folder / "small", DATA, context=16_384).slice()
    kept, points = survivors(DATA, small)
    what = "slice points of the passing transcripts that teach their answer at a context of 16,384 tokens"
    yield Ratio(what, "100 %", f"{100 * kept / points:.1f} % of {points}")


def rows(folder: Path) -> Iterator[Ratio]:
    """Count what training computes on the real conversations, and compare gradients on a tiny model."""
    if DATA.exists():
        for context, step, target, shared in ((8192, 8, 3.7, 1.05), (32_768, 8, 6.9, 1.9), (131_072, 64, 19.8, 5.88)):
            found = rows_bench.ratios(rows_bench.Sliced(folder / str(context), DATA, SMOLLM2, context, step))
            where = f"context of {context:,} tokens, steps of {step} slices"
            yield Ratio(
                f"tokens computed per token learnt, {where}: last answer of each slice; each answer once; in tiles",
                f"first / third ≥ {target}",
                f"{found['last']:.2f}; {found['slide']:.2f}; {found['tile']:.2f}",
            )
            yield Ratio(
                f"tokens computed for the same gradient, {where}: slices / shared prefixes",
                f"≥ {shared}",
                f"{found['same gradient']:.2f}",
            )
    base, slices = runs.write_base(folder / "tiny"), runs.write_overlapping(folder / "slices.jsonl")
    largest = checks.difference_of_gradients(folder / "gradients", base, slices, "shared_prefix")
    yield Ratio(
        "gradients of slices and of shared prefixes, largest relative difference, fp32", "≤ 1e-5", f"{largest:.0e}"
    )


def whole_chain(folder: Path) -> Iterator[Ratio]:
    """Run the demonstration on an empty store, then again with nothing changed, with inputs here and in S3."""
    store = open_store(str(folder / "store"))
    program, file = str(Path(sys.executable).parent / "tuneline"), ROOT / "examples" / "demo.yaml"

    def seconds(file: Path) -> float:
        start = time.monotonic()
        subprocess.run([program, "run", str(file), "--store", store.uri], check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - start

    cold = seconds(file)
    again = statistics.median(seconds(file) for _ in range(RERUNS))
    yield Ratio(f"run again with nothing changed (median of {RERUNS}) / cold run", "≤ 0.05", f"{again / cold:.3f}")
    with serve_s3(folder / "s3") as server:
        os.environ |= server.env
        there = folder / "in-s3.yaml"
        uploaded = [program, "upload", str(file), "--store", f"s3://{server.bucket}/inputs"]
        there.write_bytes(subprocess.run(uploaded, check=True, stdout=subprocess.PIPE).stdout)
        replaced = [program, "run", str(there), "--store", store.uri, "--replace"]
        subprocess.run(replaced, check=True, stdout=subprocess.DEVNULL)  # it looks at every object once
        again = statistics.median(seconds(there) for _ in range(RERUNS))
    yield Ratio(f"the same with all inputs in S3 (median of {RERUNS}) / cold run", "≤ 0.05", f"{again / cold:.3f}")
    yield _evaluated_again(store)
    path = critical_path(read_run_file(file, installed_stages()), store)
    yield Ratio("whole run / its critical path, the longest chain of stages that wait for each other", "≤ 1.1",
                f"{cold / path:.2f}")  # fmt: skip


def _evaluated_again(store: Store) -> Ratio:
    """Count what every answer but the first cost the server, beside the tokens that were new and not its own."""
    manifest = pinned_manifest(store, "demo", "evaluator")
    assert manifest is not None
    talks = read_rows(store, manifest, "conversations", Conversation)
    turns = [pair for talk in talks for pair in itertools.pairwise(talk.answers)]
    new = sum(now.prompt_tokens - before.prompt_tokens - before.answer_tokens for before, now in turns)
    evaluated = sum(now.evaluated_tokens for _, now in turns)
    what = "prompt tokens evaluated from the second answer on / those that were new and not generated, llama-server"
    return Ratio(what, "≤ 1.1", f"{evaluated / new:.2f}")


def conversion(folder: Path) -> Iterator[Ratio]:
    """Merge an adapter and write a GGUF file, by PEFT and llama.cpp's converter and by ours."""
    (folder / "conversion").mkdir()
    found = conversions.compare(folder / "conversion")
    what = f"base model of {found.model / 1e6:.0f} MB and adapter to GGUF, PEFT's merge and the converter / ours"
    yield Ratio(f"{what}: bytes from and to disk", "≥ 4", f"{found.moved:.1f}")
    yield Ratio(f"{what}: peak memory, PyTorch included", "≥ 4", f"{found.memory:.1f}")
    moved = conversions.moved_by_stage(folder / "conversion")
    what = "the whole stage for Q4_K_M and Q8_0, checks and store included: bytes from and to disk / the model's"
    yield Ratio(what, "≤ 3 a type", f"{moved:.1f}, {moved / 2:.1f} a type")
    (folder / "adapter").mkdir()
    share = conversions.adapter_share(folder / "adapter")
    yield Ratio("Gemma 2 9B with 16 bits / its adapter of rank 64 on attention as a GGUF file", "≥ 100", f"{share:.0f}")


def s3(folder: Path) -> Iterator[Ratio]:
    """Send a result to a real S3 server and fetch it again, with boto3 alone and with our store."""
    with serve_s3(folder / "s3") as server:
        os.environ |= server.env
        with slow_network(server, ROUND_TRIP, RATE) as endpoint:
            os.environ["AWS_ENDPOINT_URL"] = endpoint
            distant = compare(folder, server.bucket)
        os.environ["AWS_ENDPOINT_URL"] = server.endpoint
        near = compare(folder, server.bucket)
    where = f"at {1000 * ROUND_TRIP:.0f} ms and {RATE / 1e6:.0f} MB/s per connection"
    yield from _s3_ratios(distant, where, "≥ 0.9")
    yield from _s3_ratios(near, "over loopback, where the cores are the limit", "–")


def judge(folder: Path) -> Iterator[Ratio]:
    """Ask a server that limits calls by a token bucket, and announces nothing, what a judge would be asked."""
    for calls, call_s in ((200, 0.5), (200, 5.0), (600, 0.5), (600, 5.0)):
        yield _paced(call_s=call_s, calls=calls, target="≤ 1.15; < 1 %")
    yield _paced(call_s=12.0, rate=100.0, calls=2500, target="≥ 1,000 in flight")


def _paced(call_s: float, target: str, rate: float = 20.0, calls: int = 600) -> Ratio:
    with serve_bucket(rate=rate, burst=rate, call_s=call_s) as api:
        config = OpenAiConfig(provider="openai", model="m", base_url=f"{api.url}/v1")
        with (
            LlmClient(config, str, 120, concurrency=2048) as client,
            ThreadPoolExecutor(min(calls, 2048)) as pool,
        ):
            start = time.monotonic()
            list(pool.map(lambda _: client.complete([{"role": "user", "content": "Hello"}]), range(calls)))
            seconds, counts = time.monotonic() - start, api.counts()
    ideal = (calls - rate) / rate + call_s
    what = f"judge, {calls} calls of {call_s:g} s at {rate:g} a second: time / ideal; share of 429"
    measured = f"{seconds / ideal:.2f}; {100 * counts.rejected / calls:.1f} %"
    return Ratio(what, target, f"{measured}; {counts.most_in_flight} in flight" if "flight" in target else measured)


def generation(folder: Path) -> Iterator[Ratio]:
    """Write 15,000 rows, of which a quarter comes out empty, and a tenth of that for the memory."""
    few, many = (
        make_many(folder / f"generation-{count}", count, latency_s=0.2, concurrency=32) for count in (1500, 15_000)
    )
    what = f"generator, {many.rows:,} rows of {many.items:,} items, calls of 0.2 s, 32 at once"
    yield Ratio(f"{what}: time / ideal; projected time / time", "≤ 1.2; 0.8 to 1.25",
                f"{many.seconds / many.ideal_s:.2f}; {many.projected_s / many.seconds:.2f}")  # fmt: skip
    expected, most = many.projected_usd
    yield Ratio(f"{what}: spent / what the pilot of 100 projected; / at most", "≥ 0.9; ≤ 1",
                f"{many.usd / expected:.2f}; {many.usd / most:.2f}")  # fmt: skip
    each_kb = (many.mib - few.mib) * 1024 / (many.items - few.items)
    left = f"{many.mib:.0f}; {each_kb:.1f}; {many.segments}; {many.page_bytes / 1000:.0f}"
    what = f"{what}: peak memory, MiB; kB for each item beyond {few.rows:,} rows; files of the journals; kB of the page"
    yield Ratio(what, "≤ 256; ≤ 6; ≤ 50; ≤ 200", left)


def _s3_ratios(found: Mapping[str, Ratios], where: str, target: str) -> Iterator[Ratio]:
    for direction, ratios in found.items():
        parts = (
            ("a result", ratios.all),
            (f"its file of {LARGE_MIB} MiB", ratios.large),
            ("its small files", ratios.small),
        )
        for part, ratio in parts:
            yield Ratio(f"S3 {direction} {where}, boto3's time / ours, run alike: {part}", target, f"{ratio:.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
