"""Single prompts in place of personas: the whole stage with the real llama-server and a tiny model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kit.preferring import first_one, longer, preferred
from kit.scripted_openai import Answer, Call, completion, judged, serve_openai
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
    last = done.paths["modelfile"].read_text().splitlines()[-1]
    assert last.startswith('# Not compared by TEMPLATE: as text, "Instruction: {prompt}') and last.endswith('["e"].')
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


def test_a_judge_prefers_in_both_orders_and_its_preference_decides(arms: Inputs, tmp_path: Path) -> None:
    def script(call: Call) -> Answer:
        if "reason" in call.schema["properties"]:
            return completion(preferred(call.prompt, longer))
        return completion(judged(call))

    with serve_openai(script) as server:
        judge = {"provider": "openai", "model": "m", "base_url": server.url, "output_usd": 1.0}
        inputs = {**on_prompts(arms, tmp_path), "judge": judge}
        done = evaluate(tmp_path, inputs)
        calls = len(server.calls)
        found = comparison(done)
        assert calls == 16 + 2 * (8 - (found.preference.identical if found.preference else 0))
        evaluate(tmp_path, inputs, run="again", threads=2)
        assert len(server.calls) == calls
        secret = {row.id for row in conversations(done)} | {"finetuned", "q%2F"}
        assert not [word for call in server.calls for word in secret if word in json.dumps(call.body)]
    preference = found.preference
    assert preference is not None and found.settings.headline == "preference"
    rows = conversations(done)
    written = [[len(row.exchanges[0].assistant) for row in pair] for pair in zip(rows[::2], rows[1::2], strict=True)]
    assert preference.wins == sum(base < finetuned for base, finetuned in written)
    assert preference.losses == sum(base > finetuned for base, finetuned in written)
    assert found.headline == done.manifest.metrics.headline and "win rate" in found.headline
    assert preference.position.flips == 0 and preference.length is not None
    kept = [json.loads(line) for line in done.paths["preferences"].read_text().splitlines()]
    assert [row["ending"] for row in kept].count("win") == preference.wins
    report = done.paths["report"].read_text()
    assert "What is preferred" in report and "Gap (Bradley" in report
    assert {row.role for row in done.manifest.metrics.cost.rows} == {"judge", "preference"}


def test_a_judge_that_goes_by_the_place_of_an_answer_gives_no_verdict(arms: Inputs, tmp_path: Path) -> None:
    def script(call: Call) -> Answer:
        if "reason" in call.schema["properties"]:
            return completion(preferred(call.prompt, first_one))
        return completion(judged(call))

    with serve_openai(script) as server:
        inputs = {**on_prompts(arms, tmp_path), "judge": {"provider": "openai", "model": "m", "base_url": server.url}}
        done = evaluate(tmp_path, inputs)
    found = comparison(done)
    assert found.outcome == "withheld" and found.preference is not None and found.preference.position.too_many
    assert "the order is turned round" in found.headline
    assert "No verdict: the judge prefers what stands in one place" in done.paths["summary"].read_text()


def test_whole_conversations_of_personas_are_preferred_too_and_the_score_decides(arms: Inputs, tmp_path: Path) -> None:
    found = comparison(evaluate(tmp_path, arms, turns=2, preference=True))
    assert found.preference is not None and found.settings.headline == "score"
    assert found.preference.wins + found.preference.losses + found.preference.ties == 6
    assert found.judge_is_heuristic and found.deciding == found.score
