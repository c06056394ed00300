"""What a refined prompt must keep to."""

from __future__ import annotations

from collections.abc import Iterable

from tuneline.data.text.words import compared
from tuneline_calibrator.talks.given import SLOTS, has_controls

MOST_CHARS = 6_000
GRAM = 8
"""So many words of a reference in a row are taken for learning it by heart."""


def grams(text: str) -> set[tuple[str, ...]]:
    """Return the groups of eight words in a row, whatever case, signs and unseen characters are among them."""
    said = compared(text)
    return {tuple(said[n : n + GRAM]) for n in range(len(said) - GRAM + 1)}


def problem_of(prompt: str, before: str, learnt: Iterable[set[tuple[str, ...]]]) -> str:
    """Return what is wrong with a refined prompt; empty if nothing is. `learnt` are the groups of each reference."""
    for slot in SLOTS:
        if prompt.count(slot) != 1:
            return f"{slot} stands there {prompt.count(slot)} times, and must once"
    if len(prompt) > MOST_CHARS:
        return f"it has {len(prompt):,} characters, and may have {MOST_CHARS:,}"
    if has_controls(prompt):
        return "it has control characters"
    if prompt.split() == before.split():
        return "it is the prompt as it was"
    ours = grams(prompt) - grams(before)
    if any(ours & theirs for theirs in learnt):
        return f"it has {GRAM} words in a row of a source or a talk"
    return ""


def with_slots(prompt: str, before: str) -> str:
    """Return a refined prompt with the lines behind it in which `before` has the slots that are missing from it.

    Where source and profile stand says less than what is asked for, and that is what a weak writer forgets.
    """
    missing = [slot for slot in SLOTS if slot not in prompt]
    lines = dict.fromkeys(line.strip() for line in before.splitlines() for slot in missing if slot in line)
    return "\n\n".join([prompt.rstrip(), *lines]) if lines else prompt
