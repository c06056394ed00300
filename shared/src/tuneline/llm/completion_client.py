"""The client of models that go on with a text, with the retries, pace and money of every other call."""

from __future__ import annotations

from collections.abc import Iterable

from tuneline.errors import LlmRejected, UserError
from tuneline.llm.calls import Calls, Patience
from tuneline.llm.completion import Completion, CompletionConfig, Sampler, body_of, refuse_unsayable
from tuneline.llm.config import Secret
from tuneline.llm.control_tokens import neutralise
from tuneline.llm.prices import most_usd
from tuneline.llm.providers.completions import CompletionProvider
from tuneline.stage import Account

QUESTION = "Question: Is water wet?\nAnswer:"
"""What a server is asked before anything is paid: it shows that it takes our requests, whatever it says."""


class CompletionClient:
    """Calls one model, from as many threads as you like; a context manager. See `Calls` for the settings."""

    def __init__(
        self, config: CompletionConfig, secret: Secret, timeout_s: float, *, concurrency: int = 8,
        patience: Patience | None = None, account: Account | None = None,
    ) -> None:  # fmt: skip
        self.config, self._provider = config, CompletionProvider(config, secret, timeout_s)
        self._calls = Calls(config.address, timeout_s, concurrency, patience, account)

    def __enter__(self) -> CompletionClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def complete(self, prompt: str, sampler: Sampler, *, seed: int, top_logprobs: int = 0) -> Completion:
        """Go on with `prompt`; `seed` is added to the configured one, `top_logprobs` first tokens are listed.

        Control tokens that the prompt spells are neutralised: it is data. Raises UserError, LlmRejected or Temporary
        as `LlmClient` does, and UserError for a setting that the dialect cannot say or the server passed over.
        """
        refuse_unsayable(self.config, sampler)
        said = neutralise(prompt)
        body = body_of(self.config, said, sampler, self.config.drawn_seed(seed), top_logprobs)
        priced = self.config.model_copy(update={"max_tokens": sampler.max_tokens})
        most = most_usd(priced, [{"content": said}])
        return self._calls.make(lambda: self._provider.send(body, sampler.stop), most)

    def preflight(self, samplers: Iterable[Sampler], *, top_logprobs: int = 0) -> None:
        """Ask for one token with each sampler, so that a server that cannot do it is known before anything is paid.

        Raises UserError when it takes no such request, passes over a setting, or lists no log-probabilities.
        """
        for sampler in dict.fromkeys(it.model_copy(update={"max_tokens": 1}) for it in samplers):
            try:
                answer = self.complete(QUESTION, sampler, seed=0, top_logprobs=top_logprobs)
            except LlmRejected as e:
                asked = f"a short question{' with log-probabilities' if top_logprobs else ''}"
                raise UserError(f"{self._named} does not take {asked} ({e}); check `dialect`") from None
            if answer.text.startswith(QUESTION):
                raise UserError(f"{self._named} repeats the prompt before it goes on; use another server")
            if top_logprobs and not answer.top:
                raise UserError(f"{self._named} lists no log-probabilities; check `dialect`, or use another server")

    def tokens_of(self, prompt: str) -> list[int] | None:
        """Return the ids of a prompt as the server makes them, special ones included; None where it does not say.

        Raises UserError or Temporary as `complete` does.
        """
        said = neutralise(prompt)
        return self._calls.make(lambda: self._provider.tokenize(said), 0.0).ids

    @property
    def _named(self) -> str:
        return f"model {self.config.model} at {self.config.url}"

    def close(self) -> None:
        """Let no call begin any more, give those in flight some seconds to end, and hang up."""
        self._calls.close(self._provider.close)
