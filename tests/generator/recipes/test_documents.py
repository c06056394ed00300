from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.judge_parts import live
from kit.scripted_openai import Answer, Call, ScriptedOpenAI, completion, serve_openai
from kit.scripted_vendors import PROTOCOLS, Protocol
from tuneline.errors import Unreadable, UserError
from tuneline_generator.recipes.documents import Documents
from tuneline_generator.recipes.ideas import read_ideas
from tuneline_generator.writing.items import Item
from tuneline_generator.writing.pen import Pen
from tuneline_generator.writing.quality import Rules
from tuneline_generator.writing.recipe import DocumentsRecipe, load_recipe
from tuneline_generator.writing.writer import load_writer, open_writer

RECIPE: dict[str, Any] = {
    "kind": "documents", "categories": [{"name": "health", "about": "Wards."}, {"name": "law", "about": "Courts."}],
    "forms": ["memo", "report"], "shortest_words": 5, "longest_words": 40,
    "idea": {"prompt": "IDEAS {category} {about} {count}", "temperature": 1.0, "max_tokens": 500},
    "document": {"prompt": "DOCUMENT {form} {category} {title} {stakeholders} {dilemma} {request}", "max_tokens": 400},
    "response": {"prompt": "RESPOND {document}", "max_tokens": 300},
}  # fmt: skip


def ideas(count: int = 5, **changed: object) -> str:
    rows = [
        {"title": f"Title {n}", "stakeholders": ["Ann", "Bob"], "dilemma": "No.", "request": f"Help {n}.", **changed}
        for n in range(count)
    ]
    return json.dumps({"ideas": rows})


def said_by(prompt: str) -> str:
    """What a good writer answers."""
    if "RESPOND" in prompt:
        return "Here is what I would do, and why."
    return ideas() if "IDEAS" in prompt else f"It is about {prompt.split('DOCUMENT ')[1][:60]}"


@contextmanager
def writing(
    folder: Path, server: ScriptedOpenAI, protocol: Protocol = PROTOCOLS[0], **changed: Any
) -> Iterator[Documents]:
    recipe = DocumentsRecipe.model_validate(RECIPE | changed)
    base_url = server.url if protocol.provider == "openai" else server.url.removesuffix("/v1")
    file = folder / "writer.yaml"
    file.write_text(yaml.safe_dump({"provider": protocol.provider, "model": "m", "base_url": base_url}))
    config = load_writer(file, "chat", None)
    with live(folder) as context, open_writer(config, None, context, concurrency=8, timeout_s=10) as writer:
        pen = Pen(writer, "chat", recipe.steps, context)
        yield Documents(recipe, pen, Rules(max_chars=None, prompt_words=None), "Weigh every side.")


def item(number: int) -> Item:
    return Item(0, "train", number)


def by_step(server: ScriptedOpenAI, prompt: Callable[[Call], str]) -> Counter[str]:
    return Counter(name for call in server.calls for name in ("IDEAS", "DOCUMENT", "RESPOND") if name in prompt(call))


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.provider)
def test_a_writer_of_any_vendor_has_ideas_once_for_five_documents_and_answers_each(
    tmp_path: Path, protocol: Protocol
) -> None:
    with serve_openai(lambda call: protocol.reply(said_by(protocol.prompt(call)))) as server:
        with writing(tmp_path, server, protocol) as documents, ThreadPoolExecutor(5) as pool:
            rows = list(pool.map(lambda n: documents.write(item(n)), range(5)))
        assert by_step(server, protocol.prompt) == {"IDEAS": 1, "DOCUMENT": 5, "RESPOND": 5}
        with writing(tmp_path, server, protocol) as documents:
            assert [documents.write(item(n)) for n in range(5)] == rows
        assert len(server.calls) == 11, "what is paid is found"
    assert all(flaw is None for _, flaw in rows)
    assert [row.prompt.split()[3] for row, _ in rows] == ["memo", "report", "memo", "report", "memo"]
    assert {row.response for row, _ in rows} == {"Here is what I would do, and why."}
    below = [call for call in server.calls if b"Weigh every side." in call.raw]
    assert len(below) == 5 and all("RESPOND" in protocol.prompt(call) for call in below)
    assert [len(row.steps) for row, _ in rows] == [3, 2, 2, 2, 2], "ideas are counted once"
    assert set(rows[1][0].how.seeds) == {"idea", "document", "response"}


def test_batches_take_turns_at_the_categories(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion(said_by(call.prompt))) as server, writing(tmp_path, server) as documents:
        found = [documents.write_prompt(item(n))[0].category for n in (0, 4, 5, 9, 10)]
    assert found == ["health", "health", "law", "law", "health"]
    assert by_step(server, lambda call: call.prompt)["RESPOND"] == 0


def failing(step: str, answers: list[Answer]) -> Callable[[Call], Answer]:
    left = iter(answers)
    return lambda call: next(left) if step in call.prompt else completion(said_by(call.prompt))


CUT = completion("one two three four five six", finish="length")


