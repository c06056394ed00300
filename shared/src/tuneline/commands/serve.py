"""`tuneline serve`: a run's model behind llama-server, with the settings with which it was compared."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeVar

from pydantic import BaseModel

from tuneline.commands.show import fetch_output, results_of
from tuneline.data.io import read_record
from tuneline.data.model_facts import ModelFacts
from tuneline.data.serving import LARGEST_DEFAULT_CONTEXT, SamplerParams, Serving
from tuneline.engine.records import Manifest
from tuneline.errors import UserError
from tuneline.model import llama_cpp
from tuneline.model.gguf_header import read_header
from tuneline.model.llama_server import serve
from tuneline.store.base import Store, is_local, local_path

R = TypeVar("R", bound=BaseModel)
NODES = {"finetuned": "gguf-converter", "base": "gguf-converter@base"}


class _Ready(NamedTuple):
    """What is served, and how."""

    model: Path
    facts: ModelFacts
    serving: Serving
    remarks: list[str]


def serve_run(store: Store, run: str, arm: str, port: int, say: Callable[[str], None]) -> None:
    """Serve the file of an arm on 127.0.0.1 until this process is interrupted.

    Raises UserError when the run has no such file, Temporary when the server dies again and again.
    """
    with TemporaryDirectory(prefix="tuneline-serve-") as scratch:
        ready = _prepare(store, run, arm, Path(scratch))
        options = [*sampler_options(ready.serving.sampler), "--alias", ready.facts.name]
        if ready.serving.system_prompt:
            template = Path(scratch, "chat_template.jinja")
            own = read_header(ready.model).text("tokenizer.chat_template")
            template.write_text(with_system_prompt(own, ready.serving), encoding="utf-8")
            options += ["--chat-template-file", str(template)]
        context, log = ready.serving.context_tokens, Path(scratch, "server.log")
        placed = llama_cpp.placement(llama_cpp.program("llama-server"))
        with serve(
            ready.model, context_tokens=context, slots=1, threads=None, log=log, port=port, placed=placed,
            options=options,
        ) as server:  # fmt: skip
            for line in _told(ready, arm, server.url, placed):
                say(line)
            while True:
                time.sleep(1)
                server.ensure()


def sampler_options(sampler: SamplerParams) -> list[str]:
    """Return the options of llama-server for answers drawn as in the comparison, where a request says nothing else."""
    chain = ("--samplers", "top_k;top_p;min_p;temperature")  # what it does not name is off
    drawn = {
        "--temp": sampler.temperature,
        "--top-k": sampler.top_k,
        "--top-p": sampler.top_p,
        "--min-p": sampler.min_p,
        "--predict": sampler.max_answer_tokens,
    }
    return [*chain, *(word for name, value in drawn.items() for word in (name, str(value)))]


def with_system_prompt(template: str, serving: Serving) -> str:
    """Return a chat template that says the system prompt itself, unless a conversation brings one."""
    text = json.dumps(serving.system_prompt, ensure_ascii=False)
    if serving.folded:
        condition = "messages[0]['role'] == 'user'"
        first = f"{{'role': 'user', 'content': {text} + '\\n\\n' + messages[0]['content']}}"
        messages = f"[{first}] + messages[1:]"
    else:
        condition = "messages[0]['role'] != 'system'"
        messages = f"[{{'role': 'system', 'content': {text}}}] + messages"
    # The empty text keeps a line end at the start of the template, which a block would take for its own.
    return f"{{% if {condition} %}}{{% set messages = {messages} %}}{{% endif %}}{{{{ '' }}}}{template}"


def _prepare(store: Store, run: str, arm: str, scratch: Path) -> _Ready:
    results, node = results_of(store, run), NODES[arm]
    if node not in results:
        raise UserError(f"run {run} has no {arm} model: it has no result of {node}")
    facts = _fetched(store, run, f"{node}/gguf", ModelFacts, scratch)
    model = _file(store, run, node, results[node], facts.file, scratch)
    remarks = []
    compared = results.get("evaluator")
    if compared and "serving" in compared.outputs:
        serving = _fetched(store, run, "evaluator/serving", Serving, scratch)
        port = "model" if arm == "finetuned" else "base"
        if compared.inputs[port].sha256 != results[node].outputs["model"].sha256:
            remarks.append("This is not the file that was compared: the settings are, and the model was made anew.")
    else:
        own = read_header(model).context_tokens or LARGEST_DEFAULT_CONTEXT
        serving = Serving(context_tokens=min(own, LARGEST_DEFAULT_CONTEXT), sampler=SamplerParams())
        remarks.append("The run has no comparison: these are the evaluator's defaults, without a system prompt.")
    build = llama_cpp.version(llama_cpp.program("llama-server"))
    if build != facts.llama_cpp:
        remarks.append(f"This llama-server is {build}; the file was made and checked with {facts.llama_cpp}.")
    return _Ready(model, facts, serving, remarks)


def _fetched(store: Store, run: str, name: str, kind: type[R], scratch: Path) -> R:
    return read_record(fetch_output(store, run, name, scratch), kind)


def _file(store: Store, run: str, node: str, result: Manifest, name: str, scratch: Path) -> Path:
    """Return where the model lies: in a store of this machine where it is, else a copy of it."""
    record = result.outputs["model"].files.get(name)
    if record is None:
        raise UserError(f"{node}/model of run {run} does not hold the file that gguf.json names")
    if is_local(store.uri):
        return local_path(store.uri) / record.key
    store.download(record, scratch / "model.gguf")
    return scratch / "model.gguf"


def _told(ready: _Ready, arm: str, url: str, placed: llama_cpp.Placement) -> list[str]:
    sampler, prompt = ready.serving.sampler, ready.serving.system_prompt
    body = '{"messages": [{"role": "user", "content": "Good morning!"}]}'
    return [
        f"{ready.facts.file} ({arm}) is served at {url}/v1, computed on {placed}",
        f"  temperature {sampler.temperature:g}, top_p {sampler.top_p:g}, top_k {sampler.top_k}, "
        f"min_p {sampler.min_p:g}, {sampler.max_answer_tokens} tokens an answer, {ready.serving.context_tokens} tokens "
        f"of context, {'the system prompt of the comparison' if prompt else 'no system prompt'}",
        *(f"  {remark}" for remark in ready.remarks),
        f"  curl {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'",
        "Ctrl-C ends it.",
    ]
