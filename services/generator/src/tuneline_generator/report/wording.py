"""Gates, statuses and projections in words."""

from __future__ import annotations

from tuneline.stage import dollars, rounded, span
from tuneline_generator.report.found import Quality
from tuneline_generator.report.gates import Gate
from tuneline_generator.report.projection import Projection
from tuneline_generator.writing.rows import LOST, STATUSES

MEANINGS = {
    "failed": "the writer's server did not take it", "refused": "the writer refused",
    "blocked": "a filter ended it", "too_long": "over the writer's context", "unparsed": "not of the form asked for",
    "empty": "no text", "leaks": "control tokens, or a label at the beginning",
    "runaway": "goes on with a new prompt, or does not end", "cut": "cut at max_tokens",
    "echo": "the answer is its prompt again", "bad_prompt": "the prompt is too short, too long, cut or no text",
    "duplicate": "an earlier row has the same prompt",
    "near_duplicate": "an earlier row has nearly the same prompt", "overlaps": "too like a prompt that is held out",
    "unsure": "the critic says neither yes nor no", "rejected": "the critic says no", "kept": "in transcripts.jsonl",
    "spare": "good, and beyond the count",
}  # fmt: skip
"""What each status means."""

GATES = {
    "runaway": "answers that go on with a new prompt, or do not end", "token_limit": "answers cut at max_tokens",
    "acceptance": "accepted, of those that were judged", "lost": "items without an answer, or that nobody could judge",
    "bad_prompts": "prompts too short, too long, cut or no text", "duplicates": "rows nearly like an earlier one",
    "same_answers": "answers that an earlier row has word for word", "loops": "answers that say the same over and over",
    "leakage": "rows with a control token or a label", "overlap": "kept rows like what is held out",
    "shortest_median": "median tokens of accepted answers", "longest_median": "median tokens of accepted answers",
    "test_prompts": "prompts set aside for a comparison", "critic_auc": "how well the critic tells answers apart",
    "critic_mass": "how much the critic says yes or no at all",
}  # fmt: skip
"""What each gate looks at."""

FIGURES = {"shortest_median", "longest_median", "critic_auc", "critic_mass"}
"""Gates whose value is no share."""


def value_of(gate: Gate) -> str:
    """Return what was found: a share with its events, or a figure."""
    if gate.events is not None and gate.of is not None:
        return f"{percent(gate.value)} ({gate.events:,} of {gate.of:,})"
    return f"{gate.value:.2f}" if gate.name.startswith("critic") else rounded(gate.value, 6)


def limit_of(gate: Gate) -> str:
    """Return the limit."""
    share = gate.events is not None
    return f"{gate.side} {percent(gate.limit) if share else rounded(gate.limit, 6)}"


def bound_of(gate: Gate) -> str:
    """Return the bound on the side of the limit, where there is one."""
    bound = gate.low if gate.side == "at least" else gate.high
    if bound is None:
        return ""
    return f"{bound:.2f}" if gate.name in FIGURES else percent(bound)


def told(gate: Gate) -> str:
    """Return a gate in one line."""
    found = f"{gate.name}: {value_of(gate)}, wanted {limit_of(gate)}"
    if gate.name == "test_prompts" and gate.state == "failed":
        return f"{found}, half of what the recipe sets aside: the writer repeats itself, or `test_prompts` is too high"
    if gate.state != "not shown":
        return found
    needed = f"; about {gate.needed:,} items would show it" if gate.needed else ""
    return f"{found}: not shown, the 95 % bound is {bound_of(gate)}{needed}"


def refusal(quality: Quality) -> list[str]:
    """Return why rows do not pass, a line each: gates that do not hold, a critic without a test, nothing kept."""
    lines = [told(gate) for gate in quality.gates if gate.name in quality.refused]
    if "lost" in quality.refused and quality.kept:
        lost = {name: quality.statuses.get(name, 0) for name in STATUSES if name in LOST}
        most = max(lost, key=lambda name: lost[name])
        lines = [
            f"{line}; most are `{most}` ({MEANINGS[most]})" if line.startswith("lost:") else line for line in lines
        ]
    shown = {gate.name for gate in quality.gates}
    lines += [f"{name}: too few well-formed rows to test the critic" for name in quality.refused if name not in shown]
    return lines if quality.kept else [*lines, f"none is kept: {mostly(quality)}"]


def mostly(quality: Quality) -> str:
    """Return what became of most items."""
    most = max(quality.statuses, key=lambda name: quality.statuses[name])
    return f"{quality.statuses[most]:,} of {quality.items:,} items are `{most}` ({MEANINGS[most]})"


def percent(share: float) -> str:
    """Return a share with one decimal below 10 %."""
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def projected(seen: Projection) -> str:
    """Return a projection in one line."""
    usd = "cost not known" if seen.usd is None else f"about {dollars(seen.usd)}"
    if seen.usd is not None and seen.usd_high is not None and seen.usd_high > seen.usd:
        usd += f" (at most {dollars(seen.usd_high)})"
    parts = f" in {seen.parts} parts of {span(60 * seen.part_minutes)}" if seen.parts > 1 else ""
    return f"{seen.items:,} items (at most {seen.items_high:,}), {usd}, {span(seen.hours * 3600)}{parts}"
