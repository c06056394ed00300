"""A faulty network between a test and an S3 server: a proxy that damages, loses or refuses what it is told to."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

Answer = Literal["503 SlowDown", "409 ConditionalRequestConflict", "400 ExpiredToken"]
Kind = Answer | Literal["lose answer", "reset", "flip request", "flip answer", "cut answer", "lead out"]


class Fault(NamedTuple):
    """Happens to the next `times` requests with `method` whose path contains `path`."""

    kind: Kind
    method: str
    path: str = ""
    times: int = 1


class Proxy:
    """What goes wrong next, and what was asked so far."""

    def __init__(self, backend: str) -> None:
        self.backend = urlsplit(backend).netloc
        self.seen: list[str] = []
        self.endpoint = ""
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def plan(self, *faults: Fault) -> None:
        self._faults = [fault for fault in faults for _ in range(fault.times)]

    def next_fault(self, method: str, path: str) -> Kind | None:
        with self._lock:
            self.seen.append(f"{method} {path}")
            for fault in self._faults:
                if fault.method == method and fault.path in path:
                    self._faults.remove(fault)
                    return fault.kind
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.next_fault(self.command, self.path)
        if fault == "reset":
            self.close_connection = True
            return
        if fault and fault[0].isdigit():
            number, code = fault.split()
            self.answer(
                int(number), {"Content-Type": "application/xml"}, f"<Error><Code>{code}</Code></Error>".encode()
            )
            return
        connection = http.client.HTTPConnection(self.proxy.backend, timeout=30)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
        connection.request(self.command, self.path, flipped(body) if fault == "flip request" else body, headers)
        with connection.getresponse() as response:
            data = response.read()
            status, answered = response.status, dict(response.getheaders())
        connection.close()
        if fault == "lose answer":
            self.close_connection = True
            return
        if fault == "lead out":
            data = data.replace(b"/inside/", b"/../../")
        self.answer(status, answered, flipped(data) if fault == "flip answer" else data, cut=fault == "cut answer")

    def answer(self, status: int, headers: dict[str, str], data: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        length = headers.get("Content-Length", str(len(data))) if self.command == "HEAD" else str(len(data))
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


def flipped(data: bytes) -> bytes:
    """The same bytes with one bit changed in the middle."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@contextmanager
def faulty_network(backend: str) -> Iterator[Proxy]:
    """Run the proxy on a free port of 127.0.0.1."""
    proxy = Proxy(backend)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("ProxyHandler", (Handler,), {"proxy": proxy}))
    server.daemon_threads = True
    proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
