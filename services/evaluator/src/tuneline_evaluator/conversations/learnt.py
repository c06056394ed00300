"""Who would ask what the model has learnt the answer to: prompts that occur in the training set, and scripted personas.

One line is no proof: everybody says that it works again, thanks. A persona whose script is mostly what a user says in
the training set was taken from there, and its conversations show memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tuneline.data.io import read_lines
from tuneline.data.personas import Persona
from tuneline.data.reading.prompts import Prompt
from tuneline.data.slices import Slice
from tuneline.data.text.likeness import normal
from tuneline.data.text.overlap import HeldOut, is_telling, mostly_said


def learnt_prompts(prompts: Iterable[Prompt], learnt: Iterable[str]) -> set[str]:
    """Return the ids of the prompts that are among what users say in `learnt`, but for case and punctuation."""
    by_words: dict[str, set[str]] = {}
    for prompt in prompts:
        by_words.setdefault(normal(prompt.prompt) or prompt.prompt, set()).add(prompt.id)
    return {name for text in learnt for name in by_words.get(normal(text) or text, ())}


def learnt_personas(personas: Sequence[Persona], learnt: Iterable[str]) -> set[str]:
    """Return the ids of the personas with more lines of their script that users say in `learnt` than others.

    A line says so when it has the same words, or shares most of them in order (`HeldOut`); short ones do not count.
    """
    any_line = HeldOut(line for one in personas for line in one.script if is_telling(line))
    said = HeldOut(text for text in learnt if any_line.overlaps(text))
    return {one.id for one in personas if mostly_said(one.script, said)}


def said_in(slices: Path) -> Iterator[str]:
    """Yield what users say, once: a slice repeats what stands in the one before it. Raises UserError."""
    seen = set[str]()
    for row in read_lines(slices, Slice):
        for message in row.messages:
            if message.role == "user" and message.content not in seen:
                seen.add(message.content)
                yield message.content
