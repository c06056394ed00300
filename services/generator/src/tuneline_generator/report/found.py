"""quality.json: what was found about all rows, and what they have in common."""

from __future__ import annotations

from pydantic import Field

from tuneline.data.judged import Looked
from tuneline.stage import Closed, Json
from tuneline_generator.critic.critic import CriticTest
from tuneline_generator.report.gates import Gate
from tuneline_generator.report.projection import Projection


class Quality(Closed):
    """quality.json."""

    pilot: bool
    """Whether these are the rows of the pilot."""
    passed: bool
    refused: list[str]
    """Gates that do not hold."""
    items: int = Field(ge=0)
    kept: int = Field(ge=0)
    """Good rows, those beyond the wanted count among them."""
    statuses: dict[str, int]
    gates: list[Gate]
    looked: Looked = "nobody"
    """Who said which rows are worth learning."""
    critic: CriticTest | None
    """The critic's test; None without a critic, or with one that is no model of probabilities."""
    projection: Projection | None
    """Of the pilot: what the whole will take; None if nothing was kept."""
    usd: float | None
    """What all rows, kept or not, and the tests took; None: the price is not known."""
    rows_usd: float | None
    """What the rows alone took."""
    test_prompts: int
    constant: dict[str, Json]
    """What all rows have in common: recipe, writer, critic."""
