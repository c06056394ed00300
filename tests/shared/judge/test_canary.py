from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from scipy.stats import binom

from kit.judge_parts import SHORT_RUBRIC, some_transcripts
from kit.judging import judge_in, openai_judge, perfect
from kit.scripted_openai import Answer, Call, completion, error, judged, serve_openai
from tuneline.errors import UserError
from tuneline.judge.canary import CHANCE, Changed, chance_of, shuffled, some_of
from tuneline.judge.heuristic import HeuristicJudge


def milder(call: Call) -> Answer:
    """Another model under the same name: it answers one criterion in three otherwise."""
    return completion(judged(call, SAFE={"reason": "In exchange 1.", "answer": "NO"}))


def test_a_judge_that_has_drifted_stops_the_run_before_new_and_old_verdicts_are_mixed(tmp_path: Path) -> None:
    transcripts = some_transcripts(tmp_path, 12)
    with serve_openai(perfect) as server:
        judge = openai_judge(server.url)
        judge_in(tmp_path, judge, transcripts[:8], canaries=4)
        assert len(server.calls) == 8, "the first time there is nothing to compare with"
        same = judge_in(tmp_path, judge, transcripts[:9], canaries=4)
        assert len(server.calls) == 8 + 4 + 1 and same.spent_now.calls == 5
        server.script = milder
        with pytest.raises(UserError, match=r"drifted: 4 of 12 answers about 4 transcripts .*\(33%, and 10% are noise"):
            judge_in(tmp_path, judge, transcripts, canaries=4)
        assert len(server.calls) == 13 + 4
        assert judge_in(tmp_path, judge, transcripts, canaries=4, canary_noise=0.5).judged_now == 3
        again = judge_in(tmp_path, judge, transcripts)
    assert [v.answers["SAFE"] for v in again] == ["YES"] * 9 + ["NO"] * 3, "the recorded answers stay"


def test_a_judge_that_refuses_what_it_judged_before_has_drifted(tmp_path: Path) -> None:
    transcripts = some_transcripts(tmp_path, 6)
    with serve_openai(perfect) as server:
        judge_in(tmp_path, openai_judge(server.url), transcripts)
        server.script = lambda _: error(400, "content_filter")
        with pytest.raises(UserError, match=r"drifted: it scored 0 of 2 transcripts .* \(blocked\)"):
            judge_in(tmp_path, openai_judge(server.url), transcripts, canaries=2)


def test_a_judge_as_noisy_as_was_said_is_not_taken_for_another_one(tmp_path: Path) -> None:
    transcripts = some_transcripts(tmp_path, 6)
    with serve_openai(perfect) as server:
        judge_in(tmp_path, openai_judge(server.url), transcripts)
        server.script = lambda call: milder(call) if len(server.calls) == 7 else perfect(call)
        assert len(judge_in(tmp_path, openai_judge(server.url), transcripts, canaries=3)) == 6, "1 of 9 differs"
        server.script = milder
        assert len(judge_in(tmp_path, openai_judge(server.url), transcripts, canaries=1)) == 6, "1 of 3 is no proof"
        with pytest.raises(UserError, match="drifted: 2 of 6 answers"):
            judge_in(tmp_path, openai_judge(server.url), transcripts, canaries=2, canary_noise=0.02)


def test_one_canary_without_an_answer_is_no_drift(tmp_path: Path) -> None:
    transcripts = some_transcripts(tmp_path, 6)
    with serve_openai(perfect) as server:
        judge_in(tmp_path, openai_judge(server.url), transcripts)
        server.script = lambda call: completion("I think so.") if len(server.calls) == 7 else perfect(call)
        assert len(judge_in(tmp_path, openai_judge(server.url), transcripts, canaries=3)) == 6


def test_offline_judges_have_no_canaries(tmp_path: Path) -> None:
    for _ in range(2):
        assert len(judge_in(tmp_path, HeuristicJudge(), some_transcripts(tmp_path, 3), canaries=2)) == 3


def test_canaries_are_the_same_ones_whatever_else_is_in_the_set(tmp_path: Path) -> None:
    all_of_them = some_transcripts(tmp_path, 40)
    first = some_of(all_of_them, 5)
    assert some_of(all_of_them[::-1], 5) == first and some_of(first, 5) == first
    assert len(some_of(all_of_them[:3], 5)) == 3


def test_shuffled_criteria_are_the_same_ones_in_another_order() -> None:
    order, other = [c.id for c in SHORT_RUBRIC.criteria], [c.id for c in shuffled(SHORT_RUBRIC).criteria]
    assert sorted(order) == sorted(other) and order != other


def starts(canaries: int, noise: float, evenness: float, count: int = 400) -> float:
    """Return the share of starts that a judge which changes so many of 12 answers each is taken for one that drifted.

    The share of a transcript is drawn around the noise: the less even, the more of the noise comes from few of them.
    """
    rng = Random(f"{canaries} {noise} {evenness}")
    alarms = 0
    for _ in range(count):
        shares = [rng.betavariate(noise * evenness, (1 - noise) * evenness) for _ in range(canaries)]
        changed = [Changed(sum(rng.random() < share for _ in range(12)), 12) for share in shares]
        differ = sum(one.differ for one in changed)
        alarms += differ > 0.1 * 12 * canaries and chance_of(changed, 0.1) < CHANCE
    return alarms / count


@pytest.mark.parametrize("canaries", [5, 10, 20, 50])
@pytest.mark.parametrize("evenness", [1000, 5, 2])
def test_a_judge_as_noisy_as_was_said_is_stopped_in_about_one_start_of_twenty(canaries: int, evenness: float) -> None:
    assert starts(canaries, 0.1, evenness) <= 0.085  # 5 % and three standard errors of 400 starts
    assert starts(canaries, 0.02, evenness) <= 0.01


def test_a_judge_that_changes_three_times_as_much_is_found_with_ten_canaries() -> None:
    assert starts(10, 0.3, 1000) >= 0.99
    assert starts(10, 0.3, 5) >= 0.9


@pytest.mark.parametrize("noise", [0.0, 0.09, 0.1, 0.12, 1.0])
def test_chance_is_the_binomial_one_where_answers_change_alone_also_for_thousands_of_them(noise: float) -> None:
    changed = [Changed(4, 40)] * 100
    assert chance_of(changed, noise) == pytest.approx(binom.sf(399, 4000, noise))
