"""What the client knows of a provider, and what the providers share: one attempt over HTTP that is read without trust.

Each SDK gets `BareHttp` as its HTTP client. What leaves and what comes back is decided there, whatever a release of an
SDK, its variables or a server would have liked: our own headers only, one server only, a bounded part of an answer.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, NamedTuple, Protocol

import httpx2
import structlog
from pydantic import BeforeValidator

from tuneline.errors import Fault, UserError
from tuneline.llm.config import ModelConfig
from tuneline.stage import Json, Usage

log = structlog.get_logger()

MAX_BODY = 8 * 2**20
"""Bytes of an answer, unpacked; the longest that anybody reads is a tenth of it."""

PUSHBACK = (429, 498, 503, 529)
"""Too many requests, no room (of Groq), unavailable, overloaded: the server wants fewer calls."""

GATEWAY_TIMEOUTS = (408, 504, 524)
"""Somebody in between grew tired of waiting; the model may have done its work."""

A_DAY_S = 24 * 3600.0
"""The wait, in seconds, of a server that takes no more today and does not say when."""

_HEADERS = {
    "accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"
}  # fmt: skip


HEARD: ContextVar[dict[str, str] | None] = ContextVar("HEARD", default=None)
"""Takes the headers of the answer to the call that is being made, whatever an SDK hands on of them."""


class Reply(NamedTuple):
    """One answer of a model."""

    text: str
    """May be empty."""
    finish_reason: str
    """`stop` · `length`: cut at the limit · `context`: cut at the end of the model's context · `content_filter` ·
    whatever else the server says; may be empty."""
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
    model: str = ""
    """What the server calls the model that answered, if it says so."""
    left_out: tuple[str, ...] = ()
    """Settings of the request that the server does not take, by name."""
    prompt_cut: bool = False
    """The server has read less than it was sent, as far as its count tells."""

    @property
    def usage(self) -> Usage:
        return Usage(
            calls=1, input_tokens=self.input_tokens, cached_tokens=self.cached_tokens, output_tokens=self.output_tokens,
            cost_usd=self.cost_usd or 0.0, unpriced=int(self.cost_usd is None),
        )  # fmt: skip


class Request(NamedTuple):
    """One request for the next message; see `Provider.send`."""

    messages: Sequence[Mapping[str, str]]
    schema: Mapping[str, Json] | None
    seed: int | None
    about: str = ""
    """Hash of the transcript that is asked about; nobody is sent it."""


AsError = Callable[[int, Mapping[str, str], bytes], Exception]
"""Makes an exception of status, headers and body of an error."""


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
    Every failure leaves it as a Fault or UserError; with `refusal`, so does every status from
    300 on, and no SDK reads the body of an error.
    """

    def __init__(
        self, config: ModelConfig, timeout_s: float, headers: Mapping[str, str], also: frozenset[str] = frozenset(),
        refusal: AsError | None = None,
    ) -> None:  # fmt: skip
        # A proxy from the environment must not swallow calls to this machine.
        timeout = httpx2.Timeout(timeout_s + 5, connect=10)
        super().__init__(timeout=timeout, limits=_LIMITS, trust_env=not config.is_local)
        self.most_bytes, self.refusal = MAX_BODY, refusal
        self._own, self._sent, self._server = headers, _HEADERS | also, _server(httpx2.URL(config.address))

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        if _server(request.url) != self._server:
            raise UserError("a variable of the environment leads requests away from the server that is configured")
        ours = {**{name: value for name, value in request.headers.items() if name in self._sent}, **self._own}
        bare = httpx2.Request(
            request.method, request.url, headers=ours, content=await request.aread(),
            extensions={**request.extensions, "timeout": self.timeout.as_dict()},
        )  # fmt: skip
        try:
            response = await super().send(bare, **{**options, "stream": True, "follow_redirects": False})
            body = await _read(response, self.most_bytes)
        except httpx2.RequestError as e:
            raise _fault_of(e) from None
        heard = HEARD.get()
        if heard is not None:
            heard.update(response.headers)
        if self.refusal is not None and response.status_code >= 300:
            raise self.refusal(response.status_code, response.headers, body)
        kept = {k: v for k, v in response.headers.items() if k not in ("content-encoding", "content-length")}
        return httpx2.Response(response.status_code, headers=kept, content=body, request=request)


async def _read(response: httpx2.Response, most: int) -> bytes:
    body = bytearray()
    try:
        async for part in response.aiter_bytes():
            body += part
            if len(body) > most:
                raise Fault(f"an answer of more than {most // 2**20} MiB", paid=True)
    except (httpx2.NetworkError, httpx2.ProtocolError) as e:
        raise Fault(f"the answer broke off ({type(e).__name__})", paid=True) from None
    finally:
        await response.aclose()
    return bytes(body)


