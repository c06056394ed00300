"""A faulty network between a test and an S3 server: a proxy that damages, loses or refuses what it is told to.

It is told of single faults (`plan`) or of a share of all requests (`storm`), and counts what really happened (`hits`).
"""

from __future__ import annotations

import http.client
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

Answer = Literal[
    "503 SlowDown",
    "500 InternalError",
    "409 ConditionalRequestConflict",
    "400 ExpiredToken",
    "403 ExpiredToken",
    "403 AccessDenied",
    "200 web page",
    "404 web page",
    "307 TemporaryRedirect",
]
"""What the proxy says itself, in place of the server."""
Kind = (
    Answer
    | Literal[
        "reset",  # the connection breaks before the request reaches the server
        "cut request",  # the server gets half of the body, then the connection breaks
        "flip request",  # one bit of the body changes on its way to the server
        "lose answer",  # the server does it, and the connection ends without an answer
        "cut answer",  # half of the answer's body arrives, then the connection ends
        "flip answer",  # one bit of the answer's body changes
        "stall",  # nothing happens: no answer, and the connection stays
        "stall answer",  # the server does it, half of the body arrives, and nothing more
        "ignore range",  # the answer is no range and too long, as of a server that knows none
        "send all",  # the answer to a range is as long as the whole object
        "lead out",  # a listing names a key outside of the folder
        "first page",  # a listing says that there is more, and not how to get it
        "no ETag",  # a listing lacks what every server says
    ]
)


class Fault(NamedTuple):
    """Happens to the next `times` requests with `method` (any, if empty) whose path contains `path`."""

    kind: Kind
    method: str = ""
    path: str = ""
    times: int = 1


class Storm(NamedTuple):
    """Happens to a share of all requests, at random."""

    share: float
    kinds: Sequence[Kind]
    dice: random.Random


class Proxy:
    """What goes wrong next, what was asked so far, and how often which fault happened."""

    def __init__(self, backend: str) -> None:
        self.backend = urlsplit(backend).netloc
        self.seen: list[str] = []
        self.hits: Counter[Kind] = Counter()
        self.brought: Counter[str] = Counter()
        """Bytes of answers to GET, by path without its query."""
        self.endpoint = ""
        self.over = threading.Event()
        self._faults: list[Fault] = []
        self._storm: Storm | None = None
        self._lock = threading.Lock()

    def plan(self, *faults: Fault) -> None:
        """Let exactly these faults happen from now on."""
        self._faults = [fault for fault in faults for _ in range(fault.times)]

    def storm(self, share: float, *kinds: Kind, seed: int = 0) -> None:
        """Let one of `kinds` happen to each request with the probability `share`."""
        self._storm = Storm(share, kinds, random.Random(seed))

    def calm(self) -> None:
        """Let nothing happen any more."""
        self._storm, self._faults = None, []

    @property
    def unmet(self) -> list[Fault]:
        """The planned faults that have not happened."""
        return list(self._faults)

    def next_fault(self, method: str, path: str, body: bool) -> Kind | None:
        """Note a request, and say what happens to it; a request without a body cannot be damaged."""
        with self._lock:
            self.seen.append(f"{method} {path}")
            for fault in self._faults:
                if fault.method in ("", method) and fault.path in path:
                    self._faults.remove(fault)
                    return fault.kind
            if self._storm and self._storm.dice.random() < self._storm.share:
                kind = self._storm.dice.choice(self._storm.kinds)
                return "reset" if kind.endswith(" request") and not body else kind
        return None

    def hit(self, kind: Kind) -> None:
        """Count a fault that happened."""
        with self._lock:
            self.hits[kind] += 1


