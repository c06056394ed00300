"""Inline SVG for the report: fluid width, text that keeps its size, colours from the page's style sheet.

Horizontal positions are percentages of whatever width the page gives, heights are pixels. So one drawing serves a
phone, a wide screen and paper, and it follows light and dark. The numbers always stand beside a plot in words: a plot's
label only says what is seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from markupsafe import Markup

from tuneline.data.model_facts import Fidelity
from tuneline.data.paired.effects import Range
from tuneline.data.text.talks import place
from tuneline_evaluator.comparison.figures import Comparison
from tuneline_evaluator.comparison.numbers import count, interval, percent, plain, points, signed, size
from tuneline_evaluator.report.fidelity import on_the_front
from tuneline_evaluator.report.svg import Axis, axis_over, bar, dot, grid, line, linked, svg, text, ticks
from tuneline_evaluator.report.talks import MOST_ROWS, PAGE

ROW_HEIGHT = 30
HERO_HEIGHT = 84
STRIP_HEIGHT = 46
CURVE_HEIGHT = 240
RATE_HEIGHT = 56
MOST_CURVE_POINTS = 300


class Point(NamedTuple):
    """One point of a curve."""

    step: float
    value: float


def step_axis(last: float) -> Axis:
    """Return an axis that ends with the last step, with round ticks."""
    ticks = axis_over([0.0, last]).ticks
    return Axis(0.0, last or 1.0, tuple(tick for tick in ticks if tick <= last and tick.is_integer()))


def score_axis(scores: Iterable[float | None]) -> Axis:
    """Return an axis for scores (shares), within 0 to 1."""
    return axis_over(scores, least=0.0, most=1.0)


def score_ticks(axis: Axis) -> Markup:
    """Draw the tick labels of scores, in points."""
    return ticks(axis, [f"{value * 100:.0f}" for value in axis.ticks], "scale in points of 100")


def difference_ticks(axis: Axis) -> Markup:
    """Draw the tick labels of differences, in points with their sign."""
    labels = [signed(value).removesuffix(".0") for value in axis.ticks]
    return ticks(axis, labels, "scale of the difference in points of 100")


def dumbbell(axis: Axis, base: float | None, finetuned: float | None) -> Markup:
    """Draw two scores on one line: a ring for base, a disc for finetuned."""
    middle = ROW_HEIGHT / 2
    parts = [grid(axis, ROW_HEIGHT)]
    if base is not None and finetuned is not None:
        gain = "gain" if finetuned > base else "loss"
        parts.append(line(f"link {gain}", axis.at(base), axis.at(finetuned), middle, middle))
    if base is not None:
        parts.append(dot("base", axis.at(base), middle, 5))
    if finetuned is not None:
        parts.append(dot("finetuned", axis.at(finetuned), middle, 5.5))
    return svg(f"base {points(base)}, finetuned {points(finetuned)}", ROW_HEIGHT, parts)


def effect_axis(comparison: Comparison) -> Axis:
    """Return one axis for all that is said about the difference, nought and the accepted loss included."""
    score = comparison.score
    values = [row.difference for row in comparison.personas]
    values += [score.mean_difference, score.detectable, 0.0, -comparison.settings.margin]
    for ends in (score.interval, score.leave_one_out):
        values += [ends.low, ends.high] if ends else []
    return axis_over(values, least=-1.0, most=1.0)


def difference_strip(axis: Axis, comparison: Comparison) -> Markup:
    """Draw a dot per persona's difference, which leads to its conversations, over the band that nobody can see."""
    known = ((row.difference, row.id, row.name) for row in comparison.personas if row.difference is not None)
    differences = sorted(known)
    stacks: dict[int, int] = {}
    dots = []
    for value, name, shown in differences:
        x, column = axis.at(value), int(axis.at(value) / 2)
        label = f"{shown}: {signed(value)}" if len(differences) <= MOST_ROWS else signed(value)
        dots.append((x, stacks.get(column, 0), place(PAGE, group=name), label))
        stacks[column] = stacks.get(column, 0) + 1
    rise = min(9.0, (STRIP_HEIGHT - 14) / max([1, *stacks.values()]))
    parts = _reference(axis, comparison, STRIP_HEIGHT)
    parts += [linked(to, label, dot("persona", x, STRIP_HEIGHT - 8 - n * rise, 4)) for x, n, to, label in dots]
    return svg(f"{len(differences)} differences, one per {comparison.score.unit}", STRIP_HEIGHT, parts)


