"""Who talks to both arms: personas or prompts that the model has not learnt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from tuneline.data.io import Id
from tuneline.data.personas import Persona, TopicSeed, load_personas
from tuneline.data.reading.prompts import read_prompts
from tuneline.errors import UserError
from tuneline.judge.simulators.simulator import ScriptedConfig, SimulatorConfig
from tuneline.parsing.problems import shortened
from tuneline_evaluator.conversations.learnt import learnt_personas, learnt_prompts, said_in
from tuneline_evaluator.conversations.recorded import Recorded, is_recorded, read_recorded
from tuneline_evaluator.conversations.talk import Speaker
from tuneline_evaluator.stage import EvaluatorInputs

UNKNOWN = "not known"


def who_speaks(inputs: EvaluatorInputs, simulator: SimulatorConfig) -> tuple[Sequence[Speaker], list[str]]:
    """Return personas or prompts, and the ids of those whose words the model learnt, who are left out.

    Raises UserError when both are given, or neither, or when nothing is left.
    """
    if inputs.personas is None and inputs.prompts is None and (named := people_in(inputs.base, inputs.model)):
        return named, []
    one_of(inputs.personas is not None, inputs.prompts is not None)
    speakers: Sequence[Speaker]
    if inputs.prompts is not None:
        what, prompts = "prompts", read_prompts(inputs.prompts).prompts
        speakers, learnt = prompts, learnt_prompts(prompts, said_in(inputs.slices)) if inputs.slices else set[str]()
    else:
        what, personas = "personas", load_personas(inputs.personas or Path())
        follow = follow_scripts(simulator, (inputs.base, inputs.model))
        learnt = learnt_personas(personas, said_in(inputs.slices)) if inputs.slices and follow else set[str]()
        speakers = personas
    kept = [speaker for speaker in speakers if speaker.id not in learnt]
    if not kept:
        raise UserError(
            f"All {len(speakers)} {what} say what is in the training set: give some that nobody has learnt."
        )
    return kept, sorted(learnt)


def follow_scripts(simulator: SimulatorConfig, arms: Iterable[Path]) -> bool:
    """Tell whether personas say what their script has, rather than what a model or a record lets them say."""
    return isinstance(simulator, ScriptedConfig) and not any(map(is_recorded, arms))


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
