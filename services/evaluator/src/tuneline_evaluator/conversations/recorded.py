"""An arm whose conversations exist already, from another run or another system: a .jsonl file of transcripts.

Their ids say whose they are: `<persona>` or `<persona>/<trial>`, with prompts the prompt's id; what follows is passed
over, so that one arm's rows of `conversations.jsonl` are such a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from tuneline.data.conversations import AnswerFacts, Conversation, Said
from tuneline.data.reading.prompts import Prompt
from tuneline.data.transcripts import Exchange, read_transcripts
from tuneline.errors import UserError
from tuneline.llm.token_counts import count_tokens
from tuneline.parsing.problems import printable, shortened
from tuneline_evaluator.conversations.talk import Speaker, blind_id, conversation_seed

MOST_TRIALS = 100


@dataclass(frozen=True, eq=False)
class Recorded:
    """Conversations by persona and trial."""

    name: str
    talks: Mapping[tuple[str, int], tuple[Exchange, ...]]


def is_recorded(place: Path) -> bool:
    """Tell whether what is given for an arm are conversations."""
    return place.is_file() and place.suffix in (".jsonl", ".ndjson")


def read_recorded(arm: str, place: Path) -> Recorded:
    """Read an arm's conversations. Raises UserError for what is none, and for two of one persona and trial."""
    talks: dict[tuple[str, int], tuple[Exchange, ...]] = {}
    for transcript in read_transcripts(place, joined=False).transcripts:
        persona, trial = key = key_of(transcript.id)
        if key in talks:
            raise UserError(
                f"{arm} arm: {place.name} has two conversations of {printable(persona)}, trial {trial}: keep those of "
                "one model"
            )
        talks[key] = tuple(transcript.exchanges)
    return Recorded(place.name, talks)


def recorded_in(place: Path, arm: str) -> Recorded | None:
    """Return the conversations that are given for an arm, None where something else is."""
    return read_recorded(arm, place) if is_recorded(place) else None


def trials_in(arms: Iterable[Recorded]) -> int:
    """Return how many trials each persona has at most. Raises UserError for numbers that count something else."""
    most = max(((trial, arm.name, persona) for arm in arms for persona, trial in arm.talks), default=(0, "", ""))
    if most[0] >= MOST_TRIALS:
        raise UserError(
            f"{most[1]}: {printable(most[2])}/{most[0]}: what follows the `/` of an id is the number of a trial, "
            f"from 0, at most {MOST_TRIALS - 1}. Write what is no trial with another character."
        )
    return most[0] + 1


def key_of(name: str) -> tuple[str, int]:
    """Return the persona and the trial that an id names."""
    persona, _, rest = unquote(name).partition("/")  # an id is encoded for file names
    number = rest.partition("/")[0]
    return persona, int(number) if number.isdecimal() and len(number) < 6 else 0


def refuse_strangers(arm: str, recorded: Recorded, speakers: Iterable[Speaker], trials: int) -> None:
    """Raise UserError where nothing is of those who talk, or where something else was said than the prompts."""
    by_id = {speaker.id: speaker for speaker in speakers}
    ours = ((by_id.get(persona), said) for (persona, trial), said in recorded.talks.items() if trial < trials)
    mine = [(one, said) for one, said in ours if one is not None]
    if not mine:
        raise UserError(
            f"{arm} arm: {recorded.name}: no conversation's id is that of a persona or prompt of this run; it has "
            f"{shortened(sorted(persona for persona, _ in recorded.talks))}"
        )
    others = [one.id for one, said in mine if isinstance(one, Prompt) and said[0].user.strip() != one.prompt.strip()]
    if others:
        raise UserError(f"{arm} arm: {recorded.name}: {shortened(sorted(others))}: the first message is not the prompt")


def conversation_of(recorded: Recorded, arm: str, speaker: Speaker, trial: int, seed: int) -> Conversation | None:
    """Return one conversation as if it had been held now; None if there is none."""
    exchanges = recorded.talks.get((speaker.id, trial))
    if exchanges is None:
        return None
    messages = [
        Said(role=role, content=text)
        for exchange in exchanges
        for role, text in (("user", exchange.user), ("assistant", exchange.assistant))
    ]
    answers = [
        AnswerFacts(finish_reason="", prompt_tokens=0, evaluated_tokens=0, answer_tokens=count_tokens(one.assistant))
        for one in exchanges
    ]
    return Conversation(
        id=f"{speaker.id}/{trial}/{arm}", persona=speaker.id, trial=trial, arm=arm,
        seed=conversation_seed(seed, speaker.id, trial), status="complete", messages=messages, answers=answers,
        judged_id=blind_id(arm, speaker, trial, messages),
    )  # fmt: skip
