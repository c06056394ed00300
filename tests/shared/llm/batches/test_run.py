"""Batches of all vendors, as one table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kit.batches import Purse, Rows, echo, requests_of, run, texts
from kit.judge_parts import SHORT_RUBRIC, live, some_transcripts
from kit.scripted_batches import BatchServer
from kit.scripted_openai import Answer, Call, serve_openai
from kit.scripted_vendors import Protocol
from tuneline.data.transcripts import Exchange, Transcript
from tuneline.errors import LlmRejected, OverBudget, Temporary, UserError
from tuneline.judge.by_model import LlmJudge
from tuneline.judge.judging import judge_all
from tuneline.llm.batches import run as module
from tuneline.llm.prices import most_usd
from tuneline.stage import Usage


def test_every_request_gets_its_own_answer_in_one_batch(protocol: Protocol) -> None:
    server, seen = echo(protocol), list[int]()
    with serve_openai(server) as served:
        answers = run(server, served.url, requests_of(7, {"type": "object"}), Rows(), seen.append)
    assert texts(answers) == [f"number {n}< /s>" for n in range(7)]
    assert (len(server.batches), server.items, server.live) == (1, 7, 0)
    assert answers[0].input_tokens == 100 and answers[0].cost_usd == 120e-6
    _, body = server.batches["batch0"]["items"][0]
    assert protocol.schema(Call(0, body, {}, 0.0)) == {"type": "object"}
    assert seen[0] == 0


def test_a_batch_that_ran_on_is_found_again_and_paid_once(protocol: Protocol) -> None:
    server, rows, count = echo(protocol), Rows(), 0

    def stopped(found: int) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise Temporary("stopped at 0 of 5")

    with serve_openai(server) as served:
        with pytest.raises(Temporary, match="the batch goes on at its vendor"):
            run(server, served.url, requests_of(5), rows, stopped)
        assert texts(run(server, served.url, requests_of(5), rows)) == [f"number {n}< /s>" for n in range(5)]
        assert server.items == 5
        assert texts(run(server, served.url, requests_of(6), rows)) == [f"number {n}< /s>" for n in range(6)]
    assert server.items == 6, "only the new request is in a new batch"


def test_a_batch_whose_id_was_lost_is_found_by_its_name(protocol: Protocol) -> None:
    server, rows = echo(protocol), Rows()
    server.lost = 1
    with serve_openai(server) as served:
        assert len(texts(run(server, served.url, requests_of(5), rows))) == 5
        assert server.items == 5
        for row in rows.values():  # killed before the id was written down
            row["id"] = None
        assert len(texts(run(server, served.url, requests_of(5), rows))) == 5
    assert server.items == 5


def test_what_has_expired_or_failed_at_the_server_goes_into_another_batch(protocol: Protocol) -> None:
    def some(call: Call) -> Answer | None:
        number = protocol.prompt(call)
        if len(server.batches) == 1 and "number 1" in number:
            return None
        if len(server.batches) == 1 and "number 2" in number:
            return protocol.fails(500)
        return protocol.reply(number.strip())

    server = BatchServer(protocol, some)
    with serve_openai(server) as served:
        assert texts(run(server, served.url, requests_of(4), Rows())) == [f"number {n}< /s>" for n in range(4)]
    assert [len(batch["items"]) for batch in server.batches.values()] == [4, 2]


def test_what_never_gets_an_answer_is_left_after_three_batches(protocol: Protocol) -> None:
    server = BatchServer(protocol, lambda call: None)
    with serve_openai(server) as served, pytest.raises(Temporary, match="2 of 2 requests got no answer in 3 batches"):
        run(server, served.url, requests_of(2), Rows())
    assert len(server.batches) == 3


def test_a_request_that_the_server_does_not_want_is_rejected_alone(protocol: Protocol) -> None:
    long = {
        "openai": ("context_length_exceeded", "x"), "anthropic": ("invalid_request_error", "prompt is too long"),
        "google": ("INVALID_ARGUMENT", "The input token count (9) exceeds the maximum"),
    }[protocol.provider]  # fmt: skip

    def some(call: Call) -> Answer:
        return protocol.fails(400, *long) if "number 1" in protocol.prompt(call) else protocol.reply("fine")

    server = BatchServer(protocol, some)
    with serve_openai(server) as served:
        first, second = run(server, served.url, requests_of(2), Rows())
    assert first.text == "fine" and isinstance(second, LlmRejected) and second.kind == "too_long"


def test_what_a_batch_took_is_paid_once_by_whoever_reads_it(protocol: Protocol) -> None:
    server, rows, purse = echo(protocol), Rows(), Purse()
    server.polls = 10**9

    def stopped(found: int) -> None:
        if server.batches:
            raise Temporary("stopped")

    with serve_openai(server) as served:
        with pytest.raises(Temporary):
            run(server, served.url, requests_of(3), rows, stopped, purse)
        assert purse.paid == Usage()
        server.polls = 1
        run(server, served.url, requests_of(3), rows, purse=purse)
    assert (purse.paid.calls, purse.paid.input_tokens, round(purse.paid.cost_usd, 9)) == (3, 300, 360e-6)


def test_no_more_is_handed_in_than_there_is_money_for(protocol: Protocol) -> None:
    most = most_usd(protocol.config("http://127.0.0.1:1/v1", input_usd=1.0, output_usd=1.0), requests_of(1)[0].messages)
    assert most is not None
    server, purse = echo(protocol), Purse(most * 3.5)
    with serve_openai(server) as served:
        assert len(texts(run(server, served.url, requests_of(8), Rows(), purse=purse))) == 8
        assert [len(batch["items"]) for batch in server.batches.values()] == [2, 3, 3]
        with pytest.raises(OverBudget, match="max_usd"):
            run(server, served.url, requests_of(8), Rows(), purse=Purse(most / 2))
    assert server.items == 8 and purse.paid.calls == 8


def test_a_key_that_is_wrong_stops_the_run(protocol: Protocol) -> None:
    server = echo(protocol)
    server.fault = lambda call: protocol.fails(401)
    with serve_openai(server) as served, pytest.raises(UserError, match="key is missing"):
        run(server, served.url, requests_of(2), Rows())


def test_a_server_without_batches_is_said(protocol: Protocol) -> None:
    server = echo(protocol)
    server.fault = lambda call: protocol.fails(404)
    with serve_openai(server) as served, pytest.raises(UserError, match="has no batches; use `mode: live`"):
        run(server, served.url, requests_of(2), Rows())


@pytest.mark.parametrize("fault", [Answer(500), Answer(reset=True), Answer(200, b"<html>"), Answer(429), Answer(503)])
def test_a_burst_of_faults_pays_nothing_twice(protocol: Protocol, fault: Answer) -> None:
    server = echo(protocol)
    server.fault = lambda call: fault if call.number in (1, 2, 4, 7, 8, 11, 13) else None
    with serve_openai(server) as served:
        assert len(texts(run(server, served.url, requests_of(3), Rows()))) == 3
    assert server.items == 3


def test_a_batch_that_the_vendor_has_forgotten_is_asked_again(protocol: Protocol) -> None:
    server, rows = echo(protocol), Rows()
    with serve_openai(server) as served:
        run(server, served.url, requests_of(3), rows)
        server.batches.clear()
        assert len(texts(run(server, served.url, requests_of(3), rows))) == 3
    assert server.items == 3


def test_a_server_that_stays_away_ends_in_temporary_and_keeps_the_batch(protocol: Protocol) -> None:
    server, rows = echo(protocol), Rows()
    server.polls = 10**9
    server.fault = lambda call: Answer(500) if call.method == "GET" else None
    with serve_openai(server) as served:
        with pytest.raises(Temporary, match="what was handed in is kept"):
            run(server, served.url, requests_of(3), rows)
        server.fault, server.polls = lambda call: None, 1
        assert len(texts(run(server, served.url, requests_of(3), rows))) == 3
    assert server.items == 3


def test_many_requests_are_several_batches(protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REQUESTS", 2)
    server = echo(protocol)
    with serve_openai(server) as served:
        assert len(texts(run(server, served.url, requests_of(5), Rows()))) == 5
    assert [len(batch["items"]) for batch in server.batches.values()] == [2, 2, 1]


def test_a_judge_hands_in_all_transcripts_and_asks_again_live(protocol: Protocol, tmp_path: Path) -> None:
    def judge(call: Call) -> Answer:
        again = "could not be read" in protocol.prompt(call)
        if "Number 3" in protocol.prompt(call) and not again:
            return protocol.reply("I would say yes.")
        rows = {name: {"reason": "seen in exchange 1", "answer": "YES"} for name in protocol.schema(call)["properties"]}
        return protocol.reply(json.dumps(rows))

    server = BatchServer(protocol, judge)
    with serve_openai(server) as served:
        config = protocol.config(served.url, mode="batch", input_usd=1.0, output_usd=1.0)
        given = some_transcripts(tmp_path, 6)
        for _ in range(2):
            with live(tmp_path) as context:
                judged = judge_all(
                    LlmJudge(config, lambda name: name), SHORT_RUBRIC, given, context, concurrency=2, timeout_s=60
                )
            assert [verdict.status for verdict in judged] == ["scored"] * 6
    assert (len(server.batches), server.items, server.live) == (1, 6, 1)
    assert judged.spent.calls == 7 and judged.spent_now.calls == 0


def test_a_prompt_that_the_server_cut_silently_in_a_batch_gets_no_score(protocol: Protocol, tmp_path: Path) -> None:
    def judge(call: Call) -> Answer:
        rows = {name: {"reason": "seen in exchange 1", "answer": "YES"} for name in protocol.schema(call)["properties"]}
        return protocol.reply(json.dumps(rows))

    said = ("Hello.", "We looked at the kettle together and it drips near the spout. " * 250, "Good morning.")
    given = [Transcript(id=f"t{n}", exchanges=(Exchange(text, "Oh."),)) for n, text in enumerate(said)]
    with serve_openai(BatchServer(protocol, judge)) as served, live(tmp_path) as context:
        config = protocol.config(served.url, mode="batch", input_usd=1.0, output_usd=1.0)
        judged = judge_all(
            LlmJudge(config, lambda name: name), SHORT_RUBRIC, given, context, concurrency=2, timeout_s=60
        )
    assert [verdict.status for verdict in judged] == ["scored", "failed", "scored"]
    assert "cut the prompt silently" in judged[1].detail


def test_a_judge_that_refused_a_whole_batch_is_asked_again_when_it_is_mended(
    protocol: Protocol, tmp_path: Path
) -> None:
    server = BatchServer(protocol, lambda call: protocol.reply("I would rather not."))
    given = some_transcripts(tmp_path, 4)
    with serve_openai(server) as served:
        config = protocol.config(served.url, mode="batch", input_usd=1.0, output_usd=1.0)

        def judge_in_batch() -> list[str]:
            with live(tmp_path) as context:
                judge = LlmJudge(config, lambda name: name)
                found = judge_all(
                    judge, SHORT_RUBRIC, given, context, concurrency=2, timeout_s=60, max_unreadable=0.0
                )  # fmt: skip
            return [verdict.status for verdict in found]

        with pytest.raises(UserError, match="got no readable answer"):
            judge_in_batch()
        assert (len(server.batches), server.items) == (1, 4)
        server.answer = lambda call: protocol.reply(json.dumps({
            name: {"reason": f"seen in exchange 1 of {len(protocol.prompt(call))}", "answer": "YES"}
            for name in protocol.schema(call)["properties"]
        }))  # fmt: skip
        assert judge_in_batch() == ["scored"] * 4
    assert (len(server.batches), server.items) == (2, 8)
