"""A server that speaks OpenAI's chat completions and answers by a script, to see what a run costs without paying.

    python tools/priced_server.py        # then, in another terminal: tuneline plan examples/priced.yaml

It judges by hashes and plays every persona alike, so its verdicts mean nothing. It bills what a server would: a token
for each 4.2 bytes of a prompt and of an answer, which is neither what Tuneline counts nor what it expects.
"""

from __future__ import annotations

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 8377
BYTES_PER_TOKEN = 4.2

REASONS = (
    "In exchange {n} the assistant names the problem in the user's own words before it gives a single step to try.",
    "The assistant asks back in exchange {n}, and what the user then says is taken up again in the exchange after it.",
    "Exchange {n} shows it: the advice fits this machine and leaves nothing out. The user can act on it at once.",
    "From exchange {n} on the tone stays friendly, although the user is in a hurry and has said so more than once.",
)
LINES = (
    "It still drips a little. What should I try next?",
    "I did that, and the light is still red. What else?",
    "The noise is gone, but the coffee is only lukewarm now.",
)


def answer(body: dict[str, Any]) -> str:
    """Return a judgement where a schema is asked for, else the next line of a persona."""
    said = json.dumps(body["messages"])
    if "response_format" not in body:
        return LINES[_drawn(said) % len(LINES)]
    names = body["response_format"]["json_schema"]["schema"]["properties"]
    drawn = {name: _drawn(said + name) for name in names}
    rows = {
        name: {"reason": REASONS[n % len(REASONS)].format(n=1 + n % 3), "answer": "NO" if n % 11 == 0 else "YES"}
        for name, n in drawn.items()
    }
    return json.dumps(rows, indent=1)


def _drawn(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


class Handler(BaseHTTPRequestHandler):
    """Answers every POST."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer one request."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = answer(body)
        prompt = sum(len(message["content"].encode()) for message in body["messages"])
        tokens = [round(size / BYTES_PER_TOKEN) for size in (prompt, len(text.encode()))]
        usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}
        data = json.dumps(reply | {"usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def serve(port: int = PORT) -> ThreadingHTTPServer:
    """Return a server on this machine; it works once `serve_forever` is called."""
    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    with serve(int(sys.argv[1]) if len(sys.argv) > 1 else PORT) as server:
        server.serve_forever()
