"""How batches end that do not end well, at all vendors: failed, cancelled, refused, crowded, in another order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.batches import Purse, Rows, echo, requests_of, run, texts
from kit.judge_parts import SHORT_RUBRIC, live, some_transcripts
from kit.scripted_batches import BatchServer
from kit.scripted_openai import Answer, Call, serve_openai
from kit.scripted_vendors import Protocol
from tuneline.errors import OverBudget, Temporary, UserError
from tuneline.judge.by_model import LlmJudge
from tuneline.judge.judging import judge_all
from tuneline.llm.batches import openai
from tuneline.llm.batches import run as module
from tuneline.llm.prices import most_usd

ALL = [f"number {n}< /s>" for n in range(4)]


FAILED = {"openai": "failed billing_hard_limit_reached", "google": "failed 7"}


def test_a_batch_that_the_vendor_did_not_take_is_not_waited_for_again(protocol: Protocol) -> None:
    if protocol.provider not in FAILED:
        pytest.skip("a batch of Anthropic is taken as a whole or not at all")
    server, rows = echo(protocol), Rows()
    server.end = lambda items: FAILED[protocol.provider]
    with serve_openai(server) as served:
        if protocol.provider == "google":  # whose SDK does not hand on the reason
            with pytest.raises(Temporary, match="4 of 4 requests got no answer in 3 batches"):
                run(server, served.url, requests_of(4), rows)
        else:
            with pytest.raises(UserError, match="a failed batch billing_hard_limit_reached: check `model` and the acc"):
                run(server, served.url, requests_of(4), rows)
        failed = len(server.batches)
        server.end = lambda items: ""
        assert texts(run(server, served.url, requests_of(4), rows)) == ALL
    assert len(server.batches) == failed + 1


def test_a_queue_without_room_for_so_many_tokens_gets_smaller_batches(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_CROWDED", 1)
    server = echo(protocol)
    if protocol.provider == "openai":  # says so when it has looked at the batch
        server.end = lambda items: "failed token_limit_exceeded" if len(items) > 2 else ""
        monkeypatch.setattr(openai, "CROWDED_S", 0.0)
    else:
        server.fault = lambda call: protocol.fails(429) if len(call.raw) > 1_500 and call.method == "POST" else None
    with serve_openai(server) as served:
        assert texts(run(server, served.url, requests_of(4, {"type": "object", "title": "x" * 300}), Rows())) == ALL
    assert [len(batch["items"]) for batch in server.batches.values()][-2:] == [2, 2]


def test_a_vendor_that_takes_one_batch_at_a_time_gets_one_at_a_time(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_REQUESTS", 2)
    server = echo(protocol)

    def busy(call: Call) -> Answer | None:
        hands_in = call.method == "POST" and "files" not in call.path
        open_ones = sum(batch["polls"] < server.polls for batch in server.batches.values())
        return protocol.fails(429) if hands_in and open_ones else None

    server.fault = busy
    with serve_openai(server) as served:
        assert texts(run(server, served.url, requests_of(4), Rows())) == ALL
    assert [len(batch["items"]) for batch in server.batches.values()] == [2, 2]


def test_a_batch_that_somebody_cancelled_stops_the_run_and_the_next_one_hands_in_the_rest(protocol: Protocol) -> None:
    def half(call: Call) -> Answer | None:
        done = len(server.batches) > 1 or any(f"number {n}" in protocol.prompt(call) for n in (0, 2))
        return protocol.reply(protocol.prompt(call).strip()) if done else None

    server, rows, purse = BatchServer(protocol, half), Rows(), Purse()
    server.end = lambda items: "cancelled"
    with serve_openai(server) as served:
        with pytest.raises(UserError, match=r"batch0 was cancelled at .* when 2 of its 4 requests had an answer"):
            run(server, served.url, requests_of(4), rows, purse=purse)
        assert len(server.batches) == 1
        server.end = lambda items: ""
        assert texts(run(server, served.url, requests_of(4), rows, purse=purse)) == ALL
    assert [len(batch["items"]) for batch in server.batches.values()] == [4, 2]
    assert purse.paid.calls == 4, "what the cancelled one answered is counted once"


def test_requests_that_our_account_is_too_poor_for_are_asked_again_when_it_is_not(protocol: Protocol) -> None:
    poor = {
        "openai": (429, "insufficient_quota"), "anthropic": (402, "billing_error"), "google": (403, "PERMISSION_DENIED")
    }[protocol.provider]  # fmt: skip

    def some(call: Call) -> Answer:
        if len(server.batches) == 1 and "number 3" in protocol.prompt(call):
            return protocol.fails(*poor)
        return protocol.reply(protocol.prompt(call).strip())

    server, rows = BatchServer(protocol, some), Rows()
    with serve_openai(server) as served:
        with pytest.raises(UserError, match=r"money|may not use"):
            run(server, served.url, requests_of(4), rows)
        assert texts(run(server, served.url, requests_of(4), rows)) == ALL
    assert [len(batch["items"]) for batch in server.batches.values()] == [4, 1]


@pytest.mark.parametrize("echoes", [True, False])
def test_answers_find_their_requests_in_any_order_and_strange_lines_are_passed_over(
    protocol: Protocol, echoes: bool
) -> None:
    server = echo(protocol)
    server.echoes = echoes
    server.more_lines = [
        {"custom_id": "nobody", "result": {"type": "expired"}, "response": None, "error": None},
        {"custom_id": 7}, {"id": "x"},
    ]  # fmt: skip
    with serve_openai(server) as served:
        assert texts(run(server, served.url, requests_of(4), Rows())) == ALL
    assert server.items == 4


def test_an_error_beside_an_answer_does_not_cost_the_answer(protocol: Protocol) -> None:
    if protocol.provider != "openai":
        pytest.skip("only OpenAI has a file of errors")
    server = echo(protocol)
    with serve_openai(server) as served:
        rows = Rows()
        run(server, served.url, requests_of(4), rows)
        [key] = [key for key, row in rows.items() if row["requests"]]
        server.more_lines = [{"custom_id": one, "response": {"status_code": 500}} for one in rows[key]["requests"]]
        assert texts(run(server, served.url, requests_of(4), rows)) == ALL
    assert server.items == 4


REFUSALS = {
    "openai": (400, "unsupported_value", "Unsupported value: 'temperature' does not support 0 with this model."),
    "anthropic": (400, "invalid_request_error", "output_config.format: this model does not support structured output"),
    "google": (400, "INVALID_ARGUMENT", "JSON schema is not supported by this model: response_json_schema"),
}


def test_a_field_that_the_model_refuses_is_left_out_of_the_next_batch(protocol: Protocol) -> None:
    def field(body: dict[str, Any]) -> object:
        return {
            "openai": body.get("temperature"), "anthropic": body.get("output_config"),
            "google": body.get("generationConfig", {}).get("responseJsonSchema"),
        }[protocol.provider]  # fmt: skip

    def some(call: Call) -> Answer:
        if field(call.body) is not None:
            return protocol.fails(*REFUSALS[protocol.provider])
        return protocol.reply(protocol.prompt(call).strip())

    server = BatchServer(protocol, some)
    with serve_openai(server) as served:
        assert texts(run(server, served.url, requests_of(4, {"type": "object"}), Rows())) == ALL
    assert [len(batch["items"]) for batch in server.batches.values()] == [4, 4]


def test_a_server_that_answers_something_else_to_batches_is_said_to_have_none(protocol: Protocol) -> None:
    server = echo(protocol)
    server.fault = lambda call: Answer(200, b'{"error": "Unexpected endpoint or method"}')
    with serve_openai(server) as served, pytest.raises(UserError, match=r"takes no batches .* use `mode: live`"):
        run(server, served.url, requests_of(2), Rows())


def test_what_an_ended_batch_took_is_counted_once_however_often_the_run_is_stopped(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_REQUESTS", 2)
    server, rows, purse = echo(protocol), Rows(), Purse()

    def stopped(found: int) -> None:
        if found == 2:
            raise Temporary("stopped")

    with serve_openai(server) as served:
        for _ in range(2):
            with pytest.raises(Temporary, match="the batch goes on at its vendor"):
                run(server, served.url, requests_of(4), rows, stopped, purse)
        assert texts(run(server, served.url, requests_of(4), rows, purse=purse)) == ALL
    assert (server.items, purse.paid.calls) == (4, 4)


def test_a_batch_that_did_not_arrive_is_not_taken_for_its_twin(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_REQUESTS", 2)
    server, failing = echo(protocol), [True]

    def once(call: Call) -> Answer | None:
        if call.method == "POST" and "files" not in call.path and len(server.batches) == 1 and failing:
            failing.clear()
            return Answer(500)
        return None

    server.fault = once
    with serve_openai(server) as served:
        assert texts(run(server, served.url, requests_of(4), Rows())) == ALL
    assert [len(batch["items"]) for batch in server.batches.values()] == [2, 2]


def test_answers_that_are_here_when_the_money_ends_are_judged_all_the_same(protocol: Protocol, tmp_path: Path) -> None:
    def judge(call: Call) -> Answer:
        seen = {"reason": f"seen in exchange 1 of {len(protocol.prompt(call))}", "answer": "YES"}
        return protocol.reply(json.dumps(dict.fromkeys(protocol.schema(call)["properties"], seen)))

    server = BatchServer(protocol, judge)
    given = some_transcripts(tmp_path, 6)
    with serve_openai(server) as served:
        config = protocol.config(served.url, mode="batch", input_usd=1.0, output_usd=1.0, max_tokens=200)
        asking = LlmJudge(config, lambda name: name).request(SHORT_RUBRIC, given[0], again=False)
        assert asking is not None
        most = most_usd(config, asking.messages, asking.schema)
        assert most is not None

        def judge_within(limit_usd: float) -> list[str]:
            with live(tmp_path) as context:
                context.account = lambda role, model: Purse(limit_usd)  # type: ignore[method-assign,assignment,return-value]
                found = judge_all(
                    LlmJudge(config, lambda name: name), SHORT_RUBRIC, given, context, concurrency=2, timeout_s=60
                )
            return [verdict.status for verdict in found]

        with pytest.raises(OverBudget, match="max_usd"):
            judge_within(most * 1.02)
        assert 1 <= server.items < 6
        server.batches = {name: {**batch, "polls": -(10**9)} for name, batch in server.batches.items()}  # never to end
        handed_in = server.items
        assert judge_within(1e9) == ["scored"] * 6
    assert server.items == 6 and handed_in < 6, "what was answered was journalled, nobody waits for its batch"
