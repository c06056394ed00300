from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from kit.comparisons import comparison
from tuneline.data.paired.effects import Range
from tuneline_evaluator.report.plots import (
    MOST_CURVE_POINTS,
    ROW_HEIGHT,
    Point,
    difference_strip,
    difference_ticks,
    dumbbell,
    effect_axis,
    headline_bar,
    interval_bar,
    range_bar,
    rate_curve,
    score_axis,
    score_ticks,
    stage_bar,
    step_axis,
    thinned,
    training_curve,
)
from tuneline_evaluator.report.svg import axis_over

SVG = "{http://www.w3.org/2000/svg}"


def drawn(markup: str) -> ET.Element:
    root = ET.fromstring(markup)
    assert root.tag == f"{SVG}svg"
    title = root.find(f"{SVG}title")
    assert title is not None and title.text, "a plot without a title cannot be read aloud"
    return root


def texts(root: ET.Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text")]


def percents(root: ET.Element) -> list[float]:
    return [
        float(value[:-1])
        for element in root.iter()
        for value in element.attrib.values()
        if re.fullmatch(r"[-\d.e]+%", value)
    ]


@pytest.mark.parametrize(
    "values", [[0.0], [0.5, 0.5], [0.612, 0.633], [0.0, 1.0], [-0.032, 0.25], [1e-9, 2e-9], [2e5, 3e6], [None, 0.4], []]
)
def test_an_axis_holds_every_value_and_has_few_round_ticks(values: list[float | None]) -> None:
    axis = axis_over(values)
    assert all(axis.low <= value <= axis.high for value in values if value is not None)
    assert 2 <= len(axis.ticks) <= 8
    assert axis.ticks == tuple(sorted(set(axis.ticks)))


@pytest.mark.parametrize("scores", [[1.0], [0.0], [0.97, 1.0], [0.0, 0.02], [0.333], []])
def test_an_axis_of_scores_never_leaves_nought_to_one(scores: list[float]) -> None:
    axis = score_axis(scores)
    assert 0 <= axis.low < axis.high <= 1
    assert all(axis.low <= score <= axis.high for score in scores)


def test_a_dumbbell_places_both_scores_on_the_scale() -> None:
    axis = score_axis([0.5, 1.0])
    base, finetuned = list(drawn(dumbbell(axis, 0.6, 0.9)).iter(f"{SVG}circle"))
    assert (base.get("class"), base.get("cx")) == ("base", "20%")
    assert (finetuned.get("class"), finetuned.get("cx")) == ("finetuned", "80%")


@pytest.mark.parametrize(
    ("base", "finetuned", "dots"), [(None, None, 0), (0.6, None, 1), (None, 0.6, 1), (0.6, 0.6, 2)]
)
def test_a_missing_score_has_no_dot(base: float | None, finetuned: float | None, dots: int) -> None:
    root = drawn(dumbbell(score_axis([0.5, 1.0]), base, finetuned))
    assert len(list(root.iter(f"{SVG}circle"))) == dots


def test_a_gain_and_a_loss_differ_without_colour() -> None:
    axis = score_axis([0.5, 1.0])
    assert 'class="link gain"' in dumbbell(axis, 0.6, 0.7)
    assert 'class="link loss"' in dumbbell(axis, 0.7, 0.6)


@pytest.mark.parametrize("personas", [1, 2, 16, 60])
def test_the_strip_has_one_dot_per_persona_and_keeps_inside_its_height(personas: int) -> None:
    made = comparison(personas)
    root = drawn(difference_strip(effect_axis(made), made))
    dots = list(root.iter(f"{SVG}circle"))
    assert len(dots) == personas
    assert all(4 <= float(dot.get("cy", "")) <= float(root.get("height", "")) - 4 for dot in dots)


def test_equal_differences_are_stacked_and_not_hidden() -> None:
    made = comparison(30, gain=0.05, spread=0.0)
    places = {
        (dot.get("cx"), dot.get("cy")) for dot in drawn(difference_strip(effect_axis(made), made)).iter(f"{SVG}circle")
    }
    assert len(places) == 30


@pytest.mark.parametrize(("personas", "gain"), [(1, 0.1), (2, 0.1), (16, 0.1), (16, -0.1), (16, 0.0), (60, 0.01)])
def test_everything_about_the_difference_lies_on_its_axis(personas: int, gain: float) -> None:
    made = comparison(personas, gain)
    axis = effect_axis(made)
    for markup in (
        difference_strip(axis, made),
        interval_bar(axis, made, made.score.mean_difference, made.score.interval),
        range_bar(axis, made, made.score.leave_one_out),
        difference_ticks(axis),
        headline_bar(made),
    ):
        assert all(0 <= place <= 100 for place in percents(drawn(markup)))


def test_the_interval_is_drawn_from_end_to_end() -> None:
    made = comparison()
    axis = effect_axis(made)
    root = drawn(interval_bar(axis, made, 0.05, Range(low=0.0, high=0.1)))
    whisker = next(line for line in root.iter(f"{SVG}line") if line.get("class") == "whisker")
    assert (whisker.get("x1"), whisker.get("x2")) == (f"{axis.at(0.0):g}%", f"{axis.at(0.1):g}%")


def test_the_headline_names_mean_and_both_ends() -> None:
    made = comparison()
    assert {"+10.4", "+6.5", "+14.3"} <= set(texts(drawn(headline_bar(made))))


def test_ticks_of_scores_are_points_and_ticks_of_differences_have_signs() -> None:
    assert texts(drawn(score_ticks(axis_over([0.5, 1.0])))) == ["50", "60", "70", "80", "90", "100"]
    assert texts(drawn(difference_ticks(axis_over([-0.1, 0.1])))) == ["−10", "−5", "0", "+5", "+10"]


def test_what_was_lost_is_drawn_beside_what_was_kept() -> None:
    lost, kept = list(drawn(stage_bar(30, 40, 40, "bar")).iter(f"{SVG}rect"))
    assert (kept.get("x"), kept.get("width")) == ("0%", "75%")
    assert (lost.get("x"), lost.get("width")) == ("75%", "25%")
    assert len(list(drawn(stage_bar(0, 0, 0, "bar")).iter(f"{SVG}rect"))) == 1


def test_a_curve_ends_at_the_right_edge_with_its_last_step() -> None:
    curve = [Point(step, 2.0 / step) for step in range(1, 103)]
    line = next(drawn(training_curve(curve, [])).iter(f"{SVG}polyline"))
    assert line.get("points", "").split()[-1].startswith("100,")
    assert step_axis(102).ticks[-1] == 100


@pytest.mark.parametrize("steps", [1, 2, 7, 5000])
def test_a_curve_of_any_length_is_small_and_finite(steps: int) -> None:
    curve = [Point(step, 1.0) for step in range(1, steps + 1)]
    for markup in (training_curve(curve, curve[-1:]), rate_curve([Point(p.step, 0.0) for p in curve], steps)):
        assert len(markup) < 12_000
        assert "nan" not in markup and "inf" not in markup
        drawn(markup)


def test_validation_alone_is_drawn_too() -> None:
    assert len(list(drawn(training_curve([], [Point(0, 2.0)])).iter(f"{SVG}circle"))) == 1


def test_thinning_keeps_the_mean_and_bounds_the_number_of_points() -> None:
    curve = [Point(float(step), math.sin(step)) for step in range(1200)]
    thin = thinned(curve)
    assert len(thin) == MOST_CURVE_POINTS
    assert math.isclose(sum(p.value for p in thin) / len(thin), sum(p.value for p in curve) / len(curve), abs_tol=1e-12)
    assert thinned(curve[:10]) == curve[:10]
    assert thinned([]) == []


def test_rows_leave_no_gap_so_that_grid_lines_run_through() -> None:
    root = drawn(dumbbell(score_axis([0.5, 1.0]), 0.6, 0.7))
    grid = [line for line in root.iter(f"{SVG}line") if line.get("class") == "grid"]
    assert {(line.get("y1"), line.get("y2")) for line in grid} == {("0", str(ROW_HEIGHT))}
