"""The batches of OpenAI, Anthropic and Google, each by its own SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import anthropic
import httpx2
import openai
from google.genai import types

from tuneline.errors import Fault, LlmRejected, UserError
from tuneline.llm.batches.bodies import (
    AnthropicBatch,
    AnthropicItem,
    AnthropicList,
    Named,
    OpenAiBatch,
    OpenAiItem,
    OpenAiList,
    no_batch,
    outcome,
    read_body,
    read_lines,
)
from tuneline.llm.batches.run import Batches, Gone, Look
from tuneline.llm.config import AnthropicConfig, GoogleConfig, ModelConfig, OpenAiConfig, Secret
from tuneline.llm.providers import anthropic as claude
from tuneline.llm.providers import google as gemini
from tuneline.llm.providers import openai as gpt
from tuneline.llm.providers.provider import AsError, BareHttp, Reply, Request, not_taken

MOST_RESULTS = 256 * 2**20
"""Bytes of the results of one batch."""

TIMEOUT_S = 300.0
"""Of one request about a batch; it may hold megabytes."""

_LISTED = 100  # batches among which one is looked for by its name


def open_batches(config: ModelConfig, secret: Secret) -> Batches:
    """Return the batches of a configuration's vendor. Raises UserError when its key is not set."""
    if isinstance(config, AnthropicConfig):
        return AnthropicBatches(config, secret)
    if isinstance(config, GoogleConfig):
        return GoogleBatches(config, secret)
    if isinstance(config, OpenAiConfig):
        return OpenAiBatches(config, secret)
    raise NotImplementedError(config.provider)


class OpenAiBatches:
    """A file of requests goes up, a file of answers comes down, and another one of errors."""

    def __init__(self, config: OpenAiConfig, secret: Secret) -> None:
        self._config, self._provider = config, gpt.OpenAiProvider(config, secret, TIMEOUT_S)
        self._files: dict[str, str] = {}
        _prepare(self._provider.http, partial(gpt.fault_of, config))

    async def submit(self, name: str, requests: Mapping[str, Request]) -> str:
        lines = [
            json.dumps({
                "custom_id": key, "method": "POST", "url": "/v1/chat/completions",
                "body": gpt.request_of(self._config, request.messages, request.schema, request.seed),
            })
            for key, request in requests.items()
        ]  # fmt: skip
        sdk = self._provider.sdk
        with _plain(self._config):
            content = "".join(f"{line}\n" for line in lines).encode()
            if name not in self._files:
                file = await sdk.files.with_raw_response.create(file=(f"{name}.jsonl", content), purpose="batch")
                self._files[name] = read_body(file.http_response.content, Named).id
            batch = await sdk.batches.with_raw_response.create(
                input_file_id=self._files[name], endpoint="/v1/chat/completions",
                completion_window="24h", metadata={"tuneline": name},
            )  # fmt: skip
        return read_body(batch.http_response.content, Named).id

    async def find(self, name: str, count: int, since: float) -> str | None:
        with _plain(self._config):
            listed = await self._provider.sdk.batches.with_raw_response.list(limit=_LISTED)
        found = read_body(listed.http_response.content, OpenAiList).data
        return next((batch.id for batch in found if batch.metadata.get("tuneline") == name), None)

    async def look(self, batch: str) -> Look:
        now = await self._now(batch)
        if now.status == "failed":
            raise self._failed(now)
        return Look(now.status in ("completed", "expired", "cancelled"), now.request_counts.completed)

    async def results(self, batch: str, ids: Sequence[str]) -> dict[str, Reply | Exception]:
        now = await self._now(batch)
        found: dict[str, Reply | Exception] = {}
        for file in filter(None, (now.output_file_id, now.error_file_id)):
            with _plain(self._config):
                content = (await self._provider.sdk.files.content(file)).content
            for item in read_lines(content, OpenAiItem):
                found[item.custom_id] = outcome(partial(self.result, item))
        return {key: result for key, result in found.items() if key in ids}

    async def close(self) -> None:
        await self._provider.close()

    async def _now(self, batch: str) -> OpenAiBatch:
        with _plain(self._config):
            answer = await self._provider.sdk.batches.with_raw_response.retrieve(batch)
        return read_body(answer.http_response.content, OpenAiBatch)

    def result(self, item: OpenAiItem) -> Reply | Exception:
        """Return what became of a request."""
        body = json.dumps(item.response.body).encode()
        if not (status := item.response.status_code):
            return Fault("expired")
        if status != 200:
            return gpt.fault_of(self._config, status, {}, body)
        return outcome(lambda: gpt.answer_of(self._config, body))

    def _failed(self, now: OpenAiBatch) -> Exception:
        codes = {error.code for error in now.errors.data or [] if error.code}
        if "token_limit_exceeded" in codes:
            return Fault("the vendor's queue holds no more tokens", wait_s=60)
        known = sorted(
            codes & {"model_not_found", "mismatched_model", "billing_hard_limit_reached", "invalid_json_line"}
        )
        return not_taken(self._config, " ".join(["a failed batch", *known]), "check `model` and the account")


