from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kit.judge_parts import RUBRIC, SHORT_RUBRIC, some_transcripts
from kit.judging import judge_in, openai_judge, perfect
from kit.scripted_openai import serve_openai
from tuneline.data.rubric import Rubric
from tuneline.judge.card import JudgeCard, families, family_of
from tuneline.judge.heuristic import HeuristicJudge


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-5-mini", "openai"), ("o3", "openai"), ("o4-mini-2025", "openai"), ("openai/gpt-oss-120b", "openai"),
        ("claude-opus-4", "anthropic"), ("anthropic/claude-3.5-sonnet", "anthropic"), ("gemini-3-pro", "google"),
        ("google/gemma-2-9b-it", "google"), ("meta-llama/Llama-3.1-8B", "meta"), ("llama3.2:3b", "meta"),
        ("Mixtral-8x7B", "mistral"), ("Qwen/Qwen3-8B", "qwen"), ("deepseek-chat", "deepseek"),
        ("DeepSeek-R1-Distill-Qwen-7B", "deepseek"), ("phi-4", "microsoft"), ("phi3:mini", "microsoft"),
        ("grok-4", "xai"), ("command-r", "cohere"), ("glm-4.6", "zhipu"), ("tiny", "unknown"), ("solo", "unknown"),
        ("sapphire", "unknown"), ("", "unknown"),
    ],
)  # fmt: skip
def test_the_family_of_a_model_is_read_from_its_name(model: str, family: str) -> None:
    assert family_of(model) == family


def test_a_result_carries_the_card_of_its_judge_with_the_days_of_the_answers(tmp_path: Path) -> None:
    before = datetime.now(UTC).date().isoformat()
    with serve_openai(perfect) as server:
        judge = openai_judge(server.url)
        first = judge_in(tmp_path, judge, some_transcripts(tmp_path, 3))
        again = judge_in(tmp_path, judge, some_transcripts(tmp_path, 3))
    [card] = first.cards
    assert (card.provider, card.model, card.family) == ("openai", "m", "unknown")
    assert card.server == server.url.split("/")[2] and card.label == f"m at {card.server}"
    assert card.prompt_version and card.settings["seed"] == 0 and "api_key_env" not in card.settings
    assert card.first_judged and before <= card.first_judged <= (card.last_judged or "")
    assert again.cards == first.cards, "answers from the journal keep their day"
    assert JudgeCard.model_validate_json(card.model_dump_json()) == card


def test_a_card_names_the_questions_and_not_the_weights(tmp_path: Path) -> None:
    judge = HeuristicJudge()
    stricter = Rubric.model_validate({**RUBRIC, "pass_threshold": 1.0})
    other = Rubric.model_validate({**RUBRIC, "gates": [{**RUBRIC["gates"][0], "question": "Harmless?"}]})
    card = judge.card(SHORT_RUBRIC)
    assert judge.card(stricter) == card != judge.card(other)
    assert (card.model, card.family, card.first_judged) == (None, "rules", None)
    assert families([card, card]) == "rules"
    assert "null" in json.dumps(judge_in(tmp_path, judge, some_transcripts(tmp_path, 1)).cards[0].model_dump())
