"""The set audit: what code finds in a whole set, beside what a judge thinks of each transcript."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.judge_parts import CANARY
from kit.places import EXAMPLES, REAL_DATA
from kit.support import Done, run_stage
from tuneline.data.io import read_lines, read_record
from tuneline.data.rubric import load_rubric
from tuneline.data.text.audit import Audit
from tuneline.data.transcripts import read_transcripts
from tuneline.data.verdicts import Verdict
from tuneline.errors import UserError
from tuneline_assessor.audit import CHECKS, audit_set
from tuneline_assessor.stage import STAGE, AuditParams

ASKED = f"My machine leaks from below every morning, and I cannot see why. {CANARY}"
GOOD = ["Which part is wet first?", "Empty the tray, and dry the float.", "Then the seal is worn; order a new one."]
BAD: dict[str, list[str]] = {
    "language": ["请先清空托盘。", "请清洗水箱。", "请检查密封圈。"],
    "generator_talk": [GOOD[0], "I will not go on producing this training data.", "Understood, ending the simulation."],
    "footers": [GOOD[0], GOOD[1], "Order a seal.\n\nSent from my iPhone"],
    "stage_directions": ["*smiles* Which part is wet first?", GOOD[1], GOOD[2]],
}
ASKS = {"id": "OK", "question": "Is it good?", "yes": "It is.", "no": "It is not."}


def rubric(**more: Any) -> dict[str, Any]:
    return {"name": "Any", "categories": [{"id": "all", "weight": 1, "criteria": [{**ASKS, **more}]}]}


def assess(folder: Path, audit: dict[str, str] | None = None, of: dict[str, Any] | None = None) -> Done:
    """Judge ten good transcripts and one with each fault; whoever judged them found all of them good."""
    talks = {**{f"good-{n}": [f"Part {n}. {said}" for said in GOOD] for n in range(10)}, **BAD}
    folder.mkdir(exist_ok=True)
    path = folder / "t.jsonl"
    path.write_text("".join(
        json.dumps({"id": name, "exchanges": [{"user": ASKED, "assistant": said} for said in answers]}) + "\n"
        for name, answers in talks.items()
    ))  # fmt: skip
    answers = [{"id": name, "answers": {"OK": "YES"}} for name in talks]
    inputs = {"transcripts": path, "rubric": of or rubric(), "judge": {"provider": "recorded"}, "answers": answers}
    return run_stage(STAGE, folder, inputs=inputs, params={"audit": audit or {}})


def test_what_a_judge_let_pass_is_counted_with_examples_by_id_and_never_with_text(tmp_path: Path) -> None:
    done = assess(tmp_path)
    audit = read_record(done.paths["findings"], Audit)
    assert (audit.transcripts, audit.passing, audit.affected, audit.passing_affected) == (14, 14, 4, 4)
    found = {f.check: f for f in audit.found}
    assert found.keys() == BAD.keys()
    assert [(p.id, p.exchange) for p in found["generator_talk"].examples] == [("generator_talk", 2)]
    assert (found["language"].transcripts, found["language"].exchanges, found["language"].passing) == (1, 3, 1)
    assert (
        "audit: 4 that passed need a look (footers 1, generator talk 1, language 1, …)"
        in done.manifest.metrics.headline
    )
    page = done.paths["audit"].read_text()
    assert "| language | 1 | 1 | 3 | report | language (exchange 1) |" in page
    for written in (page, done.paths["findings"].read_text(), done.manifest.model_dump_json()):
        assert CANARY not in written and "托盘" not in written


def test_a_check_that_refuses_lets_no_such_transcript_pass_and_says_so(tmp_path: Path) -> None:
    done = assess(tmp_path, {"language": "refuse", "footers": "off"})
    verdicts = {v.id: v for v in read_lines(done.paths["verdicts"], Verdict)}
    refused = verdicts["language"]
    assert (refused.passed, refused.score, refused.audit) == (False, 1.0, ["language"])
    assert all(verdict.passed for name, verdict in verdicts.items() if name != "language")
    assert "language" not in {row["id"] for row in json.loads(done.paths["passing"].read_text())["transcripts"]}
    audit = read_record(done.paths["findings"], Audit)
    assert audit.refused == 1 and "footers" not in {f.check for f in audit.found}
    assert "the audit refused 1" in done.manifest.metrics.headline


def test_a_check_that_stops_ends_the_run_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError) as stopped:
        assess(tmp_path, {"language": "stop", "footers": "stop"})
    assert "audit.language: 1 of 14 transcripts, as language (exchange 1): Answers in another" in str(stopped.value)
    assert "audit.footers: 1 of 14" in str(stopped.value) and CANARY not in str(stopped.value)
    assert not [p for p in (tmp_path / "store").rglob("*") if p.is_file()]


def test_a_clean_set_has_a_short_audit_and_nothing_in_the_headline(tmp_path: Path) -> None:
    every = dict.fromkeys(BAD, "off")
    done = assess(tmp_path, every)
    assert done.manifest.metrics.headline == "14 of 14 transcripts passed, 14 judged now"
    assert read_record(done.paths["findings"], Audit).found == []


def test_the_rules_of_the_rubric_are_counted_too(tmp_path: Path) -> None:
    talks = {**rubric(), "gates": [{**ASKS, "id": "WHOLE", "rule": {"rule": "well_formed"}}]}
    talks["gates"].append(
        {**ASKS, "id": "TERM", "from_exchange": 3, "rule": {"rule": "answers_avoid", "any": ["seal"]}}
    )
    done = assess(tmp_path, of=talks)
    found = {f.check: f for f in read_record(done.paths["findings"], Audit).found}
    assert found["rubric.TERM"].transcripts == 12 and found["rubric.TERM"].examples[0].exchange == 3
    assert found["rubric.WHOLE"].examples[0].exchange is None and found["rubric.WHOLE"].passing == 0


def test_a_habit_of_the_whole_set_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("".join(
        json.dumps({"id": f"t{n}", "exchanges": [{"user": ASKED, "assistant": said} for said in (
            f"I am so sorry about part {n}." if n % 3 == 0 else f"Part {n} is to blame.", f"Number {n} fits.", "Ok."
        )]}) + "\n"
        for n in range(30)
    ))  # fmt: skip
    loaded = read_transcripts(path).transcripts
    found = audit_set(AuditParams(), load_rubric(EXAMPLES / "rubric.yaml"), loaded).faults["same_opening"]
    assert found == {f"t{n}": [3] for n in range(30)}, "`Ok.` is every third answer, `I am so` every ninth"


@pytest.mark.slow
@pytest.mark.skipif(not REAL_DATA.exists(), reason="the real transcripts are not here")
def test_good_transcripts_of_many_thousand_words_have_next_to_no_faults() -> None:
    transcripts = read_transcripts(REAL_DATA / "transcripts").transcripts
    found = audit_set(AuditParams(), load_rubric(EXAMPLES / "rubric.yaml"), transcripts)
    # One answer says truthfully that it is an AI, without having been asked.
    assert {check: sum(map(len, at.values())) for check, at in found.faults.items()} == {"ai_talk": 1}


@pytest.mark.slow
@pytest.mark.skipif(not REAL_DATA.exists(), reason="the recorded sessions are not here")
def test_a_session_in_which_the_simulated_user_broke_off_is_found_among_thirty() -> None:
    transcripts = read_transcripts(REAL_DATA / "judged_sessions").transcripts
    found = audit_set(AuditParams(), load_rubric(EXAMPLES / "rubric.yaml"), transcripts)
    assert len(found.faults["generator_talk"]) == 1
    assert sum(len(at) for at in found.faults.values()) <= 2


def test_every_check_has_a_parameter_with_a_sentence() -> None:
    assert CHECKS.keys() <= AuditParams.model_fields.keys()
    assert all(field.description for field in AuditParams.model_fields.values())