def headline_bar(comparison: Comparison) -> Markup:
    """Draw the mean difference and its interval large, with both directions named: the verdict at a glance."""
    mean, ends = comparison.deciding.mean_difference or 0.0, comparison.deciding.interval
    low, high = (min(0.0, ends.low), max(0.0, ends.high)) if ends else (min(0.0, mean), max(0.0, mean))
    edge = 0.3 * (high - low) or 0.1
    axis = Axis(low - edge, high + edge, ())
    nought, middle = axis.at(0.0), 44
    parts = [line("grid", 0, 100, middle, middle), line("nought", nought, nought, 26, HERO_HEIGHT)]
    parts.append(text("soft", nought, HERO_HEIGHT - 4, "← worse", "end", -9))
    parts.append(text("soft", nought, HERO_HEIGHT - 4, "better →", "start", 9))
    if ends:
        parts.append(line("bar", axis.at(ends.low), axis.at(ends.high), middle, middle))
        parts.append(text("end", axis.at(ends.low), middle + 5, signed(ends.low), "end", -9))
        parts.append(text("end", axis.at(ends.high), middle + 5, signed(ends.high), "start", 9))
    parts.append(dot("mean", axis.at(mean), middle, 9))
    parts.append(text("value", axis.at(mean), 22, signed(mean), "middle", 0))
    return svg(f"mean difference {signed(mean)}, interval {interval(ends)}", HERO_HEIGHT, parts)


def interval_bar(axis: Axis, comparison: Comparison, mean: float | None, ends: Range | None) -> Markup:
    """Draw a mean with its interval as a bar between two ends."""
    middle = ROW_HEIGHT / 2
    parts = _reference(axis, comparison, ROW_HEIGHT)
    label = f"mean difference {signed(mean)}"
    if ends is not None:
        low, high = axis.at(ends.low), axis.at(ends.high)
        parts += [line("whisker", low, high, middle, middle)]
        parts += [line("whisker", x, x, middle - 6, middle + 6) for x in (low, high)]
        label += f", from {signed(ends.low)} to {signed(ends.high)}"
    if mean is not None:
        parts.append(dot("mean", axis.at(mean), middle, 5.5))
    return svg(label, ROW_HEIGHT, parts)


def range_bar(axis: Axis, comparison: Comparison, ends: Range | None) -> Markup:
    """Draw a range without a centre as a thick bar."""
    parts = _reference(axis, comparison, ROW_HEIGHT)
    label = "no range"
    if ends is not None:
        parts.append(line("range", axis.at(ends.low), axis.at(ends.high), ROW_HEIGHT / 2, ROW_HEIGHT / 2))
        label = f"from {signed(ends.low)} to {signed(ends.high)}"
    return svg(label, ROW_HEIGHT, parts)


def stage_bar(kept: int, before: int, whole: int, kind: str) -> Markup:
    """Draw how many of `whole` are kept, and hatch what was lost since `before`."""
    share = [100 * number / whole if whole else 0.0 for number in (kept, before)]
    parts = [bar("lost", share[0], share[1])] if before > kept else []
    parts.append(bar(kind, 0, share[0]))
    return svg(f"{kept} of {whole}", 18, parts)


def training_curve(training: Sequence[Point], validation: Sequence[Point]) -> Markup:
    """Draw loss over steps: a line for training, a dashed line with points for validation."""
    steps = step_axis(max(point.step for point in (*training, *validation)))
    losses = axis_over(point.value for point in (*training, *validation))
    digits = max(len(f"{tick:g}".partition(".")[2]) for tick in losses.ticks)
    parts = [_level(losses, tick, CURVE_HEIGHT, f"{tick:.{digits}f}") for tick in losses.ticks]
    parts += [text("tick", steps.at(tick), CURVE_HEIGHT + 17, count(tick), "middle", 0) for tick in steps.ticks]
    parts += [_path("loss", steps, losses, thinned(training)), _path("validation", steps, losses, validation)]
    parts += [
        dot("validation", steps.at(point.step), CURVE_HEIGHT * (1 - losses.at(point.value) / 100), 4)
        for point in thinned(validation)
    ]
    return svg("loss over steps, training and validation", CURVE_HEIGHT, parts)


