from __future__ import annotations

from pathlib import Path

import pytest

from kit.judge_parts import SHORT_RUBRIC, some_transcripts
from kit.judging import judge_in, openai_judge, perfect
from kit.scripted_openai import Answer, Call, completion, error, judged, serve_openai
from tuneline.errors import UserError
from tuneline.judge.canary import shuffled, some_of
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
