"""The process in which chat templates run: code of a model's author, in jinja's sandbox and within time and memory.

The sandbox keeps a template from the interpreter, but `'a' * 10**12` or two nested loops take for ever, and no count of
operations would find them all. So the kernel holds the limits. Requests and answers are JSON, one per line.
"""

from __future__ import annotations

import hashlib
import json
import math
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from functools import lru_cache
from typing import TypedDict

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS = 5
"""Processor time for one answer."""
MEMORY_BYTES = 1 << 30
"""Address space of the whole process."""
MOST_CHARACTERS = 1 << 25
"""Of a rendered conversation."""

DATE = date(2024, 7, 26)
"""What a template is told that asks for today's date; templates of Llama fall back to it where there is no clock."""

_MARKS = "generation_marks"


class ToRender(TypedDict, total=False):
    """A rendering; without messages, a question about the template itself."""

    source: str
    messages: list[dict[str, str]]
    special_tokens: dict[str, str]
    add_generation_prompt: bool
    spans: bool


class Rendering(TypedDict, total=False):
    """The text, and the ranges of its characters that the assistant writes; or why there is none."""

    marks_generation: bool
    text: str
    spans: list[tuple[int, int]]
    problem: str


def main() -> None:
    """Answer until the input ends."""
    with suppress(ValueError, OSError):  # a system that has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.buffer:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + SECONDS, hard))
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()


def answer(request: ToRender) -> Rendering:
    """Return what the template makes of a request, or the problem; it quotes no message."""
    source = request["source"]
    try:
        template, marks_generation = _compiled(source)
        if "messages" not in request:
            return {"marks_generation": marks_generation}
        return _render(template, request)
    except TemplateSyntaxError as error:
        return {"problem": f"The chat template has an error in line {error.lineno}: {error.message}"}
    except MemoryError:
        return {"problem": "The chat template takes more than 1 GiB of memory or 32 Mi characters for a conversation."}
    except Exception as error:  # noqa: BLE001  (a template may raise whatever Python can)
        # The template's own words may be shown, but not words that it took from a message.
        said = str(error)
        reason = said if said and said in source else type(error).__name__
        return {"problem": f"The chat template refuses a conversation: {reason}"}


def _render(template: Template, request: ToRender) -> Rendering:
    opening, closing = "", ""
    if request["spans"]:  # marks that stand in no message: no text can hold its own hash
        number = int(hashlib.sha256(json.dumps(request["messages"]).encode()).hexdigest(), 16)
        opening, closing = f"\ue000{number}\ue001", f"\ue001{number}\ue000"
    rendered = template.render(
        messages=request["messages"],
        **request["special_tokens"],
        tools=None,
        documents=None,
        add_generation_prompt=request["add_generation_prompt"],
        **{_MARKS: (opening, closing)},
    )
    if len(rendered) > MOST_CHARACTERS:
        raise MemoryError
    text, *rest = rendered.split(opening) if opening else [rendered]
    spans = []
    for part in rest:
        generated, _, after = part.partition(closing)
        spans.append((len(text), len(text) + len(generated)))
        text += generated + after
    return {"text": text, "spans": spans}


@lru_cache(8)
def _compiled(source: str) -> tuple[Template, bool]:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    # The clock is no input: a template that asks for today's date would make another model on every day.
    environment.globals["strftime_now"] = DATE.strftime
    tree = environment.parse(source)
    return environment.from_string(source), any(node.name == _MARKS for node in tree.find_all(nodes.Name))


class _Generation(Extension):
    """The block `{% generation %}`, known from transformers: its body is what the assistant writes."""

    tags = {"generation"}  # noqa: RUF012  (the base class declares it as a set)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_wrap", [nodes.Name(_MARKS, "load")])
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _wrap(self, marks: tuple[str, str], caller: Callable[[], str]) -> str:
        return f"{marks[0]}{caller()}{marks[1]}"


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


if __name__ == "__main__":
    main()
