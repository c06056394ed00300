"""Batches of OpenAI: a file of requests goes up, a file of answers comes down, and another one of errors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial

from tuneline.errors import Fault
from tuneline.llm.batches.bodies import Named, OpenAiBatch, OpenAiItem, OpenAiList, outcome, read_body, read_lines
from tuneline.llm.batches.http import LISTED, TIMEOUT_S, plain, prepare
from tuneline.llm.batches.protocol import Failed, Look
from tuneline.llm.config import OpenAiConfig, Secret
from tuneline.llm.providers import openai as gpt
from tuneline.llm.providers.provider import Reply, Request, not_taken
from tuneline.llm.providers.refusals import read_refusal

CROWDED_S = 60.0
"""Wait for room in the account's queue."""

_FAILURES = {"model_not_found", "mismatched_model", "billing_hard_limit_reached", "invalid_json_line"}


class OpenAiBatches:
    """See `Batches`."""

    def __init__(self, config: OpenAiConfig, secret: Secret) -> None:
        self._config, self._provider = config, gpt.OpenAiProvider(config, secret, TIMEOUT_S)
        self._files: dict[str, str] = {}
        prepare(self._provider.http, partial(gpt.fault_of, config))

    async def submit(self, name: str, requests: Mapping[str, Request]) -> str:
        lines = [
            json.dumps({
                "custom_id": key, "method": "POST", "url": "/v1/chat/completions",
                "body": self._provider.request(request.messages, request.schema, request.seed),
            })
            for key, request in requests.items()
        ]  # fmt: skip
        sdk = self._provider.sdk
        with plain(self._config):
            content = "".join(f"{line}\n" for line in lines).encode()
            if name not in self._files:
                file = await sdk.files.with_raw_response.create(file=(f"{name}.jsonl", content), purpose="batch")
                self._files[name] = read_body(file.http_response.content, Named).id
            batch = await sdk.batches.with_raw_response.create(
                input_file_id=self._files[name], endpoint="/v1/chat/completions",
                completion_window="24h", metadata={"tuneline": name},
            )  # fmt: skip
        return read_body(batch.http_response.content, Named).id

    async def find(self, name: str, count: int, since: float) -> Sequence[str]:
        with plain(self._config):
            listed = await self._provider.sdk.batches.with_raw_response.list(limit=LISTED)
        found = read_body(listed.http_response.content, OpenAiList).data
        return [batch.id for batch in found if batch.metadata.get("tuneline") == name]

    async def look(self, batch: str) -> Look:
        now = await self._now(batch)
        status = now.status.lower().replace("canceled", "cancelled")
        if status == "failed":
            raise self._failed(now)
        ended = status in ("completed", "expired", "cancelled")
        return Look(ended, now.request_counts.completed, status == "cancelled")

    async def results(self, batch: str, ids: Sequence[str]) -> dict[str, Reply | Exception]:
        now = await self._now(batch)
        form = self._provider.form
        found: dict[str, Reply | Exception] = {}
        for file in filter(None, (now.output_file_id, now.error_file_id)):
            with plain(self._config):
                content = (await self._provider.sdk.files.content(file)).content
            for item in read_lines(content, OpenAiItem):
                if not isinstance(found.get(item.custom_id), Reply):  # an answer that is there and paid stays one
                    found[item.custom_id] = self._adapted(form, item) or outcome(partial(self.result, item))
        return {key: result for key, result in found.items() if key in ids}

    async def close(self) -> None:
        await self._provider.close()

    async def _now(self, batch: str) -> OpenAiBatch:
        with plain(self._config):
            answer = await self._provider.sdk.batches.with_raw_response.retrieve(batch)
        return read_body(answer.http_response.content, OpenAiBatch)

    def _adapted(self, form: gpt.Form, item: OpenAiItem) -> Fault | None:
        """Learn from a refusal in which form the model takes requests; they are asked again in that one."""
        if item.response.status_code in (0, 200):
            return None
        refusal = read_refusal(item.response.status_code, {}, json.dumps(item.response.body).encode())
        return Fault(refusal.detail) if self._provider.adapt(form, refusal) else None

    def result(self, item: OpenAiItem) -> Reply | Exception:
        """Return what became of a request."""
        body = json.dumps(item.response.body).encode()
        if not (status := item.response.status_code):
            return Fault("expired")
        if status != 200:
            return gpt.fault_of(self._config, status, {}, body)
        return outcome(lambda: gpt.answer_of(self._config, body))

    def _failed(self, now: OpenAiBatch) -> Failed:
        codes = {error.code for error in now.errors.data or [] if error.code}
        if "token_limit_exceeded" in codes:
            return Failed(
                Fault("the account's queue of batches has no room for so many tokens", wait_s=CROWDED_S), crowded=True
            )
        known = sorted(codes & _FAILURES)
        return Failed(not_taken(self._config, " ".join(["a failed batch", *known]), "check `model` and the account"))
