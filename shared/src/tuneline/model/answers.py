"""Where the assistant's answers stand in a rendered conversation, so that they and nothing else are learnt.

What is learnt must be what the model will say: when it is asked, the template renders the conversation so far and the
generation prompt, and the answer is what follows up to and with its end of turn. An answer counts only where the
rendering begins with exactly this. Some templates render the last answer otherwise than earlier ones (an empty thought
before it, another end behind it, a system prompt in the question before it): of those only the last one counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from tuneline.errors import UserError

FoundBy = Literal["generation blocks", "generation prompts", "last answer"]
"""How the answers of a template are told apart: by its `{% generation %}` blocks, each by the generation prompt before
it, or the last one alone."""

Span = tuple[int, int]
Render = Callable[[Sequence[Mapping[str, str]], bool], str]
"""Renders messages, with or without the generation prompt."""


class Learnt(NamedTuple):
    """Ranges of characters that are learnt, in order, and how they were found."""

    spans: list[Span]
    found_by: FoundBy


def with_ends(spans: Sequence[Span], text: str, control: re.Pattern[str]) -> Learnt:
    """Return the spans of generation blocks, each with the end of turn that may stand right behind it."""
    whole = []
    for start, end in spans:
        inside = [found.end() for found in control.finditer(text, start, end)]
        behind = control.match(text, end)
        ended = inside and not text[inside[-1] : end].strip()
        whole.append((start, behind.end() if behind and not ended else end))
    return Learnt(whole, "generation blocks")


def find_answers(messages: Sequence[Mapping[str, str]], text: str, render: Render, control: re.Pattern[str]) -> Learnt:
    """Find the answers of `messages` in `text`, their rendering; `control` matches the model's control tokens.

    Raises UserError when the last answer does not follow the generation prompt: no model could say it.
    """
    found: list[tuple[Span, bool]] = []
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            prompt, asked = render(messages[:index], True), render(messages[: index + 1], False)
            begins = asked.startswith(prompt)
            end = _end_of_turn(asked, message["content"].strip(), len(prompt), control) if begins else 0
            found.append(((len(prompt), end), begins and text.startswith(asked[:end])))
    if all(exact for _, exact in found):
        return Learnt([span for span, _ in found], "generation prompts")
    last, exact = found[-1]
    if not exact:
        raise UserError(
            "The chat template's generation prompt is not how an answer begins (it may open a thought), so the answers "
            "of transcripts are not what the model would say. Give another template as the input `chat_template`."
        )
    return Learnt([last], "last answer")


def _end_of_turn(text: str, content: str, start: int, control: re.Pattern[str]) -> int:
    """Return where the answer that begins at `start` or later ends: behind the first control token after its text."""
    at = text.find(content, start)
    found = control.search(text, at + len(content)) if at >= 0 else None
    if found is None:
        raise UserError(
            "The chat template writes no control token behind an answer, so the model could not learn where to stop. "
            "Give another template as the input `chat_template`, with the end-of-turn token behind each answer."
        )
    return found.end()
