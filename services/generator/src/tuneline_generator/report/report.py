"""The page for people: a verdict, and then rows side by side: nobody should trust a figure without having looked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment

from tuneline.data.text.pages import page_environment
from tuneline.data.text.words import word_count
from tuneline.stage import dollars
from tuneline_generator.report import wording
from tuneline_generator.report.found import Quality
from tuneline_generator.writing.rows import STATUSES, Row

SHOWN = 20
"""Rows of each side that are shown."""
BINS = 24


class Bar(NamedTuple):
    """A bar of a histogram, in a picture 100 high."""

    x: float
    height: float
    label: str


class Histogram(NamedTuple):
    """How often values of a figure are, from `low` to `high`."""

    title: str
    low: str
    high: str
    bars: list[Bar]
    width: float


def write_report(path: Path, rows: Sequence[Row], quality: Quality) -> None:
    """Write the page. The same arguments give the same bytes."""
    flagged = [row for row in rows if row.status not in ("kept", "spare")]
    kept = [row for row in rows if row.status == "kept"]
    page = (
        _environment()
        .get_template("generated.html.j2")
        .render(
            q=quality,
            statuses=[
                (name, quality.statuses[name], wording.MEANINGS[name]) for name in STATUSES if quality.statuses[name]
            ],
            most=max(quality.statuses.values(), default=0),
            histograms=list(histograms(rows)),
            flagged=some(flagged),
            kept=some(kept),
            projected=wording.projected(quality.projection) if quality.projection else None,
            usd="cost not known" if quality.usd is None else dollars(quality.usd),
        )
    )
    path.write_text(page, encoding="utf-8")


def some(rows: Sequence[Row], count: int = SHOWN) -> list[Row]:
    """Return rows of every status, evenly from the whole."""
    by_status: dict[str, list[Row]] = {}
    for row in rows:
        by_status.setdefault(row.status, []).append(row)
    found: list[Row] = []
    for number, (_, group) in enumerate(sorted(by_status.items(), key=lambda one: len(one[1]))):
        share = max(1, (count - len(found)) // (len(by_status) - number))
        found += [group[place * len(group) // min(share, len(group))] for place in range(min(share, len(group)))]
    return sorted(found[:count], key=lambda row: row.item)


def histograms(rows: Sequence[Row]) -> list[Histogram]:
    """Return how long texts are, and what the critic says."""
    written = [row for row in rows if row.response]
    figures = [
        ("Tokens of the response", [float(row.tokens) for row in written]),
        ("Words of the prompt", [float(word_count(row.prompt)) for row in rows if row.prompt]),
        ("Margin of the critic", [row.margin for row in written if row.margin is not None]),
    ]
    return [_histogram(title, values) for title, values in figures if values]


def _histogram(title: str, values: Sequence[float]) -> Histogram:
    low, high = min(values), max(values)
    whole = all(value.is_integer() for value in values)
    bins = min(BINS, int(high - low) + 1) if whole else BINS  # no bin without a number that could be in it
    width = (high - low + whole) / bins or 1.0
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((value - low) / width))] += 1
    most = max(counts)
    decimals = max(0, 2 - math.floor(math.log10(width)))
    edges = [_label(low + place * width, decimals) for place in range(bins + 1)]
    bars = [
        Bar(place * 100 / bins, 100 * count / most, f"{edges[place]} to {edges[place + 1]}: {count:,}")
        for place, count in enumerate(counts)
    ]
    return Histogram(title, _label(low, decimals), _label(high, decimals), bars, 100 / bins)


def _label(value: float, decimals: int) -> str:
    """Return a number without an exponent, and without zeros at the end: `12,340`, `0.25`."""
    text = f"{round(value, decimals) + 0.0:,.{decimals}f}"  # 0.0 is added, so that nothing is written as -0
    return text.rstrip("0").rstrip(".") if decimals else text


def _environment() -> Environment:
    """Return the template, with what it calls."""
    environment = page_environment("tuneline_generator.report")
    for words in (wording.value_of, wording.limit_of, wording.bound_of, wording.percent):
        environment.filters[words.__name__] = words
    environment.filters["means"] = wording.GATES.__getitem__
    return environment
