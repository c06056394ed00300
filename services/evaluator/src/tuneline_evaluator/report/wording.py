"""The verdict in plain words: what it is, how far it carries, and what to do now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from tuneline.data.paired.power import enough_personas
from tuneline.data.paired.safety import failing_now
from tuneline_evaluator.comparison.figures import Comparison, Outcome
from tuneline_evaluator.comparison.numbers import SPACE, interval, p_equals, percent, plural, points, rate, signed
from tuneline_evaluator.comparison.rates import worse_rates
from tuneline_evaluator.comparison.verdict import failures, rates


class Words(NamedTuple):
    """What the first screen of the report says."""

    tone: Literal["good", "bad", "unsure"]
    mark: str
    """A sign that does not depend on colour."""
    sentence: str
    action: str
    """What to do, in two or three words."""
    meaning: str
    """Why that is the thing to do."""
    evidence: str
    """Mean difference, interval, personas and p on one line."""
    scope: list[tuple[str, str]]
    """What gives one difference, who judged, and what was not measured: how far the verdict carries."""


_SENTENCES: dict[Outcome, str] = {
    "better": "The fine-tuned model is better than its base.",
    "not worse": "The fine-tuned model is not worse than its base.",
    "worse": "The fine-tuned model is worse than its base.",
    "inconclusive": "This comparison cannot tell the two models apart.",
    "withheld": "No verdict: the two arms did not lose the same share of conversations.",
}
BY_PLACE = "No verdict: the judge prefers what stands in one place, whichever answer that is."
_TONES: dict[Outcome, tuple[Literal["good", "bad", "unsure"], str]] = {
    "better": ("good", "✓"),
    "not worse": ("good", "≈"),
    "worse": ("bad", "✗"),
    "inconclusive": ("unsure", "?"),
    "withheld": ("unsure", "!"),
}


def in_words(comparison: Comparison) -> Words:
    """Put the verdict into words."""
    tone, mark = _TONES[comparison.outcome]
    return Words(tone, mark, _sentence(comparison), *_advice(comparison), evidence(comparison), scope(comparison))


def evidence(comparison: Comparison) -> str:
    """Write mean difference, interval, personas and p on one line; what was lost when the headline is withheld."""
    score, base, finetuned = comparison.deciding, comparison.base, comparison.finetuned
    if by_place(comparison):
        position = comparison.preference.position if comparison.preference else None
        return f"Flips: {rate(position.flips, position.of)} of the pairs" if position else ""
    if comparison.outcome == "withheld":
        return (
            f"Scored: {base.scored} of {base.conversations} conversations with the base, "
            f"{finetuned.scored} of {finetuned.conversations} with the fine-tuned model"
        )
    if score.mean_difference is None:
        return f"No {score.unit} has a scored conversation in both arms"
    over = plural(score.personas, score.unit)
    parts = [f"{signed(score.mean_difference)} points of 100 on average over {over}"]
    if score is not comparison.score:
        parts = [f"Preferred in {percent(0.5 + score.mean_difference)} of {over}, ties counting half", *parts]
        parts[1] = f"{signed(score.mean_difference)} points"
    if score.interval is not None:
        parts.append(f"{confidence(comparison)} interval {interval(score.interval)}")
    if score.sign_flip_p is not None:
        parts.append(p_equals(score.sign_flip_p))
    return "; ".join(parts)


def scope(comparison: Comparison) -> list[tuple[str, str]]:
    """Return what gives one difference, who judged, and what was not measured."""
    unit, turns, trials = comparison.score.unit, comparison.settings.turns, comparison.settings.trials
    each = "one answer" if unit == "prompt" else f"a conversation of {plural(turns, 'exchange')}"
    each = "a conversation that existed already" if comparison.existed else each
    each = each if trials == 1 else f"{trials} times {each}"
    cards = (f"{card.label} ({card.family})" if card.model else card.label for card in comparison.judges)
    return [
        *_beside(comparison),
        ("Unit", f"one {unit}, which gives one difference: {each} with each model"),
        ("Judged by", " and ".join(dict.fromkeys(cards)) or comparison.judge),
        ("Not measured", "; ".join(_not_measured(comparison))),
    ]


def _beside(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Yield what the score comes to otherwise counted; nothing where the headline is withheld."""
    if comparison.outcome == "withheld":
        return
    if matched := comparison.length_matched:
        everyone = plural(matched.of, comparison.score.unit)
        text = f"not known: none of {everyone} got answers of about one length from both"
        if matched.personas:
            found = f"{signed(matched.mean_difference)} points of score ({interval(matched.interval)})"
            text = f"{found} over the {matched.personas} of {everyone} whose answers are about as long from both"
        yield "At equal length", text
    if comparison.two_judges:
        alone = (f"{one.name} {signed(one.difference)}" for one in comparison.two_judges.judges)
        yield "Each judge alone", f"{', '.join(alone)} points of score"


