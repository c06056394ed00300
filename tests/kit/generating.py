"""A scripted writer, a recipe and a run file for the generator: fast, and the same text for the same prompt and seed.

with serve_writer() as server:
    make(run_file(folder, server.url), folder / "store", pilot=True)
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from kit.scripted_openai import Answer, Call, ScriptedOpenAI, serve_openai
from tuneline.engine.records import Manifest
from tuneline.engine.runfile import read_run_file
from tuneline.engine.runner import do_part, new_job, run_job
from tuneline.stage import Part, installed_stages
from tuneline.store.base import open_store

WORDS = re.findall(
    r"\w+",
    """amber basket candle dragon ember fabric garden harbor island jungle kettle lantern meadow needle orchard pebble
    quiver ribbon saddle timber umbrella velvet walnut yarrow zephyr anchor blanket copper dollar engine feather""",
)

RECIPE = {
    "kind": "instructions",
    "categories": ["health", "cooking", "science", "travel"],
    "examples": [
        {"instruction": f"Say something short about the {word}.", "response": f"The {word} is old."}
        for word in WORDS[:8]
    ],
    "shots": 2,
    "test_prompts": 5,
}


def words(call: Call, count: int) -> str:
    """Words that follow from prompt and seed alone."""
    drawn = hashlib.sha256(f"{call.body['prompt']}/{call.body.get('seed')}".encode()).digest()
    return " ".join(WORDS[byte % len(WORDS)] for byte in drawn[:count])


def is_response(call: Call) -> bool:
    return str(call.body["prompt"]).endswith("Response:")


def good(call: Call) -> str:
    """A text of its own for each prompt and seed."""
    return f" The {words(call, 5)}." if is_response(call) else f" Describe {words(call, 9)}?"


def text(said: str, *, finish: str = "stop", latency_s: float = 0.0, read: int = 10) -> Answer:
    """An answer of OpenAI's older protocol."""
    tokens = len(said.split())
    body = {
        "object": "text_completion", "choices": [{"text": said, "index": 0, "finish_reason": finish, "logprobs": None}],
        "usage": {"prompt_tokens": read, "completion_tokens": tokens},
    }  # fmt: skip
    return Answer(200, json.dumps(body).encode(), {"content-type": "application/json"}, latency_s)


def read_of(call: Call) -> int:
    """Tokens of a prompt, of which a digit is one."""
    return 1 if call.body["prompt"] == "1" else 10


@contextmanager
def serve_writer(say: Callable[[Call], str] = good, latency_s: float = 0.0) -> Iterator[ScriptedOpenAI]:
    """A server of text completions on loopback."""
    with serve_openai(lambda call: text(say(call), latency_s=latency_s, read=read_of(call))) as server:
        yield server


def run_file(
    folder: Path, url: str, recipe: Mapping[str, Any] = RECIPE, inputs: Mapping[str, Any] | None = None,
    prices: Mapping[str, float] | None = None, **params: Any,
) -> Path:  # fmt: skip
    """Write a run file whose goal is the generator; prices are in dollars per million tokens, nothing by default."""
    writer = {"provider": "openai", "model": "base", "dialect": "vllm", "base_url": url, **(prices or {})}
    given = {"recipe": dict(recipe), "writer": writer, **(inputs or {})}
    return write_run(folder, given, **{"count": 30, "pilot": 20, "concurrency": 4} | params)


def write_run(folder: Path, inputs: Mapping[str, Any], **params: Any) -> Path:
    """Write a run file whose goal is the generator; an input that is None is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {name: value for name, value in inputs.items() if value is not None}
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({"run": "made", "goal": "generator", "inputs": given, "generator": params}))
    return path


def make(file: Path, store: Path, *, pilot: bool = False, part: str = "") -> Manifest | None:
    """Run the generator in this process; a part gives no result."""
    run_file, opened = read_run_file(file, installed_stages()), open_store(str(store))
    step = run_file.step("generator@pilot" if pilot else "generator")
    with new_job(run_file, step, opened, part=Part.parse(part)) as job:
        if part:
            do_part(job)
            return None
        return run_job(job).manifest


def output_of(store: Path, manifest: Manifest, port: str) -> bytes:
    """The file of an output."""
    [found] = manifest.outputs[port].files.values()
    return (store / found.key).read_bytes()


def rows_of(store: Path, manifest: Manifest, port: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output_of(store, manifest, port).splitlines()]


def calls_of(server: ScriptedOpenAI) -> list[tuple[str, Any]]:
    """What was asked for the rows, in order."""
    asked = [(str(call.body.get("prompt", "")), call.body.get("seed")) for call in server.calls]
    return [(prompt, seed) for prompt, seed in asked if prompt.startswith("Below ")]