def fidelity_plot(rows: Sequence[Fidelity]) -> Markup:
    """Draw agreement with the merged model over size: a dot and its interval per file, a line along the best."""
    sizes = axis_over([0.0, 1.15 * max(row.bytes for row in rows) / 1e9])
    shares = axis_over([end for row in rows for end in (row.top1.low, row.top1.high)], least=0.0, most=1.0)
    parts = [_level(shares, tick, CURVE_HEIGHT, percent(round(tick, 3))) for tick in shares.ticks]
    parts += [text("tick", sizes.at(t), CURVE_HEIGHT + 17, size(t * 1e9), "middle", 0) for t in sizes.ticks]
    front = [Point(row.bytes / 1e9, row.top1.value) for row in on_the_front(rows)]
    parts.append(_path("validation", sizes, shares, front))
    for row in rows:
        x = sizes.at(row.bytes / 1e9)
        low, middle, high = (
            CURVE_HEIGHT * (1 - shares.at(value) / 100) for value in (row.top1.low, row.top1.value, row.top1.high)
        )
        parts += [line("whisker", x, x, low, high), dot("finetuned", x, middle, 5)]
        parts.append(text("soft", x, middle + 15, row.file_type, "start", 8))
    return svg("top-1 agreement over size of the file", CURVE_HEIGHT, parts)


def rate_curve(rates: Sequence[Point], last_step: float) -> Markup:
    """Draw the learning rate over the same steps, small."""
    steps = step_axis(max([last_step, *(point.step for point in rates)]))
    heights = Axis(0.0, max([point.value for point in rates], default=0.0) or 1.0, ())
    parts = [_level(heights, value, RATE_HEIGHT, plain(float(f"{value:.2g}"))) for value in (0.0, heights.high)]
    parts += [_path("rate", steps, heights, thinned(rates))]
    return svg("learning rate over steps", RATE_HEIGHT, parts)


def legend_mark(kind: Literal["base", "finetuned", "loss", "validation"]) -> Markup:
    """Draw the mark that stands for an arm or a curve."""
    if kind in ("base", "finetuned"):
        return svg(kind, 14, [dot(kind, 50, 7, 5)])
    return svg(kind, 14, [line(kind, 0, 100, 7, 7)])


def thinned(curve: Sequence[Point]) -> list[Point]:
    """Return at most `MOST_CURVE_POINTS`: means of neighbours, so that a long training does not swell the page."""
    width = math.ceil(len(curve) / MOST_CURVE_POINTS) or 1
    groups = [curve[start : start + width] for start in range(0, len(curve), width)]
    return [
        Point(sum(p.step for p in group) / len(group), sum(p.value for p in group) / len(group)) for group in groups
    ]


def _reference(axis: Axis, comparison: Comparison, height: int) -> list[Markup]:
    """Draw what a difference is read against: the unseen band, the grid, no difference and the accepted loss."""
    parts = [grid(axis, height)]
    detectable = comparison.score.detectable
    if detectable is not None:
        left, right = axis.at(-detectable), axis.at(detectable)
        band = Markup('<rect class="unseen" x="{:g}%" y="0" width="{:g}%" height="{}"/>')
        parts.insert(0, band.format(left, round(right - left, 2), height))
    margin, nought = axis.at(-comparison.settings.margin), axis.at(0.0)
    return [*parts, line("margin", margin, margin, 0, height), line("nought", nought, nought, 0, height)]


def _level(axis: Axis, value: float, height: int, label: str) -> Markup:
    y = height * (1 - axis.at(value) / 100)
    return line("grid", 0, 100, y, y) + text("tick", 0, y + 4, label, "end", -8)


def _path(kind: str, steps: Axis, heights: Axis, curve: Sequence[Point]) -> Markup:
    """Draw a line in a box that stretches with the width; its stroke does not."""
    corners = " ".join(f"{steps.at(point.step):g},{100 - heights.at(point.value):g}" for point in curve)
    box = Markup(
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">'
        '<polyline class="{}" points="{}" vector-effect="non-scaling-stroke"/></svg>'
    )
    return box.format(kind, corners)
