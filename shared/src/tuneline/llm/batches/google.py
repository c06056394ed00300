"""Batches of Google: requests go up and answers come down within the batch, in the same order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial

import structlog
from google.genai import types

from tuneline.errors import Fault, UserError
from tuneline.llm.batches.bodies import NoBatch, outcome
from tuneline.llm.batches.http import LISTED, TIMEOUT_S, plain, prepare, without_schema
from tuneline.llm.batches.protocol import Failed, Look
from tuneline.llm.config import GoogleConfig, Secret
from tuneline.llm.providers import google as gemini
from tuneline.llm.providers.provider import Reply, Request, not_taken

log = structlog.get_logger()

_KEY = "tuneline"
"""Under this name a request's id is sent along; not every server sends it back."""


class GoogleBatches:
    """See `Batches`."""

    def __init__(self, config: GoogleConfig, secret: Secret) -> None:
        self._config, self._provider = config, gemini.GoogleProvider(config, secret, TIMEOUT_S)
        prepare(self._provider.http, partial(gemini.fault_of, config))

    async def submit(self, name: str, requests: Mapping[str, Request]) -> str:
        source = [self._inlined(key, request) for key, request in requests.items()]
        with plain(self._config):
            job = await self._provider.sdk.aio.batches.create(
                model=self._config.model, src=source, config=types.CreateBatchJobConfig(display_name=name)
            )
        return _name_of(job)

    def _inlined(self, key: str, request: Request) -> types.InlinedRequest:
        schema = self._provider.schemas.taken(request.schema)
        contents, settings = gemini.request_of(self._config, request.messages, schema, request.seed)
        return types.InlinedRequest(contents=contents, config=settings, metadata={_KEY: key})

    async def find(self, name: str, count: int, since: float) -> Sequence[str]:
        with plain(self._config):
            listed = await self._provider.sdk.aio.batches.list(config=types.ListBatchJobsConfig(page_size=LISTED))
        return [_name_of(job) for job in listed.page if job.display_name == name]

    async def look(self, batch: str) -> Look:
        with plain(self._config):
            job = await self._provider.sdk.aio.batches.get(name=batch)
        state = (job.state.value if job.state else "").removeprefix("JOB_STATE_")
        if state == "FAILED":
            raise self._failed(job.error)
        return Look(state in _ENDED, 0, state == "CANCELLED")

    async def results(self, batch: str, ids: Sequence[str]) -> dict[str, Reply | Exception]:
        with plain(self._config):
            job = await self._provider.sdk.aio.batches.get(name=batch)
        found = (job.dest.inlined_responses if job.dest else None) or []
        keys = [(item.metadata or {}).get(_KEY) or "" for item in found]
        if not all(keys):
            keys = list(ids) if len(found) == len(ids) else []
        if found and not keys:  # whose answer is whose cannot be told
            log.warning("a batch came back with another number of answers", batch=batch, answers=len(found))
        read = {key: outcome(partial(self.result, item)) for key, item in zip(keys, found, strict=False) if key in ids}
        return without_schema(read, self._provider.schemas)

    async def close(self) -> None:
        await self._provider.close()

    def result(self, item: types.InlinedResponse) -> Reply | Exception:
        """Return what became of a request."""
        if item.response is not None:
            body = item.response.model_dump_json(
                by_alias=True, exclude_none=True, exclude={"sdk_http_response"}
            ).encode()
            return outcome(lambda: gemini.read_reply(body, self._config))
        return self._fault(item.error)

    def _fault(self, error: types.JobError | None) -> Exception:
        code = error.code if error else None
        status, name = _RPC.get(code or 0, (code if code and 400 <= code < 600 else 500, "INTERNAL"))
        body = {"error": {"status": name, "message": error.message if error else ""}}
        return gemini.fault_of(self._config, status, {}, json.dumps(body).encode())

    def _failed(self, error: types.JobError | None) -> Failed:
        """Return why a job failed; the SDK does not hand on the reason of every server."""
        cause = self._fault(error) if error else Fault("the batch failed")
        if isinstance(cause, Fault | UserError):
            return Failed(cause, crowded=isinstance(cause, Fault) and cause.pushback)
        return Failed(not_taken(self._config, f"a failed batch ({cause})", "check `model` and its settings"))


_ENDED = {"SUCCEEDED", "PARTIALLY_SUCCEEDED", "CANCELLED", "EXPIRED"}
_RPC = {
    3: (400, "INVALID_ARGUMENT"), 4: (504, "DEADLINE_EXCEEDED"), 5: (404, "NOT_FOUND"), 7: (403, "PERMISSION_DENIED"),
    8: (429, "RESOURCE_EXHAUSTED"), 9: (400, "FAILED_PRECONDITION"), 14: (503, "UNAVAILABLE"),
    16: (401, "UNAUTHENTICATED"),
}  # fmt: skip
"""Status and name of the codes of Google's remote calls."""


def _name_of(job: types.BatchJob) -> str:
    if not job.name:
        raise NoBatch()
    return job.name
