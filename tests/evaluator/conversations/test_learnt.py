from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kit.evaluator_parts import persona_row
from kit.slicing import slice_of
from tuneline.data.io import write_lines
from tuneline.data.personas import Persona
from tuneline.data.reading.prompts import Prompt
from tuneline.errors import UserError
from tuneline.judge.simulators.simulator import ScriptedConfig, SimulatorConfig
from tuneline.llm.config import OpenAiConfig
from tuneline_evaluator.conversations.learnt import learnt_personas, learnt_prompts, said_in
from tuneline_evaluator.conversations.speakers import who_speaks
from tuneline_evaluator.stage import EvaluatorInputs

SAID = ["My leaves are yellow at the edges, what do they want?", "I water them each evening.", "Thank you very much!"]
SCRIPT = [
    "my leaves are yellow at the edges: what do they need",
    "I do water them each evening.",
    "They are green now.",
]


def slices(folder: Path, said: Sequence[str] = SAID) -> Path:
    """Slices of one transcript, each of which repeats the one before it."""
    turns = [text for asked in said for text in (asked, "Less water.")]
    points = range(1, len(said) + 1)
    write_lines(folder / "slices.jsonl", (slice_of("t", turns[: 2 * point]) for point in points))
    return folder / "slices.jsonl"


def persona(number: int, *script: str) -> Persona:
    return Persona.model_validate(persona_row(number, script=list(script)))


def test_who_says_mostly_what_a_user_says_in_the_training_set_has_been_learnt(tmp_path: Path) -> None:
    personas = [
        persona(0, *SCRIPT),
        persona(1, SCRIPT[0], "The leaves are green.", "They have been so for a whole week by now."),
        persona(2, "Thank you very much!", "What helps against snails in the rain?"),
        persona(3),
        persona(4, "我的番茄叶子边上都黄了怎么办"),
    ]
    assert learnt_personas(personas, said_in(slices(tmp_path))) == {"person-00"}
    assert learnt_personas(personas, said_in(slices(tmp_path, ["我的番茄叶子边上都黄了，怎么办？"]))) == {"person-04"}


def test_a_prompt_is_learnt_that_a_user_says_but_for_case_and_punctuation(tmp_path: Path) -> None:
    prompts = [Prompt(id=str(n), prompt=text) for n, text in enumerate([SAID[1].upper(), SCRIPT[1], SAID[2]])]
    assert learnt_prompts(prompts, said_in(slices(tmp_path))) == {"0", "2"}


def given(folder: Path, rows: Sequence[dict[str, Any]]) -> EvaluatorInputs:
    (folder / "personas.yaml").write_text(json.dumps({"personas": rows}))
    for arm in ("base", "model"):
        (folder / f"{arm}.gguf").write_bytes(b"GGUF")
    return EvaluatorInputs.model_construct(
        base=folder / "base.gguf", model=folder / "model.gguf", personas=folder / "personas.yaml", prompts=None,
        slices=slices(folder),
    )  # fmt: skip


PLAYED = OpenAiConfig(provider="openai", model="m", base_url="http://127.0.0.1:1/v1")


@pytest.mark.parametrize(("simulator", "left_out"), [(ScriptedConfig(), ["person-00"]), (PLAYED, [])])
def test_learnt_scripts_are_left_out_where_they_are_followed(
    tmp_path: Path, simulator: SimulatorConfig, left_out: list[str]
) -> None:
    kept, learnt = who_speaks(given(tmp_path, [persona_row(0, script=SCRIPT), persona_row(1)]), simulator)
    assert learnt == left_out and len(kept) == 2 - len(left_out)


def test_personas_that_are_all_taken_from_the_training_set_are_refused(tmp_path: Path) -> None:
    rows = [persona_row(number, script=SAID) for number in range(3)]
    with pytest.raises(UserError, match="All 3 personas say what is in the training set: give some that nobody has"):
        who_speaks(given(tmp_path, rows), ScriptedConfig())
