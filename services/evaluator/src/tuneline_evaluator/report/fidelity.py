"""What each quantisation costs: its size beside how often it says what the merged model says."""

from __future__ import annotations

from collections.abc import Sequence

from tuneline.data.model_facts import Fidelity, ModelFacts
from tuneline_evaluator.comparison.numbers import percent, plural, size


def on_the_front(rows: Sequence[Fidelity]) -> list[Fidelity]:
    """Return the files that no other one beats in size and agreement at once, smallest first (the Pareto front)."""
    front: list[Fidelity] = []
    for row in sorted(rows, key=lambda row: (row.bytes, -row.top1.value)):
        if not front or row.top1.value > front[-1].top1.value:
            front.append(row)
    return front


def pick_in_words(facts: ModelFacts) -> str:
    """Name the file to take, the smallest that is close enough, and say how it was found."""
    least = next((check.threshold for check in facts.checks if check.name == "top1_agreement"), None)
    if not facts.fidelity or least is None:
        return ""
    pick = min((row for row in facts.fidelity if row.top1.low >= least), key=lambda row: row.bytes, default=None)
    if pick is None:
        return ""
    why = f"the smallest file whose agreement is at least {percent(least)} at the lower end of its interval"
    said = f"Take {pick.file_type} ({size(pick.bytes)}): it is {why}."
    if facts.imatrix:
        made_of = "a given importance matrix"
        if facts.imatrix.conversations:
            made_of = f"an importance matrix of {plural(facts.imatrix.conversations, 'training conversation')}"
        said += f" Files of both arms were quantised with {made_of}."
    return said if pick.file == facts.file else f"{said} It was not compared with the base: {facts.file_type} was."
