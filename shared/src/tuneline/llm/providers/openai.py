"""The provider `openai`: chat completions of OpenAI or of any server that speaks them, more or less.

Servers differ in the fields that they take and in the form of their answers. A field that a server says it does not
take is left out; if that helps, it is left out of every later request, and the log says so once. Of an answer only the
text must be found: what stands beside it may have any form.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, cast

import openai
import structlog
from openai.types.chat import ChatCompletionMessageParam

from tuneline.errors import Fault, LlmRejected, UserError
from tuneline.llm.config import OpenAiConfig, Secret
from tuneline.llm.providers.openai_reply import read_reply
from tuneline.llm.providers.provider import BareHttp, Reply, folded, joined
from tuneline.llm.providers.refusals import Refusal, Refused, fitting_tokens, meaning, read_refusal, refused, unwanted
from tuneline.llm.providers.strangers import Strangers
from tuneline.stage import Json

log = structlog.get_logger()

_OPENAI_HEADERS = frozenset({"openai-organization", "openai-project"})
"""Sent to OpenAI alone, from the SDK's variables; its other variables and what it says of this machine go nowhere."""

MOST_FORMS = 8
"""Forms in which one request is made before a refusal is believed."""

_LEAST_TOKENS = 64


class Form(NamedTuple):
    """How a request is written."""

    limit: Literal["max_tokens", "max_completion_tokens"] | None
    max_tokens: int
    schema: Literal["json_schema", "json_object"] | None
    without: frozenset[str] = frozenset()
    """Fields that are left out."""
    system: bool = True
    """What the system says has a message of its own."""
    other_address: bool = False
    """With /v1 if the configured address has none, and without if it has."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """What of a request the server does not take, by name."""
        others = {"max_tokens": self.limit is None, "system": not self.system}
        return tuple(sorted(self.without.union(name for name, refused in others.items() if refused)))

    def leaving_out(self, field: str | None, usual: str | None) -> Form | None:
        """Return it without a field, or with what stands for it; `usual` is the field first tried for the limit."""
        if field == "response_format":
            return self._replace(schema="json_object" if self.schema == "json_schema" else None)
        if field == self.limit and field == usual:
            return self._replace(limit="max_tokens" if usual == "max_completion_tokens" else "max_completion_tokens")
        if field == self.limit:
            return self._replace(limit=None)
        return self._replace(without=self.without | {field}) if field else None


class OpenAiProvider:
    """Calls one model; an attempt may take `timeout_s` seconds and a little more, and is not repeated."""

    def __init__(self, config: OpenAiConfig, secret: Secret, timeout_s: float) -> None:
        self._config = config
        logging.getLogger("openai").setLevel(logging.WARNING)  # at the levels of OPENAI_LOG it writes whole requests
        also = frozenset[str]() if config.base_url else _OPENAI_HEADERS
        self.http = BareHttp(config, timeout_s, config.headers(secret), also, refused)
        address = config.address.rstrip("/").removesuffix("/chat/completions")
        self.sdk = openai.AsyncOpenAI(
            base_url=address, api_key="unused", max_retries=0, http_client=self.http, default_query=config.query
        )
        other = address.removesuffix("/v1") if address.endswith("/v1") else f"{address}/v1"
        self._other = self.sdk.with_options(base_url=other)
        self.form = _first_form(config)
        self._limit = self.form.limit
        self._strangers = Strangers(config, "chat completions")

    async def send(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None, seed: int | None
    ) -> Reply:
        """Make one attempt, in a form that the server takes. Raises Fault, LlmRejected or UserError."""
        form = begun = self.form
        for _ in range(MOST_FORMS):
            try:
                answer = await self._post(form, messages, schema, seed)
                with self._strangers.watch(messages):
                    reply = read_reply(answer, self._config, wanted=schema is not None)
            except Refused as e:
                refusal = e.refusal
                learned = self.form if form is begun is not self.form else None  # by a call beside this one
                changed = learned or self._changed(form, refusal, schema, seed)
                if changed is None:
                    break
                form = changed
            else:
                self._learn(form)
                return reply._replace(left_out=form.left_out)
        if refusal.status == 403 and refusal.is_page and self._strangers.answered:
            raise LlmRejected("failed", "HTTP 403 with a web page")  # somebody in between dislikes this request
        raise self._strangers.blamed(messages, meaning(self._config, refusal))

    def request(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None, seed: int | None
    ) -> dict[str, Json]:
        """Return the body of a request for the next message, in the form that the server takes."""
        said: list[Json] = [dict(message) for message in _messages(messages, system=self.form.system)]
        return {"model": self._config.model, "messages": said, **_body(self.form, self._config, schema, seed)}

    def adapt(self, form: Form, refusal: Refusal) -> bool:
        """Take another form from now on, where what was asked in `form` was refused for it; False if it was not."""
        changed = self._changed(form, refusal, {}, self._config.drawn_seed(0))
        if changed is None or changed.other_address != form.other_address:
            return False
        self._learn(changed)
        return True

    async def models(self) -> bytes:
        """Return what the server says at `/models`. Raises Fault or UserError where it says nothing."""
        try:
            answer = await self.sdk.models.with_raw_response.list()
        except (openai.APIError, Refused):
            raise Fault("no list of models") from None
        return answer.http_response.content

    async def close(self) -> None:
        await self.sdk.close()

    async def _post(
        self, form: Form, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None, seed: int | None
    ) -> bytes:
        said = cast("list[ChatCompletionMessageParam]", list(_messages(messages, system=form.system)))
        sdk = self._other if form.other_address else self.sdk
        create = sdk.chat.completions.with_raw_response.create
        try:
            answer = await create(
                model=self._config.model, messages=said, extra_body=_body(form, self._config, schema, seed)
            )
        except openai.APIError as e:
            if isinstance(e.__cause__, Refused | Fault | UserError):
                raise e.__cause__ from None
            raise Fault(f"no connection ({type(e.__cause__).__name__})") from None
        return answer.http_response.content

    def _changed(
        self, form: Form, refusal: Refusal, schema: Mapping[str, Json] | None, seed: int | None
    ) -> Form | None:
        """Return a form that the server may take instead, None if there is none."""
        field = unwanted(refusal, tuple(_body(form, self._config, schema, seed)))
        if (
            refusal.is_of_the_path
            and not field
            and self._config.base_url
            and not self._strangers.answered
            and not form.other_address
        ):
            return form._replace(other_address=True)
        if refusal.is_of_the_system_role and form.system:
            return form._replace(system=False)
        fitting = fitting_tokens(refusal, form.max_tokens) if form.limit else None
        if fitting is not None:
            return form._replace(max_tokens=fitting) if _LEAST_TOKENS <= fitting < form.max_tokens else None
        return form.leaving_out(field, self._limit)

    def _learn(self, form: Form) -> None:
        if form != self.form:
            changes = {
                name: sorted(value) if isinstance(value, frozenset) else value
                for name, value in form._asdict().items()
                if value != self.form._asdict()[name]
            }
            log.warning("the server takes requests in another form only", model=self._config.model, **changes)
            self.form = form


def fault_of(config: OpenAiConfig, status: int, headers: Mapping[str, str], body: bytes) -> Exception:
    """Return what an error of the server means: Fault, LlmRejected or UserError."""
    return meaning(config, read_refusal(status, headers, body))


def answer_of(config: OpenAiConfig, body: bytes) -> Reply:
    """Read an answer by a schema that was not asked for by `send`. Raises Fault, LlmRejected or UserError."""
    try:
        return read_reply(body, config, wanted=True)
    except Refused as e:
        raise meaning(config, e.refusal) from None


def _first_form(config: OpenAiConfig) -> Form:
    # OpenAI's newer models refuse max_tokens, and many compatible servers know nothing else.
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens" if config.base_url else "max_completion_tokens"
    return Form(limit, config.max_tokens, config.response_format)


def _messages(messages: Sequence[Mapping[str, str]], *, system: bool) -> Sequence[Mapping[str, str]]:
    return [{"role": m["role"], "content": joined(m)} for m in messages] if system else folded(messages)


def _body(form: Form, config: OpenAiConfig, schema: Mapping[str, Json] | None, seed: int | None) -> dict[str, Json]:
    body: dict[str, Json] = {form.limit: form.max_tokens} if form.limit else {}
    body.update(config.sampling)
    if seed is not None:
        body["seed"] = seed
    if schema is not None and form.schema is not None:
        named: dict[str, Json] = {"name": "answer", "strict": True, "schema": dict(schema)}
        whole: dict[str, Json] = {"type": "json_schema", "json_schema": named}
        body["response_format"] = whole if form.schema == "json_schema" else {"type": "json_object"}
    return {name: value for name, value in body.items() if name not in form.without}
