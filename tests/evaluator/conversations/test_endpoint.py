"""An arm that is served elsewhere: odd servers, what is paid once, and what cannot be verified."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml

from kit.evaluator_parts import SETTINGS, personas
from kit.judge_parts import live
from kit.scripted_openai import Answer, Call, ScriptedOpenAI, completion, error, serve_openai
from tuneline.data.conversations import Conversation
from tuneline.errors import UserError
from tuneline.judge.simulators.scripted import ScriptedSimulator
from tuneline.model.llama_cpp import Placement
from tuneline.parsing.yaml import read_yaml
from tuneline_evaluator.conversations.arms import Terms, read_arm, unequal_facts, unverified_facts
from tuneline_evaluator.conversations.ask import ask, models_of
from tuneline_evaluator.conversations.endpoint import EndpointConfig, load_endpoint, open_endpoint
from tuneline_evaluator.conversations.talk import Line, Plan, talk

PLAN = Plan(turns=2, seed=1, sampler=SETTINGS.sampler, exact=False, context_tokens=4096, system_prompt="Be kind.")


def config_of(folder: Path, url: str, options: Mapping[str, bool] | None = None, **settings: object) -> EndpointConfig:
    file = folder / "endpoint.yaml"
    file.write_text(yaml.safe_dump({"provider": "openai", "model": "m", "base_url": url, **settings}))
    return load_endpoint(read_yaml(file), SETTINGS.sampler, options or {})


def talk_to(folder: Path, server: ScriptedOpenAI, plan: Plan = PLAN) -> Conversation:
    config = config_of(folder, server.url)
    with live(folder) as context, open_endpoint(config, context, timeout_s=60, concurrency=1) as endpoint:
        return talk(Line(endpoint, Event()), plan, personas(1)[0], 0, "base", ScriptedSimulator(), None)


def test_an_endpoint_gets_the_same_messages_seeds_and_sampler_as_an_arm_of_ours(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion(f" Answer {call.number}. ")) as server:
        row = talk_to(tmp_path, server)
    assert (row.status, [e.assistant for e in row.exchanges]) == ("complete", [" Answer 0. ", " Answer 1. "])
    first, second = (call.body for call in server.calls)
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "user"]
    assert (first["seed"], second["seed"]) == (row.seed, row.seed + 1)
    drawn = {name: first[name] for name in ("temperature", "top_p", "top_k", "min_p", "max_tokens")}
    assert drawn == {"temperature": 0.7, "top_p": 0.95, "top_k": 40, "min_p": 0.05, "max_tokens": 64}
    facts = row.answers[0]
    assert (facts.model, facts.left_out, facts.prompt_tokens, facts.answer_tokens) == ("m", (), 100, 20)


def test_no_answer_is_paid_twice(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion("Yes.")) as server:
        first = talk_to(tmp_path, server)
        assert talk_to(tmp_path, server) == first
        assert len(server.calls) == 2
        another = PLAN.model_copy(update={"sampler": SETTINGS.sampler.model_copy(update={"temperature": 0.0})})
        assert another != PLAN
    assert sum(answer.paid.calls for answer in first.answers if answer.paid) == 2


def only_temperature(call: Call) -> Answer:
    """A server as OpenAI's own: it names the first field that it does not know."""
    for name in ("top_k", "min_p", "seed"):
        if name in call.body:
            return error(400, "unknown_parameter", f"Unknown parameter: '{name}'.")
    return completion("Yes.")


def test_what_a_server_does_not_take_is_left_out_and_remembered_with_the_answer(tmp_path: Path) -> None:
    with serve_openai(only_temperature) as server:
        row = talk_to(tmp_path, server)
    assert row.status == "complete"
    assert [answer.left_out for answer in row.answers] == [("min_p", "seed", "top_k")] * 2
    assert server.calls[-1].body.keys() == {"model", "messages", "max_tokens", "temperature", "top_p"}


def test_a_thinking_switch_is_sent_as_the_run_has_it(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion("Yes.")) as server:
        config = config_of(tmp_path, server.url, {"enable_thinking": False})
        with live(tmp_path) as context, open_endpoint(config, context, timeout_s=60, concurrency=1) as endpoint:
            endpoint.answer([{"role": "user", "content": "Hello."}], 1)
    assert server.calls[0].body["chat_template_kwargs"] == {"enable_thinking": False}