class AnthropicBatches:
    """Requests go up and answers come down by the id that we gave them; a batch has no name."""

    def __init__(self, config: AnthropicConfig, secret: Secret) -> None:
        self._config, self._provider = config, claude.AnthropicProvider(config, secret, TIMEOUT_S)
        _prepare(self._provider.http, partial(claude.fault_of, config))

    async def submit(self, name: str, requests: Mapping[str, Request]) -> str:
        extra = {} if self._config.temperature is None else {"temperature": self._config.temperature}
        body = [
            {"custom_id": key, "params": {**claude.request_of(self._config, r.messages, r.schema), **extra}}
            for key, r in requests.items()
        ]
        with _plain(self._config):
            answer = await self._provider.sdk.post(
                "/v1/messages/batches", body={"requests": body}, cast_to=httpx2.Response
            )
        return read_body(answer.content, Named).id

    async def find(self, name: str, count: int, since: float) -> str | None:
        with _plain(self._config):
            listed = await self._provider.sdk.messages.batches.with_raw_response.list(limit=_LISTED)
        for batch in read_body(listed.http_response.content, AnthropicList).data:
            # Our clock and the vendor's may differ by a minute. Answers to other requests would be passed over.
            if batch.created_at.timestamp() > since - 60 and batch.request_counts.total == count:
                return batch.id
        return None

    async def look(self, batch: str) -> Look:
        with _plain(self._config):
            answer = await self._provider.sdk.messages.batches.with_raw_response.retrieve(batch)
        now = read_body(answer.http_response.content, AnthropicBatch)
        counts = now.request_counts
        return Look(now.processing_status == "ended", counts.total - counts.processing)

    async def results(self, batch: str, ids: Sequence[str]) -> dict[str, Reply | Exception]:
        with _plain(self._config):
            # Not at the address that the server gives: the key goes to the configured server alone.
            answer = await self._provider.sdk.get(f"/v1/messages/batches/{batch}/results", cast_to=httpx2.Response)
        items = {item.custom_id: item for item in read_lines(answer.content, AnthropicItem)}
        return {key: outcome(partial(self.result, items[key])) for key in ids if key in items}

    async def close(self) -> None:
        await self._provider.close()

    def result(self, item: AnthropicItem) -> Reply | Exception:
        """Return what became of a request."""
        if item.result.type == "succeeded":
            body = json.dumps(item.result.message).encode()
            return outcome(lambda: claude.read_reply(body, self._config))
        if item.result.type != "errored":
            return Fault("expired or cancelled")
        error = item.result.error.get("error")
        kind = str(error.get("type")) if isinstance(error, dict) else ""
        return claude.fault_of(
            self._config, _ANTHROPIC_STATUS.get(kind, 500), {}, json.dumps(item.result.error).encode()
        )


_ANTHROPIC_STATUS = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "overloaded_error": 529,
}  # fmt: skip


