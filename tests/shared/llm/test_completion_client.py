from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kit.judge_parts import CANARY
from kit.scripted_openai import Answer, Call, completion, error, serve_openai
from kit.text_servers import JSON, choice, native
from tuneline.errors import LlmRejected, OverBudget, Temporary, UserError
from tuneline.llm.calls import Patience
from tuneline.llm.completion import Completion, CompletionConfig, Sampler
from tuneline.llm.completion_client import CompletionClient
from tuneline.model.llama_server import Server, serve
from tuneline.stage import Usage

HASTY = Patience(first_wait_s=0.01, longest_wait_s=0.05, streak_s=0.2)
STOPS = ("\nInstruction", "\nQ:", "\n###", "\nUser:", "\nResponse:")
SAMPLER = Sampler(temperature=0.4, top_p=0.9, repetition_penalty=1.1, max_tokens=100, stop=STOPS)
PLAIN = Sampler(max_tokens=20)
PROMPT = f"Instruction: Name a fruit ({CANARY}).\nResponse:"


def no_secret(name: str) -> str:
    raise UserError(f"{name} is not set")


def config_of(url: str | None, dialect: str = "llama-server", **settings: Any) -> CompletionConfig:
    said = {"provider": "openai", "model": "m", "base_url": url, "dialect": dialect, "context_tokens": 2048}
    return CompletionConfig.model_validate({**said, **settings})


def ask(
    url: str | None, dialect: str, sampler: Sampler = PLAIN, *, top: int = 0, timeout_s: float = 60, **settings: Any
) -> Completion:
    config = config_of(url, dialect, **settings)
    with CompletionClient(config, no_secret, timeout_s, patience=HASTY) as client:
        return client.complete(PROMPT, sampler, seed=7, top_logprobs=top)


def answered(dialect: str) -> Callable[[Call], Answer]:
    return native if dialect == "llama-server" else lambda _: choice()


