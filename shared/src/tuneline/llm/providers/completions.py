"""One attempt at going on with a text, read without trust: llama-server's own protocol, and OpenAI's older one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from tuneline.llm.completion import Completion, CompletionConfig, Finish, passed_over
from tuneline.llm.config import Secret
from tuneline.llm.prices import Tokens
from tuneline.llm.providers.openai_reply import broken_off, count, object_in, object_of, read_cost, read_tokens
from tuneline.llm.providers.provider import BareHttp, not_taken
from tuneline.llm.providers.refusals import Refusal, Refused, meaning, refused
from tuneline.llm.providers.strangers import Stranger, Strangers
from tuneline.llm.thoughts import storable
from tuneline.stage import Json, Usage

KIND = "completion"
LEAST = -1e6
"""Log-probability below which nothing is one; vLLM writes -9999 for nothing at all."""
SLIGHTLY = 0.01
"""How much above 0 rounding can bring a log-probability."""

_ENDS: Mapping[object, Finish] = {
    "length": "length", "max_tokens": "length", "limit": "length", "content_filter": "content_filter",
    "safety": "content_filter", "word": "word", "stop_sequence": "word",
}  # fmt: skip
"""How a text ended, in servers' words; all others mean that the model ended it."""
_BROKEN = ("error", "abort")


class Tokenized(NamedTuple):
    """The ids of a prompt, None where the server does not say; it costs nothing."""

    ids: list[int] | None

    @property
    def usage(self) -> Usage:
        return Usage()


class CompletionProvider:
    """Calls one model; an attempt may take `timeout_s` seconds and a little more, and is not repeated."""

    def __init__(self, config: CompletionConfig, secret: Secret, timeout_s: float) -> None:
        self._config, self._strangers = config, Strangers(config, "text completions")
        self._http = BareHttp(config, timeout_s, config.headers(secret), refusal=refused)
        self._listed = 10**6
        """Likeliest tokens that the server lists at most, as far as is known."""

    async def send(self, body: Mapping[str, Json], stops: Collection[str]) -> Completion:
        """Make one attempt, once more where the server lists fewer tokens. Raises Fault, LlmRejected or UserError."""
        query = {name: str(value) for name, value in self._config.query.items()}
        asked, wanted = [{"content": str(body["prompt"])}], body.get("logprobs")
        if isinstance(wanted, int):
            body = {**body, "logprobs": min(wanted, self._listed)}
        try:
            answer = await self._http.post(self._config.url, json=dict(body), params=query)
            with self._strangers.watch(asked):
                return self._read(answer.content, body, stops)
        except Refused as e:
            if isinstance(wanted, int) and (fewer := _fewer(e.refusal, min(wanted, self._listed))):
                self._listed = fewer
                return await self.send(body, stops)
            raise self._strangers.blamed(asked, meaning(self._config, e.refusal)) from None

    async def tokenize(self, prompt: str) -> Tokenized:
        """Ask for the ids of a prompt; servers of OpenAI's protocol alone have none. Raises Fault."""
        dialect, base = self._config.dialect, self._config.address.rstrip("/").removesuffix("/v1")
        if dialect == "openai":
            return Tokenized(None)
        ours: dict[str, Json] = {"content": prompt, "add_special": True, "parse_special": True}
        theirs: dict[str, Json] = {"model": self._config.model, "prompt": prompt}
        try:
            answer = await self._http.post(f"{base}/tokenize", json=ours if dialect == "llama-server" else theirs)
            found = object_in(answer.content, "list of tokens", "tokens")["tokens"]
        except (Refused, Stranger):
            return Tokenized(None)
        whole = isinstance(found, list) and all(isinstance(token, int) for token in found)
        return Tokenized(found if whole else None)

    async def close(self) -> None:
        await self._http.aclose()

    def _read(self, content: bytes, body: Mapping[str, Json], stops: Collection[str]) -> Completion:
        if self._config.dialect != "llama-server":
            return _cut(read_choice(content, self._config), stops)
        answer = object_in(content, KIND, "content")
        read = _cut(read_native(answer, self._config), stops)
        if others := passed_over(body, object_of(answer.get("generation_settings"))):
            problem = f"a text for which it did not use our {', '.join(others)}"
            raise not_taken(self._config, problem, "use a llama-server of another version, or check `dialect`")
        return read


