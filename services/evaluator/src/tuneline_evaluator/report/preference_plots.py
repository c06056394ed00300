"""Drawings of what is preferred: wins, ties and losses as one bar, and win rates over the line of one half."""

from __future__ import annotations

from markupsafe import Markup

from tuneline.data.paired.effects import Range
from tuneline_evaluator.comparison.effects import Preference
from tuneline_evaluator.comparison.numbers import count, percent
from tuneline_evaluator.report.plots import ROW_HEIGHT
from tuneline_evaluator.report.svg import Axis, axis_over, dot, grid, line, svg, text

LEAST_LABELLED = 4
"""Per cent of a bar that have room for a number."""


def win_rates(found: Preference) -> Axis:
    """Return an axis of all win rates that are shown, and of one half."""
    raw, length = found.effect.interval, found.length
    ends = [0.5 + raw.low, 0.5 + raw.high] if raw else []
    ends += [length.interval.low, length.interval.high] if length else []
    return axis_over([0.4, 0.6, found.win_rate or 0.5, *ends], least=0.0, most=1.0)


def preference_bar(found: Preference) -> Markup:
    """Draw wins, ties with flips, and losses as one bar, with their numbers in it."""
    total = (found.wins + found.losses + found.ties + found.flips) or 1
    ends = [100 * found.wins / total, 100 * (total - found.losses) / total]
    parts = [
        Markup('<rect class="{}" x="{:g}%" y="0" width="{:g}%" height="34"/>').format(kind, start, end - start)
        for kind, start, end in (("won", 0, ends[0]), ("tied", ends[0], ends[1]), ("lost-to", ends[1], 100))
    ]
    undecided = found.ties + found.flips
    labels: tuple[tuple[str, int, float, float], ...] = (
        ("onbar", found.wins, 0.0, ends[0]),
        ("ontie", undecided, ends[0], ends[1]),
        ("onbar", found.losses, ends[1], 100.0),
    )
    for kind, number, start, end in labels:
        if end - start > LEAST_LABELLED:
            parts.append(text(kind, (start + end) / 2, 22, count(number), "middle", 0))
    parts.append(line("nought", 50, 50, 0, 40))
    label = f"{found.wins} wins, {undecided} ties, {found.losses} losses of the fine-tuned model"
    return svg(label, 40, parts)


def raised(ends: Range | None) -> Range | None:
    """Return an interval of win rates from one of what they are above one half."""
    return Range(low=0.5 + ends.low, high=0.5 + ends.high) if ends else None


def rate_bar(axis: Axis, value: float, ends: Range | None) -> Markup:
    """Draw a win rate with its interval over the line of one half."""
    middle = ROW_HEIGHT / 2
    parts = [grid(axis, ROW_HEIGHT), line("nought", axis.at(0.5), axis.at(0.5), 0, ROW_HEIGHT)]
    if ends is not None:
        low, high = axis.at(ends.low), axis.at(ends.high)
        parts += [line("whisker", low, high, middle, middle)]
        parts += [line("whisker", x, x, middle - 6, middle + 6) for x in (low, high)]
    parts.append(dot("mean", axis.at(value), middle, 5.5))
    return svg(f"win rate {percent(value)}", ROW_HEIGHT, parts)
