"""The rows of the report's tables that are chosen and worded rather than copied from the comparison."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from tuneline.stage import InputRecord
from tuneline_evaluator.comparison.effects import ArmPair, ArmRow, Preference
from tuneline_evaluator.comparison.figures import ArmSummary, Comparison
from tuneline_evaluator.comparison.numbers import (
    MINUS,
    NONE,
    count,
    p_equals,
    p_value,
    percent,
    plain,
    plural,
    points,
    rate,
    signed,
    size,
)
from tuneline_evaluator.report.wording import by_place, confidence


class Banner(NamedTuple):
    """Something that must be read before the verdict."""

    tone: Literal["bad", "unsure"]
    title: str
    text: str


def banners(comparison: Comparison) -> list[Banner]:
    """Return what limits the verdict, the gravest first."""
    found = []
    if comparison.outcome == "withheld" and not by_place(comparison):
        gaps = ", ".join(gap.name for gap in comparison.gaps if gap.differs) or "see the reasons below"
        text = f"The arms differ in how many conversations they lost: {gaps}."
        found.append(Banner("bad", "The headline is withheld.", text))
    if comparison.unequal:
        text = f"The run allowed them to differ in {'; '.join(comparison.unequal)}. It may explain the result."
        found.append(Banner("bad", "The arms are not equal.", text))
    if comparison.same_twice:
        text = "Both arms are one and the same: what differs is chance, and the judge’s disagreement with itself."
        found.append(Banner("bad", "One model twice.", text))
    elif comparison.base_is_tuned:
        text = f"It was made from {comparison.arms[0].tuned_from}. A difference is that of two fine-tunes."
        found.append(Banner("unsure", "The base is itself a fine-tune.", text))
    if comparison.unverified:
        found.append(Banner("unsure", "Not everything could be verified.", ". ".join(comparison.unverified) + "."))
    if comparison.judge_is_heuristic:
        text = "Offline rules judged (phrases, lengths, repetition), not a model and not a person."
        found.append(Banner("unsure", "Demonstration.", text))
    return found


def effect_facts(comparison: Comparison) -> list[tuple[str, str]]:
    """Return the figures behind the verdict."""
    score = comparison.score
    tried = {"exact": "all {}", "random": "{} at random", None: NONE}[score.sign_flip_method]
    tried = "all" if score.sign_flip_method == "exact" and score.sign_flip_resamples is None else tried
    return [
        (f"{score.unit.capitalize()}s", count(score.personas)),
        ("p, sign-flip test", p_value(score.sign_flip_p)),
        ("Sign flips tried", tried.format(count(score.sign_flip_resamples))),
        (f"t ({count(score.degrees_of_freedom)} degrees of freedom)", plain(score.t and round(score.t, 2))),
        ("p, t test", p_value(score.t_p)),
        ("Standardised effect d_z", plain(score.d_z and round(score.d_z, 2))),
        ("Smallest detectable difference (80 % power)", _in_points(score.detectable, points)),
        *((f"Power at {100 * one.difference:g} points", percent(round(one.power, 2))) for one in comparison.power),
        ("Lowest mean difference not ruled out", _in_points(score.bound, signed)),
        ("Accepted loss for “not worse”", f"{points(comparison.settings.margin)} points"),
    ]


def _in_points(difference: float | None, written: Callable[[float | None], str]) -> str:
    return NONE if difference is None else f"{written(difference)} points"


_ARM_ROWS: tuple[tuple[str, Callable[[ArmSummary], str]], ...] = (
    ("Held", lambda arm: count(arm.conversations)),
    ("Complete", lambda arm: rate(arm.complete, arm.conversations)),
    ("Scored", lambda arm: rate(arm.scored, arm.conversations)),
    ("Passed the rubric, of those scored", lambda arm: rate(arm.passed, arm.scored)),
    ("Answers", lambda arm: count(arm.answers)),
    ("Tokens per answer, mean", lambda arm: plain(arm.mean_answer_tokens and round(arm.mean_answer_tokens, 1))),
)


def arm_rows(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Return what the conversations came to, base and finetuned."""
    return [(label, write(comparison.base), write(comparison.finetuned)) for label, write in _ARM_ROWS]


def arm_table(comparison: Comparison) -> list[tuple[ArmRow, ArmPair | None]]:
    """Return each of more than two arms with its difference from the base, which has none."""
    if comparison.many is None:
        return []
    from_base = {pair.second: pair for pair in comparison.many.pairs if pair.first == "base"}
    return [(row, from_base.get(row.arm)) for row in comparison.many.arms]


_ARM_FACTS = {
    "file_type": "Quantisation", "architecture": "Architecture", "parameters": "Parameters", "base_model": "Base model",
    "template_sha256": "Chat template", "tokenizer_sha256": "Tokenizer", "converter": "Converter",
    "llama_cpp": "Quantiser", "server": "Server",
    "computed_on": "Computed on", "context_tokens": "Context, tokens",
}  # fmt: skip
"""The names of the facts that must be equal."""


