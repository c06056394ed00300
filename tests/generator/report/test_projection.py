"""What the pilot says the whole will take, by the formulas' own examples and against what it took."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kit.generating import make, output_of, run_file, serve_writer
from kit.many_rows import make_many
from tuneline.stage import Part
from tuneline_generator.report.bounds import rate
from tuneline_generator.report.projection import Projection, Taken, items_for, project
from tuneline_generator.stage import GeneratorParams


def projected(params: GeneratorParams, taken: Taken) -> Projection:
    found = project(params, taken, rate(taken.kept, taken.items).low)
    assert found
    return found


def test_fifteen_thousand_rows_at_thirty_of_thirty_nine_are_ten_parts_of_forty_minutes() -> None:
    params = GeneratorParams(count=15_000, oversample=1)
    found = projected(params, Taken(39, 30, 39 * 1.23, 39 * 0.001))
    assert (found.items, found.parts) == (19_500, 10)
    assert [len(Part(number, 10).share(found.items)) for number in range(1, 11)] == [1950] * 10
    assert found.items_high == pytest.approx(23_740, abs=10)
    assert found.part_minutes == pytest.approx(39.975) and found.hours * 60 == pytest.approx(39.975, abs=0.01)
    assert found.usd == pytest.approx(19.5) and found.usd_high == pytest.approx(23.74, abs=0.01)


def test_an_hour_of_a_server_at_three_dollars_is_twenty_dollars() -> None:
    per_item = 1.23 / 3600 * 3  # one item at a time
    found = projected(GeneratorParams(count=15_000, oversample=1), Taken(39, 30, 39 * 1.23, 39 * per_item))
    assert found.usd == pytest.approx(20.0, abs=0.05)


def test_a_projection_has_no_dollars_without_a_price_and_is_none_where_nothing_was_kept() -> None:
    params = GeneratorParams(count=100)
    assert projected(params, Taken(20, 10, 5.0, None)).usd is None
    assert project(params, Taken(20, 0, 5.0, 1.0), 0.0) is None


def test_a_part_is_never_shorter_than_worth_it_and_there_are_at_most_a_hundred() -> None:
    slow = Taken(20, 20, 20 * 600.0, None)
    assert projected(GeneratorParams(count=100_000), slow).parts == 100
    assert projected(GeneratorParams(count=20), Taken(20, 20, 20.0, None)).parts == 1
    assert items_for(1000, 1.0) == 1000 and items_for(1000, 1.0, 1.1) == 1100


def test_a_pilot_of_fewer_items_than_are_done_at_once_is_taken_for_as_fast_as_those() -> None:
    one_round = [projected(GeneratorParams(count=1000), Taken(20, 20, 3.0, None, at_once)) for at_once in (8, 20, 200)]
    assert [found.hours * 3600 for found in one_round] == pytest.approx([165, 165, 16.5], abs=0.01)


@pytest.mark.slow
def test_a_pilot_that_finds_its_rows_says_what_it_took_whoever_wrote_them(tmp_path: Path) -> None:
    hours, store = list[float](), tmp_path / "store"
    with serve_writer(latency_s=0.05) as server:
        for run in ("first", "second"):
            file = run_file(tmp_path, server.url, count=60)
            file.write_text(file.read_text().replace("run: made", f"run: {run}"))
            pilot = make(file, store, pilot=True)
            assert pilot
            hours.append(json.loads(output_of(store, pilot, "quality"))["projection"]["hours"])
    assert 0.5 * hours[0] < hours[1] < 1.5 * hours[0]


@pytest.mark.slow
def test_the_whole_takes_what_the_pilot_said_within_its_own_range_and_leaves_little_behind(tmp_path: Path) -> None:
    made = make_many(tmp_path, 300, latency_s=0.01, concurrency=8)
    assert made.rows == 300 and sum(made.statuses.values()) == made.items
    expected, most = made.projected_usd
    assert expected * 0.9 < made.usd < most
    assert made.mib < 500 and made.segments < 100 and made.shown <= 40 and made.page_bytes < 100_000


@pytest.mark.slow
def test_the_last_items_of_a_pilot_which_leave_most_of_the_writer_idle_do_not_slow_the_whole_down(
    tmp_path: Path,
) -> None:
    store = tmp_path / "store"
    with serve_writer(latency_s=0.4) as server:
        pilot = make(run_file(tmp_path, server.url, count=9000, pilot=20, concurrency=19), store, pilot=True)
    assert pilot
    seen = json.loads(output_of(store, pilot, "quality"))["projection"]
    seconds = seen["hours"] * 3600 * seen["parts"] / seen["items"]
    assert 0.9 < seconds / (2 * 0.4 / 19) < 1.5, "twenty items are written in two rounds, nine thousand in 474"
