"""Whether the simulated users stayed in their role, and which conversations are left out because one did not.

Code looks at the user's messages alone, and the judge, where it is asked, at conversations without a name: neither
knows the arm. A persona and trial in which the user left the role with one model is left out with all of them, before
scores are looked at: so the arms stay paired, and what is left out does not depend on how either of them did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tuneline.data.conversations import Conversation
from tuneline.data.rubric import Rubric
from tuneline.data.text.talks import out_of_role
from tuneline_evaluator.comparison.effects import RoleCheck

ROLE = Rubric.model_validate({
    "name": "The simulated user’s role",
    "pass_threshold": 1.0,
    "categories": [{"id": "role", "weight": 1.0, "criteria": [{
        "id": "ROLE",
        "question": "Do the user’s messages stay those of one and the same person who came with a concern?",
        "yes": "Each of them could be from such a person, whatever the assistant says and however good it is.",
        "no": "In at least one the user answers as the assistant would, speaks of being an AI, a persona, a script or "
        "a test, describes the conversation from outside, or becomes somebody else.",
    }]}],
})  # fmt: skip
"""What the judge is asked about the user; of the assistant nothing."""

Key = tuple[str, int]
"""Persona and trial."""


class Kept(NamedTuple):
    """What was found, and the persons and trials that are left out."""

    check: RoleCheck
    left_out: frozenset[Key]


def kept_roles(talks: Sequence[Conversation], graded: Mapping[str, bool] | None) -> Kept:
    """Apply the rule; `graded` says by blind id whether the user kept the role, None where no judge was asked."""
    away = [talk for talk in talks if not _kept(talk, graded or {})]
    keys = frozenset((talk.persona, talk.trial) for talk in away)
    held = {(talk.persona, talk.trial) for talk in talks}
    counts = {arm: sum(talk.arm == arm for talk in away) for arm in ("base", "finetuned")}
    return Kept(
        RoleCheck(
            by_judge=graded is not None, left_out=sorted(f"{persona}/{trial}" for persona, trial in keys), of=len(held),
            base=counts["base"], finetuned=counts["finetuned"],
        ),
        keys,
    )  # fmt: skip


def _kept(talk: Conversation, graded: Mapping[str, bool]) -> bool:
    said = (message.content for message in talk.messages if message.role == "user")
    return graded.get(talk.judged_id, True) and not any(map(out_of_role, said))
