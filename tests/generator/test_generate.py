"""Pilot, parts and the whole: what is paid is kept, and nothing depends on who did it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.generating import RECIPE, calls_of, good, is_response, make, output_of, rows_of, run_file, serve_writer
from kit.scripted_openai import Call, ScriptedOpenAI
from tuneline.errors import UserError
from tuneline.stage import Json

PORTS = ("transcripts", "verdicts", "rejected", "prompts", "quality", "generated")


@pytest.fixture
def writer() -> Any:
    with serve_writer() as server:
        yield server


def test_the_pilot_writes_some_and_says_what_the_whole_will_take(tmp_path: Path, writer: ScriptedOpenAI) -> None:
    file = run_file(tmp_path, writer.url, prices={"input_usd": 0, "output_usd": 1000}, count=100)
    pilot = make(file, tmp_path / "store", pilot=True)
    assert pilot
    quality = json.loads(output_of(tmp_path / "store", pilot, "quality"))
    assert (quality["items"], sum(quality["statuses"].values()), quality["passed"]) == (20, 20, True)
    assert quality["kept"] == 20 and quality["projection"]["items"] == 110
    assert quality["projection"]["usd"] == pytest.approx(quality["rows_usd"] / 20 * 110)
    assert len(rows_of(tmp_path / "store", pilot, "prompts")) == 5
    assert "no critic" in pilot.metrics.headline
    html = output_of(tmp_path / "store", pilot, "generated").decode()
    assert "All gates passed" in html and "No critic looked at these rows" in html


def test_the_whole_finds_what_the_pilot_paid_and_a_second_time_there_is_nothing_to_do(
    tmp_path: Path, writer: ScriptedOpenAI
) -> None:
    file, store = run_file(tmp_path, writer.url), tmp_path / "store"
    make(file, store, pilot=True)
    whole = make(file, store)
    assert whole and len(rows_of(store, whole, "transcripts")) == 30
    calls = calls_of(writer)
    assert len(calls) == len(set(calls)), "a prompt was paid twice"
    again = make(file, store)
    assert again and again.fingerprint == whole.fingerprint and len(writer.calls) == len(calls)


@pytest.mark.slow
def test_one_three_and_ten_parts_end_in_the_same_bytes(tmp_path: Path, writer: ScriptedOpenAI) -> None:
    found = {}
    for parts in (1, 3, 10):
        store = tmp_path / f"store-{parts}"
        file = run_file(tmp_path, writer.url, count=40)
        make(file, store, pilot=True)
        writer.calls.clear()
        for number in range(1, parts + 1) if parts > 1 else ():
            make(file, store, part=f"{number}/{parts}")
        paid = len(writer.calls)
        whole = make(file, store)
        assert whole
        assert len(writer.calls) == paid or parts == 1, "the merge paid for what the parts had left"
        found[parts] = {port: output_of(store, whole, port) for port in PORTS}
    assert found[1] == found[3] == found[10]


def test_a_row_says_where_it_comes_from(tmp_path: Path, writer: ScriptedOpenAI) -> None:
    file, store = run_file(tmp_path, writer.url), tmp_path / "store"
    make(file, store, pilot=True)
    whole = make(file, store)
    assert whole
    row = rows_of(store, whole, "transcripts")[3]
    assert row["provenance"]["item"] == 3 and row["persona"] == RECIPE["categories"][3]  # type: ignore[index]
    assert set(row["provenance"]["seeds"]) == {"instruction", "response"}
    assert len(row["provenance"]["shots"]) == 2
    quality = json.loads(output_of(store, whole, "quality"))
    assert quality["constant"]["writer"]["name"] == "base" and quality["constant"]["recipe"]["kind"] == "instructions"


def runs_away(call: Call) -> str:
    """Every third response goes on with a new prompt."""
    said = good(call)
    return f"{said}\nUser: and then?" if is_response(call) and int(call.body["seed"]) % 3 == 0 else said


def test_a_pilot_that_does_not_pass_is_published_and_the_whole_is_refused_with_its_gates(tmp_path: Path) -> None:
    recipe: dict[str, Json] = {**RECIPE, "response": {"prompt": "{shots}Instruction: {instruction}\nResponse:"}}  # type: ignore[dict-item]
    with serve_writer(runs_away) as server:
        file, store = run_file(tmp_path, server.url, recipe), tmp_path / "store"
        pilot = make(file, store, pilot=True)
        assert pilot and "runaway" in pilot.metrics.headline
        assert "Not passed" in output_of(store, pilot, "generated").decode()
        calls = len(server.calls)
        with pytest.raises(UserError, match=r"did not pass 1 of \d+ gates:\nrunaway: \d+ ?% \(\d+ of 20\)"):
            make(file, store)
        with pytest.raises(UserError, match="did not pass"):
            make(file, store, part="1/3")
        assert len(server.calls) == calls


def test_money_stops_a_part_at_its_share_and_more_money_goes_on_from_there(tmp_path: Path) -> None:
    prices = {"input_usd": 0, "output_usd": 1000}
    with serve_writer() as server:
        file, store = run_file(tmp_path, server.url, prices=prices, count=40, max_usd=10), tmp_path / "store"
        pilot = make(file, store, pilot=True)
        assert pilot
        each = json.loads(output_of(store, pilot, "quality"))["rows_usd"] / 20
        server.calls.clear()
        file = run_file(tmp_path, server.url, prices=prices, count=40, max_usd=round(each * 47, 4), concurrency=1)
        with pytest.raises(UserError, match=r"max_usd: all spent \$\S+ of \$\S+ after \d+ of 44 items; .* `count` \d+"):
            make(file, store)
        paid = calls_of(server)
        file = run_file(tmp_path, server.url, prices=prices, count=40, max_usd=10)
        assert make(file, store)
        assert len(set(calls_of(server))) == len(server.calls) and calls_of(server)[: len(paid)] == paid


def test_a_projection_beyond_the_limits_is_refused_before_anything_is_paid(
    tmp_path: Path, writer: ScriptedOpenAI
) -> None:
    prices = {"input_usd": 0, "output_usd": 1000}
    file, store = run_file(tmp_path, writer.url, prices=prices, count=1000), tmp_path / "store"
    make(file, store, pilot=True)
    calls = len(writer.calls)
    file = run_file(tmp_path, writer.url, prices=prices, count=1000, max_usd=1)
    with pytest.raises(UserError, match=r"max_usd: 1,100 items will cost about \$\d+"):
        make(file, store)
    file = run_file(tmp_path, writer.url, prices=prices, count=1000, max_usd=None, max_hours=1e-6)
    with pytest.raises(UserError, match=r"max_hours: 1,100 items will take about"):
        make(file, store)
    assert len(writer.calls) == calls
