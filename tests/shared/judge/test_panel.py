from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.judge_parts import RUBRIC, SHORT_RUBRIC, live, some_transcripts
from kit.judging import no_secret
from kit.scripted_openai import Answer, Call, completion, judged, serve_openai
from tuneline.data.io import read_lines, write_lines
from tuneline.data.rubric import Rubric
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Verdict
from tuneline.errors import UserError
from tuneline.judge.judging import Judged, judge_all, load_judge
from tuneline.judge.panel import disagreement


def rubric(rule: str = "stricter") -> Rubric:
    return Rubric.model_validate({**RUBRIC, "judges": ["mild", "strict"], "judges_rule": rule})


def mild(call: Call) -> Answer:
    return completion(judged(call, ASKS={"reason": "Nothing to ask in exchange 1.", "answer": "NA"}))


def strict(call: Call) -> Answer:
    """Finds number 1 impolite and number 2 harmful, and refuses number 3."""
    if "Number 3:" in call.prompt:
        return completion(None, refusal="No.")
    no = {"reason": "The strict one saw it in exchange 2.", "answer": "NO"}
    changed: dict[str, Any] = {}
    if "Number 1:" in call.prompt or "Number 2:" in call.prompt:
        changed = {"POLITE" if "Number 1:" in call.prompt else "SAFE": no}
    return completion(judged(call, **changed))


def together(folder: Path, judges: object, asked: Rubric, transcripts: list[Transcript]) -> Judged:
    folder.mkdir(exist_ok=True)
    (folder / "judge.yaml").write_text(json.dumps(judges))
    with live(folder) as context:
        judge = load_judge(folder / "judge.yaml", no_secret)
        return judge_all(judge, asked, transcripts, context, concurrency=2, timeout_s=60)


def at(url: str, model: str) -> dict[str, Any]:
    return {"provider": "openai", "model": model, "base_url": url}


def test_two_judges_make_one_verdict_of_the_stricter_answers_and_both_are_kept(tmp_path: Path) -> None:
    transcripts = some_transcripts(tmp_path, 4)
    with serve_openai(mild) as one, serve_openai(strict) as other:
        judges = {"judges": {"mild": at(one.url, "gpt-a"), "strict": at(other.url, "claude-b")}}
        found = together(tmp_path / "both", judges, rubric(), transcripts)
        again = together(tmp_path / "both", judges, rubric("mean"), transcripts)
        assert (len(one.calls), len(other.calls)) == (4, 4), "another rule costs nothing"
    assert [v.status for v in found] == ["scored", "scored", "scored", "refused"]
    assert [v.score for v in found] == [1.0, 0.5, 1.0, None]
    assert [v.score for v in again] == [1.0, 0.75, 1.0, None]
    assert [v.passed for v in found] == [True, False, False, False]
    assert [v.passed for v in again] == [True, True, False, False]
    assert found[0].answers == {"POLITE": "YES", "ASKS": "NA", "SAFE": "YES"}
    assert found[1].reasons["POLITE"].startswith("The strict one")
    assert found[2].failed_gates == again[2].failed_gates == ["SAFE"]
    assert {name: opinion.score for name, opinion in found[1].opinions.items()} == {"mild": 1.0, "strict": 0.5}
    assert (found[3].opinions["mild"].status, found[3].opinions["strict"].status) == ("scored", "refused")
    assert [card.family for card in found.cards] == ["openai", "anthropic"]
    assert found[0].usage.calls == 2 and found.spent_now.calls == 8
    assert disagreement(found) == {"answers": 9, "differ": 5, "transcripts": 3, "passed_by_one": 2}
    write_lines(tmp_path / "verdicts.jsonl", found)
    assert list(read_lines(tmp_path / "verdicts.jsonl", Verdict)) == found


def test_one_judge_has_no_opinions_and_no_disagreement(tmp_path: Path) -> None:
    with serve_openai(mild) as server:
        found = together(tmp_path, at(server.url, "m"), SHORT_RUBRIC, some_transcripts(tmp_path, 2))
    assert [v.opinions for v in found] == [{}, {}] and disagreement(found) == {}


TWO = {"judges": {"a": {"provider": "heuristic"}, "b": {"provider": "heuristic"}}}


@pytest.mark.parametrize(
    ("judges", "asked", "problem"),
    [
        (TWO, SHORT_RUBRIC, "there are a, b; the rubric must say which two it asks"),
        (TWO, rubric(), "the rubric asks `mild`, and there are a, b"),
        (TWO, rubric().model_copy(update={"judges": ("a", "a")}), "`a` stands there twice"),
        ({"provider": "heuristic"}, rubric(), "the rubric asks the judges mild, strict"),
        ({"judges": {"a": {"provider": "heuristic"}}}, rubric(), "judge.yaml:1: judges: must be two judges or more"),
        ({**TWO, "provider": "heuristic"}, rubric(), "must be two judges or more by name, and the only key"),
        ({"judges": {"a": {"provider": "heuristic"}, "b": {"provider": "opanai"}}}, rubric(), "judge.yaml:1: provider"),
        ({"judges": {"a": {"provider": "heuristic"}, "b": 3}}, rubric(), "provider: is required"),
        ({"judges": ["a", "b"]}, rubric(), "must be two judges or more by name"),
    ],
)
def test_judges_that_the_rubric_does_not_ask_are_refused_before_anything_is_paid(
    tmp_path: Path, judges: object, asked: Rubric, problem: str
) -> None:
    with pytest.raises(UserError) as refused:
        together(tmp_path, judges, asked, some_transcripts(tmp_path, 1))
    assert problem in str(refused.value)


def test_a_judge_that_is_wrong_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "judge.yaml"
    path.write_text(
        "judges:\n  a: {provider: heuristic}\n  b:\n    provider: openai\n    model: m\n    temprature: 1\n"
    )
    with pytest.raises(UserError, match=r"judge.yaml:6: temprature: unknown key; did you mean `temperature`"):
        load_judge(path, no_secret)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (completion(None, refusal="No."), "judge `strict`: The judge took 0 of the first 6"),
        (Answer(402), "judge `strict`: model m: .* the account has no money"),
    ],
)
def test_of_two_judges_the_one_that_does_not_judge_is_named_and_the_other_is_paid_once(
    tmp_path: Path, answer: Answer, said: str
) -> None:
    given = some_transcripts(tmp_path, 6)
    with serve_openai(mild) as first, serve_openai(lambda call: answer) as second:
        judges = {"judges": {"mild": at(first.url, "m"), "strict": at(second.url, "m")}}
        with pytest.raises(UserError, match=said):
            together(tmp_path / "run", judges, rubric(), given)
        second.script = mild
        assert [v.status for v in together(tmp_path / "run", judges, rubric(), given)] == ["scored"] * 6
    assert len(first.calls) == 6
