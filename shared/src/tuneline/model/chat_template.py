"""A chat template: Jinja source from the model's author, run in a sandbox, with what transformers offers to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tuneline.errors import UserError

MARKS = [chr(code) for code in range(0xE000, 0xF900)]
"""Code points for private use: two that no message contains mark the generated spans while a text is rendered."""


class ChatTemplate:
    """Compiled template. Rendering is a pure function, apart from templates that ask for today's date."""

    def __init__(self, source: str):
        self.source = source
        try:
            self._template = _environment().from_string(source)
            tree = _environment().parse(source)
        except TemplateSyntaxError as error:
            raise UserError(f"The chat template has an error in line {error.lineno}: {error.message}") from None
        self.marks_generation = any(node.name == _MARKS for node in tree.find_all(nodes.Name))
        """Whether the template has `{% generation %}` blocks around what the assistant writes."""

    def render(
        self,
        messages: Sequence[Mapping[str, str]],
        special_tokens: Mapping[str, str],
        add_generation_prompt: bool = False,
        marks: tuple[str, str] = ("", ""),
    ) -> str:
        """Return the text of `messages`, with `marks` around each generated span. Raises UserError when refused."""
        variables = {"tools": None, "documents": None, "add_generation_prompt": add_generation_prompt, _MARKS: marks}
        try:
            return self._template.render(
                messages=[dict(message) for message in messages], **special_tokens, **variables
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise UserError(f"The chat template refuses a conversation: {self._reason(error)}") from None

    def render_spans(
        self, messages: Sequence[Mapping[str, str]], special_tokens: Mapping[str, str]
    ) -> tuple[str, list[tuple[int, int]]]:
        """Return the text and the character ranges of its generated spans. Raises UserError when refused."""
        used = set().union(*(message["content"] for message in messages))
        free = (mark for mark in MARKS if mark not in used)
        opening, closing = next(free), next(free)
        head, *rest = self.render(messages, special_tokens, marks=(opening, closing)).split(opening)
        text, spans = head, []
        for part in rest:
            generated, _, after = part.partition(closing)
            spans.append((len(text), len(text) + len(generated)))
            text += generated + after
        return text, spans

    def _reason(self, error: Exception) -> str:
        # The template's own words may be shown, but not words that it took from a message.
        message = str(error)
        return message if message and message in self.source else type(error).__name__


_MARKS = "generation_marks"


class _Generation(Extension):
    """The block `{% generation %}`, known from transformers: its body is what the assistant writes."""

    tags = {"generation"}  # noqa: RUF012  (the base class declares it as a set)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_wrap", [nodes.Name(_MARKS, "load")])
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _wrap(self, marks: tuple[str, str], caller: Callable[[], str]) -> str:
        opening, closing = marks
        return f"{opening}{caller()}{closing}"


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write `value` as JSON; jinja's own filter would escape HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    # Templates that print a date expect today's, here as in transformers and llama-server.
    return datetime.now().strftime(form)