@pytest.mark.parametrize(
    ("step", "bad", "status"),
    [
        ("IDEAS", completion("Five ideas: first, …"), "unparsed"),
        ("IDEAS", completion(ideas(dilemma=" ")), "unparsed"),
        ("DOCUMENT", completion("Too short."), "bad_prompt"),
        ("DOCUMENT", completion("word " * 41), "bad_prompt"),
        ("DOCUMENT", CUT, "bad_prompt"),
        ("DOCUMENT", completion("one two <|im_start|> four five six"), "leaks"),
        ("RESPOND", completion(" "), "empty"),
        ("RESPOND", CUT, "cut"),
        ("RESPOND", completion(f"{said_by('DOCUMENT memo health Title 0 Ann, Bob No. Help 0.')}"), "echo"),
    ],
)
def test_a_step_is_tried_again_with_another_seed_and_in_the_end_the_item_has_a_status(
    tmp_path: Path, step: str, bad: Answer, status: str
) -> None:
    good = {"IDEAS": ideas(), "DOCUMENT": "one two three four five six", "RESPOND": "Yes."}[step]
    with (
        serve_openai(failing(step, [bad, bad, bad, completion(good)])) as server,
        writing(tmp_path / "mended", server) as documents,
    ):
        assert documents.write(item(0))[1] is None
    seeds = [call.body["seed"] for call in server.calls if step in call.prompt]
    assert len(seeds) == len(set(seeds)) == 4
    with serve_openai(failing(step, [bad] * 4)) as server, writing(tmp_path / "failed", server) as documents:
        written, flaw = documents.write(item(0))
        assert flaw is not None and flaw.status == status
        assert by_step(server, lambda call: call.prompt)[step] == 4
        if step == "IDEAS":
            again = documents.write(item(4))
            assert again[1] == flaw and again[0].prompt == "" and len(server.calls) == 4
    assert written.response is None or step == "RESPOND"


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    for name in ("mended", "failed"):
        (tmp_path / name).mkdir()


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "{}", "[1]", '{"ideas": 3}', '{"ideas": [null]}', "NaN", "[" * 100_000, '{"a":' * 100_000,
        ideas(stakeholders=[]), ideas(stakeholders=" , "), ideas(dilemma=" "), ideas(title="x" * 5000),
        ideas(title="…"), ideas(title="\ud83d half"), ideas()[:60], f"{ideas()}{' ' * 1_000_000}",
    ],
    ids=range(18),
)  # fmt: skip
def test_ideas_in_another_form_are_none(text: str) -> None:
    with pytest.raises(Unreadable):
        read_ideas(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (f"```json\n{ideas()}\n```", 5),
        (f"Sure! Here are the ideas:\n\n```json\n{ideas()}\n```\nLet me know!", 5),
        (json.dumps(json.loads(ideas(7))["ideas"]), 7),
        (json.dumps({"response": json.loads(ideas())}), 5),
        (ideas()[:-2] + ",]}", 5),
        (ideas()[:300], 3),
        ("\n".join(json.dumps(one) for one in json.loads(ideas())["ideas"]), 5),
        (ideas(id=1, stakeholders="Ann, Bob; the ward"), 5),
        (ideas(title="The same"), 1),
    ],
)
def test_ideas_are_read_wherever_they_stand_and_as_far_as_the_answer_goes(text: str, count: int) -> None:
    found = read_ideas(text)
    assert len(found) == count
    assert (found[0].request, found[-1].request) == ("Help 0.", f"Help {count - 1}.")


def test_names_in_one_text_are_told_apart() -> None:
    assert read_ideas(ideas(stakeholders="Ann, Bob; the ward"))[0].stakeholders == ["Ann", "Bob", "the ward"]


def test_ideas_of_several_tries_add_up_and_what_is_missing_in_the_end_costs_its_own_item_alone(tmp_path: Path) -> None:
    of_two = json.dumps({"ideas": json.loads(ideas(7))["ideas"][5:]})
    answers = [completion(ideas(2)), completion(ideas(1)), completion(of_two), completion(ideas(2))]
    with serve_openai(failing("IDEAS", answers)) as server, writing(tmp_path, server) as documents:
        rows = [documents.write(item(number)) for number in range(5)]
    assert by_step(server, lambda call: call.prompt)["IDEAS"] == 4
    assert [flaw.status if flaw else None for _, flaw in rows] == [None] * 4 + ["unparsed"]
    assert rows[4][1] is not None and rows[4][1].detail == "there are 4 different ideas, of 5 that were asked for"
    assert ["Title 5" in row.prompt for row, _ in rows] == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"format": "completion"}, "format"),
        ({"categories": ["health"]}, "categories"),
        ({"shortest_words": 41}, "more than `longest_words`"),
        ({"document": {"prompt": "Write a {form}."}}, "needs {request}"),
        ({"response": {"prompt": "{document} {titel}"}}, "{titel} is not filled in here"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_by_its_field(tmp_path: Path, changed: Any, words: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(RECIPE | changed))
    with pytest.raises(UserError, match=words):
        load_recipe(file)


def test_the_usual_prompts_have_everything_that_is_filled_in(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"kind": "documents", "categories": RECIPE["categories"]}))
    recipe = load_recipe(file)
    assert isinstance(recipe, DocumentsRecipe) and len(recipe.forms) == 4
    sent = recipe.idea.filled(category="law", about="Courts.", count="5")
    assert "{count}" not in sent and '{"ideas"' in sent
