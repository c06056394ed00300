"""The assessor against the real llama-server; the weights are random, so what it answers has only a form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.judge_parts import CANARY, RUBRIC, SHORT_RUBRIC, write_transcripts
from kit.support import run_stage
from tuneline.data.io import read_lines
from tuneline.data.verdicts import Verdict
from tuneline.errors import LlmRejected, UserError
from tuneline.judge.prompt import answer_schema
from tuneline.llm.client import LlmClient
from tuneline.llm.config import OpenAiConfig
from tuneline.model.llama_server import Server, serve
from tuneline.stage import Json
from tuneline_assessor.stage import STAGE

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local judge")]  # one server for all


@pytest.fixture(scope="module")
def server(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("judge") / "server.log"
    with serve(tiny_gguf, context_tokens=2048, slots=2, threads=2, log=log) as server:
        yield server


def no_secret(name: str) -> str:
    raise AssertionError(f"{name} is not needed")


def test_a_local_server_judges_by_the_rubrics_schema_and_keeps_to_the_protocol(server: Server, tmp_path: Path) -> None:
    judge = {"provider": "openai", "model": "tiny", "base_url": f"{server.url}/v1", "max_tokens": 60}
    path = write_transcripts(tmp_path / "t.jsonl", 1)
    inputs = {"transcripts": path, "rubric": RUBRIC, "judge": judge}
    done = run_stage(STAGE, tmp_path, inputs=inputs, params={"max_unparsed": 1, "concurrency": 2})
    verdicts = list(read_lines(done.paths["verdicts"], Verdict))
    assert {v.status for v in verdicts} <= {"scored", "unparsed"}
    assert all(v.usage.input_tokens > 300 and v.usage.output_tokens > 0 for v in verdicts)
    metrics = done.manifest.metrics.counts
    assert (metrics["judged_now"], metrics["failed"]) == (1, 0)


def test_the_schema_decides_what_random_weights_say(server: Server) -> None:
    with LlmClient(
        OpenAiConfig(provider="openai", model="tiny", base_url=f"{server.url}/v1", max_tokens=150), no_secret, 120
    ) as client:
        bound = client.complete([{"role": "user", "content": "Hello"}], seed=1, schema=answer_schema(SHORT_RUBRIC))
        schema: dict[str, Json] = {"type": "object", "properties": {"a": {"enum": ["YES", "NO"]}}, "required": ["a"]}
        whole = client.complete([{"role": "user", "content": "Hello"}], seed=1, schema=schema)
    assert "".join(bound.text.split()).startswith('{"POLITE":{"reason":"')
    assert json.loads(whole.text)["a"] in ("YES", "NO") and whole.finish_reason == "stop"


def test_transcripts_that_are_all_over_the_servers_context_stop_the_run_with_its_reason(
    server: Server, tmp_path: Path
) -> None:
    path = write_transcripts(tmp_path / "t.jsonl", 1)
    row = json.loads(path.read_text())
    row["exchanges"] *= 150
    path.write_text(json.dumps(row) + "\n")
    judge = {"provider": "openai", "model": "tiny", "base_url": f"{server.url}/v1", "max_tokens": 50}
    with pytest.raises(UserError, match=r"took 0 of the first 1 transcripts \(1 too_long; .*exceed_context_size_error"):
        run_stage(STAGE, tmp_path, inputs={"transcripts": path, "rubric": RUBRIC, "judge": judge})
    with (
        LlmClient(OpenAiConfig(provider="openai", model="tiny", base_url=f"{server.url}/v1"), no_secret, 60) as client,
        pytest.raises(LlmRejected) as rejected,
    ):
        client.complete([{"role": "user", "content": CANARY * 2000}])
    assert CANARY not in str(rejected.value)
