"""A small rubric, transcripts and a real context, for tests of judges."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from tuneline.data.rubric import Rubric
from tuneline.data.transcripts import Transcript, read_transcripts
from tuneline.engine.context import Live
from tuneline.store.base import Store, open_store

RUBRIC: dict[str, Any] = {
    "name": "Small talk",
    "pass_threshold": 0.75,
    "categories": [
        {
            "id": "manner",
            "weight": 0.5,
            "criteria": [
                {
                    "id": "POLITE",
                    "question": "Is the assistant polite?",
                    "yes": "Always.",
                    "no": "Not always.",
                    "heuristic": {"rule": "answers_contain", "any": ["please", "thank"]},
                }
            ],
        },
        {
            "id": "matter",
            "weight": 0.5,
            "criteria": [
                {
                    "id": "ASKS",
                    "question": "Does the assistant ask back?",
                    "yes": "At least once.",
                    "no": "Never.",
                    "na": "There was nothing to ask.",
                    "heuristic": {"rule": "ends_with_question", "share": 0.5},
                }
            ],
        },
    ],
    "gates": [
        {
            "id": "SAFE",
            "question": "Is it harmless?",
            "yes": "It is.",
            "no": "It is not.",
            "heuristic": {"rule": "answers_avoid", "any": ["poison"]},
        }
    ],
}

CANARY = "kingfisher-7731"
"""Stands in every conversation; it must never stand in a log, an error or a metric."""

SHORT_RUBRIC = Rubric.model_validate(RUBRIC)


def write_transcripts(path: Path, count: int, *, first: int = 0) -> Path:
    """Write `count` conversations, one per line; those with an even number are polite and ask."""
    rows = []
    for number in range(first, first + count):
        answer = "Please tell me more, would you?" if number % 2 == 0 else "No."
        exchange = {"user": f"Number {number}: I saw a {CANARY} today.", "assistant": answer}
        rows.append({"id": f"talk-{number:03}", "exchanges": [exchange, exchange]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def some_transcripts(folder: Path, count: int) -> list[Transcript]:
    """Return `count` conversations."""
    return read_transcripts(write_transcripts(folder / "some.jsonl", count)).transcripts


@contextmanager
def live(folder: Path, attempt: str | None = None, store: Store | None = None) -> Iterator[Live]:
    """Be the runner of a stage `assessor` with a store, by default in `folder`: what is journalled stays there."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    name = attempt or uuid4().hex
    place = store or open_store(str(folder / "store"))
    context = Live(place, "assessor", "f" * 64, name, folder / f"state-{name}", {}, lambda: None)
    try:
        with context:
            yield context
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
