"""More than two arms: what is shown of each, and that every pair is tested together."""

from __future__ import annotations

import random

import pytest

from kit.evaluator_parts import answers, talked
from kit.judge_parts import SHORT_RUBRIC as RUBRIC
from tuneline.data.paired.statistics import holm
from tuneline_evaluator.comparison.many import many_arms, mean_interval
from tuneline_evaluator.comparison.scores import JudgedConversation
from tuneline_evaluator.conversations.arms import ArmFacts

ALL, HALF, NONE = answers(RUBRIC), answers(RUBRIC, "POLITE"), answers(RUBRIC, "POLITE", "ASKS")


def facts(name: str, file_type: str = "Q4_K_M") -> ArmFacts:
    known = dict.fromkeys(set(ArmFacts.model_fields) - {"arm", "context_tokens"})
    return ArmFacts.model_validate(
        known | {"arm": name, "file": f"{name}.gguf", "file_type": file_type, "context_tokens": 2048}
    )


def some_judged(arms: tuple[str, ...], better: str, personas: int = 12) -> list[JudgedConversation]:
    """Scores that vary by persona and chance; one arm is a criterion better with most of them."""
    chance, rows = random.Random(3), list[JudgedConversation]()
    for persona in range(personas):
        for arm in arms:
            level = ALL if arm == better and chance.random() < 0.9 else chance.choice([ALL, HALF, NONE, NONE])
            rows.append(talked(f"person-{persona:02}", arm, RUBRIC, level))
    return rows


def test_two_arms_need_no_table() -> None:
    assert many_arms(some_judged(("base", "finetuned"), "finetuned"), [facts("base"), facts("finetuned")], 0.05) is None


def test_every_pair_is_tested_over_the_personas_that_both_have_and_holm_counts_them_all() -> None:
    names = ("base", "finetuned", "q8_0", "v1")
    judged = some_judged(names, "v1")
    judged = [one for one in judged if (one.conversation.arm, one.conversation.persona) != ("q8_0", "person-03")]
    found = many_arms(judged, [facts(name, "Q8_0" if name == "q8_0" else "Q4_K_M") for name in names], 0.05)
    assert found is not None
    assert [(pair.first, pair.second) for pair in found.pairs] == [
        ("base", "finetuned"),
        ("base", "q8_0"),
        ("base", "v1"),
        ("finetuned", "q8_0"),
        ("finetuned", "v1"),
        ("q8_0", "v1"),
    ]
    assert [pair.personas for pair in found.pairs] == [12, 11, 12, 11, 12, 11]
    assert [pair.p_holm for pair in found.pairs] == holm([pair.p for pair in found.pairs if pair.p is not None])
    rows = {row.arm: row for row in found.arms}
    assert rows["q8_0"].personas == rows["q8_0"].scored == 11
    assert rows["q8_0"].differs == ["file type"]
    for row in found.arms:
        assert row.interval is not None and row.mean_score is not None
        assert 0 <= row.interval.low < row.mean_score < row.interval.high <= 1
    strongest = max(found.arms, key=lambda row: row.rating or 0)
    assert strongest.arm == "v1" and strongest.rating_interval is not None
    assert strongest.rating_interval.low > 1500 == rows["base"].rating
    assert rows["base"].rating_interval is None


def test_an_arm_without_a_score_is_shown_without_figures_and_the_others_keep_theirs() -> None:
    judged = some_judged(("base", "finetuned"), "finetuned")
    judged += [talked(f"person-{n:02}", "v1", RUBRIC, None, ended="broken") for n in range(12)]
    found = many_arms(judged, [facts(name) for name in ("base", "finetuned", "v1")], 0.05)
    assert found is not None
    lost = found.arms[2]
    assert (lost.conversations, lost.scored, lost.mean_score, lost.rating) == (12, 0, None, None)
    assert [pair.p_holm is None for pair in found.pairs] == [False, True, True]
    assert found.pairs[0].p == found.pairs[0].p_holm


def test_a_mean_of_equal_scores_has_no_interval() -> None:
    assert mean_interval([0.5, 0.5, 0.5], 0.05) is None
    assert mean_interval([0.5], 0.05) is None
    ends = mean_interval([0.4, 0.5, 0.6], 0.05)
    assert ends is not None and (ends.low, ends.high) == pytest.approx((0.2516, 0.7484), abs=1e-4)
