"""Simulated users like those of one's own transcripts, and whether personas are held out from them.

A draft takes from the transcripts how people write and what about, never a sentence: of their words it has only those
that several of them use. What nothing in a transcript tells (age, character) is proposed in turn, for people to change.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

from tuneline.data.judged import Transcript
from tuneline.data.personas import Persona, load_personas
from tuneline.data.text.manners import Style, flaws_of, styles_of
from tuneline.data.text.overlap import HeldOut, is_telling, mostly_said
from tuneline.data.text.words import content_words
from tuneline.data.transcripts import read_transcripts
from tuneline.errors import UserError

SEVERAL = 3
"""Transcripts that must hold a word, a category or a flaw for it to be told: fewer could be one person."""
COMMON = 0.5
"""Share of the transcripts above which a word says nothing about what one of them is about."""
WITHOUT_FLAWS = 5
"""One persona of so many writes without flaws."""
OPENING = 2
"""Messages of a user that say what a conversation is about; later ones say thanks."""
SHOWN = 100
"""Lines that a message names."""

AGES = ("18-24", "25-34", "35-44", "45-54", "55-64", "65-74")
CHARACTERS = (
    (["patient", "friendly"], "Open from the start, follows every step and reports back."),
    (["impatient", "direct"], "Complains first, calms down when an answer helps."),
    (["sceptical", "precise"], "Doubts the advice until a first step has worked."),
    (["unsure", "polite"], "Hesitant at first, then opens up."),
    (["talkative", "curious"], "Strays from the subject, comes back when asked."),
    (["hurried", "practical"], "Wants one clear answer, and leaves when it has it."),
)  # fmt: skip
"""Traits and how they change in a conversation."""


class Topic(NamedTuple):
    """What people talk about."""

    category: str
    subtopic: str
    complexity: str


def draft(path: Path, count: int, seed: int) -> list[Persona]:
    """Return `count` personas like the users of the transcripts in a file or folder.

    Raises UserError where they cannot be read, or are too few to tell anything that several of them share.
    """
    transcripts = read_transcripts(path, tools="drop").transcripts
    people = [[exchange.user for exchange in one.exchanges] for one in transcripts]
    topics = list(_topics(transcripts))
    if not topics:
        raise UserError(
            f"{path.name}: nothing that {SEVERAL} of {len(transcripts)} transcripts have in common. "
            "Give more of them, or write personas by hand as in examples/personas.yaml"
        )
    rng, styles, flaws = random.Random(seed), styles_of(people), flaws_of(people, SEVERAL)
    written = []
    for number, topic in enumerate(islice(cycle(topics), count)):
        traits, trajectory = CHARACTERS[number % len(CHARACTERS)]
        careful = number % WITHOUT_FLAWS == WITHOUT_FLAWS - 1 or not flaws
        flaw = "" if careful else rng.choices(list(flaws), list(flaws.values()))[0]
        written.append(Persona.model_validate({
            "id": f"draft-{number + 1:03}", "name": f"Persona {number + 1}", "age_range": rng.choice(AGES),
            "traits": traits, "communication_style": _told(styles[number % len(styles)], flaw),
            "topic_seeds": [topic._asdict()], "trajectory": trajectory,
        }))  # fmt: skip
    return written


def _told(style: Style, flaw: str) -> str:
    spelling = f"In each message {flaw}." if flaw else "Writes without mistakes."
    return f"{style.name.capitalize()} messages, at most {style.max_words} words each. {spelling}"


def _topics(transcripts: Sequence[Transcript]) -> Iterator[Topic]:
    """Yield what several transcripts are about, the most frequent first.

    The category is the transcript's `persona` where several have the same one, else a word of its first messages; the
    subtopic is the word that is most frequent beside it.
    """
    about = [{word for said in _opening(one) for word in content_words(said) if word.isalpha()} for one in transcripts]
    labels = Counter(one.persona for one in transcripts if one.persona)
    named = {label for label, n in labels.items() if SEVERAL <= n <= COMMON * len(transcripts)}
    held = Counter(word for found in about for word in found)
    telling = {word for word, n in held.items() if SEVERAL <= n <= max(SEVERAL, COMMON * len(about))}
    groups = {label: [i for i, one in enumerate(transcripts) if one.persona == label] for label in named}
    groups = groups or {word: [i for i, found in enumerate(about) if word in found] for word in telling}
    told = set[frozenset[str]]()
    for category, mine in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        beside = Counter(word for i in mine for word in about[i] & telling - {category})
        subtopic, n = min(beside.items(), key=lambda item: (-item[1], item[0]), default=("", 0))
        subtopic = subtopic if n >= SEVERAL else "in general"
        if frozenset((category, subtopic)) not in told:
            told.add(frozenset((category, subtopic)))
            yield Topic(category, subtopic, _complexity([transcripts[i] for i in mine]))


def _opening(transcript: Transcript) -> Iterator[str]:
    return (exchange.user for exchange in transcript.exchanges[:OPENING])


def _complexity(transcripts: Sequence[Transcript]) -> str:
    """Tell by the median number of exchanges."""
    exchanges = sorted(len(one.exchanges) for one in transcripts)[len(transcripts) // 2]
    return "simple" if exchanges <= 2 else "moderate" if exchanges <= 5 else "complex"


class Repeated(NamedTuple):
    """What personas have in common with transcripts."""

    personas: int
    lines: list[str]
    """Places of their lines and descriptions that a user says there, too."""


def refuse_learnt(file: Path, transcripts: Path) -> Repeated:
    """Return which lines of personas a user says in the transcripts: here and there one is chance.

    Raises UserError that names the lines of those whose script is mostly such lines: a comparison leaves them out.
    """
    personas = load_personas(file)
    read = read_transcripts(transcripts, tools="drop").transcripts
    said = HeldOut(exchange.user for one in read for exchange in one.exchanges)
    lines = {
        number: [at for at, text in _lines(one) if said.overlaps(text)] for number, one in enumerate(personas)
    }  # fmt: skip
    learnt = {number: lines[number] for number, one in enumerate(personas) if mostly_said(one.script, said)}
    if learnt:
        head = f"{len(learnt)} of {len(personas)} personas say mostly what a user says in {transcripts.name}:"
        told = [f"{file}: {place}: is said there; change it" for place in _places(learnt)]
        raise UserError("\n".join([head, *told[:SHOWN], "A comparison would leave them out: they test memory."]))
    return Repeated(len(personas), _places(lines))


def _places(lines: Mapping[int, Sequence[str]]) -> list[str]:
    return [f"personas.{number}.{at}" for number, places in lines.items() for at in places]


def _lines(persona: Persona) -> Iterator[tuple[str, str]]:
    """Yield the texts of a persona that are long enough to overlap, with their places."""
    seeds = enumerate(persona.topic_seeds)
    texts = [(f"topic_seeds.{at}.description", seed.description or "") for at, seed in seeds]
    texts += [(f"script.{at}", line) for at, line in enumerate(persona.script)]
    yield from ((at, text) for at, text in texts if is_telling(text))


def as_rows(personas: Sequence[Persona]) -> dict[str, Any]:
    """Return personas as a file holds them, without what is not given."""
    rows = [one.model_dump(mode="json", exclude_defaults=True) for one in personas]
    return {"personas": rows}
