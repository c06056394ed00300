"""Conversations of simulated users with the model that is to be imitated."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.generating import WORDS, make, output_of, rows_of, write_run
from kit.judge_parts import live
from kit.scripted_openai import Answer, Call, ScriptedOpenAI, completion, judged, serve_openai
from kit.scripted_vendors import PROTOCOLS, Protocol
from tuneline.data.personas import Persona
from tuneline.errors import UserError
from tuneline.judge.simulators.scripted import ScriptedSimulator
from tuneline_generator.recipes.conversations import Conversations
from tuneline_generator.writing.items import Item
from tuneline_generator.writing.pen import Pen
from tuneline_generator.writing.quality import Rules
from tuneline_generator.writing.recipe import ConversationsRecipe
from tuneline_generator.writing.writer import load_writer, open_writer

RECIPE: dict[str, Any] = {"kind": "conversations", "turns": 3, "answer": {"prompt": "{said}", "max_tokens": 300}}
PEOPLE: list[dict[str, Any]] = [
    {
        "id": name, "name": name.title(), "age_range": "30-40", "traits": ["patient"], "communication_style": "terse",
        "topic_seeds": [{"category": "garden", "subtopic": topic, "complexity": "easy"}], "trajectory": "gradual",
    }
    for name, topic in (("kim", "fence"), ("lou", "roses"), ("max", "pond"))
]  # fmt: skip
RULES = Rules(labels=("User", "Assistant"), max_chars=None, prompt_words=None)


@contextmanager
def talking(folder: Path, server: ScriptedOpenAI, protocol: Protocol = PROTOCOLS[0]) -> Iterator[Conversations]:
    recipe = ConversationsRecipe.model_validate(RECIPE)
    base_url = server.url if protocol.provider == "openai" else server.url.removesuffix("/v1")
    file = folder / "writer.yaml"
    file.write_text(yaml.safe_dump({"provider": protocol.provider, "model": "m", "base_url": base_url}))
    config = load_writer(file, "chat", None)
    with live(folder) as context, open_writer(config, None, context, concurrency=4, timeout_s=10) as writer:
        pen = Pen(writer, "chat", recipe.steps, context)
        people = [Persona.model_validate(person) for person in PEOPLE]
        yield Conversations(recipe, pen, RULES, people, ScriptedSimulator(), "Be kind.")


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.provider)
def test_a_writer_of_any_vendor_hears_the_whole_conversation(tmp_path: Path, protocol: Protocol) -> None:
    with (
        serve_openai(lambda call: protocol.reply(f"Answer {call.number}.")) as server,
        talking(tmp_path, server, protocol) as conversations,
    ):
        written, flaw = conversations.write(Item(0, "train", 1))
        assert (written, flaw) == conversations.write(Item(0, "train", 1)), "what is paid is found"
    assert flaw is None and written.category == "lou" and len(server.calls) == 3
    assert [one.assistant for one in written.talk] == ["Answer 0.", "Answer 1.", "Answer 2."]
    last = server.calls[-1].raw
    assert all(word in last for word in (b"Be kind.", b"Answer 0.", b"Answer 1.")) and b"Answer 2." not in last
    assert written.prompt == written.talk[0].user and written.response == "Answer 2."
    assert set(written.how.seeds) == {"answer/0", "answer/1", "answer/2"}


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (completion(" "), "empty"),
        (completion("Of course.\nUser: And then?"), "runaway"),
        (completion("Of course.<|im_end|>"), "leaks"),
        (completion("Of cour", finish="length"), "cut"),
    ],
)
def test_the_first_answer_that_is_of_no_use_ends_it(tmp_path: Path, bad: Answer, status: str) -> None:
    with (
        serve_openai(lambda call: bad if call.number == 1 else completion("Of course.")) as server,
        talking(tmp_path, server) as conversations,
    ):
        written, flaw = conversations.write(Item(0, "train", 0))
    assert flaw is not None and flaw.status == status and len(written.talk) == len(server.calls) == 2


def drawn(call: Call) -> str:
    bytes_of = hashlib.shake_256(f"{call.prompt}/{call.body.get('seed')}".encode()).digest(8)
    return " ".join(WORDS[byte % len(WORDS)] for byte in bytes_of)


def everybody(call: Call) -> Answer:
    """A writer, a simulated user and a judge in one."""
    if "response_format" in call.body:
        return completion(judged(call))
    return completion(f"{'I wonder about' if 'You play a person' in call.prompt else 'You need'} {drawn(call)}.")


def run_file(folder: Path, url: str, **changed: Any) -> Path:
    server = {"provider": "openai", "model": "m", "base_url": url}
    rubric = {
        "name": "Manners", "pass_threshold": 0.5,
        "categories": [{"id": "all", "weight": 1, "criteria": [
            {"id": name, "question": f"Is it {name.lower()}?", "yes": "It is.", "no": "It is not."}
            for name in ("POLITE", "CLEAR")
        ]}],
    }  # fmt: skip
    inputs: dict[str, Any] = {
        "recipe": RECIPE, "writer": server, "judge": server, "simulator": server, "rubric": rubric,
        "critic": {"provider": "judge"}, "personas": {"personas": PEOPLE},
    }  # fmt: skip
    return write_run(folder, inputs | changed, count=24, pilot=20, concurrency=4)


def test_conversations_that_pass_the_judge_become_transcripts_and_nothing_is_paid_twice(tmp_path: Path) -> None:
    with serve_openai(everybody) as server:
        file, store = run_file(tmp_path, server.url), tmp_path / "store"
        pilot = make(file, store, pilot=True)
        assert pilot and "all gates passed" in pilot.metrics.headline
        whole = make(file, store)
        asked = [json.dumps(call.body) for call in server.calls]
    assert whole and len(asked) == len(set(asked)), "something was paid twice"
    rows = rows_of(store, whole, "transcripts")
    assert len(rows) == 24 and all(len(row["exchanges"]) == 3 for row in rows)
    assert {row["persona"] for row in rows} == {"kim", "lou", "max"}
    assert {row.role for row in whole.metrics.cost.rows} == {"generator", "simulator", "judge"}
    assert json.loads(output_of(store, whole, "quality"))["statuses"]["kept"] == 24


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"simulator": None}, "nothing to learn from; give the input `simulator`"),
        ({"personas": None}, "needs the input `personas`"),
        ({"critic": {"provider": "logprob"}}, "of conversations a `judge`"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_before_anything_is_paid(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    with serve_openai(everybody) as server, pytest.raises(UserError, match=words):
        make(run_file(tmp_path, server.url, **changed), tmp_path / "store", pilot=True)
    assert not server.calls


def test_scripted_users_may_be_allowed_for_trying_out(tmp_path: Path) -> None:
    allowed: Callable[[str], Path] = lambda url: run_file(  # noqa: E731
        tmp_path, url, simulator=None, recipe=RECIPE | {"allow_scripted": True}
    )
    with serve_openai(everybody) as server:
        pilot = make(allowed(server.url), tmp_path / "store", pilot=True)
    assert pilot and json.loads(output_of(tmp_path / "store", pilot, "quality"))["items"] == 20


@pytest.mark.parametrize("share", [0.4, 0.97])
def test_writer_simulated_users_and_judge_spend_from_one_limit_and_never_pass_it(tmp_path: Path, share: float) -> None:
    late = lambda call: replace(everybody(call), latency_s=0.02)  # noqa: E731
    with serve_openai(late) as server:
        model = {"provider": "openai", "model": "m", "base_url": server.url, "max_tokens": 100}
        priced = model | {"input_usd": 1, "output_usd": 1000}  # 0.0201 an answer, and up to a tenth more than 0.1
        file = run_file(tmp_path, server.url, writer=priced, judge=priced, simulator=priced)
        make(file, tmp_path / "all", pilot=True)
        roles = Counter(map(role_of, server.calls))
        limit = round(0.0201 * roles.total() * share, 6)
        server.calls.clear()
        file.write_text(file.read_text().replace("pilot: 20", f"pilot: 20\n  max_usd: {limit}"))
        for _ in range(2):
            with pytest.raises(UserError, match=r"^max_usd: all spent \$\S+ of \$\S+ .*raise `max_usd`"):
                make(file, tmp_path / "some", pilot=True)
            assert limit - 0.15 < 0.0201 * len(server.calls) <= limit
    stopped = Counter(map(role_of, server.calls))
    assert (stopped["judge"] > 0) is (share > 0.9) and stopped["judge"] < roles["judge"] and len(roles) == 3


def role_of(call: Call) -> str:
    played = "You play a person" in call.prompt
    return "judge" if "response_format" in call.body else "simulator" if played else "writer"