@pytest.fixture(params=["llama-server", "vllm", "openai"])
def dialect(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_llama_server_is_asked_in_its_own_words_and_in_the_order_of_others() -> None:
    with serve_openai(native) as server:
        ask(server.url, "llama-server", SAMPLER, top=1000)
    assert server.calls[0].path == "/completion"
    assert server.calls[0].body == {
        "prompt": PROMPT, "n_predict": 100, "temperature": 0.4, "top_p": 0.9, "top_k": 0, "min_p": 0,
        "repeat_penalty": 1.1, "repeat_last_n": 2048, "samplers": ["penalties", "temperature", "top_p"], "seed": 7,
        "stop": list(STOPS), "n_probs": 1000, "cache_prompt": False,
    }  # fmt: skip


def test_vllm_is_asked_in_its_own_words_and_for_as_many_log_probabilities_as_it_lists() -> None:
    with serve_openai(lambda _: choice()) as server:
        ask(server.url, "vllm", SAMPLER, top=1000)
    assert server.calls[0].path == "/v1/completions"
    assert server.calls[0].body == {
        "model": "m", "prompt": PROMPT, "max_tokens": 100, "temperature": 0.4, "top_p": 0.9, "top_k": -1, "min_p": 0,
        "repetition_penalty": 1.1, "seed": 7, "stop": list(STOPS), "logprobs": 20,
    }  # fmt: skip


def test_openai_is_asked_for_what_its_protocol_has() -> None:
    with serve_openai(lambda _: choice()) as server:
        ask(server.url, "openai", SAMPLER.model_copy(update={"repetition_penalty": 1.0}), top=1000)
        ask(server.url, "openai", seed=None)
    assert server.calls[0].body == {
        "model": "m", "prompt": PROMPT, "max_tokens": 100, "temperature": 0.4, "top_p": 0.9, "seed": 7,
        "stop": list(STOPS), "logprobs": 5,
    }  # fmt: skip
    assert server.calls[1].body == {
        "model": "m", "prompt": PROMPT, "max_tokens": 20, "temperature": 1.0, "top_p": 1.0
    }  # fmt: skip


@pytest.mark.parametrize(
    ("url", "dialect", "path"),
    [
        ("http://h:1", "vllm", "http://h:1/v1/completions"),
        ("http://h:1/v1/", "vllm", "http://h:1/v1/completions"),
        ("https://h/openai/v1", "openai", "https://h/openai/v1/completions"),
        ("http://h:1/v1", "llama-server", "http://h:1/completion"),
        ("http://h:1/prefix", "llama-server", "http://h:1/prefix/completion"),
        (None, "openai", "https://api.openai.com/v1/completions"),
    ],
)
def test_the_address_is_that_at_which_a_text_is_gone_on_with(url: str | None, dialect: str, path: str) -> None:
    assert config_of(url, dialect).url == path


def test_what_a_dialect_has_no_name_for_is_refused_before_any_call() -> None:
    with serve_openai(lambda _: choice()) as server, pytest.raises(UserError, match="cannot be said in the dialect"):
        ask(server.url, "openai", SAMPLER)
    assert not server.calls
    with (
        CompletionClient(config_of(None, "openai"), lambda _: "key", 5) as client,
        pytest.raises(UserError, match="at most 4 strings, there are 5"),
    ):
        client.complete(PROMPT, SAMPLER.model_copy(update={"repetition_penalty": 1.0}), seed=0)


def test_a_setting_that_llama_server_passed_over_stops_the_run_and_is_named() -> None:
    def passes_over(call: Call) -> Answer:
        used = {**call.body, "repeat_penalty": 1.0, "samplers": ["temperature"]}
        return native(call, generation_settings=used)

    with (
        serve_openai(passes_over) as server,
        pytest.raises(UserError, match="our repeat_penalty, samplers"),
    ):
        ask(server.url, "llama-server", SAMPLER)
    with (
        serve_openai(lambda call: native(call, generation_settings=None)) as server,
        pytest.raises(UserError, match=r"did not use our .*top_p"),
    ):
        ask(server.url, "llama-server", SAMPLER)
    assert len(server.calls) == 1


def test_text_end_tokens_and_cost_are_read_in_each_form() -> None:
    prices: dict[str, Any] = {"input_usd": 2.0, "output_usd": 8.0}
    expected = Completion(" Hello.", "word", "\nQ:", 9, 3, (9 * 2 + 3 * 8) / 1e6)
    with serve_openai(lambda call: native(call, stop_type="word", stopping_word="\nQ:")) as server:
        assert ask(server.url, "llama-server", **prices) == expected
    with serve_openai(lambda _: choice(stop_reason="\nQ:")) as server:
        assert ask(server.url, "vllm", **prices) == expected
    assert expected.usage == Usage(calls=1, input_tokens=9, output_tokens=3, cost_usd=4.2e-05)


@pytest.mark.parametrize(
    ("stop_type", "finish"), [("eos", "stop"), ("limit", "length"), ("word", "word"), ("none", "stop"), (None, "stop")]
)
def test_how_llama_servers_text_ended(stop_type: object, finish: str) -> None:
    with serve_openai(lambda call: native(call, stop_type=stop_type)) as server:
        assert ask(server.url, "llama-server").finish == finish


@pytest.mark.parametrize(
    ("said", "finish"),
    [
        ({"finish_reason": "stop"}, "stop"),
        ({"finish_reason": "stop", "stop_reason": 106}, "stop"),
        ({"finish_reason": "stop", "stop_reason": "\nQ:"}, "word"),
        ({"finish_reason": "length"}, "length"),
        ({"finish_reason": "content_filter"}, "content_filter"),
        ({"finish_reason": "stop_sequence"}, "word"),
        ({"finish_reason": None}, "stop"),
        ({"finish_reason": ["x"]}, "stop"),
    ],
)
def test_how_a_choice_ended(said: dict[str, Any], finish: str) -> None:
    with serve_openai(lambda _: choice(**said)) as server:
        assert ask(server.url, "vllm").finish == finish


def test_a_stop_string_that_a_server_passed_over_ends_the_text_all_the_same(dialect: str) -> None:
    text = " A pear.\n\nInstruction: Name a colour.\nResponse: Red."
    script = (lambda c: native(c, text)) if dialect == "llama-server" else lambda _: choice(text)
    with serve_openai(script) as server:
        read = ask(server.url, dialect, PLAIN.model_copy(update={"stop": STOPS}))
    assert (read.text, read.finish, read.word) == (" A pear.\n", "word", "\nInstruction")


TOP = {" no": -1.5, " yes": -0.5, "": -3.0}


@pytest.mark.parametrize("form", ["native", "older", "newer", "rows"])
def test_log_probabilities_are_read_in_every_form_likeliest_first(form: str) -> None:
    listed = [{"token": token, "logprob": value, "bytes": None} for token, value in TOP.items()]
    forms: dict[str, Callable[[Call], Answer]] = {
        "native": lambda call: native(call, top=TOP),
        "older": lambda _: choice(top=TOP),
        "newer": lambda _: choice(logprobs={"content": [{"token": " yes", "top_logprobs": listed}]}),
        "rows": lambda _: choice(logprobs={"top_logprobs": [listed]}),
    }
    with serve_openai(forms[form]) as server:
        read = ask(server.url, "llama-server" if form == "native" else "vllm", top=1000)
    assert read.top == ((" yes", -0.5), (" no", -1.5), ("", -3.0))


@pytest.mark.parametrize(
    "listed",
    [
        None, [], {}, "none", 3, [None], [[]], [{"top_logprobs": None}], [{"top_logprobs": {"a": "x"}}],
        [{"top_logprobs": [{"token": None, "logprob": -1}, {"token": "a"}, {"token": "b", "logprob": True}, 5]}],
        [{"top_logprobs": [{"token": "a", "logprob": math.nan}, {"token": "b", "logprob": -math.inf}]}],
        [{"top_logprobs": {"a": 10**400, "b": 0.5, "c": -(10**300), "d": None}}],
    ],
)  # fmt: skip
def test_what_cannot_be_a_log_probability_is_none(listed: object) -> None:
    with serve_openai(lambda call: native(call, completion_probabilities=listed)) as server:
        assert ask(server.url, "llama-server", top=5).top == ()
    for held in ({"content": listed}, {"top_logprobs": listed}, listed):
        with serve_openai(lambda _, held=held: choice(logprobs=held)) as server:  # type: ignore[misc]
            assert ask(server.url, "vllm", top=5).top == ()


def test_rounding_above_zero_is_certainty() -> None:
    with serve_openai(lambda _: choice(top={" yes": 1e-4})) as server:
        assert ask(server.url, "vllm", top=5).top == ((" yes", 0.0),)


def test_no_choice_and_no_text_are_an_empty_text() -> None:
    for body in (b'{"choices": []}', b'{"choices": [null]}', choice(None).body, choice("").body):
        with serve_openai(lambda _, body=body: Answer(200, body, JSON)) as server:  # type: ignore[misc]
            assert ask(server.url, "openai").text == ""


NONSENSE = [
    b"", b"{}", b"null", b"[]", b"<html>hello</html>", b'{"error": "busy"}', b'{"choices": "none"}',
    b'{"choices":[{"te', b'{"content": null}', b'{"content": ["a"], "choices": {"a": 1}}', completion("hello").body,
    choice(["a"]).body, choice({"text": "a"}).body, choice(7).body,
]  # fmt: skip


@pytest.mark.parametrize("nonsense", NONSENSE, ids=range(len(NONSENSE)))
def test_a_200_that_is_no_completion_is_tried_three_times_in_all(dialect: str, nonsense: bytes) -> None:
    good = answered(dialect)
    with serve_openai(lambda call: Answer(200, nonsense, JSON) if call.number < 2 else good(call)) as server:
        assert ask(server.url, dialect).text == " Hello."
    with (
        serve_openai(lambda _: Answer(200, nonsense, JSON)) as server,
        pytest.raises(Temporary, match=r"not a completion but .*, after 3 att"),
    ):
        ask(server.url, dialect)


@pytest.mark.parametrize("broken", [{"error": {"code": 502}}, {"finish_reason": "error"}, {"finish_reason": "abort"}])
def test_a_text_that_was_broken_off_is_asked_for_again(broken: dict[str, Any]) -> None:
    with serve_openai(lambda call: choice("half", **broken) if call.number == 0 else choice()) as server:
        assert ask(server.url, "vllm").text == " Hello."


@pytest.mark.parametrize(
    "fault", [error(500), error(503), error(429), error(408), Answer(reset=True), Answer(502, b"<html>", {})]
)
def test_a_burst_of_failures_is_survived(dialect: str, fault: Answer) -> None:
    good = answered(dialect)
    with serve_openai(lambda call: fault if call.number < 2 else good(call)) as server:
        assert ask(server.url, dialect).text == " Hello."
    assert len(server.calls) == 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (error(401), "key is missing or wrong"),
        (error(404), "check `model`"),
        (Answer(307, b"", {"location": "https://elsewhere.example/v1"}), "leads elsewhere"),
        (Answer(200, error(401, "invalid_api_key").body, JSON), "key is missing or wrong"),
    ],
)
def test_a_wrong_configuration_is_said_at_the_first_call(dialect: str, answer: Answer, words: str) -> None:
    with serve_openai(lambda _: answer) as server, pytest.raises(UserError, match=words):
        ask(server.url, dialect)
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("dialect", "said"),
    [
        ("vllm", "Requested sample logprobs of 20, which is greater than max allowed: 3"),
        ("openai", "Invalid value for 'logprobs': must be less than or equal to 3"),
    ],
)
def test_a_server_that_lists_fewer_tokens_is_asked_for_as_many_as_it_lists(dialect: str, said: str) -> None:
    def script(call: Call) -> Answer:
        many = call.body.get("logprobs", 0) > 3
        return error(400, message=said) if many else choice(top={" yes": -0.1, " no": -2.0})

    with serve_openai(script) as server:
        with CompletionClient(config_of(server.url, dialect), no_secret, 60, patience=HASTY) as client:
            client.preflight([PLAIN], top_logprobs=1000)
            assert len(client.complete(PROMPT, PLAIN, seed=0, top_logprobs=1000).top) == 2
        assert [call.body["logprobs"] for call in server.calls] == [20 if dialect == "vllm" else 5, 3, 3]
        server.script = lambda call: error(400, message="logprobs is not supported")
        with (
            CompletionClient(config_of(server.url, dialect), no_secret, 60, patience=HASTY) as client,
            pytest.raises(UserError, match="does not take a short question with log-probabilities"),
        ):
            client.preflight([PLAIN], top_logprobs=5)


