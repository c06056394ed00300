"""The page for people: what may be said, then curves, pairs, structures side by side, and the prompts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tuneline.data.text.pages import page_environment
from tuneline.stage import dollars
from tuneline_calibrator.talks.segments import KINDS
from tuneline_calibrator.trials.found import Calibration
from tuneline_calibrator.trials.trials import Row, Target, Trial

COLOURS = ("#4a78b5", "#b3702e", "#3c8d5a", "#8a5fb0", "#a8434d", "#2f2f2f")
TINTS: dict[str, str] = dict(
    zip(
        KINDS,
        ("#4a78b5", "#8fa3bf", "#b3404a", "#3c8d5a", "#d0a03c", "#8a5fb0", "#b3702e", "#4aa5a5", "#7a7a7a", "#c8c8c8"),
        strict=True,
    )
)
STOPS = {
    "converged": "the last trials were hardly better than those before them",
    "max_trials": "as many trials as were asked for",
    "not_refined": "the writer made no other prompt that keeps to the rules",
}


LONG_PROMPT = 4_000
"""Words and spaces from which on prompts are compared by their rarer words: all would take minutes."""


class Curve(NamedTuple):
    """A loss over the trials, in a picture 100 by 100."""

    name: str
    colour: str
    points: str
    held_out: str
    """Empty where no pair is held out."""
    last: float


class Block(NamedTuple):
    """A passage of a strip."""

    kind: str
    x: float
    width: float
    tint: str


class Strip(NamedTuple):
    """A talk and a script about the same source, on one scale of time."""

    pair: str
    talk: list[Block]
    script: list[Block]


class Piece(NamedTuple):
    """Some words of a prompt."""

    how: Literal["same", "new", "gone"]
    text: str


def write_report(path: Path, found: Calibration, trials: Sequence[Trial], targets: Sequence[Target]) -> None:
    """Write the page. The same arguments give the same bytes."""
    best = trials[found.best - 1]
    page = (
        page_environment("tuneline_calibrator.trials")
        .get_template("calibrated.html.j2")
        .render(
            c=found,
            best=found.trials[found.best - 1],
            first=found.trials[0],
            stop=STOPS[found.stop] + (f" ({found.problem})" if found.problem else ""),
            curves=curves(found),
            names=[*found.weights, "total"],
            rows=sorted(best.rows, key=lambda row: (row.side, row.pair, row.repeat)),
            strips=[strip(row, target) for target in targets for row in _of(best.rows, target)[:1]],
            kinds=TINTS,
            diff=worded(found.trials[0].prompt, found.trials[found.best - 1].prompt),
            diffs=[(one, worded(found.trials[one.after - 1].prompt, one.prompt)) for one in found.trials if one.after],
            usd="cost not known" if found.usd is None else dollars(found.usd),
        )
    )
    path.write_text(page, encoding="utf-8")


def curves(found: Calibration) -> list[Curve]:
    """Return the curves of the losses and of the total."""
    return [
        Curve(
            name, colour, _points([one.training.get(name) for one in found.trials]),
            _points([one.held_out.get(name) for one in found.trials]), found.trials[-1].training[name],
        )
        for name, colour in zip([*found.weights, "total"], COLOURS, strict=True)
    ]  # fmt: skip


def _points(values: Sequence[float | None]) -> str:
    step = 100 / max(1, len(values) - 1)
    return " ".join(f"{n * step:.2f},{100 - 100 * value:.2f}" for n, value in enumerate(values) if value is not None)


def _of(rows: Sequence[Row], target: Target) -> list[Row]:
    return [row for row in rows if row.pair == target.reference.name and row.status == "scored"]


def strip(row: Row, target: Target) -> Strip:
    """Return a talk and its script as blocks; the longer of both is 100 wide."""
    whole = max(sum(part.seconds for part in target.parts), sum(row.lengths)) or 1
    talk = [(part.kind, part.seconds) for part in target.parts]
    return Strip(row.pair, _blocks(talk, whole), _blocks([*zip(row.kinds, row.lengths, strict=True)], whole))


def _blocks(parts: Sequence[tuple[str, float]], whole: float) -> list[Block]:
    found, x = list[Block](), 0.0
    for kind, seconds in parts:
        width = 100 * seconds / whole
        found.append(Block(kind, x, width, TINTS[kind]))
        x += width
    return found


def worded(before: str, after: str) -> list[Piece]:
    """Return a prompt with what is new and what is gone, by words."""
    old, new = re.findall(r"\s+|\S+", before), re.findall(r"\s+|\S+", after)
    if old == new:
        return [Piece("same", before)]
    long = max(len(old), len(new)) > LONG_PROMPT  # the words of a long one that stand everywhere anchor nothing
    found = list[Piece]()
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=long).get_opcodes():
        if tag == "equal":
            found.append(Piece("same", "".join(old[i:j])))
            continue
        found += [Piece("gone", "".join(old[i:j]))] if j > i else []
        found += [Piece("new", "".join(new[k:m]))] if m > k else []
    return found
