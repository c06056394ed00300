"""The recipes of docs/judges.md work with servers as strict and as talkative as the real ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from kit.judge_parts import SHORT_RUBRIC, live, some_transcripts
from kit.places import ROOT
from kit.scripted_openai import Answer, Call, serve_openai
from kit.scripted_servers import SERVERS, Server
from kit.scripted_vendors import PROTOCOLS
from tuneline.judge.by_model import LlmJudge
from tuneline.judge.judging import judge_all
from tuneline.llm.config import MODELS, ModelConfig, read_provider

RECIPES = dict(
    re.findall(r"^## ([^\n]+)$[^#]*?```yaml\n(.*?)```", (ROOT / "docs" / "judges.md").read_text(), re.M | re.S)
)


def recipe(name: str, folder: Path) -> ModelConfig:
    file = folder / "judge.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(RECIPES[name])["judge"]))
    return read_provider(file, MODELS)


def test_every_server_has_a_recipe_and_every_recipe_a_server() -> None:
    assert RECIPES.keys() == {server.name for server in SERVERS}


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_a_recipe_judges_on_its_server(server: Server, tmp_path: Path) -> None:
    config = recipe(server.name, tmp_path)
    [protocol] = [p for p in PROTOCOLS if p.provider == server.protocol]

    def judge(call: Call) -> Answer:
        names = protocol.schema(call)["properties"]
        rows = {name: {"reason": "seen in exchange 1", "answer": "YES"} for name in names}
        return server.answer(call, json.dumps(rows))

    assert config.key_name is None or server.header is not None
    with serve_openai(judge) as served:
        here = served.url.removesuffix("/v1") + urlsplit(config.address).path
        local = config.model_copy(update={"base_url": here, "api_key_env": config.key_name, "mode": "live"})
        with live(tmp_path) as context:
            judged = judge_all(
                LlmJudge(local, lambda name: f"value of {name}"), SHORT_RUBRIC, some_transcripts(tmp_path, 5), context,
                concurrency=1, timeout_s=60,
            )  # fmt: skip
    statuses = ["scored", "scored", "scored", "unparsed" if server.too_long.status == 200 else "too_long", "scored"]
    assert [verdict.status for verdict in judged] == statuses
    assert judged[0].usage.input_tokens == 100
    for call in served.calls:
        sent = call.headers.get(server.header or "authorization")
        assert (sent or "").removeprefix("Bearer ") == (f"value of {config.key_name}" if config.key_name else "")
    assert [call.path for call in served.calls if call.path.startswith(server.path)] == [c.path for c in served.calls]
