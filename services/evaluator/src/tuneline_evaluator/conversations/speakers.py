"""Who talks to both arms: personas, or prompts that the model has not learnt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from tuneline.data.io import Id, read_lines
from tuneline.data.personas import Persona, TopicSeed, load_personas
from tuneline.data.reading.prompts import Prompt, read_prompts
from tuneline.data.slices import Slice
from tuneline.data.text.likeness import normal
from tuneline.errors import UserError
from tuneline.parsing.problems import shortened
from tuneline_evaluator.conversations.recorded import Recorded, is_recorded, read_recorded
from tuneline_evaluator.conversations.talk import Speaker
from tuneline_evaluator.stage import EvaluatorInputs

UNKNOWN = "not known"


def who_speaks(inputs: EvaluatorInputs) -> tuple[Sequence[Speaker], list[str]]:
    """Return personas or prompts, and the ids of the prompts that the model learnt, which are left out.

    Raises UserError when both are given, or neither, or when nothing is left.
    """
    if inputs.personas is None and inputs.prompts is None and (named := people_in(inputs.base, inputs.model)):
        return named, []
    one_of(inputs.personas is not None, inputs.prompts is not None)
    if inputs.prompts is None:
        return load_personas(inputs.personas or Path()), []
    prompts = read_prompts(inputs.prompts).prompts
    learnt = learnt_among(prompts, inputs.slices) if inputs.slices else set[str]()
    kept = [prompt for prompt in prompts if prompt.id not in learnt]
    if not kept:
        raise UserError(f"All {len(prompts)} prompts occur in the training set: give some that nobody has learnt.")
    return kept, sorted(learnt)


class Named(Persona):
    """Somebody of whom nothing is known but how other people's ids call them."""

    id: Id


def people_in(base: Path, finetuned: Path) -> list[Named]:
    """Return those whom the ids of two recorded arms name, of whom nothing else is known; none for other arms."""
    if not (is_recorded(base) and is_recorded(finetuned)):
        return []
    return people_of(read_recorded("base", base), read_recorded("finetuned", finetuned))


def people_of(base: Recorded, finetuned: Recorded) -> list[Named]:
    """Return those whom the ids of two arms name. Raises UserError where nobody is in both, or a name is none."""
    names = [{persona for persona, _ in arm.talks} for arm in (base, finetuned)]
    if not names[0] & names[1]:
        raise UserError(
            f"nobody talks in both arms: {base.name} has {shortened(sorted(names[0]))}, and {finetuned.name} has "
            f"{shortened(sorted(names[1]))}. An id begins alike in both: `ann`, or `ann/1` for the second trial."
        )
    unknown = TopicSeed(category=UNKNOWN, subtopic=UNKNOWN, complexity=UNKNOWN)
    try:
        return [
            Named(
                id=name, name=name, age_range=UNKNOWN, traits=(UNKNOWN,), communication_style=UNKNOWN,
                topic_seeds=(unknown,), trajectory=UNKNOWN,
            )
            for name in sorted(names[0] | names[1])
        ]  # fmt: skip
    except ValidationError:
        raise UserError(
            "An id of a recorded conversation begins with the name of who talks: one line of letters to be seen, and a "
            "`/` ends it."
        ) from None


def one_of(personas: bool, prompts: bool) -> None:
    """Raise UserError unless one of them is given."""
    if personas == prompts:
        found = "both are given" if prompts else "neither is given"
        raise UserError(f"`personas` (who talk) or `prompts` (that are answered once): {found}; give one")


def learnt_among(prompts: Iterable[Prompt], slices: Path) -> set[str]:
    """Return the ids of the prompts that a user says in a slice, but for case and punctuation."""
    by_words: dict[str, set[str]] = {}
    for prompt in prompts:
        by_words.setdefault(normal(prompt.prompt) or prompt.prompt, set()).add(prompt.id)
    said = (message.content for row in read_lines(slices, Slice) for message in row.messages if message.role == "user")
    seen: set[str] = set()
    found: set[str] = set()
    for text in said:
        if text not in seen:  # a slice repeats what stands in the one before it
            seen.add(text)
            found |= by_words.get(normal(text) or text, set())
    return found