def _not_measured(comparison: Comparison) -> Iterator[str]:
    yield "what the rubric does not ask"
    if not comparison.safety:
        yield "safety (the rubric has no gates)"
    if comparison.score.unit == "prompt" or comparison.settings.turns == 1:
        yield "how an answer holds up in a longer conversation"
    elif not comparison.existed:
        yield "real users (these are simulated)"
    if any(card.model for card in comparison.judges):
        yield "whether people agree with the judge (`tuneline judge-check` shows it)"
    if len(comparison.judges) < 2 and comparison.preference is None:
        yield "a second opinion on the answers"


def by_place(comparison: Comparison) -> bool:
    """Tell whether the verdict is withheld because the judge goes by the place of an answer."""
    decides = comparison.settings.headline == "preference" and not any(gap.differs for gap in comparison.gaps)
    return decides and comparison.preference is not None and comparison.preference.position.too_many


def confidence(comparison: Comparison) -> str:
    """Write the confidence of the intervals: `95 %`."""
    return percent(1 - comparison.settings.significance)


def broken_gates(comparison: Comparison) -> list[str]:
    """Return the ids of the gates that the fine-tuned model breaks."""
    return [row.id for row in comparison.safety if row.outcome == "broken"]


def _sentence(comparison: Comparison) -> str:
    sentence = BY_PLACE if by_place(comparison) else _SENTENCES[comparison.outcome]
    if comparison.outcome == "worse" and broken_gates(comparison):
        sentence = "The fine-tuned model breaks a safety criterion that its base keeps."
    if comparison.base_is_tuned:
        sentence = sentence.replace("its base", "the fine-tune that it is compared with")
    if comparison.judge_is_heuristic and comparison.outcome != "withheld":
        return f"By the demonstration’s rules, {sentence[0].lower()}{sentence[1:]}"
    return sentence


def _advice(comparison: Comparison) -> tuple[str, str]:
    failed = failures(failing_now(comparison.safety), comparison.score.unit)
    named = f"Only the fine-tuned model fails a safety criterion: {failed}. " if failed else ""
    if faults := worse_rates(comparison.faults):
        named += f"The fine-tuned model gives more {rates(faults)}. "
    if comparison.judge_is_heuristic:
        return "Do not decide on this", (
            f"{named}A demonstration: simple offline rules judged instead of a model or a person. They show that every "
            "step works, not which model people would prefer."
        )
    if comparison.unequal:
        return "Do not decide on this", (
            f"{named}The arms differ in more than their weights. Put both through the same conversion and compare "
            "again."
        )
    action, meaning = _advice_by_outcome(comparison)
    if named and comparison.outcome != "worse":
        return "Read the failures first", named + meaning
    if comparison.outcome in ("better", "not worse") and (doubts := list(_doubts(comparison))):
        return f"{action}, with care", " ".join([meaning, *doubts])
    return action, meaning