def test_a_server_that_repeats_the_prompt_is_known_before_anything_is_paid() -> None:
    with (
        serve_openai(lambda call: choice(f"{call.body['prompt']} Yes")) as server,
        CompletionClient(config_of(server.url, "openai"), no_secret, 60, patience=HASTY) as client,
        pytest.raises(UserError, match="repeats the prompt"),
    ):
        client.preflight([PLAIN])


def completion_of(body: object) -> Callable[[Call], Answer]:
    return lambda _: Answer(200, json.dumps(body).encode())


def test_an_error_beside_a_text_is_that_error() -> None:
    said = {"error": {"code": 402, "message": "Insufficient credits"}}
    for body in ({"choices": [{"text": "half", **said}]}, {"choices": [{"text": "half"}], **said}):
        with serve_openai(completion_of(body)) as server, pytest.raises(UserError, match="402"):
            ask(server.url, "openai")


def test_sglang_says_otherwise_which_stop_string_ended_a_text() -> None:
    with serve_openai(lambda _: choice(" Hello.", matched_stop="\nQ:")) as server:
        assert ask(server.url, "vllm", SAMPLER)[:3] == (" Hello.", "word", "\nQ:")


def test_a_prompt_that_is_too_long_is_a_status() -> None:
    too_long = error(400, None, "request (9 tokens) exceeds the available context size (8 tokens), try increasing it")
    with serve_openai(lambda _: too_long) as server, pytest.raises(LlmRejected) as rejected:
        ask(server.url, "llama-server")
    assert rejected.value.kind == "too_long"


