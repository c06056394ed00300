"""Scripts about given sources, by the recipe's prompt or a calibrated one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.calibrating import PROMPT, answered, references
from kit.generating import WORDS, make, output_of, rows_of, write_run
from kit.places import EXAMPLES
from kit.scripted_openai import Answer, Call, completion, serve_openai
from tuneline.engine.runfile import read_run_file
from tuneline.engine.runner import new_job, run_job
from tuneline.errors import UserError
from tuneline.stage import installed_stages
from tuneline.store.base import open_store

RECIPE: dict[str, Any] = {
    "kind": "scripts", "request": "Talk about this: {source}",
    "response": {"prompt": "SAY {source}", "max_tokens": 200},
}  # fmt: skip
GROWS = {
    "ash": "by the {river}, and it keeps no leaf after the first cold night of the year",
    "elm": "in rows along old roads until beetles bring a fungus under its bark",
    "oak": "for three hundred years, stands for as many, and needs as many to die",
    "yew": "beside churches where nobody lets cattle graze on its poisonous needles",
}
TEXTS = {f"{name}.txt": f"The {name} grows\f{how}." for name, how in GROWS.items()}


def said(call: Call) -> Answer:
    """A script of its own for each prompt and seed."""
    drawn = hashlib.shake_256(f"{call.prompt}/{call.body.get('seed')}".encode()).digest(9)
    return completion(f"Have you seen it? {' '.join(WORDS[byte % len(WORDS)] for byte in drawn)}.")


def run_file(folder: Path, url: str, **inputs: Any) -> Path:
    sources = folder / "texts"
    sources.mkdir(parents=True)
    for name, text in TEXTS.items():
        (sources / name).write_text(text)
    given = {
        "recipe": RECIPE, "writer": {"provider": "openai", "model": "m", "base_url": url}, "script_sources": "texts",
    } | inputs  # fmt: skip
    return write_run(folder, given, count=24, pilot=20)


def test_each_source_is_written_about_in_turn_and_the_last_are_set_aside(tmp_path: Path) -> None:
    with serve_openai(said) as server:
        file = run_file(tmp_path, server.url, recipe={**RECIPE, "test_prompts": 1})
        make(file, tmp_path / "store", pilot=True)
        whole = make(file, tmp_path / "store")
    assert whole and len({json.dumps(call.body) for call in server.calls}) == len(server.calls), "paid twice"
    rows = rows_of(tmp_path / "store", whole, "transcripts")
    assert [row["persona"] for row in rows[:4]] == ["ash.txt", "elm.txt", "oak.txt", "ash.txt"] and len(rows) == 24
    assert rows[0]["exchanges"][0]["user"] == f"Talk about this: The ash grows\n{GROWS['ash']}."
    assert all(call.prompt.startswith("SAY The ") for call in server.calls)
    assert any("by the {river}" in call.prompt for call in server.calls)
    assert not any("yew" in call.prompt for call in server.calls)
    assert [one["prompt"] for one in rows_of(tmp_path / "store", whole, "prompts")] == [
        f"Talk about this: The yew grows\n{GROWS['yew']}."
    ]


def test_the_same_script_twice_is_a_duplicate_and_two_about_one_source_are_not(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion("Always this one, whatever is asked.")) as server:
        pilot = make(run_file(tmp_path, server.url), tmp_path / "store", pilot=True)
    assert pilot
    quality = json.loads(output_of(tmp_path / "store", pilot, "quality"))
    assert quality["statuses"]["duplicate"] == 19 and quality["refused"] == ["duplicates"]


def test_a_calibrated_prompt_is_found_and_then_written_by_in_one_run(tmp_path: Path) -> None:
    """The run file of the example, but for the recordings."""

    def everybody(call: Call) -> Answer:
        if "You improve a prompt" in call.prompt:
            return answered(call, prompt=f"{PROMPT}\nBegin with a question.")
        return said(call)

    content = yaml.safe_load((EXAMPLES / "scripts.yaml").read_text())
    with serve_openai(everybody) as server:
        inputs = content["inputs"] | references(tmp_path) | {"script_sources": "sources"}
        inputs["writer"] |= {"base_url": server.url}
        inputs["prompt"] = str(EXAMPLES / "talks-prompt.txt")
        inputs = {name: value for name, value in inputs.items() if name not in ("references", "recogniser")}
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump(content | {"inputs": inputs, "generator": {"count": 6, "pilot": 20}}))
        run, store = read_run_file(file, installed_stages()), open_store(str(tmp_path / "store"))
        made = {}
        for step in run.steps:
            with new_job(run, step, store) as job:
                made[str(step.node)] = run_job(job).manifest
    assert [*made] == ["calibrator", "generator@pilot", "generator"]
    prompt = output_of(tmp_path / "store", made["calibrator"], "prompt").decode()
    told = json.loads(output_of(tmp_path / "store", made["calibrator"], "profile"))["told"]
    source = (tmp_path / "sources" / "ash.txt").read_text().replace("\f", "\n")
    sent = prompt.strip().replace("{source}", source).replace("{profile}", told)
    assert sent in [call.prompt for call in server.calls] and "order: hook" in told
    rows = rows_of(tmp_path / "store", made["generator"], "transcripts")
    assert len(rows) == 6 and rows[0]["exchanges"][0]["user"].startswith("Write a short talk about this.\n\nThe ash")


def test_a_source_that_is_nearly_the_one_set_aside_is_not_learnt_and_a_pilot_that_kept_nothing_says_so(
    tmp_path: Path,
) -> None:
    with serve_openai(said) as server:
        file = run_file(tmp_path, server.url, recipe={**RECIPE, "test_prompts": 1})
        for name in TEXTS:
            (tmp_path / "texts" / name).write_text(f"The {name} grows {GROWS['yew']}.")
        pilot = make(file, tmp_path / "store", pilot=True)
        assert pilot and json.loads(output_of(tmp_path / "store", pilot, "quality"))["statuses"]["overlaps"] == 20
        with pytest.raises(UserError, match="The pilot kept none of its 20 items"):
            make(file, tmp_path / "store")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"script_sources": None}, "needs the input `script_sources`"),
        ({"recipe": {**RECIPE, "test_prompts": 4}}, "4 of 4 sources are set aside"),
        ({"recipe": {**RECIPE, "request": "Talk!"}}, r"request: needs \{source\} once"),
        ({"recipe": {**RECIPE, "response": {"prompt": "{source} {profile}"}}}, "give `script_profile`"),
        ({"script_prompt": "empty.txt"}, r"\{source\} must stand there once"),
        ({"script_prompt": "calibrated.txt", "script_profile": "wrong.json"}, "wrong.json: told"),
    ],
)
def test_what_cannot_be_written_about_is_refused_before_anything_is_paid(
    tmp_path: Path, inputs: dict[str, Any], words: str
) -> None:
    with serve_openai(said) as server:
        file = run_file(tmp_path, server.url, **inputs)
        (tmp_path / "empty.txt").write_text("Say it.")
        (tmp_path / "calibrated.txt").write_text("{source} {profile}")
        (tmp_path / "wrong.json").write_text("{}")
        with pytest.raises(UserError, match=words):
            make(file, tmp_path / "store", pilot=True)
        assert not server.calls
