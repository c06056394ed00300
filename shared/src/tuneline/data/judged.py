"""A transcript, and those that were judged: `transcripts.jsonl` of the assessor, which later stages take."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tuneline.data.io import Closed, Id, read_lines, write_lines
from tuneline.stage import Json


class Exchange(NamedTuple):
    """One user message and the assistant's answer."""

    user: str
    assistant: str


Looked = Literal["nobody", "critic", "judge"]


class Generated(BaseModel):
    """How a model wrote a transcript, among what the stage `generator` leaves with each of its rows."""

    model_config = ConfigDict(frozen=True)

    recipe: Literal["instructions", "documents", "conversations", "scripts"]
    looked: Looked
    """Who said that it is worth learning."""
    critic_auc: float | None = Field(default=None, ge=0, le=1)
    """How well that critic tells an answer to its prompt from one to another prompt: 0.5 is a coin."""

    @property
    def words(self) -> str:
        """Return it for people."""
        sure = "" if self.critic_auc is None else f" with AUC {self.critic_auc:.2f}"
        by = "nobody looked at them" if self.looked == "nobody" else f"a {self.looked} chose them{sure}"
        return f"recipe {self.recipe}, {by}"


def generated_in(provenance: object) -> Generated | None:
    """Return how a model wrote a row, by its key `provenance`; None for any other."""
    try:
        return Generated.model_validate(dict(provenance)) if isinstance(provenance, Mapping) else None
    except ValidationError:  # somebody else's key of the same name
        return None


@dataclass(frozen=True)
class Transcript:
    """One recorded conversation."""

    id: str
    exchanges: tuple[Exchange, ...]
    system: str | None = None
    persona: str | None = None
    greeting: str | None = None
    """What the assistant said before the first user message: context, never learnt."""
    unlearnt: tuple[int, ...] = ()
    """Places of the exchanges, from 0, whose answers are context and must not be learnt."""
    generated: Generated | None = None
    """How a model wrote it; None where people talked, or nobody says."""

    @cached_property
    def sha256(self) -> str:
        """Hash of what was said (system prompt, greeting and exchanges, not id or persona), 64 hex digits."""
        parts = [self.system, self.exchanges, *([self.greeting] if self.greeting else [])]
        said = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(said.encode()).hexdigest()


class JudgedExchange(Closed):
    """One user message and the assistant's answer."""

    user: str
    assistant: str
    learn: bool = True
    """False for an answer that is context and must not be learnt."""


class JudgedTranscript(Closed):
    """One transcript after everything that was mended: a row of the assessor's transcripts.jsonl, sorted by id."""

    id: Id
    system: str | None = None
    persona: str | None = None
    greeting: str | None = None
    """What the assistant said before the first user message: context, never learnt."""
    exchanges: list[JudgedExchange] = Field(min_length=1)
    provenance: dict[str, Json] = Field(default_factory=dict)
    """How it was written, for one that a model wrote."""


def write_judged(path: Path, transcripts: Iterable[Transcript]) -> None:
    """Write the transcripts in their order."""
    write_lines(path, map(_to_row, transcripts))


def read_judged(path: Path) -> Iterator[Transcript]:
    """Yield the transcripts of a file. Raises UserError that names the first line and field at fault."""
    return map(_from_row, read_lines(path, JudgedTranscript))


def _to_row(transcript: Transcript) -> JudgedTranscript:
    optional = {"system": transcript.system, "persona": transcript.persona, "greeting": transcript.greeting}
    exchanges = [
        JudgedExchange(**said._asdict(), **({"learn": False} if place in transcript.unlearnt else {}))
        for place, said in enumerate(transcript.exchanges)
    ]
    given = {name: text for name, text in optional.items() if text is not None}
    how = {"provenance": transcript.generated.model_dump(mode="json")} if transcript.generated else {}
    return JudgedTranscript(id=transcript.id, **given, exchanges=exchanges, **how)


def _from_row(row: JudgedTranscript) -> Transcript:
    exchanges = tuple(Exchange(said.user, said.assistant) for said in row.exchanges)
    unlearnt = tuple(place for place, said in enumerate(row.exchanges) if not said.learn)
    generated = generated_in(row.provenance)
    return Transcript(row.id, exchanges, row.system, row.persona, row.greeting, unlearnt, generated)
