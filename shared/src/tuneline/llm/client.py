"""The client of every model that one talks with: chat messages, over one attempt of a provider.

The judge and the simulated users call models through it; how often and how fast, `tuneline.llm.calls` decides. What is
said to a model is data, so control tokens are neutralised here::

    UserError      the configuration is wrong (key, model, address, quota): nothing is tried again
    LlmRejected    the server does not want this one request: too long, blocked, or invalid
    Temporary      no answer after all attempts; `ServerDown` when nothing has gone through for a while, `OverBudget`
                   when the call could cost more than the run may spend
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuneline.llm.calls import ONE_QUESTION, QUESTION_SECONDS, Calls, Patience
from tuneline.llm.config import AnthropicConfig, GoogleConfig, ModelConfig, OpenAiConfig, Secret
from tuneline.llm.control_tokens import neutralised
from tuneline.llm.prices import most_usd
from tuneline.llm.providers.provider import Provider, Reply, joined
from tuneline.llm.token_counts import was_cut
from tuneline.stage import Account, Json


class LlmClient:
    """Calls one model, from as many threads as you like; a context manager. See `Calls` for the settings."""

    def __init__(
        self, config: ModelConfig, secret: Secret, timeout_s: float, *, concurrency: int = 8,
        patience: Patience | None = None, account: Account | None = None,
    ) -> None:  # fmt: skip
        self.config, self._provider = config, _provider_of(config, secret, timeout_s)
        self._calls = Calls(config.address, timeout_s, concurrency, patience, account)
        self.pace = self._calls.pace

    @classmethod
    def for_one_question(cls, config: ModelConfig, secret: Secret, timeout_s: float) -> LlmClient:
        """Return a client by which a check asks whether a model answers: with little patience, and soon."""
        wait_s = min(timeout_s, QUESTION_SECONDS)
        return cls(config, secret, wait_s, concurrency=1, patience=ONE_QUESTION)

    def __enter__(self) -> LlmClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def complete(
        self, messages: Sequence[Mapping[str, str]], *, schema: Mapping[str, Json] | None = None, seed: int = 0
    ) -> Reply:
        """Ask for the next message; `schema` is a JSON schema that the answer is to follow.

        `seed` is added to the configured one. Raises UserError, LlmRejected or Temporary: see the module's docstring.
        """
        said, drawn = neutralised(messages), self.config.drawn_seed(seed)
        most = most_usd(self.config, said, schema)
        reply = self._calls.make(lambda: self._provider.send(said, schema, drawn), most)
        return compared(reply, said)

    def close(self) -> None:
        """Let no call begin any more, give those in flight some seconds to end, and hang up."""
        self._calls.close(self._provider.close)


def compared(reply: Reply, said: Sequence[Mapping[str, str]]) -> Reply:
    """Return a reply to these messages that says whether the server has read all of them."""
    return reply._replace(prompt_cut=was_cut(reply.input_tokens, "\n".join(map(joined, said))))


def _provider_of(config: ModelConfig, secret: Secret, timeout_s: float) -> Provider:
    """Return the provider of a configuration; only its own SDK is imported."""
    if isinstance(config, AnthropicConfig):
        from tuneline.llm.providers.anthropic import AnthropicProvider

        return AnthropicProvider(config, secret, timeout_s)
    if isinstance(config, GoogleConfig):
        from tuneline.llm.providers.google import GoogleProvider

        return GoogleProvider(config, secret, timeout_s)
    if isinstance(config, OpenAiConfig):
        from tuneline.llm.providers.openai import OpenAiProvider

        return OpenAiProvider(config, secret, timeout_s)
    raise NotImplementedError(config.provider)
