"""audit.json: what rules that code can answer found in a whole set of transcripts, beside what a judge thinks of each.

It holds figures, ids and exchange numbers, and never a word of a transcript.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tuneline.data.io import Closed, Id

Action = Literal["off", "report", "refuse", "stop"]
"""Do not look · count · count, and let no such transcript pass · end the run before anything is paid."""

MOST_EXAMPLES = 10


class FaultyExchange(Closed):
    """One exchange of a transcript."""

    id: Id
    exchange: int | None = Field(ge=1)
    """None for a rule of the rubric that looks at the whole conversation."""


class Finding(Closed):
    """What one check found in the set."""

    check: str
    """Name of the check; `rubric.` and an id for a criterion whose rule answered NO."""
    meaning: str
    """What it looks for."""
    action: Action
    transcripts: int
    """Transcripts with at least one exchange at fault."""
    exchanges: int
    """Exchanges at fault."""
    passing: int
    """Of these transcripts, those that passed."""
    passing_exchanges: int
    """Exchanges at fault in transcripts that passed."""
    examples: list[FaultyExchange]
    """The first few, those that passed first."""


class Audit(Closed):
    """A whole audit; only checks that found something have an entry, the one with most passing transcripts first."""

    transcripts: int
    exchanges: int
    passing: int
    """Transcripts that passed."""
    affected: int
    """Transcripts in which any check found something."""
    passing_affected: int
    """Of these, those that passed."""
    refused: int
    """Transcripts that would have passed without the checks that refuse."""
    found: list[Finding]