def _doubts(comparison: Comparison) -> Iterator[str]:
    """Yield what a good verdict leaves open."""
    score, margin = comparison.deciding, comparison.settings.margin
    bound = score.bound
    if bound is not None and bound <= -margin:
        n = plural(score.personas, score.unit)
        yield f"A rare failure that none of the {n} met could still turn the mean into {signed(bound)}{SPACE}points."
    if comparison.preference and comparison.preference.length and comparison.preference.length.by_length:
        yield "The gain is one of length: at equal length nothing of it is shown."
    matched, enough = comparison.length_matched, enough_personas(comparison.settings.significance)
    gains = comparison.outcome == "better" and matched is not None and matched.personas >= enough
    if gains and matched and (matched.mean_difference or 0.0) <= 0:
        yield "Where answers are about as long from both models, nothing of the gain is left."
    if unproven := [row.id for row in comparison.safety if row.outcome == "not shown"]:
        yield f"Safety is not shown to hold for {', '.join(unproven)}."


def _advice_by_outcome(comparison: Comparison) -> tuple[str, str]:
    broken = broken_gates(comparison)
    worse = (
        f"Whatever the score says, a safety criterion got worse: {', '.join(broken)}."
        if broken
        else "The whole interval lies below zero: people would get worse answers than from the base."
    )
    advice: dict[Outcome, tuple[str, str]] = {
        "better": ("Ship", "The whole interval lies above zero."),
        "not worse": (
            "Ship only if you have another reason",
            f"A loss of {points(comparison.settings.margin)} points or more is ruled out; a gain is not shown.",
        ),
        "worse": ("Do not ship", worse),
        "inconclusive": ("Collect more", _more_personas(comparison)),
        "withheld": (
            "Do not decide on this",
            "Half of what such a judge says is about the order. Use a stronger judge, or a question that it can answer."
            if by_place(comparison)
            else "Conversations that were refused, failed or empty are in no mean. Where one arm has more of them, the "
            "means compare different things. Find the cause below, fix it, and run again.",
        ),
    }
    return advice[comparison.outcome]


def _more_personas(comparison: Comparison) -> str:
    n, least, unit = comparison.deciding.personas, comparison.deciding.detectable, comparison.deciding.unit
    if least is None:
        return f"{plural(n, unit)} cannot show a difference reliably: use thirty or more."
    return (
        f"With {plural(n, unit)} a true difference below {points(least)}{SPACE}points goes undetected more than "
        f"one time in five. Halving that takes about four times as many {unit}s; more trials of the same {unit}s help "
        "little."
    )


def detectable(comparison: Comparison) -> str:
    """Write the smallest detectable difference in points."""
    least = comparison.deciding.detectable
    return "none" if least is None else f"±{points(least)}"


def detectable_in_words(comparison: Comparison) -> str:
    """Say which difference is the smallest that can be detected, or that there is none."""
    known = comparison.deciding.detectable is not None
    why = "points" if known else f"with so few {comparison.deciding.unit}s, or differences that vary so much"
    return f"Smallest detectable difference (80 % power): {detectable(comparison)} {why}."


GLOSSARY = (
    ("Arm.", "One side of the comparison: base or fine-tuned."),
    ("Persona.", "A simulated user who talks to both arms, with the same concerns and in the same manner."),
    ("Rubric.", "The criteria by which a judge answers YES, NO or NA; their weighted mean is the score."),
    ("Gate.", "A criterion that fails a conversation whatever its score."),
    ("Win rate.", "How often the fine-tuned model’s answer is preferred; a tie counts one half to each."),
    ("Flip.", "The judge preferred the other answer when the order of the two was turned round: a tie."),
    ("Gap.", "400·log10 of the odds of being preferred, the scale of Elo: 100 points are 64 %."),
    ("Interval.", "The true differences that fit the data. Where it includes zero, they fit no difference too."),
    ("p.", "How often a difference at least this large would come up by chance if the models were equally good."),
    (
        "Smallest detectable difference.",
        "The true difference that this many personas, as varied as these, would show four times out of five.",
    ),
    ("Power.", "How likely these tests would show a true difference of that size, whatever this comparison found."),
    ("Holm.", "Makes p values stricter when there are many, so that none looks small by chance."),
    ("Slice.", "A training example: a transcript up to a point, ending with the assistant’s answer."),
    ("GGUF.", "The file format that llama.cpp runs; here with quantised (rounded) weights."),
)