class Reply(NamedTuple):
    """An answer on its way back."""

    status: int
    headers: dict[str, str]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy

    def forward(self) -> None:
        """Pass a request on and its answer back, unless something happens to one of them."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.next_fault(self.command, self.path, bool(body))
        if fault == "stall":
            self.stall(fault)
        elif fault == "reset":
            self.hang_up(fault)
        elif fault == "cut request":
            self.cut(body)
        elif fault and fault[0].isdigit():
            self.proxy.hit(fault)
            self.give(made_up(fault))
        else:
            if fault == "flip request":
                self.proxy.hit(fault)
                body = flipped(body)
            self.bring_back(self.ask(body), fault)

    def ask(self, body: bytes) -> Reply:
        """Ask the server."""
        connection = http.client.HTTPConnection(self.proxy.backend, timeout=30)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
        connection.request(self.command, self.path, body, headers)
        with connection.getresponse() as response:
            data = response.read()
        connection.close()
        if self.command == "GET":
            self.proxy.brought[self.path.partition("?")[0]] += len(data)
        return Reply(response.status, dict(response.getheaders()), data)

    def cut(self, body: bytes) -> None:
        """Send the server half of the body, then break both connections."""
        connection = http.client.HTTPConnection(self.proxy.backend, timeout=30)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() != "expect":
                connection.putheader(name, value)
        connection.endheaders(body[: len(body) // 2])
        connection.close()
        self.hang_up("cut request")

    def bring_back(self, reply: Reply, fault: Kind | None) -> None:
        """Bring the answer back; where there is nothing to damage, it is lost."""
        damages = fault in ("flip answer", "cut answer", "stall answer", "lead out", "first page", "no ETag")
        if damages and (reply.status not in (200, 206) or len(reply.body) < 2 or self.command == "HEAD"):
            fault = "lose answer"
        if fault == "flip answer" and "list-type" in self.path:
            fault = "cut answer"  # no client could tell that another key was listed
        match fault:
            case "lose answer":
                self.proxy.hit(fault)
                self.close_connection = True
                return
            case "flip answer":
                reply = reply._replace(body=flipped(reply.body))
            case "ignore range":
                headers = {name: value for name, value in reply.headers.items() if name.lower() != "content-range"}
                reply = Reply(200, headers, reply.body * 2)
            case "send all":
                headers = {name: value for name, value in reply.headers.items() if name.lower() != "content-range"}
                start, _, size = (int(n) for n in re.findall("[0-9]+", reply.headers["Content-Range"]))
                reply = Reply(200, headers, (bytes(start) + reply.body).ljust(size, b"\0"))
            case "lead out":
                reply = reply._replace(body=reply.body.replace(b"/inside/", b"/../../"))
            case "first page":
                reply = reply._replace(body=reply.body.replace(b"<IsTruncated>false", b"<IsTruncated>true"))
            case "no ETag":
                reply = reply._replace(body=reply.body.replace(b"ETag>", b"Tag>"))
        if fault and fault != "flip request":
            self.proxy.hit(fault)
        half = fault in ("cut answer", "stall answer")
        self.give(reply, len(reply.body) // 2 if half else len(reply.body))
        if half:
            self.close_connection = True
        if fault == "stall answer":
            self.proxy.over.wait()

    def give(self, reply: Reply, count: int | None = None) -> None:
        """Send an answer, and of its body the first `count` bytes."""
        self.send_response_only(reply.status)
        length = reply.headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(reply.body))
        for name, value in reply.headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[:count])
        self.wfile.flush()

    def stall(self, kind: Kind) -> None:
        """Keep the connection and say nothing."""
        self.proxy.hit(kind)
        self.close_connection = True
        self.proxy.over.wait()

    def hang_up(self, kind: Kind) -> None:
        """Break the connection: the client sees a reset."""
        self.proxy.hit(kind)
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward

    def handle(self) -> None:
        with suppress(ConnectionError, ValueError):  # the client was killed, or we hung up
            super().handle()

    def finish(self) -> None:
        with suppress(ConnectionError, ValueError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def made_up(kind: str) -> Reply:
    """An answer of the proxy's own: `<status> <S3 error code>`, or a web page."""
    status, _, code = kind.partition(" ")
    if code == "web page":
        return Reply(int(status), {"Content-Type": "text/html"}, b"<html><body><br>Welcome!</body></html>")
    headers = {"Content-Type": "application/xml"}
    if status[0] == "3":
        headers["Location"] = "https://elsewhere.example/bucket?list-type=2"
    return Reply(int(status), headers, f"<Error><Code>{code}</Code></Error>".encode())


def flipped(data: bytes) -> bytes:
    """The same bytes with one bit changed in the middle."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@contextmanager
def faulty_network(backend: str) -> Iterator[Proxy]:
    """Run the proxy on a free port of 127.0.0.1."""
    proxy = Proxy(backend)
    server = Server(("127.0.0.1", 0), type("ProxyHandler", (Handler,), {"proxy": proxy}))
    proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
