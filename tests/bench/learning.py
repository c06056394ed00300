"""Plots validation loss against tokens: `learning.py BASE SLIDE TILE FOLDER [--epochs 2] [--together 4] [--plot FILE]`.

BASE is a real small model, such as the one that `make run-real` fetches; SLIDE and TILE are what the slicer makes of
the same transcripts with `window: slide` and `window: tile`. Every training is validated on the same answers, each
once, with the context that they have in sliding windows. `--together` says how many trainings share the GPU.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from trainer.runs import LocalContext
from tuneline.data.io import read_lines, read_record
from tuneline.data.training import TrainingRecord, TrainingRow
from tuneline.model.chat import ChatTokenizer
from tuneline_trainer import stage
from tuneline_trainer.examples.rows import Examples, Plan, Supervise, read_examples
from tuneline_trainer.training import prepare

TRAININGS: tuple[tuple[Supervise, str], ...] = (("new", "slide"), ("all", "slide"), ("last", "slide"), ("new", "tile"))
COLOURS = {"new slide": "#1b7837", "all slide": "#762a83", "last slide": "#b35806", "new tile": "#2166ac"}
WIDTH, HEIGHT, LEFT, TOP = 400, 250, 50, 20


class Point(NamedTuple):
    """One validation."""

    learnt: float
    """Millions of tokens that were learnt before it."""
    computed: float
    """Millions of tokens that went through the model for them."""
    loss: float


def train(
    base: Path, slices: Mapping[str, Path], folder: Path, supervise: Supervise, window: str, epochs: float
) -> None:
    """Train, and write the validations to points.json."""
    outputs = stage.TrainerOutputs(adapter=folder / "a", metrics=folder / "m.jsonl", training=folder / "t.json")
    outputs.adapter.mkdir(parents=True)
    params = stage.TrainerParams(
        epochs=epochs, supervise=supervise, eval_steps=14, quantization="none", gradient_checkpointing=False,
        save_steps=10_000,
    )  # fmt: skip

    def read(path: Path, tokenizer: ChatTokenizer, plan: Plan) -> Examples:
        same = read_examples(slices["slide"], tokenizer, plan._replace(supervise="new"))
        return read_examples(path, tokenizer, plan)._replace(validation=same.validation)

    with patch.object(prepare, "read_examples", read):
        inputs = stage.TrainerInputs(slices=slices[window], base_model=base, chat_template=None)
        stage.run(params, inputs, outputs, LocalContext(folder))
    record = read_record(outputs.training, TrainingRecord)
    learnt, computed = record.examples.train.supervised_tokens * epochs, record.examples.train.tokens * epochs
    points = [
        Point(row.step / record.steps * learnt / 1e6, row.step / record.steps * computed / 1e6, row.validation_loss)
        for row in read_lines(outputs.metrics, TrainingRow)
        if row.validation_loss is not None
    ]
    (folder / "points.json").write_text(json.dumps(points))


def plot(curves: Mapping[str, Sequence[Point]]) -> str:
    """Draw the curves over tokens learnt, and beside it over tokens computed, as SVG."""
    losses = [point.loss for points in curves.values() for point in points]
    scale = math.floor(10 * min(losses)), math.ceil(10 * max(losses))
    learnt = {name: [(p.learnt, p.loss) for p in points] for name, points in curves.items()}
    computed = {name: [(p.computed, p.loss) for p in points] for name, points in curves.items()}
    size = f"{2 * (WIDTH + LEFT) + 20}", f"{HEIGHT + TOP + 50}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" font-family="sans-serif" '
            'font-size="12" fill="#222">',
            f'<rect width="{size[0]}" height="{size[1]}" fill="#fff"/>',
            *panel(LEFT, "million tokens learnt", learnt, scale),
            *panel(WIDTH + 2 * LEFT, "million tokens computed", computed, scale),
            *legend(list(curves)),
            "</svg>\n",
        ]
    )


def panel(
    left: int, what: str, curves: Mapping[str, Sequence[tuple[float, float]]], scale: tuple[int, int]
) -> Iterator[str]:
    """Draw one panel, whose vertical scale is in tenths."""
    low, high = scale
    end = math.ceil(2 * max(x for points in curves.values() for x, _ in points)) / 2
    width, floor = WIDTH - 20, TOP + HEIGHT

    def at(x: float, y: float) -> str:
        return f"{left + width * x / end:.1f},{floor - HEIGHT * (10 * y - low) / (high - low):.1f}"

    yield f'<path d="M{left},{TOP} V{floor} H{left + width}" fill="none" stroke="#888"/>'
    for part in range(5):
        x = left + width * part / 4
        yield f'<text x="{x:.0f}" y="{floor + 16}" text-anchor="middle">{end * part / 4:.3g}</text>'
    for tenth in range(low, high + 1):
        y = floor - HEIGHT * (tenth - low) / (high - low) + 4
        yield f'<text x="{left - 6}" y="{y:.0f}" text-anchor="end">{tenth / 10:.1f}</text>'
    yield f'<text x="{left + width / 2:.0f}" y="{floor + 36}" text-anchor="middle">{what}</text>'
    for name, points in curves.items():
        line = " L".join(at(x, y) for x, y in points)
        dash = ' stroke-dasharray="5 3"' if name.endswith("tile") else ""
        yield f'<path d="M{line}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"{dash}/>'


def legend(names: Sequence[str]) -> Iterator[str]:
    """Name the curves."""
    yield f'<text x="{LEFT}" y="12">validation loss</text>'
    for number, name in enumerate(names):
        x, y = 2 * WIDTH - 90, TOP + 20 + 18 * number
        supervise, window = name.split()
        yield f'<text x="{x}" y="{y}" fill="{COLOURS[name]}">supervise: {supervise}, window: {window}</text>'


def main() -> None:
    """Train each combination in a process of its own, and plot."""
    parser = argparse.ArgumentParser(description="Plot validation loss against tokens.")
    for name in ("base", "slide", "tile", "folder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--together", type=int, default=1)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--only", nargs=2, metavar=("SUPERVISE", "WINDOW"))
    options = parser.parse_args()
    if options.only:
        slices, (supervise, window) = {"slide": options.slide, "tile": options.tile}, options.only
        train(options.base, slices, options.folder / f"{supervise}-{window}", supervise, window, options.epochs)
        return
    jobs = [[sys.executable, *sys.argv, "--only", *training] for training in TRAININGS]
    for at in range(0, len(jobs), options.together):
        running = [subprocess.Popen(job) for job in jobs[at : at + options.together]]
        if max(process.wait() for process in running):
            sys.exit("a training failed")
    files = {f"{supervise} {window}": options.folder / f"{supervise}-{window}" for supervise, window in TRAININGS}
    curves = {name: [Point(*row) for row in json.loads((f / "points.json").read_text())] for name, f in files.items()}
    print(json.dumps(curves, indent=1))
    if options.plot:
        options.plot.write_text(plot(curves))


if __name__ == "__main__":
    main()
