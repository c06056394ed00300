"""What the answers of one model took: those that are paid for now, and those that were found in a journal."""

from __future__ import annotations

from threading import Lock

from tuneline.stage import Account, Usage


class Tally:
    """Counts usage. Safe for threads."""

    def __init__(self, account: Account) -> None:
        self._account, self._lock = account, Lock()
        self.spent_now = Usage()
        """What this process has paid."""
        self.found_s = 0.0
        """Seconds that it took to make what this process has found."""
        self.taken = Usage()
        """What all answers took, whoever paid for them."""

    def pay(self, usage: Usage) -> None:
        """Count a call."""
        with self._lock:
            self.spent_now += usage

    def take(self, usage: Usage) -> None:
        """Count the answer to a call."""
        with self._lock:
            self.taken += usage

    def find(self, usage: Usage, seconds: float) -> None:
        """Count an answer that was found, and once took so long."""
        self._account.found(usage)
        with self._lock:
            self.taken += usage
            self.found_s += seconds
