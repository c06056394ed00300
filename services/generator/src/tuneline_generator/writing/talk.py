"""How a model is talked with: what its server is told of a sampler, and its answer as a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tuneline.errors import LlmRejected
from tuneline.llm.completion import ORDER, Completion, CompletionConfig, Finish, Sampler
from tuneline.llm.config import AnthropicConfig, ModelConfig, OpenAiConfig
from tuneline.llm.thoughts import plain_answer
from tuneline.llm.token_counts import CUT
from tuneline.stage import Json

if TYPE_CHECKING:
    from tuneline.llm.providers.provider import Reply

_ENDS: Mapping[str, Finish] = {"length": "length", "context": "length", "content_filter": "content_filter"}


class TalkConfig(OpenAiConfig):
    """A model behind OpenAI's chat completions, with more of a sampler than its temperature."""

    sampler: Sampler
    context_tokens: int = 0
    """Of a llama-server, which knows all of a sampler by its own names; 0 for others."""

    @property
    def sampling(self) -> dict[str, Json]:
        drawn = super().sampling | ({} if self.sampler.top_p == 1 else {"top_p": self.sampler.top_p})
        if not self.context_tokens:
            return drawn
        return drawn | {
            "top_k": 0, "min_p": 0, "repeat_penalty": self.sampler.repetition_penalty,
            "repeat_last_n": self.context_tokens, "samplers": [*ORDER],
        }  # fmt: skip


def talking(config: ModelConfig, sampler: Sampler) -> ModelConfig:
    """Return the configuration of a chat with a sampler; what a model thinks first has room beside its answer."""
    context_tokens = 0
    if isinstance(config, CompletionConfig):  # a llama-server of ours
        base_url = f"{config.address.rstrip('/').removesuffix('/v1')}/v1"
        context_tokens = config.context_tokens
        config = OpenAiConfig(provider="openai", model=config.model, base_url=base_url, seed=config.seed)
    thinking = config.thinking if isinstance(config, AnthropicConfig) and isinstance(config.thinking, int) else 0
    changed: dict[str, object] = {"max_tokens": sampler.max_tokens + thinking}
    if sampler.temperature is not None:
        changed["temperature"] = sampler.temperature
    if isinstance(config, OpenAiConfig):
        with_all = {**config.model_dump(), **changed, "sampler": sampler, "context_tokens": context_tokens}
        return TalkConfig.model_validate(with_all)
    return config.model_copy(update=changed)


def untold(config: ModelConfig, samplers: Sequence[Sampler]) -> list[str]:
    """Return the settings of samplers that a server which is talked with is not told, because it has no word for them.

    Of Anthropic's models most refuse `top_p`, and OpenAI's protocol has no repetition penalty.
    """
    penal = any(sampler.repetition_penalty != 1 for sampler in samplers)
    cut = any(sampler.top_p != 1 for sampler in samplers) and not isinstance(config, OpenAiConfig)
    return [name for name, is_set in (("top_p", cut), ("repetition_penalty", penal)) if is_set]


def said(reply: Reply, sampler: Sampler) -> Completion:
    """Return an answer as a text. Raises LlmRejected for a refusal, a block, and a prompt that was cut."""
    code = f" ({reply.cause})" if reply.cause else ""
    if reply.prompt_cut:
        raise LlmRejected("too_long", CUT)
    if reply.refused:
        raise LlmRejected("refused", f"the model refused{code}")
    if reply.finish_reason == "content_filter":
        raise LlmRejected("blocked", f"the server's filter blocked the answer{code}")
    text = plain_answer(reply.text)
    places = [(at, stop) for stop in sampler.stop if (at := text.find(stop)) >= 0]
    at, word = min(places, default=(len(text), ""))
    finish = "word" if places else _ENDS.get(reply.finish_reason, "stop")
    return Completion(
        text[:at], finish, word, reply.input_tokens, reply.output_tokens, reply.cost_usd,
        tokens_cached=reply.cached_tokens,
    )  # fmt: skip