class GoogleBatches:
    """Requests go up and answers come down within the batch, in the same order; the ids are not sent back."""

    def __init__(self, config: GoogleConfig, secret: Secret) -> None:
        self._config, self._provider = config, gemini.GoogleProvider(config, secret, TIMEOUT_S)
        _prepare(self._provider.http, partial(gemini.fault_of, config))

    async def submit(self, name: str, requests: Mapping[str, Request]) -> str:
        wanted = [gemini.request_of(self._config, r.messages, r.schema, r.seed) for r in requests.values()]
        source = [types.InlinedRequest(contents=contents, config=settings) for contents, settings in wanted]
        with _plain(self._config):
            job = await self._provider.sdk.aio.batches.create(
                model=self._config.model, src=source, config=types.CreateBatchJobConfig(display_name=name)
            )
        return _name_of(job)

    async def find(self, name: str, count: int, since: float) -> str | None:
        with _plain(self._config):
            listed = await self._provider.sdk.aio.batches.list(config=types.ListBatchJobsConfig(page_size=_LISTED))
        return next((_name_of(job) for job in listed.page if job.display_name == name), None)

    async def look(self, batch: str) -> Look:
        with _plain(self._config):
            job = await self._provider.sdk.aio.batches.get(name=batch)
        return Look(job.state is not None and job.state.value in _GOOGLE_ENDED, 0)

    async def results(self, batch: str, ids: Sequence[str]) -> dict[str, Reply | Exception]:
        with _plain(self._config):
            job = await self._provider.sdk.aio.batches.get(name=batch)
        found = (job.dest.inlined_responses if job.dest else None) or []
        if len(found) != len(ids):  # whose answer is whose cannot be told
            return {}
        return {key: outcome(partial(self.result, item)) for key, item in zip(ids, found, strict=True)}

    async def close(self) -> None:
        await self._provider.close()

    def result(self, item: types.InlinedResponse) -> Reply | Exception:
        """Return what became of a request."""
        if item.response is not None:
            body = item.response.model_dump_json(
                by_alias=True, exclude_none=True, exclude={"sdk_http_response"}
            ).encode()
            return outcome(lambda: gemini.read_reply(body, self._config))
        code = item.error.code if item.error else None
        status, name = _RPC.get(code or 0, (code if code and 400 <= code < 600 else 500, "INTERNAL"))
        error = {"status": name, "message": item.error.message if item.error else ""}
        return gemini.fault_of(self._config, status, {}, json.dumps({"error": error}).encode())


_GOOGLE_ENDED = {
    f"JOB_STATE_{state}" for state in ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
}  # fmt: skip
_RPC = {
    3: (400, "INVALID_ARGUMENT"), 4: (504, "DEADLINE_EXCEEDED"), 5: (404, "NOT_FOUND"), 7: (403, "PERMISSION_DENIED"),
    8: (429, "RESOURCE_EXHAUSTED"), 9: (400, "FAILED_PRECONDITION"), 14: (503, "UNAVAILABLE"),
    16: (401, "UNAUTHENTICATED"),
}  # fmt: skip
"""Status and name of the codes of Google's remote calls."""


def _name_of(job: types.BatchJob) -> str:
    if not job.name:
        raise no_batch()
    return job.name


def _prepare(http: BareHttp, fails: AsError) -> None:
    http.most_bytes = MOST_RESULTS
    http.refusal = lambda status, headers, body: Gone() if status == 404 else fails(status, headers, body)


@contextmanager
def _plain(config: ModelConfig) -> Iterator[None]:
    """Let only our own exceptions out: Fault, UserError, Gone."""
    try:
        try:
            yield
        except (anthropic.APIError, openai.APIError) as e:
            raise (
                e.__cause__ if isinstance(e.__cause__, Fault | LlmRejected | UserError | Gone) else no_batch()
            ) from None
        except (ValueError, TypeError, KeyError, AttributeError):  # from the SDK's reading of what it was sent
            raise no_batch() from None
    except LlmRejected as e:  # of the batch as a whole, so it says nothing about a transcript
        raise not_taken(config, str(e), "it does not take the batch; use `mode: live`") from None
