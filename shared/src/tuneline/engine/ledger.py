"""The ledger of a run: what its calls to models have cost, in every stage and every attempt, and what is left.

Each attempt keeps one record, `runs/<run>/spent/<node>-<attempt>.json`, written anew about every second while the stage
works: an attempt that fails, is stopped or killed has paid, too. A run may be limited. Before a call, the most that it
can cost is set aside; if that does not fit, the call waits for those in flight, which mostly cost less, and is refused
when none is left.

Attempts that work at once share the limit by claims, `runs/<run>/claims/<attempt>.json`: none spends more than
it has claimed, and who claims writes first and then reads what the others have claimed, so that of two at least one
sees the other, and steps back. A claim ends with its attempt, when it is idle, or when nobody renews it.

A stage may have a limit of its own beside that of the run. It is for what its result costs, so answers that were found
count, too.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import Field

from tuneline.engine.layout import Node, claim_key, run_key, spent_key
from tuneline.engine.records import Record, read, read_all
from tuneline.errors import Capped, OverBudget, UserError
from tuneline.stage import Closed, Usage, dollars
from tuneline.store.base import Store

CLAIM_SECONDS = 60.0
"""A claim that is not renewed ends after so long: its attempt was killed."""
SKEW_SECONDS = 10.0
"""Clocks of machines may differ by so much."""
IDLE_SECONDS = 10.0
"""Who has called nothing for so long gives back what it has claimed and not spent."""
AGAIN_SECONDS = (0.2, 1.0)
"""Who was refused looks again after a time between these."""
SHARE = 4
"""Beside what the next call needs, this part of what is left is claimed."""


class Paid(Closed):
    """What one role's calls to one model took in one attempt."""

    role: str
    model: str
    usage: Usage = Usage()
    lost: int = Field(default=0, ge=0)
    """Calls without an answer, cut off or out of time, that the server may bill."""
    lost_usd: float = Field(default=0.0, ge=0)
    """The most that the lost calls, and those whose server does not say what they took, can have cost, counted against
    the limit."""

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


class Claim(Record):
    """What one attempt that works may spend in all; until `until`, in seconds since 1970."""

    usd: float
    until: float


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
        self._limit: float | None = None
        self._found_usd = 0.0
        self._rows: dict[tuple[str, str], Paid] = {}
        self._written: tuple[Paid, ...] = ()
        self._held_usd, self._in_flight = 0.0, 0
        self._claimed, self._asked_at, self._refused_until = Claim(usd=0.0, until=0.0), 0.0, 0.0
        self._lock = threading.Lock()

    def account(self, role: str, model: str) -> LedgerAccount:
        return LedgerAccount(self, role, model)

    def limit(self, max_usd: float | None) -> None:
        """Limit what this attempt may spend together with what the answers cost that it finds."""
        with self._lock:
            self._limit = max_usd

    def found(self, usage: Usage) -> None:
        with self._lock:
            self._found_usd += usage.cost_usd

    def reserve(self, model: str, most_usd: float | None) -> bool:
        with self._lock:
            if not self._is_within_limit(most_usd or 0.0):
                return False
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
        with self._lock:
            self._keep_claim()

    def close(self) -> None:
        """Write what was paid, and give back what was claimed."""
        self.flush()
        with self._lock:
            if self._store is not None and self._claimed.until:
                self._store.delete([claim_key(self._run, self._attempt)])

    def _is_within_limit(self, most_usd: float) -> bool:
        spent = self._found_usd + self._spent_usd()
        # A hair of room: a hundred tenths of a cent do not add up to ten cents in binary.
        if self._limit is None or spent + self._held_usd + most_usd <= self._limit + 1e-9:
            return True
        if not self._in_flight:
            raise Capped(spent, self._limit, most_usd)
        return False

    def _has_money(self, limit: float, most_usd: float) -> bool:
        self._asked_at = time.monotonic()
        needed = self._spent_usd() + self._held_usd + most_usd
        if needed <= self._claimed.usd and time.time() < self._claimed.until - SKEW_SECONDS:
            return True
        if self._asked_at < self._refused_until:
            return False
        left, may_grow = self._left(limit)
        if needed <= left:
            self._claim(needed + (left - needed) / SHARE)
            left, _ = self._left(limit)
            if self._claimed.usd <= left:
                return True
            may_grow = True  # somebody claimed at the same time; one of us comes first the next time
        self._claim(self._spent_usd() + self._held_usd)
        self._refused_until = self._asked_at + random.uniform(*AGAIN_SECONDS)
        if not self._in_flight and not may_grow:
            spent = limit - left + self._spent_usd()
            raise OverBudget(
                f"max_usd: the run has spent {dollars(spent)} of {dollars(limit)}, {dollars(max(0.0, limit - spent))} "
                f"is left, and the next call may cost up to {dollars(most_usd)}; raise max_usd and run the same "
                "command again to resume from here"
            )
        return False

    def _left(self, limit: float) -> tuple[float, bool]:
        """Return what the other attempts leave of the limit, and whether they have claimed more than they spent."""
        if self._store is None:
            return limit, False
        claims: dict[str, float] = {}
        for entry in self._store.list(claim_key(self._run)):
            if entry.key == claim_key(self._run, self._attempt):
                continue
            claim = read(Claim, self._store, entry.key)
            if claim is not None and claim.until + SKEW_SECONDS > time.time():
                claims[entry.key] = claim.usd
            else:
                self._store.delete([entry.key])
        spent = {  # read behind the claims: who ends writes this, and then takes its claim back
            claim_key(self._run, other.attempt): sum(paid.most_usd for paid in other.paid)
            for other in spendings(self._store, self._run)
            if other.attempt != self._attempt
        }
        total = sum(max(spent.get(key, 0.0), claims.get(key, 0.0)) for key in spent.keys() | claims.keys())
        return limit - total, any(usd > spent.get(key, 0.0) + 1e-9 for key, usd in claims.items())

    def _keep_claim(self) -> None:
        """Renew the claim, or give back what is not needed now."""
        needed, left_s = self._spent_usd() + self._held_usd, self._claimed.until - time.time()
        if not self._in_flight and self._claimed.usd <= needed:
            return
        if left_s < SKEW_SECONDS or (not self._in_flight and time.monotonic() - self._asked_at > IDLE_SECONDS):
            self._claim(needed)
        elif left_s < CLAIM_SECONDS / 2:
            self._claim(self._claimed.usd)

    def _claim(self, usd: float) -> None:
        """Write what this attempt may spend in all: never less than it has spent, of which the record may not know."""
        self._claimed = Claim(usd=usd, until=time.time() + CLAIM_SECONDS)
        if self._store is not None:
            self._store.put(claim_key(self._run, self._attempt), self._claimed.to_bytes())

    def _spent_usd(self) -> float:
        return sum(paid.most_usd for paid in self._rows.values())


class LedgerAccount(NamedTuple):
    """The Account (see `tuneline.stage.Account`) of a role and a model in a ledger."""

    ledger: Ledger
    role: str
    model: str

    def reserve(self, most_usd: float | None) -> bool:
        return self.ledger.reserve(self.model, most_usd)

    def found(self, usage: Usage) -> None:
        self.ledger.found(usage)

    def settle(self, most_usd: float | None, usage: Usage, *, lost: bool = False) -> None:
        row = Paid(role=self.role, model=self.model, usage=usage)
        if lost or usage.unpriced:
            most = max(0.0, (most_usd or 0.0) - usage.cost_usd)
            row = row.model_copy(update={"lost": int(lost), "lost_usd": most})
        self.ledger.settle(most_usd, row)
