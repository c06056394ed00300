"""The pieces of every drawing: an axis, and the elements of SVG with positions in per cent of the width."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from tuneline.data.text.pages import visible


class Axis(NamedTuple):
    """A scale and its ticks, in the unit of the data."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Return the position of a value in per cent of the width; what lies outside lands on the edge."""
        return round(100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low))), 2)


def axis_over(values: Iterable[float | None], *, least: float = -math.inf, most: float = math.inf) -> Axis:
    """Return an axis with round ticks around all values, inside [least, most]; without a value it covers 0 to 1."""
    known = [value for value in values if value is not None] or [0.0, 1.0]
    low, high = min(known), max(known)
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= span / 5 * (1 - 1e-9))
    start = max(math.floor(low / step + 1e-9), math.ceil(least / step - 1e-9) if math.isfinite(least) else -math.inf)
    end = min(math.ceil(high / step - 1e-9), math.floor(most / step + 1e-9) if math.isfinite(most) else math.inf)
    if end <= start:
        start, end = (start, start + 1) if start * step < most else (start - 1, start)
    ticks = tuple(round(index * step, 10) for index in range(int(start), int(end) + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def svg(label: str, height: int, parts: Iterable[Markup]) -> Markup:
    """Draw a picture of its parts; `label` says what is seen."""
    head = Markup('<svg xmlns="http://www.w3.org/2000/svg" role="img" width="100%" height="{}"><title>{}</title>')
    return head.format(height, label) + Markup("").join(parts) + Markup("</svg>")


def line(kind: str, x1: float, x2: float, y1: float, y2: float) -> Markup:
    """Draw a line between two positions."""
    return Markup('<line class="{}" x1="{:g}%" x2="{:g}%" y1="{:g}" y2="{:g}"/>').format(kind, x1, x2, y1, y2)


def dot(kind: str, x: float, y: float, radius: float) -> Markup:
    """Draw a disc or ring."""
    return Markup('<circle class="{}" cx="{:g}%" cy="{:g}" r="{:g}"/>').format(kind, x, round(y, 2), radius)


def linked(href: str, title: str, part: Markup) -> Markup:
    """Make a part a link that says where it leads."""
    return Markup('<a href="{}"><title>{}</title>{}</a>').format(href, visible(title), part)


def bar(kind: str, start: float, end: float) -> Markup:
    """Draw a bar of 14 pixels."""
    return Markup('<rect class="{}" x="{:g}%" y="2" width="{:g}%" height="14"/>').format(kind, start, end - start)


def text(kind: str, x: float, y: float, words: str, anchor: str, shift: float) -> Markup:
    """Write words at a position, moved by `shift` pixels."""
    form = Markup('<text class="{}" x="{:g}%" dx="{:g}" y="{:g}" text-anchor="{}">{}</text>')
    return form.format(kind, x, shift, y, anchor, words)


def grid(axis: Axis, height: int) -> Markup:
    """Draw the lines of an axis."""
    return Markup("").join(line("grid", axis.at(tick), axis.at(tick), 0, height) for tick in axis.ticks)


def ticks(axis: Axis, labels: Sequence[str], label: str) -> Markup:
    """Write the labels of an axis."""
    parts = [text("tick", axis.at(t), 13, name, "middle", 0) for t, name in zip(axis.ticks, labels, strict=True)]
    return svg(label, 16, parts)
