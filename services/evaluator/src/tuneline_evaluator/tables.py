"""The rows of the report's tables that are chosen and worded rather than copied from the comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from tuneline_evaluator.comparison import ArmFacts, ArmSummary, Comparison
from tuneline_evaluator.numbers import NONE, count, p_value, percent, plain, plural, points, rate, size
from tuneline_evaluator.wording import confidence


class Banner(NamedTuple):
    """Something that must be read before the verdict."""

    tone: Literal["bad", "unsure"]
    title: str
    text: str


def banners(comparison: Comparison) -> list[Banner]:
    """Return what limits the verdict, the gravest first."""
    found = []
    if comparison.outcome == "withheld":
        gaps = ", ".join(gap.name for gap in comparison.gaps if gap.differs) or "see the reasons below"
        found.append(Banner("bad", "The headline is withheld.", f"The arms differ in how many conversations they lost: {gaps}."))
    if comparison.unequal:
        found.append(Banner("bad", "The arms are not equal.", f"The run allowed them to differ in: {', '.join(comparison.unequal)}. What is measured may come from that and not from the training."))
    if comparison.judge_is_heuristic:
        found.append(Banner("unsure", "Demonstration.", "Offline rules judged (phrases, lengths, repetition), not a model and not a person."))
    return found


def effect_facts(comparison: Comparison) -> list[tuple[str, str]]:
    """Return the figures behind the verdict."""
    score = comparison.score
    tried = f"{score.sign_flip_method}, {count(score.sign_flip_resamples)} sign flips" if score.sign_flip_method else NONE
    return [
        ("Personas", count(score.personas)),
        ("p, sign-flip test", p_value(score.sign_flip_p)),
        ("Sign-flip method", tried),
        (f"t ({count(score.degrees_of_freedom)} degrees of freedom)", NONE if score.t is None else plain(round(score.t, 2))),
        ("p, t test", p_value(score.t_p)),
        ("Standardised effect d_z", NONE if score.d_z is None else plain(round(score.d_z, 2))),
        ("Could have seen, 80 % power", f"{points(score.detectable)} points"),
        ("Accepted loss for “not worse”", f"{points(comparison.settings.margin)} points"),
    ]


ARM_ROWS: tuple[tuple[str, Callable[[ArmSummary], str]], ...] = (
    ("Held", lambda arm: count(arm.conversations)),
    ("Complete", lambda arm: rate(arm.complete, arm.conversations)),
    ("Scored", lambda arm: rate(arm.scored, arm.conversations)),
    ("Passed the rubric, of those scored", lambda arm: rate(arm.passed, arm.scored)),
    ("Answers", lambda arm: count(arm.answers)),
    ("Empty answers", lambda arm: rate(arm.empty_answers, arm.answers)),
    ("Answers cut at the limit", lambda arm: rate(arm.cut_answers, arm.answers)),
    ("Tokens per answer, mean", lambda arm: plain(arm.mean_answer_tokens and round(arm.mean_answer_tokens, 1))),
)
LOST_ROWS: tuple[tuple[str, Callable[[ArmSummary], int]], ...] = (
    ("Ended: an answer without text", lambda arm: arm.empty),
    ("Ended: no room left in the context", lambda arm: arm.overflow),
    ("Ended: the server failed", lambda arm: arm.broken),
    ("Judge refused", lambda arm: arm.refused),
    ("Judge was blocked", lambda arm: arm.blocked),
    ("Judge’s answer was unreadable", lambda arm: arm.unparsed),
    ("Too long for the judge", lambda arm: arm.too_long),
    ("Judge call failed", lambda arm: arm.judge_failed),
)


def arm_rows(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Return what became of the conversations, base and finetuned; ways to get lost only where one was."""
    base, finetuned = comparison.base, comparison.finetuned
    rows = [(label, write(base), write(finetuned)) for label, write in ARM_ROWS]
    lost = [
        (label, rate(number(base), base.conversations), rate(number(finetuned), finetuned.conversations))
        for label, number in LOST_ROWS
        if number(base) or number(finetuned)
    ]
    return rows[:3] + lost + rows[3:]


ARM_FACTS: tuple[tuple[str, bool, Callable[[ArmFacts], str]], ...] = (
    ("File", False, lambda arm: arm.file),
    ("Size", False, lambda arm: size(arm.bytes)),
    ("Quantisation", True, lambda arm: arm.file_type),
    ("Architecture", True, lambda arm: arm.architecture),
    ("Parameters", True, lambda arm: count(arm.parameters)),
    ("Base model", True, lambda arm: arm.base_model),
    ("Chat template (sha256)", True, lambda arm: arm.template_sha256[:16]),
    ("Tokenizer (sha256)", True, lambda arm: arm.tokenizer_sha256[:16]),
    ("Converter", True, lambda arm: arm.converter),
    ("Quantiser", True, lambda arm: arm.llama_cpp),
    ("Server", True, lambda arm: arm.server),
    ("Context, tokens", True, lambda arm: count(arm.context_tokens)),
)


def arm_facts(comparison: Comparison) -> list[tuple[str, str, str, bool | None]]:
    """Return facts of both files and whether they are equal; None where they need not be."""
    base, finetuned = comparison.arms
    return [
        (name, write(base), write(finetuned), write(base) == write(finetuned) if must_equal else None)
        for name, must_equal, write in ARM_FACTS
    ]


def settings(comparison: Comparison) -> list[tuple[str, str]]:
    """Return what was decided before the data were seen."""
    chosen = comparison.settings
    sampler = chosen.sampler
    return [
        ("Personas", count(len(comparison.personas))),
        ("Conversations per persona and arm", count(chosen.trials)),
        ("Exchanges per conversation", count(chosen.turns)),
        ("Seed", str(chosen.seed)),
        ("Personas spoken by", comparison.simulator),
        ("Judge", comparison.judge),
        ("Rubric", chosen.rubric),
        ("Pass threshold", f"{points(chosen.pass_threshold)} points"),
        ("System prompt", plain(chosen.system_prompt)),
        ("Temperature", plain(sampler.temperature)),
        ("Top p", plain(sampler.top_p)),
        ("Top k", plain(sampler.top_k)),
        ("Min p", plain(sampler.min_p)),
        ("Repeat penalty", plain(sampler.repeat_penalty)),
        ("Longest answer", plural(sampler.max_answer_tokens, "token")),
        ("Confidence of intervals", confidence(comparison)),
        ("Accepted loss of score", f"{points(chosen.margin)} points"),
        ("Accepted loss on a gate", percent(chosen.safety_margin)),
        ("Unequal arms allowed", plain(chosen.allow_unequal)),
    ]
