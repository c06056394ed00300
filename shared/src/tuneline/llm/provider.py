"""What the client knows of a provider, and what the providers share: one attempt over HTTP that is read without trust.

Each SDK gets `BareHttp` as its HTTP client. What leaves and what comes back is decided there, whatever a release of an
SDK, its variables or a server would have liked: our own headers only, one server only, a bounded part of an answer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol

import httpx2

from tuneline.errors import Fault, UserError
from tuneline.llm.config import ModelConfig
from tuneline.stage import Json, Usage

MAX_BODY = 8 * 2**20
"""Bytes of an answer, unpacked; the longest that anybody reads is a tenth of it."""

PUSHBACK = (429, 503, 529)
"""Too many requests, unavailable, overloaded: the server wants fewer calls."""

GATEWAY_TIMEOUTS = (408, 504, 524)
"""Somebody in between grew tired of waiting; the model may have done its work."""

_HEADERS = {
    "accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"
}  # fmt: skip


class Reply(NamedTuple):
    """One answer of a model."""

    text: str
    """May be empty."""
    finish_reason: str
    """`stop` · `length`: cut at the limit · `content_filter` · whatever else the server says; may be empty."""
    refused: bool
    """The model declined in the protocol's own field."""
    input_tokens: int
    """Tokens of the prompt, cached ones included."""
    output_tokens: int
    cached_tokens: int
    """Tokens of the prompt that the server had already evaluated."""
    cost_usd: float | None
    """By `tuneline.llm.prices`; None when the price is not known."""
    cache_write_tokens: int = 0
    """Tokens of the prompt that the server put into its cache at an extra price."""
    cause: str = ""
    """Why there is no answer, by the provider's own code if it is a known one."""

    @property
    def usage(self) -> Usage:
        return Usage(
            calls=1, input_tokens=self.input_tokens, cached_tokens=self.cached_tokens, output_tokens=self.output_tokens,
            cost_usd=self.cost_usd or 0.0, unpriced=int(self.cost_usd is None),
        )  # fmt: skip


class Provider(Protocol):
    """Calls one model; an attempt is not repeated."""

    async def send(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None, seed: int | None
    ) -> Reply:
        """Make one attempt: roles are `system`, `user` and `assistant`, `schema` is the JSON schema of the answer.

        Raises Fault when another attempt may succeed, LlmRejected when the server will never take this request, and
        UserError when it takes no request of ours.
        """

    async def close(self) -> None:
        """Hang up."""


class BareHttp(httpx2.AsyncClient):
    """Sends our own headers to one server, follows it nowhere, and reads a bounded part of an answer, however packed.

    `headers` holds the key; of what an SDK would send, the headers named in `also` are sent beside the usual ones.
    """

    def __init__(
        self, config: ModelConfig, timeout_s: float, headers: Mapping[str, str], also: frozenset[str] = frozenset()
    ) -> None:
        # A proxy from the environment must not swallow calls to this machine.
        timeout = httpx2.Timeout(timeout_s + 5, connect=10)
        super().__init__(timeout=timeout, limits=_LIMITS, trust_env=not config.is_local)
        self._own, self._sent, self._server = headers, _HEADERS | also, _server(httpx2.URL(config.address))

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        if _server(request.url) != self._server:
            raise UserError("a variable of the environment leads requests away from the server that is configured")
        ours = {**{name: value for name, value in request.headers.items() if name in self._sent}, **self._own}
        bare = httpx2.Request(
            request.method, request.url, headers=ours, content=request.content, extensions=request.extensions
        )
        response = await super().send(bare, **{**options, "stream": True, "follow_redirects": False})
        body = bytearray()
        try:
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MAX_BODY:
                    raise Fault(f"an answer of more than {MAX_BODY // 2**20} MiB", paid=True)
        finally:
            await response.aclose()
        kept = {k: v for k, v in response.headers.items() if k not in ("content-encoding", "content-length")}
        return httpx2.Response(response.status_code, headers=kept, content=bytes(body), request=request)


_LIMITS = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `retry-after-ms` or `retry-after` (seconds or a date), None when neither can be read."""
    value = headers.get("retry-after", "").strip()
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        number = re.fullmatch(r"[0-9.]+", value)
        return max(0.0, float(value) if number else parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _server(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
