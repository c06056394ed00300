"""The ledger of a run: what its calls to models have cost, in every stage and every attempt, and what is left.

Each attempt keeps one record, `runs/<run>/spent/<node>-<attempt>.json`, written anew about every second while the stage
works: an attempt that fails, is stopped or killed has paid, too. A run may be limited. Before a call, the most that it
can cost is set aside; if that does not fit, the call waits for those in flight, which mostly cost less, and is refused
when none is left. So the limit holds, except for what attempts in other processes spend within READ_SECONDS.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import Field

from tuneline.engine.layout import Node, run_key, spent_key
from tuneline.engine.records import Record, read_all
from tuneline.errors import OverBudget, UserError
from tuneline.stage import Closed, Usage, dollars
from tuneline.store.base import Store

READ_SECONDS = 10.0
"""What other attempts have spent is read this often, if the run is limited."""


class Paid(Closed):
    """What one role's calls to one model took in one attempt."""

    role: str
    model: str
    usage: Usage = Usage()
    lost: int = Field(default=0, ge=0)
    """Calls without an answer, cut off or out of time, that the server may bill."""
    lost_usd: float = Field(default=0.0, ge=0)
    """The most that the lost calls can have cost, counted against the limit."""

    @property
    def most_usd(self) -> float:
        return self.usage.cost_usd + self.lost_usd

    def __add__(self, other: Paid) -> Paid:
        return Paid(
            role=self.role, model=self.model, usage=self.usage + other.usage, lost=self.lost + other.lost,
            lost_usd=round(self.lost_usd + other.lost_usd, 9),
        )  # fmt: skip


class Spending(Record):
    """What one attempt at a node paid."""

    stage: str
    attempt: str
    paid: tuple[Paid, ...]


def spendings(store: Store, run: str) -> list[Spending]:
    """Return what each attempt of a run paid, sorted by stage and time."""
    return sorted(
        read_all(Spending, store, run_key(run, "spent", "")), key=lambda spending: (spending.stage, spending.attempt)
    )


def added_up(paid: Iterable[Paid]) -> list[Paid]:
    """Return one row per role and model."""
    rows: dict[tuple[str, str], Paid] = {}
    for one in paid:
        key = (one.role, one.model)
        rows[key] = rows[key] + one if key in rows else one
    return list(rows.values())


class Ledger:
    """What one attempt pays, and whether the run may pay more; without a store it is for nobody. Safe for threads."""

    def __init__(self, store: Store | None, run: str, node: Node, attempt: str, max_usd: float | None = None) -> None:
        self._store, self._run, self._node, self._attempt = store, run, node, attempt
        self._max_usd = max_usd
        self._rows: dict[tuple[str, str], Paid] = {}
        self._written: tuple[Paid, ...] = ()
        self._held_usd, self._in_flight = 0.0, 0
        self._others_usd, self._read_at = 0.0, -READ_SECONDS
        self._lock = threading.Lock()

    def account(self, role: str, model: str) -> LedgerAccount:
        return LedgerAccount(self, role, model)

    def reserve(self, model: str, most_usd: float | None) -> bool:
        with self._lock:
            if self._max_usd is not None:
                if most_usd is None:
                    raise UserError(
                        f"max_usd: the price of {model} is not known, so nobody can tell when the limit is reached. "
                        "Give its `input_usd` and `output_usd` (0 is free), or leave max_usd out"
                    )
                if not self._has_money(self._max_usd, most_usd):
                    return False
            self._held_usd += most_usd or 0.0
            self._in_flight += 1
            return True

    def settle(self, most_usd: float | None, paid: Paid) -> None:
        with self._lock:
            self._held_usd -= most_usd or 0.0
            self._in_flight -= 1
            key = (paid.role, paid.model)
            self._rows[key] = self._rows[key] + paid if key in self._rows else paid

    @property
    def paid_usd(self) -> float:
        """What this attempt has paid."""
        with self._lock:
            return sum(paid.usage.cost_usd for paid in self._rows.values())

    def flush(self) -> None:
        """Write the attempt's record, if something was paid since the last time."""
        with self._lock:
            rows = tuple(self._rows.values())
        if self._store is not None and rows != self._written:
            record = Spending(stage=str(self._node), attempt=self._attempt, paid=rows)
            self._store.put(spent_key(self._run, self._node, self._attempt), record.to_bytes())
            self._written = rows

    def _has_money(self, limit: float, most_usd: float) -> bool:
        enough = self._spent_usd() + self._held_usd + most_usd <= limit
        if not enough and not self._in_flight:
            raise OverBudget(
                f"max_usd: the run has spent {dollars(self._spent_usd())} of {dollars(limit)}, "
                f"{dollars(max(0.0, limit - self._spent_usd()))} is left, and the next call may cost up to "
                f"{dollars(most_usd)}; raise max_usd and run the same command again to resume from here"
            )
        return enough

    def _spent_usd(self) -> float:
        if self._store is not None and time.monotonic() - self._read_at >= READ_SECONDS:
            others = (s for s in spendings(self._store, self._run) if s.attempt != self._attempt)
            self._others_usd = sum(paid.most_usd for spending in others for paid in spending.paid)
            self._read_at = time.monotonic()
        return self._others_usd + sum(paid.most_usd for paid in self._rows.values())


class LedgerAccount(NamedTuple):
    """The Account (see `tuneline.stage.Account`) of a role and a model in a ledger."""

    ledger: Ledger
    role: str
    model: str

    def reserve(self, most_usd: float | None) -> bool:
        return self.ledger.reserve(self.model, most_usd)

    def settle(self, most_usd: float | None, usage: Usage, *, lost: bool = False) -> None:
        row = Paid(role=self.role, model=self.model, usage=usage)
        if lost:
            row = row.model_copy(update={"lost": 1, "lost_usd": most_usd or 0.0})
        self.ledger.settle(most_usd, row)
