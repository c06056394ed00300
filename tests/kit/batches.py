"""Batches run by themselves: requests, an account and a journal in memory, every vendor."""

from __future__ import annotations

from typing import Any

from kit.scripted_batches import BatchServer
from kit.scripted_vendors import Protocol
from tuneline.errors import OverBudget
from tuneline.llm.batches.kept import request_id
from tuneline.llm.batches.run import BatchRun
from tuneline.llm.batches.servers import open_batches
from tuneline.llm.providers.provider import Reply, Request
from tuneline.stage import Usage


class Purse:
    """An account that notes what is set aside and what is paid."""

    def __init__(self, limit_usd: float = 1e9) -> None:
        self.held, self.paid, self.limit_usd = list[float | None](), Usage(), limit_usd

    def reserve(self, most_usd: float | None) -> bool:
        if sum(filter(None, [*self.held, most_usd])) + self.paid.cost_usd > self.limit_usd:
            if self.held:
                return False
            raise OverBudget("max_usd: no more")
        self.held.append(most_usd)
        return True

    def settle(self, most_usd: float | None, usage: Usage, *, lost: bool = False) -> None:
        self.held.remove(most_usd)
        self.paid += usage

    def found(self, usage: Usage) -> None:
        self.paid += usage


class Rows(dict[str, dict[str, Any]]):
    """A journal in memory."""

    def put(self, key: str, row: Any) -> None:
        self[key] = dict(row)


def requests_of(count: int, schema: dict[str, Any] | None = None) -> list[Request]:
    return [Request([{"role": "user", "content": f"number {n}</s>"}], schema, 0) for n in range(count)]


def run(
    server: BatchServer,
    url: str,
    requests: list[Request],
    rows: Rows,
    progress: Any = lambda found: None,
    purse: Purse | None = None,
) -> list[Any]:
    config = server.protocol.config(url, mode="batch", input_usd=1.0, output_usd=1.0)
    asked = {request_id(config, request): request for request in requests}
    purse = purse or Purse()
    try:
        found = BatchRun(config, open_batches(config, lambda name: name), rows, progress, purse).answers(asked)
    finally:
        assert purse.held == []
    return [found[key] for key in asked]


def echo(protocol: Protocol) -> BatchServer:
    return BatchServer(protocol, lambda call: protocol.reply(protocol.prompt(call).strip()), polls=3)


def texts(answers: list[Any]) -> list[str]:
    assert all(isinstance(answer, Reply) for answer in answers), answers
    return [answer.text for answer in answers]