def bare(text: str) -> Answer:
    body = {"choices": [{"message": {"role": "assistant", "content": text}}]}
    return Answer(200, json.dumps(body).encode(), {"content-type": "application/json"})


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (completion("<think>She asks about seeds.</think>\n\nIn May."), "complete", "In May."),
        (completion("<think>She asks", finish="length"), "empty", ""),
        (completion(None, refusal="I will not."), "empty", ""),
        (completion(""), "empty", ""),
        (error(400, "content_filter"), "empty", ""),
        (bare("In May."), "complete", "In May."),
        (error(400, "context_length_exceeded"), "overflow", None),
        (error(400, "invalid_request_error"), "broken", None),
    ],
)
def test_an_odd_answer_ends_a_conversation_as_what_it_is(
    tmp_path: Path, answer: Answer, status: str, said: str | None
) -> None:
    with serve_openai(lambda call: answer) as server:
        row = talk_to(tmp_path, server, PLAN.model_copy(update={"turns": 1}))
    assert row.status == status
    assert [e.assistant for e in row.exchanges] == ([] if said is None else [said])


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (error(401, "invalid_api_key"), "HTTP 401 invalid_api_key: the key is missing or wrong"),
        (error(404, "model_not_found", "The model `m` does not exist"), "check `model`"),
    ],
)
def test_a_server_that_takes_no_request_at_all_ends_the_stage_with_the_way_out(
    tmp_path: Path, answer: Answer, problem: str
) -> None:
    with serve_openai(lambda call: answer) as server, pytest.raises(UserError, match=problem):
        talk_to(tmp_path, server)


def test_a_server_that_wants_fewer_calls_is_asked_again(tmp_path: Path) -> None:
    with serve_openai(lambda call: error(429, retry_after="0") if call.number == 0 else completion("Yes.")) as server:
        assert talk_to(tmp_path, server).status == "complete"


def test_a_conversation_that_outgrows_the_context_is_not_sent(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion("word " * 40)) as server:
        row = talk_to(tmp_path, server, PLAN.model_copy(update={"context_tokens": 100}))
    assert (row.status, len(server.calls)) == ("overflow", 1)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"temperature": 0.2},
            "endpoint.yaml:4: temperature: all arms answer alike; set the evaluator's `sampler.temp",
        ),
        ({"max_tokens": 9}, "set the evaluator's `sampler.max_answer_tokens`"),
        ({"seed": 1}, "set the evaluator's `seed`"),
        ({"sampler": {}}, "set the evaluator's `sampler`"),
        ({"mode": "batch"}, "only a judge can use `batch`"),
        ({"provider": "anthropic"}, "provider: unknown"),
        ({"api_key": "k"}, "unknown key"),
    ],
)
def test_settings_of_the_comparison_do_not_belong_to_one_arm(
    tmp_path: Path, settings: Mapping[str, Any], problem: str
) -> None:
    with pytest.raises(UserError) as caught:
        config_of(tmp_path, "http://127.0.0.1:9/v1", **settings)
    assert problem in str(caught.value)


def test_of_an_endpoint_and_of_a_file_that_we_did_not_make_it_is_said_what_nobody_knows(
    tmp_path: Path, tiny_gguf: Path
) -> None:
    config_of(tmp_path, "http://127.0.0.1:9/v1")
    terms = Terms("0.5.0", Placement(), 2048, SETTINGS.sampler, {})
    endpoint = read_arm("base", tmp_path / "endpoint.yaml", None, "", terms).facts
    file = read_arm("finetuned", tiny_gguf, None, "00" * 32, terms).facts
    assert endpoint.name == "m at 127.0.0.1:9"
    assert {"architecture", "parameters", "template_sha256", "server"} <= set(unverified_facts(endpoint))
    assert unverified_facts(file) == ["converter", "llama_cpp", "base_model", "imatrix"]
    assert (file.file_type, file.architecture) == ("F16", "gemma2")
    assert unequal_facts(endpoint, file) == []


def listing(call: Call, *models: Mapping[str, object], texts: tuple[str, str] = ("Yes.", "Yes.")) -> Answer:
    if call.path.endswith("/models"):
        return Answer(200, json.dumps({"data": models}).encode(), {"content-type": "application/json"})
    return completion(texts[call.number % 2])


def test_a_check_shows_what_an_endpoint_is(tmp_path: Path) -> None:
    def secret(name: str) -> str:
        return "k"

    with serve_openai(lambda call: listing(call, {"id": "m", "max_model_len": 1024})) as server:
        config = config_of(tmp_path, server.url)
        seen = ask(config, secret, 5, "Be kind.")
        assert (seen.model, seen.repeats, [tuple(one) for one in seen.listed]) == ("m", True, [("m", 1024)])
        assert seen.problems(config, 1024, system=True) == []
        with pytest.raises(UserError, match="a context of 1,024 tokens, and the arms are to have 4,096"):
            seen.problems(config, 4096, system=True)
        server.script = lambda call: listing(call, {"id": "other"}, texts=("Yes.", "No."))
        problems = ask(config, secret, 5, None).problems(config, 4096, system=False)
        assert ["none of the models that its server lists (other)" in problems[0], len(problems)] == [True, 2]
        assert "in two ways" in problems[1]
        server.script = lambda call: error(404) if call.path.endswith("/models") else only_temperature(call)
        [problem] = ask(config, secret, 5, None).problems(config, 4096, system=False)
        assert "does not take min_p, seed, top_k" in problem
        for garbage in (b"<html>", b"[]", b'{"data": 3}', b'{"data": [{"id": 4}]}'):
            server.script = lambda call, body=garbage: Answer(200, body, {"content-type": "application/json"})  # type: ignore[misc]
            assert models_of(config, secret, 5) == []
