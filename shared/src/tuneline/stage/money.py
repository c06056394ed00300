"""What work takes: dollars, tokens of calls to models, and time, as people read them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from pydantic import Field

from tuneline.stage.records import Closed


def dollars(usd: float) -> str:
    """Return an amount for people: with cents, a small one with the two digits that count, nothing as $0.00."""
    if 0 < usd < 0.0001:
        return "under $0.0001"
    return f"${usd:,.2f}" if usd >= 0.1 or not usd else f"${usd:.2g}"


def rounded(value: float, digits: int = 2) -> str:
    """Return a number with the digits that count and the zeros behind them: `0.058`, `1.5`, `120`, `1,200`."""
    return f"{float(f'{value:.{digits}g}'):,.12g}"


def span(seconds: float) -> str:
    """Return a time in the largest unit that says enough: `41 s`, `12 min`, `3 h 20 min`, `2 d`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 2880 else f"{minutes // 1440} d"


class Usage(Closed):
    """Answered calls to a model, and what they took."""

    calls: int = Field(default=0, ge=0)
    input_tokens: int = Field(default=0, ge=0)
    """Tokens of the prompts, cached ones included."""
    cached_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    cost_usd: float = Field(default=0.0, ge=0)
    """As far as prices are known."""
    unpriced: int = Field(default=0, ge=0)
    """Calls whose price is not known."""

    @property
    def usd(self) -> str:
        """What the calls cost, for people, as far as it is known."""
        if not self.unpriced:
            return dollars(self.cost_usd)
        return "not known" if self.unpriced == self.calls else f"over {dollars(self.cost_usd)}"

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            calls=self.calls + other.calls, input_tokens=self.input_tokens + other.input_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=round(self.cost_usd + other.cost_usd, 9), unpriced=self.unpriced + other.unpriced,
        )  # fmt: skip


class Spent(Closed):
    """What one role's calls to one model took: `total` and `now` as in Cost."""

    role: str
    """judge · simulator · answers · generator · critic · writer · recogniser"""
    model: str
    total: Usage = Usage()
    now: Usage = Usage()


class Cost(Closed):
    """Money that a result took, in US dollars; the same in every stage."""

    total_usd: float = 0.0
    """Every call whose answer is part of the result, whichever run or attempt paid for it."""
    now_usd: float = 0.0
    """The calls of the attempt that made the result."""
    rows: tuple[Spent, ...] = ()
    """The same by role and model."""

    @classmethod
    def of(cls, *rows: Spent) -> Cost:
        paid = tuple(row for row in rows if row.total.calls or row.now.calls)
        total, now = sum(row.total.cost_usd for row in rows), sum(row.now.cost_usd for row in rows)
        return cls(total_usd=round(total, 6), now_usd=round(now, 6), rows=paid)

    def __add__(self, other: Cost) -> Cost:
        total, now = self.total_usd + other.total_usd, self.now_usd + other.now_usd
        return Cost(total_usd=round(total, 6), now_usd=round(now, 6), rows=self.rows + other.rows)


class Account(Protocol):
    """What the calls of one role to one model cost in this run. Safe for threads."""

    def reserve(self, most_usd: float | None) -> bool:
        """Set aside what a call may cost, None if unknown. False: calls in flight may leave enough, so ask again.

        Raises OverBudget when it could exceed what the run may spend, or the stage (`Capped`); UserError when nobody
        can tell.
        """

    def settle(self, most_usd: float | None, usage: Usage, *, lost: bool = False) -> None:
        """Put what a call took in place of what was set aside; a lost call is one that the server may bill anyway."""

    def found(self, usage: Usage) -> None:
        """Count an answer that was paid before: it costs this run nothing, and is part of what a stage may spend."""


class Forecast(NamedTuple):
    """What the calls of one role to one model will take, as far as it can be said before."""

    role: str
    model: str
    total: Usage
    """All calls of the result."""
    held: Usage
    """Those of them whose answers a journal holds."""
    left_usd: float | None
    """What the others will cost; None: the price is not known."""
    left_seconds: float
    """How long the others will take."""