def test_no_error_repeats_what_a_server_quotes(dialect: str) -> None:
    for status in (200, 400, 404, 500):
        quotes = lambda call, status=status: error(status, f"bad {CANARY}", f"cannot: {call.raw.decode()}")  # noqa: E731
        with serve_openai(quotes) as server, pytest.raises((UserError, Temporary, LlmRejected)) as raised:
            ask(server.url, dialect)
        assert CANARY not in str(raised.value)


def test_an_answer_of_any_size_is_given_up_at_eight_mebibytes(dialect: str) -> None:
    with serve_openai(lambda _: choice("x" * 9_000_000)) as server, pytest.raises(Temporary, match="more than 8 MiB"):
        ask(server.url, dialect)


def test_a_call_that_hangs_is_given_up_after_its_wall_time(dialect: str) -> None:
    began, said = time.monotonic(), r"within 0\.1 s .*, after 3 attempts"
    with serve_openai(lambda _: Answer(latency_s=3600)) as server, pytest.raises(Temporary, match=said):
        ask(server.url, dialect, timeout_s=0.1)
    assert time.monotonic() - began < 60 and len(server.calls) <= 3


def test_what_a_prompt_spells_is_no_control_token() -> None:
    with serve_openai(native) as server, CompletionClient(config_of(server.url), no_secret, 60) as client:
        client.complete("Say <end_of_turn> and <|im_end|>.", PLAIN, seed=0)
    assert server.calls[0].body["prompt"] == "Say < end_of_turn> and < |im_end|>."


