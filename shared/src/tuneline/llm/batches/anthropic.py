"""Batches of Anthropic: requests go up and answers come down by the id that we gave them; a batch has no name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial

import httpx2

from tuneline.errors import Fault
from tuneline.llm.batches.bodies import (
    AnthropicBatch,
    AnthropicItem,
    AnthropicList,
    Named,
    outcome,
    read_body,
    read_lines,
)
from tuneline.llm.batches.http import LISTED, TIMEOUT_S, plain, prepare, without_schema
from tuneline.llm.batches.protocol import Look
from tuneline.llm.config import AnthropicConfig, Secret
from tuneline.llm.providers import anthropic as claude
from tuneline.llm.providers.provider import Reply, Request
from tuneline.llm.providers.strangers import STATUS_OF


class AnthropicBatches:
    """See `Batches`."""

    def __init__(self, config: AnthropicConfig, secret: Secret) -> None:
        self._config, self._provider = config, claude.AnthropicProvider(config, secret, TIMEOUT_S)
        prepare(self._provider.http, partial(claude.fault_of, config))

    async def submit(self, name: str, requests: Mapping[str, Request]) -> str:
        body = [{"custom_id": key, "params": self._params(request)} for key, request in requests.items()]
        with plain(self._config):
            answer = await self._provider.sdk.post(
                "/v1/messages/batches", body={"requests": body}, cast_to=httpx2.Response
            )
        return read_body(answer.content, Named).id

    def _params(self, request: Request) -> Mapping[str, object]:
        extra = {} if self._config.temperature is None else {"temperature": self._config.temperature}
        schema = self._provider.schemas.taken(request.schema)
        return {**claude.request_of(self._config, request.messages, schema), **extra}

    async def find(self, name: str, count: int, since: float) -> Sequence[str]:
        with plain(self._config):
            listed = await self._provider.sdk.messages.batches.with_raw_response.list(limit=LISTED)
        # Our clock and the vendor's may differ by a minute. Answers to other requests would be passed over.
        return [
            batch.id
            for batch in read_body(listed.http_response.content, AnthropicList).data
            if batch.created_at.timestamp() > since - 60 and batch.request_counts.total == count
        ]

    async def look(self, batch: str) -> Look:
        with plain(self._config):
            answer = await self._provider.sdk.messages.batches.with_raw_response.retrieve(batch)
        now = read_body(answer.http_response.content, AnthropicBatch)
        counts = now.request_counts
        return Look(now.processing_status == "ended", counts.total - counts.processing, counts.canceled > 0)

    async def results(self, batch: str, ids: Sequence[str]) -> dict[str, Reply | Exception]:
        with plain(self._config):
            # Not at the address that the server gives: the key goes to the configured server alone.
            answer = await self._provider.sdk.get(f"/v1/messages/batches/{batch}/results", cast_to=httpx2.Response)
        items = {item.custom_id: item for item in read_lines(answer.content, AnthropicItem)}
        found = {key: outcome(partial(self.result, items[key])) for key in ids if key in items}
        return without_schema(found, self._provider.schemas)

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
        return claude.fault_of(self._config, STATUS_OF.get(kind, 500), {}, json.dumps(item.result.error).encode())