def read_native(answer: Mapping[str, Any], config: CompletionConfig) -> Completion:
    """Read an answer of llama-server's `/completion`. Raises Stranger without a text."""
    text = answer.get("content")
    if not isinstance(text, str):
        raise Stranger(f"the answer is not a {KIND} but an object without text")
    said, written = count(answer.get("tokens_evaluated")), count(answer.get("tokens_predicted"))
    cached = min(said, count(object_of(answer.get("timings")).get("cache_n")))
    first = _first(answer.get("completion_probabilities"))
    tokens = Tokens(said, cached, output=written)
    word = answer.get("stopping_word")
    return Completion(
        storable(text), _ENDS.get(_name(answer.get("stop_type")), "stop"), word if isinstance(word, str) else "", said,
        written, read_cost(config, {}, tokens), tuple(_likeliest(first.get("top_logprobs"))), cached,
    )  # fmt: skip


def read_choice(content: bytes, config: CompletionConfig) -> Completion:
    """Read the body of a completion in OpenAI's form; no choice at all, or no text, is an empty text.

    Raises Refused when it is an error whatever its status says, Stranger when it is something else.
    """
    answer = object_in(content, KIND, "choices")
    listed = answer["choices"]
    if not isinstance(listed, list):
        raise Stranger(f"the answer is not a {KIND} but an object without choices")
    choice = object_of(listed[0] if listed else {})
    text, ended = choice.get("text"), choice.get("finish_reason")
    word = choice.get("stop_reason", choice.get("matched_stop"))
    if "message" in choice or not isinstance(text, str | None):
        raise Stranger(f"the answer is not a {KIND} but that of a chat, or a choice without text")
    if choice.get("error") or ended in _BROKEN:
        raise broken_off(choice.get("error"), begun=bool(text))
    usage = object_of(answer.get("usage"))
    tokens = read_tokens(usage)
    stopped: Finish = "word" if isinstance(word, str) and word else "stop"
    return Completion(
        storable(text or ""), _ENDS.get(_name(ended), stopped), word if isinstance(word, str) else "", tokens.input,
        tokens.output, read_cost(config, usage, tokens), tuple(_likeliest(_first_of_choice(choice.get("logprobs")))),
        tokens.cached,
    )  # fmt: skip


def _fewer(refusal: Refusal, asked: int) -> int:
    """Return how many likeliest tokens a server says to list instead of `asked`, 0 if it says nothing of it."""
    if refusal.status not in (400, 422) or not re.search(r"log_?probs?\b", refusal.said[:300], re.I):
        return 0
    return max((n for n in map(int, re.findall(r"\b[0-9]{1,5}\b", refusal.said[:300])) if n < asked), default=0)


def _name(value: object) -> str:
    return value if isinstance(value, str) else ""


def _first(listed: object) -> dict[str, Any]:
    return object_of(listed[0] if isinstance(listed, list) and listed else {})


def _first_of_choice(logprobs: object) -> object:
    """Return what is listed for the first token: with each token, as chats have it, or beside them, as before."""
    found = object_of(logprobs)
    if "content" in found:
        return _first(found["content"]).get("top_logprobs")
    older = found.get("top_logprobs")
    return older[0] if isinstance(older, list) and older else None


def _likeliest(listed: object) -> list[tuple[str, float]]:
    """Return tokens and log-probabilities, likeliest first, without what cannot be one."""
    pairs: Iterator[tuple[object, object]]
    if isinstance(listed, dict):
        pairs = iter(listed.items())
    else:
        rows = (object_of(row) for row in (listed if isinstance(listed, list) else []))
        pairs = ((row.get("token"), row.get("logprob")) for row in rows)
    found = [
        (storable(token), min(0.0, float(value)))
        for token, value in pairs
        if isinstance(token, str)
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and LEAST <= value <= SLIGHTLY
    ]
    return sorted(found, key=lambda pair: -pair[1])


def _cut(read: Completion, stops: Collection[str]) -> Completion:
    """End the text before the first stop string, also where a server passed over them."""
    places = [(at, stop) for stop in stops if (at := read.text.find(stop)) >= 0]
    if not places:
        return read
    at, word = min(places)
    return read._replace(text=read.text[:at], finish="word", word=word)
