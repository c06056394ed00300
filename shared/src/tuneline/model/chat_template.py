"""A chat template: Jinja source from the model's author, which runs in a process of its own.

What a template reads beside the messages (whether to think, today's date) is written into its source, so that slicer,
trainer, converter and evaluator render alike on every day, and the file that ships renders as they did.
"""

from __future__ import annotations

import atexit
import datetime
import json
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from threading import Lock
from typing import Annotated

from pydantic import Field, StringConstraints

from tuneline.errors import Temporary, UserError
from tuneline.model.base_model import read_object, read_text
from tuneline.model.children import ending, environment
from tuneline.model.template_worker import DATE, SECONDS, Rendering, ToRender
from tuneline.parsing.problems import printable
from tuneline.parsing.text import read_utf8
from tuneline.parsing.yaml import read_yaml
from tuneline.stage import Closed

Messages = Sequence[Mapping[str, str]]

TEMPLATE_SUFFIXES = (".jinja", ".jinja2", ".j2")
DEFAULTS: Mapping[str, bool] = {"enable_thinking": False}
"""Transcripts hold no thoughts: a model that could think learns to answer at once."""

CLOCKS: Mapping[str, str] = {"date_string": "%d %b %Y", "datetime": "%b %d %Y"}
"""Variables in which llama.cpp tells a template today's date, and how it writes it there."""

_TODAY = re.compile(r"""\bstrftime_now\(\s*(["'])([^"'\n]*)\1\s*\)""")
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,59}$")]


class ChatSettings(Closed):
    """The input `chat_template`: what is rendered with, in place of what the base model brings or leaves open."""

    template: str | None = Field(default=None, min_length=1)
    """Jinja source; without it the model's own."""
    options: dict[Name, bool | int | float | str] = Field(default_factory=dict)
    """Variables of the template, such as `enable_thinking` or `reasoning_effort`."""
    date: datetime.date = DATE
    """The day that a template which asks for today's date is told."""

    def pinned(self, own: str) -> str:
        """Return the template to use instead of the model's `own`: with its options and the date written into it."""
        source = _TODAY.sub(lambda found: json.dumps(self.date.strftime(found[2])), self.template or own)
        if re.search(r"\bstrftime_now\s*\(", source):
            raise UserError(
                "The chat template asks for today's date in a form that is itself computed, so no day can be written "
                "into it. Give another template as the input `chat_template`."
            )
        days = {name: self.date.strftime(form) for name, form in CLOCKS.items()}
        defaults = {name: value for name, value in {**DEFAULTS, **days}.items() if re.search(rf"\b{name}\b", source)}
        values = {**defaults, **self.options}
        words = "".join(f"{{% set {name} = {json.dumps(value)} %}}" for name, value in sorted(values.items()))
        # A line end right behind a block would be taken for the block's own.
        return words + ("{{ '' }}" if words and source[:1] in "\r\n" else "") + source


def read_chat_settings(path: Path | None) -> ChatSettings:
    """Read the input `chat_template`: a Jinja file, or YAML with settings. Raises UserError with file and line."""
    if path is None:
        return ChatSettings()
    if path.is_dir():
        raise UserError(f"{path.name} is a folder: give as `chat_template` the file in it, such as chat_template.jinja")
    if path.suffix not in TEMPLATE_SUFFIXES:
        return read_yaml(path).as_model(ChatSettings, "the input `chat_template`, unless its name ends with .jinja,")
    try:
        return ChatSettings(template=read_utf8(path))
    except ValueError:
        raise UserError(f"{path.name}: the chat template is empty") from None


def find_template(folder: Path, port: str = "base_model") -> str | None:
    """Return the chat template that comes with a model, None if none does.

    Raises UserError when there are several and none is the default, as for transformers.
    """
    file, older = folder / "chat_template.jinja", folder / "chat_template.json"
    if file.is_file():
        return read_text(file, port)
    settings = folder / "tokenizer_config.json"
    found = read_object(settings, port).get("chat_template") if settings.exists() else None
    if found is None and older.is_file():  # beside processors of models that also see
        found = read_object(older, port).get("chat_template")
    if isinstance(found, list | dict):  # several named templates, by name or in the form {name, template}
        entries = found.items() if isinstance(found, dict) else (
            (str(entry.get("name")), entry.get("template")) for entry in found if isinstance(entry, dict)
        )  # fmt: skip
        named = dict(entries)
        if named and "default" not in named:
            raise UserError(
                f"{port}: it has chat templates for {printable(', '.join(sorted(named)))}, and none is the default: "
                "give the one to use as the input `chat_template`"
            )
        found = named.get("default")
    return found if isinstance(found, str) else None


class ChatTemplate:
    """A template that compiles. Rendering is a pure function, apart from templates that ask for today's date."""

    def __init__(self, source: str):
        self.source = source
        self.marks_generation = _WORKER.ask({"source": source})["marks_generation"]
        """Whether the template has `{% generation %}` blocks around what the assistant writes."""

    def render(
        self,
        messages: Messages,
        special_tokens: Mapping[str, str],
        add_generation_prompt: bool = False,
        spans: bool = False,
    ) -> Rendering:
        """Return the text, and its generated spans if asked. Raises UserError when refused, or after far too long."""
        plain = [dict(message) for message in messages]
        request: ToRender = {"source": self.source, "messages": plain, "special_tokens": dict(special_tokens)}
        return _WORKER.ask({**request, "add_generation_prompt": add_generation_prompt, "spans": spans})


class _Worker:
    """The process that renders for all threads, started when it is first needed, and again after it was ended."""

    def __init__(self) -> None:
        self._process: Popen[bytes] | None = None
        self._lock = Lock()

    def ask(self, request: ToRender) -> Rendering:
        with self._lock:
            process = self._process = self._process or self._start()
            assert process.stdin and process.stdout
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = b""
            if not line:
                raise self._ended(process)
        answer: Rendering = json.loads(line)
        if "problem" in answer:
            raise UserError(printable(answer["problem"]))
        return answer

    def _start(self) -> Popen[bytes]:
        atexit.unregister(self.close)
        atexit.register(self.close)
        command = [sys.executable, "-I", "-m", "tuneline.model.template_worker"]
        # A session of its own: Ctrl-C in a terminal reaches the stage, which then closes the worker.
        return Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment(), start_new_session=True)

    def _ended(self, process: Popen[bytes]) -> Exception:
        self.close()
        how = ending(process.returncode)
        if process.returncode in (-signal.SIGKILL, -signal.SIGTERM):
            return Temporary(f"the process that renders the chat template was ended by {how}.")
        if process.returncode < 0:
            return UserError(
                f"The chat template takes more than {SECONDS} s for one conversation, or breaks its process ({how}). "
                "Choose another base model, or mend its template."
            )
        return RuntimeError(f"the process that renders the chat template ended with {how}")

    def close(self) -> None:
        """End the process, which ends with its input."""
        process, self._process = self._process, None
        if process:
            with process:
                assert process.stdin
                process.stdin.close()


_WORKER = _Worker()
