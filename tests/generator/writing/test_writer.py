from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.judge_parts import live
from kit.scripted_openai import Answer, Call, completion, serve_openai
from kit.scripted_vendors import PROTOCOLS, Protocol
from kit.text_servers import choice, native
from tuneline.errors import LlmRejected, UserError
from tuneline.llm.completion import Sampler
from tuneline_generator.writing.writer import Form, Writer, load_writer, open_writer

TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a fruit."}]
BRIEF = Sampler(temperature=0.5, max_tokens=40, stop=("\nQ:",))


def write(folder: Path, **config: Any) -> Path:
    file = folder / "writer.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


@contextmanager
def opened(folder: Path, form: Form, gguf: Path | None = None, **config: Any) -> Iterator[Writer]:
    read = load_writer(write(folder, **config), form, gguf)
    with live(folder) as context, open_writer(read, gguf, context, concurrency=4, timeout_s=120) as writer:
        yield writer


def at(url: str, **config: Any) -> dict[str, Any]:
    return {"provider": "openai", "model": "m", "base_url": url, **config}


def test_a_server_of_texts_goes_on_with_them_and_costs_by_the_hour(tmp_path: Path) -> None:
    config = {"dialect": "llama-server", "usd_per_hour": 3600.0, "slots": 4}
    late = lambda call: Answer(**{**native(call).__dict__, "latency_s": 0.2})  # noqa: E731
    with serve_openai(late) as server, opened(tmp_path, "completion", **at(server.url, **config)) as writer:
        began = time.monotonic()
        said = writer.complete("Name it:", BRIEF, seed=3)
        took = time.monotonic() - began
    assert said.text == " Hello." and said.cost_usd is not None and 0.05 <= said.cost_usd <= took / 4
    assert server.calls[0].body["seed"] == 3


def test_what_a_text_depends_on_is_not_what_the_server_costs(tmp_path: Path) -> None:
    def identity(**config: Any) -> str:
        with opened(tmp_path, "completion", **at("http://127.0.0.1:9/v1", **config)) as writer:
            return writer.identity

    assert identity(dialect="vllm") == identity(dialect="vllm", usd_per_hour=3.0, slots=8)
    assert identity(dialect="vllm") != identity(dialect="vllm", seed=1) != identity(dialect="openai")


def test_texts_of_another_form_are_refused_and_so_is_what_does_not_fit(tmp_path: Path) -> None:
    for config, form, words in [
        ({"provider": "anthropic", "model": "m"}, "completion", "write `format: chat`"),
        (at("http://h/v1"), "completion", "dialect"),
        ({"provider": ["openai"], "model": "m"}, "completion", "provider: unknown"),
        (at("http://h/v1", mode="batch"), "chat", "only a judge can use `batch`"),
        ({"provider": "llama-server"}, "completion", "serves the input `writer_model`"),
    ]:
        with pytest.raises(UserError, match=words):
            load_writer(write(tmp_path, **config), form, None)  # type: ignore[arg-type, arg-type]
    (tmp_path / "x.gguf").touch()
    with pytest.raises(UserError, match="only `llama-server` reads the input"):
        load_writer(write(tmp_path, **at("http://h/v1")), "chat", tmp_path / "x.gguf")


def test_of_several_files_one_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("a.gguf", "b.gguf"):
        (folder / name).touch()
    with pytest.raises(UserError, match="2 of 2 GGUF files"):
        load_writer(write(tmp_path, provider="llama-server"), "completion", folder)
    with pytest.raises(UserError, match=r"0 of 2 GGUF files by the name c\.gguf"):
        load_writer(write(tmp_path, provider="llama-server", file="c.gguf"), "completion", folder)
    load_writer(write(tmp_path, provider="llama-server", file="b.gguf"), "completion", folder)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.provider)
def test_a_writer_of_any_vendor_is_talked_with_by_the_sampler_of_the_step(tmp_path: Path, protocol: Protocol) -> None:
    with serve_openai(lambda _: protocol.reply("A pear.\nQ: And?")) as server:
        config: dict[str, Any] = {"provider": protocol.provider, "model": "m"}
        config["base_url"] = server.url if protocol.provider == "openai" else server.url.removesuffix("/v1")
        with opened(tmp_path, "chat", **config) as writer:
            said = writer.chat(TALK, BRIEF, seed=3)
            writer.chat(TALK, Sampler(max_tokens=9), seed=3)
            with pytest.raises(UserError, match="answers chats only"):
                writer.complete("Name it:", BRIEF, seed=0)
    assert (said.text, said.finish, said.word) == ("A pear.", "word", "\nQ:") and said.tokens_out > 0
    first, second = (json.dumps(call.body) for call in server.calls)
    assert "0.5" in first and "40" in first and "Be brief." in first
    assert "0.5" not in second and " 9" in second


def test_a_refusal_and_a_filter_are_statuses_and_a_cut_is_told(tmp_path: Path) -> None:
    answers = [
        completion(None, refusal="I will not."), completion("", finish="content_filter"),
        completion("A pe", finish="length"), completion("<think>pear?</think> A pear."),
    ]  # fmt: skip
    with (
        serve_openai(lambda call: answers[call.number]) as server,
        opened(tmp_path, "chat", **at(server.url)) as writer,
    ):
        for kind in ("refused", "blocked"):
            with pytest.raises(LlmRejected) as rejected:
                writer.chat(TALK, BRIEF, seed=0)
            assert rejected.value.kind == kind
        assert writer.chat(TALK, BRIEF, seed=0).finish == "length"
        assert writer.chat(TALK, BRIEF, seed=0).text == "A pear."


def test_how_a_server_counts_is_asked_where_it_says(tmp_path: Path) -> None:
    def script(call: Call) -> Answer:
        tokens = json.dumps({"tokens": [1, 2, 3], "count": 3}).encode()
        return Answer(200, tokens, {"content-type": "application/json"}) if "tokenize" in call.path else choice()

    for dialect, ids in (("vllm", [1, 2, 3]), ("llama-server", [1, 2, 3]), ("openai", None)):
        with (
            serve_openai(script) as server,
            opened(tmp_path, "completion", **at(server.url, dialect=dialect)) as writer,
        ):
            assert writer.tokens_of("Name it:") == ids
    with (
        serve_openai(lambda _: Answer(404)) as server,
        opened(tmp_path, "completion", **at(server.url, dialect="vllm")) as writer,
    ):
        assert writer.tokens_of("Name it:") is None


def test_a_file_is_served_here_and_the_server_comes_back_when_it_dies(tmp_path: Path, tiny_gguf: Path) -> None:
    config = {"provider": "llama-server", "context_tokens": 256, "slots": 1, "threads": 1}
    brief = Sampler(temperature=0.5, max_tokens=4)
    with opened(tmp_path, "completion", tiny_gguf, **config) as writer:
        writer.preflight([brief], top_logprobs=10)
        first = writer.complete("Instruction: Say hello.\nResponse:", brief, seed=3)
        children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        pids = {int(pid) for file in children for pid in file.read_text().split()}
        served = [pid for pid in pids if b"llama-server" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        for pid in served:
            os.kill(pid, signal.SIGKILL)
        assert served and writer.complete("Instruction: Say hello.\nResponse:", brief, seed=3) == first
        assert writer.header is not None and len(writer.tokens_of("Say hello.") or []) > 1
        assert json.loads(writer.identity)["context_tokens"] == 256
        assert writer.chat(TALK[1:], brief, seed=3).tokens_in > 4
        del writer.header.metadata["tokenizer.chat_template"]
        with pytest.raises(UserError, match="has no chat template"):
            writer.chat(TALK[1:], brief, seed=3)