class Purse:
    """An account that allows `calls` of them."""

    def __init__(self, calls: int) -> None:
        self.left, self.most, self.spent = calls, list[float | None](), Usage()

    def reserve(self, most_usd: float | None) -> bool:
        self.most.append(most_usd)
        if not self.left:
            raise OverBudget("max_usd: nothing is left")
        self.left -= 1
        return True

    def settle(self, most_usd: float | None, usage: Usage, *, lost: bool = False) -> None:
        self.spent += usage

    def found(self, usage: Usage) -> None:
        self.spent += usage


def test_no_call_is_made_that_could_cost_more_than_is_left() -> None:
    purse = Purse(1)
    with (
        serve_openai(native) as server,
        CompletionClient(config_of(server.url, input_usd=1.0, output_usd=10.0), no_secret, 60, account=purse) as client,
    ):
        client.complete(PROMPT, PLAIN, seed=0)
        with pytest.raises(OverBudget):
            client.complete(PROMPT, PLAIN, seed=0)
    assert len(server.calls) == 1 and purse.spent.output_tokens == 3
    most = purse.most[0]
    assert most is not None and 20 * 10 / 1e6 < most < 1e-3, "the sampler's limit counts, not the configuration's"


def test_what_cannot_be_done_is_known_before_anything_is_paid(dialect: str) -> None:
    def preflight(script: Callable[[Call], Answer], samplers: list[Sampler], top: int = 0) -> list[Call]:
        with serve_openai(script) as server:
            with CompletionClient(config_of(server.url, dialect), no_secret, 60, patience=HASTY) as client:
                client.preflight(samplers, top_logprobs=top)
            return server.calls

    good = answered(dialect)
    calls = preflight(good, [PLAIN, PLAIN.model_copy(update={"max_tokens": 7}), Sampler(temperature=0.5)])
    assert [call.body["temperature"] for call in calls] == [1.0, 0.5], "a limit alone is no other sampler"
    assert all(call.body.get("max_tokens", call.body.get("n_predict")) == 1 for call in calls)
    with pytest.raises(UserError, match="lists no log-probabilities"):
        preflight(good, [PLAIN], top=10)
    with pytest.raises(UserError, match=r"does not take a short question \(HTTP 400"):
        preflight(lambda _: error(400, None, "no"), [PLAIN])


@pytest.mark.parametrize("wrong", [{"dialect": "tgi"}, {"mode": "batch"}, {"context_tokens": 0}, {"surprise": 1}])
def test_a_configuration_is_closed(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config_of("http://127.0.0.1:1", **wrong)


def test_what_a_text_depends_on_is_told_without_what_is_not_used() -> None:
    one, other = config_of(None, "vllm", temperature=0.1, max_tokens=5), config_of(None, "vllm", output_usd=1.0)
    assert one.identity == other.identity
    assert one.identity != config_of(None, "openai").identity


@pytest.fixture
def server(tiny_gguf: Path, tmp_path: Path) -> Iterator[Server]:
    with serve(tiny_gguf, context_tokens=256, slots=2, threads=1, log=tmp_path / "server.log") as server:
        yield server


def test_the_real_llama_server_uses_what_it_is_sent(server: Server) -> None:
    config = config_of(server.url, context_tokens=256)
    with CompletionClient(config, no_secret, 60) as client:
        client.preflight([SAMPLER, Sampler(temperature=0)], top_logprobs=50)
        sampler = SAMPLER.model_copy(update={"max_tokens": 8})
        read = client.complete("Instruction: Say hello.\nResponse:", sampler, seed=3, top_logprobs=10)
        again = client.complete("Instruction: Say hello.\nResponse:", sampler, seed=3, top_logprobs=10)
        with pytest.raises(LlmRejected) as rejected:
            client.complete("word " * 2000, sampler, seed=3)
    assert read == again and len(read.top) == 10 and 1 <= read.tokens_out <= 8 and read.cost_usd == 0
    assert sum(math.exp(value) for _, value in read.top) <= 1.001
    assert rejected.value.kind == "too_long"


def test_the_other_form_of_the_real_llama_server_is_read_too(server: Server) -> None:
    with CompletionClient(config_of(f"{server.url}/v1", "openai"), no_secret, 60) as client:
        read = client.complete("Instruction: Say hello.\nResponse:", Sampler(max_tokens=4), seed=3, top_logprobs=5)
    assert len(read.top) == 5 and read.tokens_in > 0
