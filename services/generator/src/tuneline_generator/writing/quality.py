"""What is wrong with a text that a model wrote, by what stands in it and never by its length alone.

A base model that has answered goes on with the next example of its prompt. That is a runaway, and it is known by the
line that begins the next prompt: an answer of four sentences is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from tuneline.data.text.likeness import normal
from tuneline.data.text.words import word_count
from tuneline.llm.completion import Finish
from tuneline.llm.control_tokens import neutralise
from tuneline_generator.writing.rows import Status

MAX_CHARS = 500
"""Characters of an answer that was to be short, above which it has run away whatever stands in it."""
PROMPT_WORDS = (3, 150)
"""Words of an instruction; of scripts without spaces between words, characters."""
REPEATED_WORDS = 20
"""Words from which nobody says a prompt again before answering it."""


class Flaw(NamedTuple):
    """Why a row goes no further."""

    status: Status
    detail: str
    """Which rule found it, in words that quote nothing."""


@dataclass(frozen=True)
class Rules:
    """What a recipe takes for a flaw."""

    labels: tuple[str, ...] = ()
    """Words that begin a new prompt where a colon follows: Instruction, Response, …"""
    headings: bool = False
    """Whether a line that begins with two `#` or more begins a new prompt: where the recipe stops at one."""
    max_chars: int | None = MAX_CHARS
    prompt_words: tuple[int, int] | None = PROMPT_WORDS
    control: frozenset[str] = field(default=frozenset(), repr=False)
    """Control tokens of the tokenizers of writer and trainee; those of the common families are known."""
    keep_cut: bool = False

    @cached_property
    def _new_prompt(self) -> re.Pattern[str] | None:
        words = "|".join(re.escape(label) for label in self.labels)
        kinds = [r"\#{2,}[ \t]*(?:$|\S)"] if self.headings else []
        marks = "[*_]{0,3}"  # a model that is talked with likes its labels bold
        about = r"(?:[ \t]*\([^()\n]{1,80}\))?"  # as in our own prompts: `Instruction (about cooking):`
        label = rf"(?:{words})[ \t]*\d{{0,3}}{about}{marks}[ \t]*[:：]"
        kinds += [rf"(?:\#+[ \t]*)?{marks}{label}"] if words else []
        return re.compile(rf"^[ \t]*(?:{'|'.join(kinds)})", re.MULTILINE) if kinds else None

    def begins_new_prompt(self, text: str) -> bool:
        """Tell whether a line after the first begins a new prompt."""
        _, newline, rest = _plain(text).partition("\n")
        return bool(newline and self._new_prompt and self._new_prompt.search(rest))

    def is_runaway(self, text: str) -> bool:
        too_long = self.max_chars is not None and len(_plain(text)) > self.max_chars
        return too_long or self.begins_new_prompt(text)

    def leaks(self, text: str) -> bool:
        """Tell whether a control token stands anywhere, or a label at the beginning."""
        begins = self._new_prompt is not None and self._new_prompt.match(_plain(text)) is not None
        return begins or neutralise(text) != text or any(token in text for token in self.control)


def classify(
    prompt: str, response: str | None, rules: Rules, *, prompt_finish: Finish = "stop", finish: Finish = "stop"
) -> Flaw | None:
    """Return the first flaw, None if there is none; `response` is None where the prompt alone is looked at."""
    if response is not None and not response.strip():
        return Flaw("empty", "the response has no text")
    if rules.leaks(prompt):
        return Flaw("leaks", "the prompt spells a control token or begins with a label")
    if response is not None and (flaw := _flaw_of_response(response, finish, rules)):
        return flaw
    if response is not None and echoes(prompt, response):
        return ECHO
    return _flaw_of_prompt(prompt, prompt_finish, rules.prompt_words)


ECHO = Flaw("echo", "the response is its prompt again, or begins with all of it")


def echoes(prompt: str, response: str) -> bool:
    """Tell whether a response is its prompt, but for case and punctuation, or begins with all of a long one."""
    asked, said = normal(prompt), normal(response)
    return bool(asked) and (said == asked or (said.startswith(asked) and word_count(asked) >= REPEATED_WORDS))


def _flaw_of_response(response: str, finish: Finish, rules: Rules) -> Flaw | None:
    if rules.leaks(response):
        return Flaw("leaks", "the response spells a control token or begins with a label")
    if rules.begins_new_prompt(response):
        return Flaw("runaway", "the response goes on with a new prompt")
    if rules.is_runaway(response):
        return Flaw("runaway", f"the response has more than {rules.max_chars} characters")
    if finish == "length" and not rules.keep_cut:
        return Flaw("cut", "the response was cut at max_tokens")
    return None


def _flaw_of_prompt(prompt: str, finish: Finish, words: tuple[int, int] | None) -> Flaw | None:
    if words is None:
        return None if prompt.strip() else Flaw("bad_prompt", "the prompt has no text")
    count, (least, most) = word_count(prompt), words
    if finish == "length":
        return Flaw("bad_prompt", "the prompt was cut at max_tokens")
    if not least <= count <= most:
        return Flaw("bad_prompt", f"the prompt has fewer than {least} or more than {most} words")
    if not any(character.isalpha() for character in prompt):
        return Flaw("bad_prompt", "the prompt has no letter")
    return None


def _plain(text: str) -> str:
    return text.strip().replace("\r\n", "\n")
