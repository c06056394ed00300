"""A chat template: Jinja source from the model's author, which runs in a process of its own."""

from __future__ import annotations

import atexit
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from subprocess import DEVNULL, PIPE, Popen
from threading import Lock

from tuneline.errors import Temporary, UserError
from tuneline.model.children import ending, environment
from tuneline.model.template_worker import SECONDS, Rendering, ToRender
from tuneline.parsing.problems import printable

Messages = Sequence[Mapping[str, str]]


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
