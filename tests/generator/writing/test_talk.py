"""What a server that is talked with is told of a sampler."""

from __future__ import annotations

import pytest

from tuneline.errors import LlmRejected
from tuneline.llm.completion import CompletionConfig, Sampler
from tuneline.llm.config import AnthropicConfig, GoogleConfig, OpenAiConfig
from tuneline.llm.providers.provider import Reply
from tuneline_generator.writing.talk import TalkConfig, said, talking, untold

DRAWN = Sampler(temperature=0.5, top_p=0.9, repetition_penalty=1.1, max_tokens=40)


def test_thoughts_have_room_beside_the_answer() -> None:
    config = AnthropicConfig(provider="anthropic", model="m", thinking=2048)
    assert talking(config, Sampler(max_tokens=100)) == config.model_copy(update={"max_tokens": 2148})


def test_a_server_of_openais_protocol_is_told_top_p_and_only_where_it_is_set() -> None:
    config = OpenAiConfig(provider="openai", model="m", base_url="http://h/v1", seed=7)
    told = talking(config, DRAWN)
    assert isinstance(told, TalkConfig) and told.sampling == {"temperature": 0.5, "top_p": 0.9}
    assert (told.max_tokens, told.seed, told.base_url) == (40, 7, "http://h/v1")
    plain = talking(config, Sampler(temperature=0.5))
    assert isinstance(plain, TalkConfig) and plain.sampling == {"temperature": 0.5}


def test_a_llama_server_of_ours_is_told_the_sampler_as_for_a_text() -> None:
    config = CompletionConfig(
        provider="openai", model="m", base_url="http://h", dialect="llama-server", context_tokens=512
    )
    told = talking(config, DRAWN)
    assert isinstance(told, TalkConfig) and told.base_url == "http://h/v1"
    assert told.sampling == {
        "temperature": 0.5, "top_p": 0.9, "top_k": 0, "min_p": 0, "repeat_penalty": 1.1, "repeat_last_n": 512,
        "samplers": ["penalties", "temperature", "top_p"],
    }  # fmt: skip


def test_an_answer_to_a_prompt_that_the_server_cut_is_none() -> None:
    reply = Reply("Hello.", "stop", False, 30, 5, 0, None, prompt_cut=True)
    with pytest.raises(LlmRejected, match="cut the prompt silently"):
        said(reply, Sampler())


def test_what_a_server_is_not_told_is_said() -> None:
    openai = OpenAiConfig(provider="openai", model="m")
    for config in (AnthropicConfig(provider="anthropic", model="m"), GoogleConfig(provider="google", model="m")):
        assert untold(config, [DRAWN]) == ["top_p", "repetition_penalty"] and not untold(config, [Sampler()])
    assert untold(openai, [Sampler(), DRAWN]) == ["repetition_penalty"] and not untold(openai, [Sampler(top_p=0.9)])
