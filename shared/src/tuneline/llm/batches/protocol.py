"""What the batches of every vendor can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from tuneline.errors import Fault, UserError
from tuneline.llm.providers.provider import Reply, Request


class Look(NamedTuple):
    """How a batch is doing."""

    ended: bool
    finished: int
    """Requests that are answered."""
    cancelled: bool = False
    """Somebody ended it at the vendor's; some requests may be answered all the same."""


class Gone(Exception):  # noqa: N818  (a state of the batch)
    """The server knows no such batch any more."""


class Failed(Exception):  # noqa: N818
    """The vendor did not take a batch after all: it has no answers and costs nothing."""

    def __init__(self, cause: Fault | UserError, *, crowded: bool = False) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.crowded = crowded
        """The vendor's queue had no room for so many tokens: fewer requests at once may fit."""


class Batches(Protocol):
    """The batches of one vendor. Every method raises Fault or UserError, too."""

    async def submit(self, name: str, requests: Mapping[str, Request]) -> str:
        """Hand in a batch called `name` of requests by id; return the vendor's id."""

    async def find(self, name: str, count: int, since: float) -> Sequence[str]:
        """Return the vendor's ids of batches that may be the one of that name, the likeliest first: of so many
        requests and handed in after `since`."""

    async def look(self, batch: str) -> Look:
        """Return how it is doing. Raises Gone or Failed."""

    async def results(self, batch: str, ids: Sequence[str]) -> dict[str, Reply | Exception]:
        """Return what became of its requests, which were handed in in the order of `ids`; some may be missing."""

    async def close(self) -> None:
        """Hang up."""
