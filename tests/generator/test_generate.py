"""Pilot, parts and the whole: what is paid is kept, and nothing depends on who did it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit.commands import command
from kit.generating import (
    RECIPE,
    calls_of,
    good,
    is_response,
    make,
    output_of,
    read_of,
    rows_of,
    run_file,
    serve_writer,
    text,
)
from kit.scripted_openai import Answer, Call, ScriptedOpenAI, serve_openai
from kit.text_servers import choice
from tuneline.errors import UserError
from tuneline.stage import Json
from tuneline_generator.prepare import read_held_out

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
    assert again and again.fingerprint == whole.fingerprint and len(calls_of(writer)) == len(calls)


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
    return f"{said}\nUser: and then?" if is_response(call) and int(call.body.get("seed", 0)) % 3 == 0 else said


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


def fails_without(call: Call) -> Answer:
    """A writer whose responses are empty, with a critic beside it."""
    if call.body.get("logprobs"):
        return choice(" yes", top={" yes": -0.1, " no": -3.0})
    return text("" if is_response(call) else good(call), read=read_of(call))


@pytest.mark.parametrize(
    ("inputs", "lost", "why"),
    [
        ({}, None, r"lost: 100% \(20 of 20\), wanted at most 5.0%\nnone is kept: 20 of 20 items are `empty` "),
        ({}, 1.0, "kept none of its 20 items: 20 of 20 items are `empty` "),
        ({"critic": {"provider": "logprob"}}, 1.0, r"not pass 1 of 11 gates:\ncritic_auc: too few well-formed rows"),
    ],
)
def test_a_pilot_that_keeps_nothing_says_what_became_of_its_items(
    tmp_path: Path, inputs: dict[str, Json], lost: float | None, why: str
) -> None:
    with serve_openai(fails_without) as server:
        file, store = run_file(tmp_path, server.url, inputs=inputs, gates={"lost": lost}), tmp_path / "store"
        pilot = make(file, store, pilot=True)
        assert pilot and "all gates passed" not in pilot.metrics.headline
        with pytest.raises(UserError, match=why):
            make(file, store)


def test_a_server_that_counts_no_tokens_says_nothing_of_their_median(tmp_path: Path) -> None:
    def uncounted(call: Call) -> Answer:
        said = json.loads(text(good(call)).body)
        return Answer(200, json.dumps(said | {"usage": None}).encode(), {"content-type": "application/json"})

    with serve_openai(uncounted) as server:
        pilot = make(run_file(tmp_path, server.url), tmp_path / "store", pilot=True)
        assert pilot and "all gates passed" in pilot.metrics.headline


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
        assert len(set(calls_of(server))) == len(calls_of(server)) and calls_of(server)[: len(paid)] == paid


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


def echoes(call: Call) -> str:
    """A writer whose response takes up the instruction's own words."""
    if not is_response(call):
        return good(call)
    asked = str(call.body["prompt"]).rpartition("Instruction: ")[2].split("?")[0]
    return f" {asked.removeprefix('Describe ')} it is."


def critic_that_reads(call: Call) -> dict[str, float]:
    """Says yes where the response has words of its instruction."""
    asked, _, said = str(call.body["prompt"]).rpartition("Instruction: ")[2].partition("Response:")
    shared = set(asked.split("?")[0].split()) & set(said.split("it is")[0].split())
    return {" yes": -0.1, " no": -3.0} if len(shared) > 4 else {" yes": -3.0, " no": -0.1}


def critic_that_nods(call: Call) -> dict[str, float]:
    """Says yes to everything, a little more or less, and the same whenever it is asked."""
    return {" yes": -0.1 - sum(str(call.body["prompt"]).encode()) % 3 / 10, " no": -3.0}


def with_critic(critic: Callable[[Call], dict[str, float]]) -> Callable[[Call], Answer]:
    def script(call: Call) -> Answer:
        return choice(" yes", top=critic(call)) if call.body.get("logprobs") else text(echoes(call), read=read_of(call))

    return script


@pytest.mark.parametrize(("critic", "passes"), [(critic_that_reads, True), (critic_that_nods, False)])
def test_a_critic_is_trusted_only_if_it_tells_rows_from_moved_ones(
    tmp_path: Path, critic: Callable[[Call], dict[str, float]], passes: bool
) -> None:
    with serve_openai(with_critic(critic)) as server:
        file, store = run_file(tmp_path, server.url, inputs={"critic": {"provider": "logprob"}}), tmp_path / "store"
        pilot = make(file, store, pilot=True)
        assert pilot
        quality = json.loads(output_of(store, pilot, "quality"))
        assert quality["passed"] is passes and (quality["critic"]["auc"] > 0.9) is passes
        assert ("critic_auc" in quality["refused"]) is not passes
        if not passes:
            assert quality["gates"][2]["name"] == "acceptance" and quality["gates"][2]["state"] == "passed"
            with pytest.raises(UserError, match=r"critic_auc: 0\.\d\d, wanted at least 0\.65"):
                make(file, store)
            return
        asked = len(server.calls)
        whole = make(file, store)
        assert whole and len(server.calls) > asked
        verdicts = rows_of(store, whole, "verdicts")
        assert {row["judge"] for row in verdicts} == {"base"} and all(row["score"] > 0.9 for row in verdicts)


