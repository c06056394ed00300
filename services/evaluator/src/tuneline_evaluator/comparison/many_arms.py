"""What `comparison.json` says of more than two arms."""

from __future__ import annotations

from tuneline.data.conversations import Arm
from tuneline.data.io import Closed
from tuneline.data.paired.effects import Range


class ArmRow(Closed):
    """One arm."""

    arm: Arm
    name: str
    """File, or model and server."""
    file_type: str | None
    bytes: int | None
    conversations: int
    scored: int
    personas: int
    """Personas or prompts with a scored conversation."""
    mean_score: float | None
    interval: Range | None
    """t interval of the mean over personas or prompts, within the scale."""
    rating: float | None
    """Bradley and Terry's strength on the scale of Elo, the base at 1500: who has the higher score with a persona wins.
    None where an arm has no persona in common with another."""
    rating_interval: Range | None
    """Of its distance from the base, bootstrapped by persona; counted from 1500. None where it has no width."""
    differs: list[str]
    """What should be equal and is not, compared with the base."""


class ArmPair(Closed):
    """Two arms."""

    first: Arm
    second: Arm
    personas: int
    difference: float | None
    """Mean of second − first over the personas or prompts that both have a score for."""
    interval: Range | None
    p: float | None
    """Two-sided sign-flip p before adjustment."""
    p_holm: float | None
    """The same, Holm-adjusted for all pairs."""


class ManyArms(Closed):
    """All arms and all pairs of them, in the order in which they are named: base and fine-tuned first."""

    arms: list[ArmRow]
    pairs: list[ArmPair]
