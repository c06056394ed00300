"""What judges answer that do not follow the JSON schema: read where it can only mean one thing, else asked again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.calibrating import answered, make, output_of, run_file
from kit.scripted_openai import Answer, Call, completion, serve_openai
from tuneline.errors import Unreadable
from tuneline_calibrator.models.answers import Quality, read_answer
from tuneline_calibrator.models.asking import Line
from tuneline_calibrator.models.judge import MOST_PASSAGES, Concept, ModelJudge

THREE = [Concept(id=f"c{n}", name=name, explained_if="") for n, name in enumerate(("Bridge", "Wind load", "Damper"), 1)]


class Says(Line):
    """A line on which the same is always answered."""

    def __init__(self, text: str) -> None:
        self.label, self._text = "", text

    def read(self, task: Any, messages: Any, schema: Any, reader: Any, again: int = 0, forgiving: Any = None) -> Any:
        return reader(self._text)


@pytest.mark.parametrize(
    ("engagement", "read"),
    [("80", 80), ('"80"', 80), ('" 80 / 100"', 80), ('"80.5%"', 80.5), ("0", 0), ("100", 100)],
)
def test_a_figure_may_be_told_in_words(engagement: str, read: float) -> None:
    text = f'{{"reason": "x", "engagement": {engagement}, "clarity": 50, "accuracy": 60}}'
    assert read_answer(text, Quality).engagement == read


@pytest.mark.parametrize("engagement", ["180", "-1", "NaN", "true", "null", '"8/10"', '"high"', "[80]"])
def test_a_figure_out_of_range_or_of_another_scale_is_not_guessed(engagement: str) -> None:
    text = f'{{"reason": "x", "engagement": {engagement}, "clarity": 50, "accuracy": 60}}'
    with pytest.raises(Unreadable):
        read_answer(text, Quality)


def test_kinds_may_be_written_large_and_other_words_are_asked_for_again() -> None:
    assert ModelJudge(Says('{"kinds": ["Hook", " METHOD "]}')).kinds(["a", "b"]) == ["hook", "method"]
    with pytest.raises(Unreadable, match="of passage 2 it is none of hook"):
        ModelJudge(Says('{"kinds": ["hook", "introduction"]}')).kinds(["a", "b"])
    with pytest.raises(Unreadable, match="3 for 2 passages"):
        ModelJudge(Says('{"kinds": ["hook", "method", "outro"]}')).kinds(["a", "b"])


@pytest.mark.parametrize(
    "kinds",
    [
        '{"1": "hook", "2": "method"}', '{"Passage 1": "Hook.", "Passage 2": "Method (how it works)"}',
        '["1. hook", "Passage 2: **method**"]', '[{"passage": 1, "kind": "hook", "why": "x"}, {"kind": "method"}]',
        '[{"passage": 1, "does": "hook"}, {"passage": 2, "does": "method"}]',
    ],
)  # fmt: skip
def test_kinds_may_be_numbered_in_any_way(kinds: str) -> None:
    assert ModelJudge(Says(f'{{"kinds": {kinds}}}')).kinds(["a", "b"]) == ["hook", "method"]


@pytest.mark.parametrize("kinds", ['{"2": "hook", "1": "method"}', '["hook method", "hook/method"]', '"hook, method"'])
def test_kinds_that_could_belong_to_another_passage_are_not_guessed(kinds: str) -> None:
    with pytest.raises(Unreadable):
        ModelJudge(Says(f'{{"kinds": {kinds}}}')).kinds(["a", "b"])


def test_concepts_may_be_bare_names_and_each_counts_once() -> None:
    said = '{"concepts": ["Bridge", {"name": "wind  load", "explained_if": "x"}, "bridge", "Wind load", "Damper"]}'
    found = ModelJudge(Says(said)).concepts("source", "talk", 2)
    assert [(one.id, one.name) for one in found] == [("c1", "Bridge"), ("c2", "wind  load")]


def test_what_is_explained_may_be_told_by_number_or_name() -> None:
    assert ModelJudge(Says('{"explained": ["C1", "3", "wind  LOAD", "c99"]}')).explained("t", THREE) == {
        "c1",
        "c2",
        "c3",
    }


@pytest.mark.parametrize(
    "explained",
    [
        "[1, 3]", '"c1, c3"', '{"c1": true, "c2": false, "c3": "yes"}', '["c1: Bridge", "c3: Damper"]',
        '[{"id": "c1"}, {"id": "c2", "explained": false}, {"id": "c3", "explained": true}]',
    ],
)  # fmt: skip
def test_what_is_explained_may_be_told_in_any_form(explained: str) -> None:
    assert ModelJudge(Says(f'{{"explained": {explained}}}')).explained("t", THREE) == {"c1", "c3"}


def test_nothing_explained_is_an_answer_and_ids_that_nobody_has_are_none() -> None:
    for nothing in ("[]", '["none"]', '"None"', '{"c1": false}'):
        assert ModelJudge(Says(f'{{"explained": {nothing}}}')).explained("t", THREE) == frozenset()
    for garbage in ('["4", "the bridge"]', "true", '{"c1": "perhaps"}', "null"):
        with pytest.raises(Unreadable):
            ModelJudge(Says(f'{{"explained": {garbage}}}')).explained("t", THREE)


def test_concepts_may_have_more_or_less_than_was_asked_for() -> None:
    said = '{"concepts": [{"id": 1, "name": "Bridge", "explained_if": null}, {"name": "%s", "why": "x"}]}' % ("w" * 999)
    found = ModelJudge(Says(said)).concepts("source", "talk", 5)
    assert [(one.id, len(one.name), one.explained_if) for one in found] == [("c1", 6, ""), ("c2", 300, "")]
    [one] = ModelJudge(Says('{"concepts": {"Wind": "it blows"}}')).concepts("s", "t", 5)
    assert (one.name, one.explained_if) == ("Wind", "it blows")


def test_shares_of_one_are_no_points_of_a_hundred() -> None:
    with pytest.raises(Unreadable, match="points from 0 to 100"):
        read_answer('{"engagement": 0.8, "clarity": 0.7, "accuracy": 1}', Quality)
    assert read_answer('{"engagement": 0, "clarity": 1, "accuracy": 1, "reason": null}', Quality).clarity == 1


def calibrated(folder: Path, judge: Any, **params: Any) -> tuple[dict[str, Any], list[Call]]:
    with serve_openai(judge) as server:
        config = {"provider": "openai", "model": "judge", "base_url": server.url}
        file = run_file(folder, server.url, {"judge": config}, max_trials=1, **params)
        told: dict[str, Any] = json.loads(output_of(folder / "store", make(file, folder / "store"), "calibration"))
        return told, server.calls


def test_a_judge_that_leaves_the_list_is_told_so_and_asked_once_more(tmp_path: Path) -> None:
    def corrected(call: Call) -> Answer:
        wanted = call.schema["properties"]["kinds"]["minItems"] if "kinds" in call.prompt[:900] else 0
        if not wanted or "could not be used" in call.prompt:
            return answered(call)
        return completion(json.dumps({"kinds": ["introduction"] * wanted}))

    def judge(call: Call) -> Answer:
        return corrected(call) if "response_format" in call.body else answered(call)

    told, calls = calibrated(tmp_path, judge)
    again = [call.prompt for call in calls if "could not be used" in call.prompt]
    assert told["pairs"] == 3 and told["trials"][0]["lost"] == 0
    assert again and all("it is none of hook, background" in prompt for prompt in again)
    assert not any("introduction" in prompt for prompt in again)


def test_a_judge_that_never_keeps_to_the_list_costs_a_passage_and_not_the_pair(tmp_path: Path) -> None:
    def stubborn(call: Call) -> Answer:
        wanted = call.schema["properties"].get("kinds", {}).get("minItems", 0) if "response_format" in call.body else 0
        return answered(call) if wanted < 3 else completion(json.dumps({"kinds": ["hook", "method", "conclusion"]}))

    told, calls = calibrated(tmp_path, stubborn)
    assert told["pairs"] == 3 and told["trials"][0]["lost"] == 0
    assert sum("it is none of hook" in call.prompt for call in calls) == 3
    [row] = [row for row in trials(tmp_path) if row["pair"] == "ash"]
    assert row["reference_kinds"] == ["hook", "method", "aside"]


def trials(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "store/runs/tried/calibrator/trials.jsonl").read_text().splitlines()]


class Counts(Says):
    """Says of each passage that it is an example, and keeps how many there were."""

    def read(self, task: Any, messages: Any, schema: Any, reader: Any, again: int = 0, forgiving: Any = None) -> Any:
        count = schema["properties"]["kinds"]["minItems"]
        assert ("of the 150 of the talk" in messages[0]["content"]) and count <= MOST_PASSAGES
        return reader(json.dumps({"kinds": ["example"] * count}))


def test_passages_of_a_long_talk_are_asked_about_some_at_a_time() -> None:
    assert ModelJudge(Counts("")).kinds(["x"] * 150) == ["example"] * 150
