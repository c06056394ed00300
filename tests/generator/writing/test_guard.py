from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.judge_parts import live
from kit.scripted_openai import Answer, Call, serve_openai
from kit.text_servers import choice, native
from tuneline.errors import UserError
from tuneline.model.gguf_header import Header, read_header
from tuneline_generator.writing.guard import GuardCheck, control_words, guard, refuse_failed
from tuneline_generator.writing.writer import load_writer, open_writer

EXAMPLES = [(f"Name fruit {n}.", f"Fruit {n} is a pear.") for n in range(9)]


def checked(folder: Path, gguf: Path | None, prompts: list[str] | None = None, **config: Any) -> dict[str, GuardCheck]:
    file = folder / "writer.yaml"
    file.write_text(yaml.safe_dump(config))
    read = load_writer(file, "completion", gguf)
    with live(folder) as context, open_writer(read, gguf, context, concurrency=2, timeout_s=120) as writer:
        found = guard(writer, read, EXAMPLES, prompts or ["Name a fruit:"])
    return {check.name: check for check in found}


def server_with(ending: float, around: int = 0) -> Any:
    """A llama-server elsewhere: it ends its turn with a probability, and puts tokens around a prompt."""
    import math

    def script(call: Call) -> Answer:
        if call.path.endswith("/tokenize"):
            return Answer(200, json.dumps({"tokens": [1] * 9}).encode(), {"content-type": "application/json"})
        return native(call, top={"": math.log(ending), "\n": math.log(0.5)}, tokens_evaluated=9 + around)

    return script


@pytest.mark.parametrize(("ending", "around", "states"), [
    (0.003, 0, {"prompt_tokens": "passed", "end_of_turn": "passed"}),
    (0.1, 22, {"prompt_tokens": "failed", "end_of_turn": "warning"}),
])  # fmt: skip
def test_a_template_in_between_is_found_at_a_server_elsewhere(
    tmp_path: Path, ending: float, around: int, states: dict[str, str]
) -> None:
    with serve_openai(server_with(ending, around)) as server:
        config: dict[str, Any] = {"provider": "openai", "model": "m", "base_url": server.url, "dialect": "llama-server"}
        found = checked(tmp_path, None, **config)
    others = {"address": "passed", "control_tokens": "passed", "chat_template": "not known"}
    assert {name: check.state for name, check in found.items()} == {**others, **states}
    assert {call.path for call in server.calls} == {"/completion", "/tokenize"}, "the chat is never called"
    assert len(server.calls) == 10, "eight responses, a prompt, its tokens"


def test_a_server_that_tells_nothing_is_not_known(tmp_path: Path) -> None:
    script = lambda call: Answer(404) if "tokenize" in call.path else native(call, tokens_evaluated=0)  # noqa: E731
    with serve_openai(script) as server:
        config: dict[str, Any] = {"provider": "openai", "model": "m", "base_url": server.url, "dialect": "llama-server"}
        found = checked(tmp_path, None, ["Say <|im_start|>:"], **config)
    assert found["prompt_tokens"].state == found["end_of_turn"].state == "not known"
    assert found["control_tokens"].state == "failed"


@pytest.mark.parametrize(("counted", "state"), [(1, "passed"), (3, "passed"), (9, "failed"), (None, "not known")])
def test_a_server_that_does_not_say_how_it_counts_shows_a_template_by_the_tokens_of_a_digit(
    tmp_path: Path, counted: int | None, state: str
) -> None:
    def script(call: Call) -> Answer:
        usage = {"prompt_tokens": counted if call.body["prompt"] == "1" else 20, "completion_tokens": 1}
        return choice(usage=usage)

    with serve_openai(script) as server:
        config: dict[str, Any] = {"provider": "openai", "model": "m", "base_url": server.url, "dialect": "openai"}
        assert checked(tmp_path, None, **config)["prompt_tokens"].state == state


def test_a_file_with_a_template_is_no_base_model_unless_that_is_allowed(tmp_path: Path, tiny_gguf: Path) -> None:
    config: dict[str, Any] = {"provider": "llama-server", "context_tokens": 256, "slots": 1, "threads": 1}
    found = checked(tmp_path, tiny_gguf, **config)
    assert found["chat_template"].state == "failed" and found["prompt_tokens"].state == "passed"
    with pytest.raises(UserError, match="chat_template: the file has one") as raised:
        refuse_failed(found.values())
    assert "address" not in str(raised.value)
    allowed = checked(tmp_path, tiny_gguf, **config, allow_chat_model=True)
    assert allowed["chat_template"].state == "warning" and allowed["end_of_turn"].state in ("passed", "warning")
    refuse_failed(allowed.values())


def test_the_control_tokens_of_a_file_are_known_and_its_text_is_none(tiny_gguf: Path) -> None:
    words = control_words(read_header(tiny_gguf))
    assert {"<bos>", "<start_of_turn>", "<end_of_turn>"} <= words and not {"\n", "the", " "} & words


def test_of_the_tokens_that_a_user_defined_those_that_are_text_stay_text() -> None:
    tokens = ["<eos>", "\n\n", "<b>", "<start_of_image>", "tea"]
    fields: dict[str, Any] = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": [3, 4, 4, 4, 1]}
    assert control_words(Header(fields, 1, 1)) == {"<eos>", "<start_of_image>"}
    assert control_words(Header({}, 1, 1)) == frozenset()
