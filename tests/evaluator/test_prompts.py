"""Single prompts in place of personas: the whole stage with the real llama-server and a tiny model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kit.support import Done, run_stage
from tuneline.data.conversations import Conversation
from tuneline.errors import UserError
from tuneline_evaluator.comparison.figures import Comparison
from tuneline_evaluator.stage import STAGE

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("evaluator")]

Inputs = Mapping[str, Any]
PARAMS: Mapping[str, Any] = {"sampler": {"max_answer_tokens": 24}, "slots": 2, "threads": 1}
ASKED = [f"What helps against weed number {number}?" for number in range(8)]


def evaluate(folder: Path, inputs: Inputs, *, run: str = "test", **params: object) -> Done:
    return run_stage(STAGE, folder, inputs=inputs, params={**PARAMS, **params}, run=run)


def conversations(done: Done) -> list[Conversation]:
    return [Conversation.model_validate_json(line) for line in done.paths["conversations"].read_text().splitlines()]


def comparison(done: Done) -> Comparison:
    return Comparison.model_validate_json(done.paths["comparison"].read_text())


def write_prompts(folder: Path, asked: list[str] = ASKED) -> Path:
    path = folder / "prompts.jsonl"
    rows = ({"id": f"q/{place}", "prompt": text, "category": "weeds"} for place, text in enumerate(asked))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def on_prompts(arms: Inputs, folder: Path, asked: list[str] = ASKED) -> dict[str, Any]:
    """The inputs with prompts in place of personas."""
    without = {name: value for name, value in arms.items() if name != "personas"}
    return {**without, "prompts": write_prompts(folder, asked)}


def test_both_arms_answer_each_prompt_once_with_the_same_seed(arms: Inputs, tmp_path: Path) -> None:
    done = evaluate(tmp_path, on_prompts(arms, tmp_path))
    rows = conversations(done)
    assert Counter(row.arm for row in rows) == {"base": 8, "finetuned": 8}
    for base, finetuned in zip(rows[::2], rows[1::2], strict=True):
        assert (base.persona, base.seed) == (finetuned.persona, finetuned.seed)
        assert [e.user for e in base.exchanges] == [e.user for e in finetuned.exchanges]
        assert len(base.exchanges) == 1 and base.exchanges[0].user in ASKED
    found = comparison(done)
    assert (found.score.unit, found.score.personas, found.settings.turns) == ("prompt", 8, 1)
    assert [row.name for row in found.personas] == ASKED
    assert "8 prompts" in found.headline and "persona" not in found.headline
    again = evaluate(tmp_path, on_prompts(arms, tmp_path, [*ASKED, "And then?"]), run="more")
    assert again.manifest.metrics.counts["conversations_from_journal"] == 16


def test_text_for_a_base_model_goes_out_as_it_is_written_and_ends_at_a_stop(arms: Inputs, tmp_path: Path) -> None:
    done = evaluate(tmp_path, on_prompts(arms, tmp_path), format="completion", stop=["e"])
    rows = conversations(done)
    assert {row.status for row in rows} <= {"complete", "empty"}
    assert not [row for row in rows if "e" in row.exchanges[0].assistant]
    stopped = [answer.finish_reason for row in rows for answer in row.answers]
    assert "stop" in stopped
    chat = conversations(evaluate(tmp_path, on_prompts(arms, tmp_path), run="chat"))
    assert chat[0].answers[0].prompt_tokens != rows[0].answers[0].prompt_tokens


def test_a_prompt_that_was_learnt_is_left_out_and_counted(arms: Inputs, tmp_path: Path) -> None:
    said = [{"role": "user", "content": "what helps against WEED, number 3"}, {"role": "assistant", "content": "Salt."}]
    row = {"id": "t#1", "transcript": "t", "point": 1, "dropped": 0, "split": "train", "tokens": 9,
           "planning_tokens": 7, "messages": said}  # fmt: skip
    (tmp_path / "slices.jsonl").write_text(json.dumps(row) + "\n")
    found = comparison(evaluate(tmp_path, {**on_prompts(arms, tmp_path), "slices": tmp_path / "slices.jsonl"}))
    assert found.score.personas == 7
    assert "q%2F3" not in [row.id for row in found.personas]
    assert any("1 of 8 prompts occur in the training set" in note for note in found.notes)


@pytest.mark.parametrize(
    ("params", "changed", "why"),
    [
        ({}, {"personas": {"personas": []}}, "`personas` .* or `prompts` .*: both are given"),
        ({}, {"prompts": None}, "`personas` .* or `prompts` .*: neither is given"),
        ({"turns": 3}, {}, "`turns`: `prompts` are answered once"),
        ({"format": "completion", "prompt_template": "Hm."}, {}, "`prompt_template`: must hold {prompt} once"),
        ({"headline": "preference", "preference": False}, {}, "`headline`: nobody is asked"),
    ],
)
def test_what_contradicts_itself_is_refused(
    arms: Inputs, tmp_path: Path, params: dict[str, Any], changed: dict[str, Any], why: str
) -> None:
    inputs = {name: value for name, value in {**on_prompts(arms, tmp_path), **changed}.items() if value is not None}
    with pytest.raises(UserError, match=why):
        evaluate(tmp_path, inputs, **params)
