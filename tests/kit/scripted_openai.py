"""A server on loopback that answers by a script, OpenAI's chat completions first: latency, errors and garbage too.

with serve_openai(lambda call: completion("hello")) as server:
    OpenAiConfig(provider="openai", model="scripted", base_url=server.url)
"""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Call:
    """One request: `number` counts from 0."""

    number: int
    body: dict[str, Any]
    headers: dict[str, str]
    at: float
    path: str = ""
    method: str = "POST"
    raw: bytes = b""

    @property
    def prompt(self) -> str:
        """All that was said, as one text."""
        return "\n".join(message["content"] for message in self.body["messages"])

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema that the answer must follow."""
        found: dict[str, Any] = self.body["response_format"]["json_schema"]["schema"]
        return found


@dataclass(frozen=True)
class Answer:
    """What the server does: `reset` drops the connection instead, `trickle_s` waits between two bytes, `missing` bytes
    are announced and never come."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    latency_s: float = 0.0
    reset: bool = False
    trickle_s: float = 0.0
    missing: int = 0


Script = Callable[[Call], Answer]


def completion(
    text: str | None,
    *,
    finish: str = "stop",
    refusal: str | None = None,
    input_tokens: int = 100,
    output_tokens: int = 20,
    cached_tokens: int = 0,
    latency_s: float = 0.0,
) -> Answer:
    """A chat completion with one choice."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    usage = {
        "prompt_tokens": input_tokens, "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens, "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }  # fmt: skip
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return Answer(200, json.dumps(body).encode(), {"content-type": "application/json"}, latency_s)


def error(status: int, code: str | None = None, message: str = "no", **headers: str) -> Answer:
    """An error in OpenAI's form; a header's name is written with `_` for `-`."""
    body = json.dumps({"error": {"message": message, "type": "some_error", "code": code, "param": None}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, body, {"content-type": "application/json", **named})


def judged(call: Call, answer: str = "YES", **changed: Any) -> str:
    """A perfect judge's JSON for the schema in the request; `changed` replaces the entry of a criterion.

    Its reasons tell criteria and conversations apart: a judge without that is taken for one that does not read.
    """
    seen = hashlib.sha256(call.prompt.encode()).hexdigest()[:6]
    rows = {
        name: {"reason": f"{name} shows in exchange 1 ({seen})", "answer": answer} for name in call.schema["properties"]
    }
    return json.dumps({**rows, **changed})


class ScriptedOpenAI:
    """The running server; `calls` and `most_in_flight` say what happened, `script` may be exchanged at any time."""

    def __init__(self, script: Script, port: int) -> None:
        self.script = script
        self.url = f"http://127.0.0.1:{port}/v1"
        self.calls: list[Call] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.over = threading.Event()
        self._lock = threading.Lock()

    @contextmanager
    def call(self, raw: bytes, headers: dict[str, str], path: str, method: str) -> Iterator[Call]:
        """Count one request while it is being answered."""
        with self._lock:
            body = json.loads(raw) if "json" in headers.get("content-type", "") and raw else {}
            call = Call(len(self.calls), body, headers, time.monotonic(), path, method, raw)
            self.calls.append(call)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            yield call
        finally:
            with self._lock:
                self.in_flight -= 1


@contextmanager
def serve_openai(
    script: Script, host: str = "127.0.0.1", port: int = 0, context: ssl.SSLContext | None = None
) -> Iterator[ScriptedOpenAI]:
    """Serve on a free port, or on `port`, until the block ends; with `context` over TLS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            size = int(self.headers.get("content-length", 0))
            raw = self.rfile.read(size)
            if len(raw) < size:  # the client died while it sent
                return
            headers = {k.lower(): v for k, v in self.headers.items()}
            with scripted.call(raw, headers, self.path, self.command) as call:
                answer = scripted.script(call)
                scripted.over.wait(answer.latency_s)
            with suppress(ConnectionError):
                self._give(answer)

        def _give(self, answer: Answer) -> None:
            if answer.reset:
                linger = struct.pack("ii", 1, 0)  # an abortive close: the client sees a reset, not an end
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body) + answer.missing))
            self.close_connection = bool(answer.missing)
            self.end_headers()
            if not answer.trickle_s:
                self.wfile.write(answer.body)
            for byte in answer.body if answer.trickle_s else b"":
                self.wfile.write(bytes([byte]))
                scripted.over.wait(answer.trickle_s)

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent."""

        def handle(self) -> None:
            with suppress(OSError, ValueError):  # the client hung up, or we did
                super().handle()

        def finish(self) -> None:
            with suppress(OSError, ValueError):
                super().finish()

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 256

    with Server((host, port), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        scripted = ScriptedOpenAI(script, server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield scripted
        finally:
            scripted.over.set()
            server.shutdown()
            thread.join()