def test_a_pilot_that_is_given_is_projected_to_the_runs_own_count_and_must_be_of_the_same_recipe_and_writer(
    tmp_path: Path, writer: ScriptedOpenAI
) -> None:
    store = tmp_path / "store"
    pilot = make(run_file(tmp_path, writer.url), store, pilot=True)
    assert pilot
    given: dict[str, Json] = {}
    for name, port in (("pilot", "quality"), ("pilot_prompts", "prompts")):
        file = tmp_path / f"{port}.{'json' if port == 'quality' else 'jsonl'}"
        file.write_bytes(output_of(store, pilot, port))
        given[name] = str(file)
    whole = make(run_file(tmp_path, writer.url, inputs=given, count=60), store)
    assert whole and len(rows_of(store, whole, "transcripts")) == 60 and "66 items" in whole.metrics.headline
    others: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("recipe", {**RECIPE, "shots": 1}, {}),
        ("writer", RECIPE, {"writer": {"provider": "openai", "model": "b", "dialect": "vllm", "base_url": writer.url}}),
    ]
    for name, recipe, inputs in others:
        calls = len(writer.calls)
        with pytest.raises(UserError, match=f"pilot: it was made with another {name}; give the pilot of this one"):
            make(run_file(tmp_path, writer.url, recipe, inputs={**given, **inputs}), tmp_path / name)
        assert len(writer.calls) == calls


def test_what_is_held_out_may_be_transcripts_and_what_is_wrong_with_them_is_told_as_of_transcripts(
    tmp_path: Path,
) -> None:
    row = {"id": "a", "messages": [
        {"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": "Here."},
        {"role": "user", "content": "And then?"}, {"role": "assistant", "content": "There."},
    ]}  # fmt: skip
    file = tmp_path / "held.jsonl"
    file.write_text(json.dumps(row) + "\n")
    assert read_held_out(file) == ["Where is it?", "And then?"]
    file.write_text(
        "".join(json.dumps({**row, "id": str(n)}) + "\n" for n in range(3)) + json.dumps({"id": "b"}) + "\n"
    )
    with pytest.raises(UserError, match=r"held.jsonl:4: ") as caught:
        read_held_out(file)
    assert "turns of a user" not in str(caught.value)


def answers_alike(call: Call) -> str:
    return " I am sorry, but I cannot help with that." if is_response(call) else good(call)


def asks_alike(call: Call) -> str:
    return good(call) if is_response(call) else " Describe the weather of today?"


def echoes_all(call: Call) -> str:
    return (
        str(call.body["prompt"]).rpartition("Instruction:")[2].partition("\n")[0] if is_response(call) else good(call)
    )


@pytest.mark.parametrize(
    ("say", "why"),
    [
        (answers_alike, r"did not pass 1 of 12 gates:\nsame_answers: 95% \(19 of 20\), wanted at most 20%"),
        (
            asks_alike,
            r"duplicates: 95% .*\ntest_prompts: 1, wanted at least 3, half of what .* the writer repeats itself",
        ),
        (echoes_all, r"20 of 20 items are `echo` \(the answer is its prompt again\)"),
    ],
)
def test_a_writer_that_says_one_thing_or_what_it_was_told_does_not_pass(
    tmp_path: Path, say: Callable[[Call], str], why: str
) -> None:
    with serve_writer(say) as server:
        file, store = run_file(tmp_path, server.url), tmp_path / "store"
        make(file, store, pilot=True)
        with pytest.raises(UserError, match=why):
            make(file, store)


def test_test_prompts_are_written_until_enough_are_good(tmp_path: Path) -> None:
    def seldom(call: Call) -> str:
        """Says the same to two calls of three."""
        return (
            good(call)
            if is_response(call) or int(call.body.get("seed", 0)) % 3 == 0
            else " Describe the weather of today?"
        )

    with serve_writer(seldom) as server:
        gates = {"duplicates": 1}
        file = run_file(tmp_path, server.url, {**RECIPE, "test_prompts": 20}, gates=gates)
        pilot = make(file, tmp_path / "store", pilot=True)
        assert pilot and len(rows_of(tmp_path / "store", pilot, "prompts")) == 20


def test_what_is_held_out_is_in_no_row(tmp_path: Path, writer: ScriptedOpenAI) -> None:
    store = tmp_path / "store"
    first = make(run_file(tmp_path, writer.url), store, pilot=True)
    assert first
    taken = [row["exchanges"][0]["user"] for row in rows_of(store, first, "transcripts")[:3]]
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text("".join(json.dumps({"prompt": one.upper()}) + "\n" for one in taken))
    pilot = make(run_file(tmp_path, writer.url, inputs={"held_out": str(held_out)}), tmp_path / "other", pilot=True)
    assert pilot
    rejected = rows_of(tmp_path / "other", pilot, "rejected")
    assert [row["prompt"] for row in rejected if row["status"] == "overlaps"] == taken
    assert not [row for row in rows_of(tmp_path / "other", pilot, "transcripts") if "overlap" in json.dumps(row)]


@pytest.mark.slow
def test_a_workflow_gets_parts_from_a_pilot_until_the_whole_has_been_made(
    tmp_path: Path, writer: ScriptedOpenAI
) -> None:
    file, store = run_file(tmp_path, writer.url, part_minutes=1e-6), tmp_path / "store"
    words = command("generator", file, store, "--variant", "pilot", "--outputs", str(tmp_path / "told"))
    told = []
    for _ in range(2):
        subprocess.run(words, check=True, capture_output=True)
        told.append(json.loads((tmp_path / "told/parts").read_text()))
        make(file, store)
    assert len(told[0]) == 100 and told[0][2] == "3/100"
    assert told[1] == []
