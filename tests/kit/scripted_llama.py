"""A process that speaks as much of llama-server's protocol as a conversation needs, and misbehaves as it is told.

with scripted_llama(tmp_path, "good", "empty") as server: …      first answer good, every later one empty
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tuneline.model.llama_server import Server


@contextmanager
def scripted_llama(folder: Path, *answers: str) -> Iterator[Server]:
    """Run it under the same care as the real one; the last of `answers` is repeated for ever, also after a restart."""
    command = [sys.executable, __file__, str(folder / "requests.jsonl"), *answers]
    server = Server(command, folder / "model.gguf", folder / "server.log", 30.0)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def requests(folder: Path) -> list[dict[str, object]]:
    """Return the bodies of all requests so far."""
    path = folder / "requests.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


GOOD = {
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Good day."}}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 3},
    "timings": {"prompt_n": 7},
}
EMPTY = {**GOOD, "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": " \n"}}]}
NOTHING = {**GOOD, "choices": []}
BODIES = {
    "good": (200, json.dumps(GOOD)),
    "empty": (200, json.dumps(EMPTY)),
    "nothing": (200, json.dumps(NOTHING)),
    "html": (200, "<html>gateway</html>"),
    "list": (200, "[]"),
    "error": (500, '{"error": {"message": "decode failed"}}'),
    "too-long": (400, '{"error": {"type": "exceed_context_size_error"}}'),
    "busy": (503, '{"error": {"message": "Loading model"}}'),
}


def main(log: Path, answers: list[str], port: int) -> None:
    """Serve until killed."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.give(200, "{}")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            number = len(log.read_text().splitlines()) if log.exists() else 0
            with log.open("ab") as file:
                file.write(body + b"\n")
            answer = answers[min(number, len(answers) - 1)]
            if answer == "die":
                os._exit(1)
            if answer == "hang":
                time.sleep(60)
            self.give(*BODIES[answer])

        def give(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2 : sys.argv.index("--host")], int(sys.argv[sys.argv.index("--port") + 1]))
