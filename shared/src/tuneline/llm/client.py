"""A client for any server that speaks OpenAI's chat completions: OpenAI itself, vLLM, llama-server and others.

The judge, the simulated users and the evaluator all call models through it. The SDK's own retries are off: there is one
retry layer, here, and it knows what may have been paid::

    UserError      the configuration is wrong (key, model, address, quota): nothing is tried again
    LlmRejected    the server does not want this one request: too long, blocked, or invalid
    Temporary      no answer after all attempts; `ServerDown` when nothing has gone through for a while
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any, NamedTuple, TypeVar, cast

from openai import APIError, AsyncOpenAI, DefaultAsyncHttpxClient, Timeout
from openai.types.chat import ChatCompletionMessageParam

from tuneline.errors import Fault, LlmRejected, ServerDown, Stopped, Temporary
from tuneline.llm.config import LlmConfig, Secret
from tuneline.llm.faults import fault_of
from tuneline.llm.limits import AdaptiveLimit, Breaker
from tuneline.llm.reply import Reply, read_reply
from tuneline.stage import Json

__all__ = ["LlmClient", "LlmConfig", "LlmRejected", "Patience", "Reply", "ServerDown"]

T = TypeVar("T")

DRAIN_SECONDS = 10.0
"""How long calls in flight may still end when the client is closed: paid answers are worth half the grace period."""


class Patience(NamedTuple):
    """How hard one retry layer tries."""

    attempts: int = 10
    """Attempts per call; with the waits below, about two minutes."""
    paid_attempts: int = 3
    """Attempts per call that ended in a time-out or in nonsense: the server may bill those."""
    first_wait_s: float = 0.5
    """Wait after the first failure; it doubles each time, and half of it is random."""
    longest_wait_s: float = 30.0
    longest_ordered_wait_s: float = 300.0
    """A server that orders a longer wait has no quota left for today."""
    streak: int = 10
    """Failures in a row, of all calls together, after which nothing more is tried …"""
    streak_s: float = 60.0
    """… if they lasted at least this long."""


class LlmClient:
    """Calls one model, from as many threads as you like; a context manager.

    At most `concurrency` calls run at once, fewer while the server pushes back. A call that takes longer than
    `timeout_s` seconds in all, however it trickles, is given up and counts as a failure.
    """

    def __init__(
        self, config: LlmConfig, secret: Secret, timeout_s: float, *, concurrency: int = 8,
        patience: Patience | None = None,
    ) -> None:  # fmt: skip
        self.config, self.timeout_s = config, timeout_s
        self.limit = AdaptiveLimit(concurrency)
        self._patience = patience or Patience()
        self._breaker = Breaker(self._patience.streak, self._patience.streak_s)
        self._sdk = _sdk(config, secret, timeout_s)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm", daemon=True)
        self._thread.start()

    def __enter__(self) -> LlmClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def complete(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        schema: Mapping[str, Json] | None = None,
        seed: int | None = None,
        extra_body: Mapping[str, Json] | None = None,
    ) -> Reply:
        """Ask for the next message; `schema` is a JSON schema that the answer is to follow.

        Raises UserError, LlmRejected or Temporary, as the module's docstring says.
        """
        body = {**self._body(schema, seed), **(extra_body or {})}
        faults: list[Fault] = []
        while True:
            began = self.limit.enter()
            outcome: bool | None = None
            try:
                reply = self._run(self._call(messages, body))
                outcome = True
            except Fault as fault:
                faults.append(fault)
                outcome = False if fault.pushback else None
            finally:
                self.limit.leave(began, outcome)
            if outcome:
                self._breaker.success()
                return reply
            self._recover(faults)

    def close(self) -> None:
        """Let no call begin any more, give those in flight some seconds to end, and hang up."""
        if self._loop.is_closed():
            return
        self.limit.close(DRAIN_SECONDS)
        self._run(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _body(self, schema: Mapping[str, Json] | None, seed: int | None) -> dict[str, Json]:
        # OpenAI's newer models refuse max_tokens, and many compatible servers know nothing else.
        limit = "max_tokens" if self.config.base_url else "max_completion_tokens"
        body: dict[str, Json] = {limit: self.config.max_tokens}
        if self.config.temperature is not None:
            body["temperature"] = self.config.temperature
        if seed is not None:
            body["seed"] = seed
        if schema is not None:
            named: dict[str, Json] = {"name": "answer", "strict": True, "schema": dict(schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return body

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except CancelledError:
            raise Stopped("stopped; run the same command again and it goes on from here") from None

    async def _call(self, messages: Sequence[Mapping[str, str]], body: Mapping[str, Json]) -> Reply:
        """Make one attempt, within the wall time. Raises Fault, LlmRejected or UserError."""
        said = cast("list[ChatCompletionMessageParam]", [dict(message) for message in messages])
        create = self._sdk.chat.completions.with_raw_response.create
        try:
            async with asyncio.timeout(self.timeout_s):
                answer = await create(model=self.config.model, messages=said, extra_body=dict(body))
        except TimeoutError:
            raise Fault(f"no answer within {self.timeout_s:g} s", paid=True) from None
        except APIError as e:
            raise fault_of(e, self.config.model) from None
        return read_reply(answer.http_response.content, self.config)

    def _recover(self, faults: Sequence[Fault]) -> None:
        """Wait before the next attempt. Raises Temporary when there is to be none."""
        last, where = faults[-1], self.config.address
        if not last.pushback and self._breaker.failure():
            raise ServerDown(f"{where} is not answering ({last}); run the same command again later")
        if len(faults) >= self._patience.attempts or sum(f.paid for f in faults) >= self._patience.paid_attempts:
            raise Temporary(f"{where}: {last}, after {len(faults)} attempts")
        if last.wait_s is not None:
            if last.wait_s > self._patience.longest_ordered_wait_s:
                raise ServerDown(f"{where} asks to wait {last.wait_s:.0f} s ({last}); run the same command again then")
            self.limit.pause(last.wait_s)
        wait = min(self._patience.longest_wait_s, self._patience.first_wait_s * 2 ** (len(faults) - 1))
        self.limit.sleep(wait * random.uniform(0.5, 1))

    async def _hang_up(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._sdk.close()


def _sdk(config: LlmConfig, secret: Secret, timeout_s: float) -> AsyncOpenAI:
    # Our wall time ends a call first; a proxy from the environment must not swallow calls to this machine,
    # and a redirect must not take transcripts to another one.
    http = DefaultAsyncHttpxClient(
        timeout=Timeout(timeout_s + 5, connect=10), trust_env=not config.is_local, follow_redirects=False
    )
    # A key there must be, or the SDK would take one from the environment and send it wherever `base_url` points.
    return AsyncOpenAI(base_url=config.address, api_key=config.key(secret) or "none", max_retries=0, http_client=http)
