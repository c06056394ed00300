"""How many personas it takes to decide anything: known before the first one speaks."""

from __future__ import annotations

from math import ceil, floor, log, log1p, log2


def enough_personas(significance: float) -> int:
    """Return the fewest personas whose smallest possible sign-flip p, 2^(1 − n), is below `significance`."""
    return floor(1 - log2(significance)) + 1


def personas_to_rule_out(loss: float, significance: float) -> int:
    """Return the fewest personas that can rule out a loss at all; below, one total failure would often go unseen."""
    return ceil(log(significance) / log1p(-loss))
