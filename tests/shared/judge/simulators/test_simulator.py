"""Who speaks for the personas."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import structlog
import yaml

from kit.evaluator_parts import persona_row, personas
from kit.judge_parts import live
from kit.scripted_openai import Answer, Call, ScriptedOpenAI, completion, error, serve_openai
from kit.scripted_vendors import PROTOCOLS, Protocol
from tuneline.data.conversations import Said
from tuneline.data.personas import Persona
from tuneline.errors import NothingSaid, UserError
from tuneline.judge.simulators.scripted import ScriptedSimulator
from tuneline.judge.simulators.simulator import load_simulator, open_simulator


def write(folder: Path, content: object) -> Path:
    path = folder / "personas.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


def talk_of(persona: Persona, turns: int, seed: int = 7) -> list[str]:
    said: list[Said] = [Said(role="system", content="Be kind.")]
    for turn in range(turns):
        line = ScriptedSimulator().speak(persona, seed + turn, said)
        said += [Said(role="user", content=line), Said(role="assistant", content="Yes.")]
    return [message.content for message in said if message.role == "user"]


def test_a_script_is_said_in_order_and_goes_on_about_the_topics_when_it_ends() -> None:
    persona = personas(1)[0]
    lines = talk_of(persona, 6)
    assert lines[:2] == list(persona.script)
    assert all(lines[2:])
    assert lines == talk_of(persona, 6)


def test_a_persona_without_a_script_opens_with_its_topic_and_a_reluctant_one_holds_back() -> None:
    eager = Persona.model_validate(persona_row(0, script=None))
    reluctant = Persona.model_validate(persona_row(0, script=None, trajectory="Resistant, then engaged."))
    assert "garden and tomato plants" in talk_of(eager, 1)[0]
    assert talk_of(eager, 1) == talk_of(reluctant, 1)
    assert talk_of(eager, 2) != talk_of(reluctant, 2)
    assert len({tuple(talk_of(eager, 4, seed)) for seed in range(0, 100, 10)}) > 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("provider: scriptd", "provider: unknown; did you mean `scripted`?"),
        ("{}", "provider: is required, one of scripted, openai, anthropic, google"),
        ("provider: openai", "model: is required"),
        ("{provider: openai, model: m, temprature: 1}", "did you mean `temperature`?"),
        ("{provider: scripted, model: m}", "unknown key"),
        (
            "{provider: google, model: m,\n mode: batch}",
            "simulator.yaml:2: mode: a conversation waits for every message",
        ),
    ],
)
def test_a_bad_simulator_is_refused_with_the_way_out(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "simulator.yaml"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        load_simulator(path)
    assert problem in str(caught.value)


def played(folder: Path, server: ScriptedOpenAI, asks: list[tuple[int, list[Said]]]) -> list[str]:
    """Ask for one message of the first persona per entry, all at once, as a new attempt on the store in `folder`."""
    file = folder / "simulator.yaml"
    file.write_text(yaml.safe_dump({"provider": "openai", "model": "m", "base_url": server.url, "output_usd": 1.0}))
    spoken, calls_before = [""] * len(asks), len(server.calls)
    with (
        live(folder) as context,
        open_simulator(load_simulator(file), context, timeout_s=60, concurrency=4) as simulator,
    ):

        def speak(place: int) -> None:
            spoken[place] = simulator.speak(personas(1)[0], *asks[place])

        threads = [threading.Thread(target=speak, args=(place,)) for place in range(len(asks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent = 20e-6 * (len(server.calls) - calls_before)
        told = simulator.cost((personas(1)[0], *ask) for ask in asks)
        assert [told.total_usd, told.now_usd] == pytest.approx([spent, spent])
    return spoken


HEARD = [
    Said(role="system", content="Be kind."),
    Said(role="user", content="Hello."),
    Said(role="assistant", content="Good day."),
]


def test_a_played_persona_hears_the_answers_as_its_own_partner_and_never_the_system_prompt(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion(" I grow tomatoes. ")) as server:
        assert played(tmp_path, server, [(3, HEARD)]) == ["I grow tomatoes."]
        [call] = server.calls
    roles = [(message["role"], message["content"]) for message in call.body["messages"]]
    assert [role for role, _ in roles] == ["system", "user", "assistant", "user"]
    assert roles[2:] == [("assistant", "Hello."), ("user", "Good day.")]
    assert "curious, brief" in roles[0][1]
    assert "garden, tomato_plants (simple)" in roles[0][1]
    assert "Be kind." not in call.prompt
    assert call.body["seed"] == 3


def test_what_a_played_persona_thinks_is_not_said_to_the_arms(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion("<think>I am to be shy.</think>\n\nHello there.")) as server:
        assert played(tmp_path, server, [(3, HEARD)]) == ["Hello there."]


def test_both_arms_open_with_one_paid_message_and_a_later_attempt_pays_nothing(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion(f"Said {call.number}.", latency_s=0.2)) as server:
        opening: tuple[int, list[Said]] = (0, [])
        assert played(tmp_path, server, [opening, opening]) == ["Said 0."] * 2
        assert len(server.calls) == 1
        other = played(tmp_path, server, [(1, HEARD)])
        assert other == ["Said 1."]
    file = tmp_path / "simulator.yaml"  # the server is gone, and nobody misses it
    with live(tmp_path) as context, open_simulator(load_simulator(file), context, timeout_s=60, concurrency=1) as again:
        assert again.speak(personas(1)[0], 0, []) == "Said 0."
        told = again.cost([(personas(1)[0], 0, []), (personas(1)[0], 0, []), (personas(1)[0], 1, HEARD)])
        assert [told.total_usd, told.now_usd] == pytest.approx([40e-6, 0])  # paid by the attempts before


def test_a_persona_with_nothing_to_say_is_asked_once_more_and_then_given_up(tmp_path: Path) -> None:
    def silent(call: Call) -> object:
        return completion("" if call.number % 2 else None, refusal=None if call.number % 2 else "I will not.")

    with serve_openai(silent) as server:  # type: ignore[arg-type]
        file = tmp_path / "simulator.yaml"
        file.write_text(yaml.safe_dump({"provider": "openai", "model": "m", "base_url": server.url}))
        with (
            live(tmp_path) as context,
            open_simulator(load_simulator(file), context, timeout_s=60, concurrency=1) as one,
        ):
            with pytest.raises(NothingSaid):
                one.speak(personas(1)[0], 0, [])
            assert [call.body["seed"] for call in server.calls] == [0, 1_000_003]
            with pytest.raises(NothingSaid):
                one.speak(personas(1)[0], 0, [])  # silence is not kept: the next attempt may fare better
        assert len(server.calls) == 4


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (completion("Half a", finish="content_filter", input_tokens=3000), "filter blocked it"),
        (completion("Hello.", input_tokens=30), "cut the prompt silently"),
        (completion(None, refusal="I will not.", input_tokens=3000), "it refused"),
        (error(400, "content_filter"), "HTTP 400 content_filter"),
    ],
    ids=["half a message", "a prompt that was cut", "a refusal", "an error"],
)
def test_what_is_no_message_of_a_persona_is_never_said_and_the_reason_is_told(
    tmp_path: Path, answer: Answer, why: str
) -> None:
    file = tmp_path / "simulator.yaml"
    with serve_openai(lambda _: answer) as server, structlog.testing.capture_logs() as logs:
        file.write_text(yaml.safe_dump({"provider": "openai", "model": "m", "base_url": server.url}))
        with (
            live(tmp_path) as context,
            open_simulator(load_simulator(file), context, timeout_s=60, concurrency=1) as one,
            pytest.raises(NothingSaid, match=why),
        ):
            one.speak(personas(1)[0], 0, [Said(role="user", content="word " * 2000)])
    assert why in str(logs[-1]["why"])


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.provider)
def test_a_persona_may_be_played_by_a_model_of_any_provider(tmp_path: Path, protocol: Protocol) -> None:
    file = tmp_path / "simulator.json"
    with serve_openai(lambda call: protocol.reply(f"Said {call.number}.")) as server:
        file.write_text(protocol.config(server.url).model_dump_json(include={"provider", "model", "base_url"}))
        with (
            live(tmp_path) as context,
            open_simulator(load_simulator(file), context, timeout_s=60, concurrency=1) as simulator,
        ):
            said: list[Said] = []
            for turn in range(3):
                line = simulator.speak(personas(1)[0], turn, said)
                said += [Said(role="user", content=line), Said(role="assistant", content=f"Answer {turn}.")]
    assert [m.content for m in said if m.role == "user"] == ["Said 0.", "Said 1.", "Said 2."]
    assert [line in protocol.prompt(server.calls[2]) for line in ("Said 0.", "Answer 1.")] == [True, True]
    if protocol.provider == "anthropic":  # what a call marks is what the next one begins with
        marked = [
            [b for m in call.body["messages"] for b in m["content"] if "cache_control" in b] for call in server.calls
        ]
        assert [[block["text"] for block in blocks] for blocks in marked][1:] == [["Answer 0."], ["Answer 1."]]
        texts = [[b["text"] for m in call.body["messages"] for b in m["content"]] for call in server.calls]
        assert texts[2][: len(texts[1])] == texts[1]
