"""What a process may spend of `max_usd`, without asking the others: its share, by its items."""

from __future__ import annotations

from threading import Condition


class Capped(Exception):  # noqa: N818  (a state of the work: the next call could go beyond the share)
    """The share is spent."""


class Budget:
    """A share of money; None is without limit. Safe for threads.

    A call begins when what is spent, and what calls in flight will cost at the mean of the others, leaves something.
    """

    def __init__(self, share_usd: float | None) -> None:
        self.share_usd, self.spent_usd = share_usd, 0.0
        self._calls, self._in_flight = 0, 0
        self._changed = Condition()

    def begin(self) -> None:
        """Wait until a call may begin. Raises Capped when none may any more."""
        with self._changed:
            while not self._allows():
                if not self._in_flight:
                    raise Capped
                self._changed.wait()
            self._in_flight += 1

    def end(self, cost_usd: float) -> None:
        """End a call that `begin` let through."""
        with self._changed:
            self._in_flight -= 1
            self._add(cost_usd)

    def count(self, cost_usd: float) -> None:
        """Add what was paid before, or beside."""
        with self._changed:
            self._add(cost_usd)

    def _add(self, cost_usd: float) -> None:
        self.spent_usd += cost_usd
        self._calls += 1
        self._changed.notify_all()

    def _allows(self) -> bool:
        mean = self.spent_usd / self._calls if self._calls else 0.0
        # A hair of room: a hundred tenths of a cent do not add up to ten cents in binary.
        return self.share_usd is None or self.spent_usd + self._in_flight * mean < self.share_usd * (1 - 1e-9)
