"""What the calls to models cost that a comparison rests on, whichever run paid for them.

What this run paid, failed attempts included, is in `tuneline show`: it is not the same each time, and a report is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tuneline.data.verdicts import Verdict
from tuneline.stage import Cost, Usage


class CostRow(NamedTuple):
    """Calls of one role of one stage to one model."""

    stage: str
    role: str
    model: str
    usage: Usage


def cost_rows(verdicts: Sequence[Verdict], cost: Cost) -> list[CostRow]:
    """Return the assessor's calls, by its verdicts, and those of `cost`; nothing if none was made."""
    usage = sum({verdict.sha256: verdict.usage for verdict in verdicts}.values(), start=Usage())
    judges = " and ".join(dict.fromkeys(verdict.judge for verdict in verdicts))
    rows = [CostRow("assessor", "judge", judges, usage)] if usage.calls else []
    return rows + [CostRow("evaluator", row.role, row.model, row.total) for row in cost.rows]