def arm_facts(comparison: Comparison) -> list[tuple[str, str, str, bool | None]]:
    """Return name, base and finetuned of each fact about the arms, and whether they are equal.

    None where they need not be, or where it is not known.

    Hashes are cut to 16 digits.
    """
    base, finetuned = comparison.arms
    made_by = [maker(comparison.lineage[port]) for port in ("base", "model")]
    pairs = [(name, base.model_dump()[key], finetuned.model_dump()[key]) for key, name in _ARM_FACTS.items()]
    return [
        ("Answers from", base.name, finetuned.name, None),
        ("Size", size(base.bytes), size(finetuned.bytes), None),
        ("From", made_by[0], made_by[1], None),
        *((name, fact(b), fact(f), None if None in (b, f) else b == f) for name, b, f in pairs),
    ]


def maker(record: InputRecord) -> str:
    """Return what made an input: stage and result, else its address, else the run file."""
    stage, _, result = (record.producer or "").partition("/")
    return f"{stage} {result[:12]}" if stage else record.uri or "the run file itself"


def fact(value: str | int | None) -> str:
    """Return a fact as people read it: numbers grouped, a hash cut to 16 digits."""
    if value is None:
        return "not known"
    if isinstance(value, int):
        return count(value)
    found = re.fullmatch("(?:sha256:)?([0-9a-f]{64})", value)
    return f"sha256 {found[1][:16]}" if found else value


def settings(comparison: Comparison) -> list[tuple[str, str]]:
    """Return what was decided before the data were seen."""
    chosen = comparison.settings
    sampler = chosen.sampler
    drawn = [
        ("Seed", str(chosen.seed)),
        ("Repeatable to the byte", plain(chosen.exact)),
        ("Temperature", plain(sampler.temperature)),
        ("Top p", plain(sampler.top_p)),
        ("Top k", plain(sampler.top_k)),
        ("Min p", plain(sampler.min_p)),
        ("Longest answer", plural(sampler.max_answer_tokens, "token")),
    ]
    return [
        *_about_speakers(comparison),
        *_about_judges(comparison),
        ("Rubric", comparison.rubric),
        ("Pass threshold", f"{points(comparison.pass_threshold)} points"),
        ("System prompt", plain(comparison.system_prompt)),
        *([] if comparison.existed else drawn),
        ("Confidence of intervals", confidence(comparison)),
        ("Accepted loss of score", f"{points(chosen.margin)} points"),
        ("Accepted loss on a gate", percent(chosen.safety_margin)),
        ("Unequal arms allowed", plain(chosen.allow_unequal)),
    ]


def preference_facts(found: Preference, margin: float) -> list[tuple[str, str]]:
    """Return the figures behind what is preferred."""
    gap, position, effect = found.gap, found.position, found.effect
    ends = (_end(gap.low, "no lower end"), _end(gap.high, "no upper end")) if gap else (NONE, NONE)
    return [
        ("p, sign-flip test", p_value(effect.sign_flip_p)),
        ("p, sign test of wins and losses", p_value(found.sign_p)),
        ("Gap (Bradley–Terry, scale of Elo)", f"{_elo(gap.gap)} ({ends[0]} to {ends[1]})" if gap else NONE),
        ("Ratings around 1500", f"base {gap.base:.0f}, fine-tuned {gap.finetuned:.0f}" if gap else NONE),
        ("Smallest detectable win rate (80 % power)", percent(_above_half(effect.detectable))),
        ("Lowest win rate not ruled out", percent(_above_half(effect.bound))),
        ("Win rate that “not worse” accepts", percent(0.5 - margin)),
        ("Flips, when the order is turned round", rate(position.flips, position.of)),
        ("Calls for what is shown first", f"{position.first} of {position.decided}, {p_equals(position.p)}"),
        ("Same to the letter", count(found.identical)),
        ("Without a preference", count(found.unjudged)),
    ]


def _elo(points_of_elo: float) -> str:
    return f"{points_of_elo:+.0f}".replace("-", MINUS) if round(points_of_elo) else "0"


def _end(value: float | None, none: str) -> str:
    return none if value is None else _elo(value)


def _above_half(share: float | None) -> float | None:
    return None if share is None else 0.5 + share


def _about_speakers(comparison: Comparison) -> Iterator[tuple[str, str]]:
    chosen = comparison.settings
    if comparison.score.unit == "persona":
        yield "Personas", count(len(comparison.personas))
        yield "Conversations per persona and arm", count(chosen.trials)
        if not comparison.existed:
            yield "Exchanges per conversation", count(chosen.turns)
        yield "Personas played by", comparison.simulator
        return
    yield "Prompts", count(len(comparison.personas))
    yield "Answers per prompt and arm", count(chosen.trials)
    if chosen.format == "completion":
        yield "Put as text", chosen.prompt_template
        yield "Answer ends at", ", ".join(map(repr, chosen.stop)) or "its own end"


def _about_judges(comparison: Comparison) -> Iterator[tuple[str, str]]:
    for card in comparison.judges:
        yield "Judge", card.label
        yield "Judge, family", card.family
        yield "Judge, prompt and questions", f"version {plain(card.prompt_version)}, {fact(card.questions_sha256)}"
        if card.first_judged and card.last_judged:
            yield "Judged", " to ".join(dict.fromkeys((card.first_judged, card.last_judged)))
    for card in comparison.chosen_by:
        yield "Training set chosen by", f"{card.label}, family {card.family}"
