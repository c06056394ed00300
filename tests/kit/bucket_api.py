"""A chat API that limits calls by a token bucket, as a process of its own, so that it does not slow its client down.

with serve_bucket(rate=20, burst=20, call_s=5) as api:
    ...
    print(api.counts())
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

BODY = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 20},
}  # fmt: skip


class Counts(NamedTuple):
    """What became of the calls."""

    taken: int
    rejected: int
    most_in_flight: int


class BucketApi(NamedTuple):
    """The running server."""

    url: str

    def counts(self) -> Counts:
        with urllib.request.urlopen(f"{self.url}/counts") as answer:
            return Counts(**json.load(answer))


@contextmanager
def serve_bucket(*, rate: float, burst: float, call_s: float, crowd: int = 1) -> Iterator[BucketApi]:
    """Serve on a free port of loopback until the block ends. No call is answered before `crowd` were in flight."""
    command = [sys.executable, str(Path(__file__)), str(rate), str(burst), str(call_s), str(crowd)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield BucketApi(f"http://127.0.0.1:{process.stdout.readline().strip()}")
        finally:
            process.terminate()


class _Server:
    def __init__(self, rate: float, burst: float, call_s: float, crowd: float) -> None:
        self._rate, self._burst, self._call_s, self._crowd = rate, burst, call_s, crowd
        self._level, self._at = burst, time.monotonic()
        self._counts = {"taken": 0, "rejected": 0, "most_in_flight": 0}
        self._in_flight = 0
        self._crowded = asyncio.Event()

    async def serve(self) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=2048)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()
                return
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
            await reader.readexactly(int(fields.get(b"content-length", b"0")))
            status, body = (200, self._counts) if head.startswith(b"GET") else await self._call()
            data = json.dumps(body).encode()
            start = f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
            writer.write(start.encode() + data)

    async def _call(self) -> tuple[int, object]:
        now = time.monotonic()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        if self._level < 1:
            self._counts["rejected"] += 1
            return 429, {"error": {"message": "too many requests", "type": "requests", "code": "rate_limit_exceeded"}}
        self._level -= 1
        self._counts["taken"] += 1
        self._in_flight += 1
        self._counts["most_in_flight"] = max(self._counts["most_in_flight"], self._in_flight)
        if self._in_flight >= self._crowd:
            self._crowded.set()
        await self._crowded.wait()
        await asyncio.sleep(self._call_s)
        self._in_flight -= 1
        return 200, BODY


if __name__ == "__main__":
    asyncio.run(_Server(*map(float, sys.argv[1:])).serve())
