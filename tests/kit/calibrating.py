"""References of made-up talks, and a run file for the calibrator.

with serve_openai(lambda call: completion("A script.")) as server:
    make(run_file(folder, server.url), folder / "store")
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from kit.scripted_openai import Answer, Call, completion
from tuneline.engine.records import Manifest
from tuneline.engine.runfile import read_run_file
from tuneline.engine.runner import new_job, run_job
from tuneline.stage import installed_stages
from tuneline.store.base import open_store

PROMPT = "Write a talk about this.\n\n{source}\n\nIt should be like this:\n{profile}\n"
TALK = [
    "Have you ever wondered why a bridge hums in the wind?",
    "For a hundred years builders believed that weight was enough.",
    "Now the method is simple: we hang a damper below the deck.",
    "As a result the bridge swings half as far as before.",
    "The limit is the cold, for dampers stiffen in winter.",
    "That is all for today, and thank you for listening.",
]


def references(folder: Path, names: tuple[str, ...] = ("ash", "elm", "oak")) -> dict[str, str]:
    """Write pairs, sources and talks of these names; ten seconds a sentence."""
    (folder / "sources").mkdir(parents=True)
    pairs, talks = [], []
    for name in names:
        said = [sentence.replace("bridge", f"{name} bridge") for sentence in TALK]
        (folder / "sources" / f"{name}.txt").write_text(f"The {name} bridge.\f" + " ".join(said[1:-1]))
        pairs.append({"pair": name, "status": "ready"})
        segments = [{"start": 10.0 * n, "end": 10.0 * n + 10, "text": text} for n, text in enumerate(said)]
        talks.append({"pair": name, "segments": segments})
    for port, rows in (("pairs", pairs), ("talks", talks)):
        (folder / f"{port}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return {"pairs": "pairs.jsonl", "sources": "sources", "talks": "talks.jsonl"}


def run_file(
    folder: Path, url: str, inputs: Mapping[str, Any] | None = None, names: tuple[str, ...] = ("ash", "elm", "oak"),
    **params: Any,
) -> Path:  # fmt: skip
    """Write a run file whose goal is the calibrator."""
    model = {"provider": "openai", "model": "scripted", "base_url": url}
    (folder / "prompt.txt").write_text(PROMPT)
    given = (
        references(folder, names)
        | {"prompt": "prompt.txt", "writer": model, "judge": {"provider": "heuristic"}}
        | dict(inputs or {})
    )
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({"run": "tried", "goal": "calibrator", "inputs": given, "calibrator": params}))
    return path


def answered(call: Call, *, script: str = "", prompt: str = "") -> Answer:
    """What a model answers to a task: by its JSON schema, or with a script; the same to the same question."""
    drawn = int(hashlib.sha256(call.prompt.encode()).hexdigest()[:4], 16)
    if "response_format" not in call.body:
        return completion(script or f"Have you ever seen it? Script {drawn} tells of a bridge and of dampers.")
    shape, answer = call.schema["properties"], dict[str, Any]()
    if "kinds" in shape:
        answer = {"kinds": ["method"] * shape["kinds"]["minItems"]}
    elif "concepts" in shape:
        answer = {"concepts": [{"name": word, "explained_if": "said"} for word in ("bridge", "damper")]}
    elif "explained" in shape:
        answer = {"explained": ["c1"]}
    elif "engagement" in shape:
        answer = {"reason": "Short.", "engagement": drawn % 100, "clarity": 50, "accuracy": 60}
    else:
        answer = {"changes": [{"loss": "quality", "change": "a hint"}], "prompt": prompt or f"{PROMPT}\nHint {drawn}."}
    return completion(json.dumps(answer))


def output_of(store: Path, manifest: Manifest, port: str) -> bytes:
    """The file of an output."""
    [found] = manifest.outputs[port].files.values()
    return (store / found.key).read_bytes()


def make(file: Path, store: Path) -> Manifest:
    """Run the calibrator in this process."""
    run = read_run_file(file, installed_stages())
    with new_job(run, run.step("calibrator"), open_store(str(store))) as job:
        return run_job(job).manifest