def _fault_of(error: httpx2.RequestError) -> Exception:
    chain, cause = list[BaseException](), error.__cause__ or error.__context__
    while cause is not None:
        chain, cause = [*chain, cause], cause.__cause__ or cause.__context__
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in chain):
        return UserError(
            "the server's certificate is not trusted: check `base_url`, or name the file of its authority in "
            "SSL_CERT_FILE"
        )
    if any(isinstance(one, ssl.SSLError) and one.reason == "WRONG_VERSION_NUMBER" for one in chain):
        return UserError("the server speaks no TLS: its `base_url` begins with http://")
    if isinstance(error, httpx2.TimeoutException):
        return Fault("no answer in time", paid=isinstance(error, httpx2.ReadTimeout))
    if isinstance(error, httpx2.DecodingError):
        return Fault("an answer that cannot be unpacked", paid=True)
    why = {ConnectionRefusedError: "nobody listens there", socket.gaierror: "no host of this name is found"}
    found = (said for kind, said in why.items() if any(isinstance(one, kind) for one in chain))
    return Fault(f"no connection ({next(found, type(error).__name__)})")


_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
"""How many calls are in flight is the client's business; the pool looks at every idle connection for each call."""


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


def joined(message: Mapping[str, str]) -> str:
    """Return what a message says; empty text, which some servers refuse, becomes a sign for it."""
    return "\n\n".join(filter(str.strip, (message.get("shared", ""), message["content"]))) or "…"


def folded(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return messages in which the user says what the system says, for models that have no such role."""
    said = [{"role": message["role"], "content": joined(message)} for message in messages]
    first = "\n\n".join(message["content"] for message in said if message["role"] == "system")
    others = [message for message in said if message["role"] != "system"]
    if not first:
        return others
    if not others or others[0]["role"] != "user":
        return [{"role": "user", "content": first}, *others]
    return [{"role": "user", "content": f"{first}\n\n{others[0]['content']}"}, *others[1:]]


def temporary_fault(status: int, headers: Mapping[str, str], detail: str) -> Fault | None:
    """Return what a status means that time can mend, None for one that it cannot."""
    if status in PUSHBACK:
        return Fault(detail, pushback=True, overloaded=status != 429, wait_s=retry_after(headers))
    if status >= 500 or status in (408, 409):
        return Fault(detail, paid=status in GATEWAY_TIMEOUTS, wait_s=retry_after(headers))
    return None


KEY = "the key is missing or wrong; set the variable that `api_key_env` names, or the vendor's own"
MONEY = "the account has no money or quota left; see to that, then run the same command again"
MODEL = "this key may not use the model; choose another `model` or key"
NAME = "check `model`, and `base_url` if there is one"
ADDRESS = "the address leads elsewhere; give the one it leads to as `base_url`"
SETTING = "the model does not take `{}` as it is; change the setting or leave it out"


def not_taken(config: ModelConfig, detail: str, way_out: str) -> UserError:
    """Return the error of a server that takes no request of ours, as things are."""
    url = httpx2.URL(config.address)
    server = f"{url.scheme}://{url.host}{f':{url.port}' if url.port else ''}"
    return UserError(f"model {config.model}: {server} answers {detail}: {way_out}")


class NoSchema(UserError):  # noqa: N818  (it is said of a model, and a provider can do without)
    """The model takes no JSON schema, or not this one."""


def no_schema(config: ModelConfig, detail: str) -> NoSchema:
    """Return the error of a model that refuses a schema."""
    return NoSchema(str(not_taken(config, detail, "it takes no JSON schema, or not ours; use another `model`")))


class Schemas:
    """Whether a model takes JSON schemas: from its first refusal on it is asked without one."""

    def __init__(self, model: str) -> None:
        self._model, self._taken = model, True

    async def send(
        self, attempt: Callable[[Mapping[str, Json] | None], Awaitable[Reply]], schema: Mapping[str, Json] | None
    ) -> Reply:
        """Make one attempt, with the schema if the model takes one. Raises what `attempt` does."""
        if self.taken(schema) is None:
            return await attempt(None)
        try:
            return await attempt(schema)
        except NoSchema as e:
            self.refused(e)
        return await attempt(None)

    def taken(self, schema: Mapping[str, Json] | None) -> Mapping[str, Json] | None:
        """Return the schema if the model takes one, as far as is known."""
        return schema if self._taken else None

    def refused(self, why: NoSchema) -> None:
        """Learn that it takes none."""
        if self._taken:
            log.warning("asked without a JSON schema from now on", model=self._model, why=str(why))
        self._taken = False


def _count(value: object) -> object:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**9 else 0


def _object(value: object) -> object:
    return value if isinstance(value, dict) else {}


Count = Annotated[int, BeforeValidator(_count)]
"""A count of tokens; what cannot be one is 0: it stands beside an answer and costs none."""

AnyObject = BeforeValidator(_object)
"""Makes of what is no object an empty one."""


def _server(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
