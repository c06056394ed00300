"""A Hub with one repository, and what is asked of it. Its library reads the address when it is imported: `environ`."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "toys/tiny"


class Hub:
    """Where it is, and the files that were asked for."""

    def __init__(self, address: str, cache: Path) -> None:
        self.environ = {"HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
        self.listed = 0
        self.sent: list[str] = []
        """Files whose bytes were sent."""


@contextmanager
def serve_hub(files: Mapping[str, bytes], cache: Path, kind: Literal["model", "dataset"] = "model") -> Iterator[Hub]:
    """Serve `files` as the repository `toys/tiny`; what is downloaded lies below `cache`."""
    prefix = "datasets/" if kind == "dataset" else ""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path.startswith(f"/api/{kind}s/{REPOSITORY}"):
                hub.listed += 1
                found = tree(files) if "/tree/" in path else facts(files)
                self.answer(json.dumps(found).encode(), {"Content-Type": "application/json"})
                return
            name = path.removeprefix(f"/{prefix}{REPOSITORY}/resolve/{COMMIT}/")
            if name not in files:
                self.send_error(404)
                return
            if self.command == "GET":
                hub.sent.append(name)
            digest = hashlib.sha256(files[name]).hexdigest()
            self.answer(files[name], {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})

        do_HEAD = do_GET

        def answer(self, data: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data if self.command == "GET" else b"")

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        hub = Hub(f"http://127.0.0.1:{server.server_address[1]}", cache)
        yield hub
        server.shutdown()


def tree(files: Mapping[str, bytes]) -> list[dict[str, object]]:
    """What the Hub says of its files."""
    oids = {name: hashlib.sha1(data, usedforsecurity=False).hexdigest() for name, data in files.items()}
    return [{"type": "file", "path": n, "size": len(d), "oid": oids[n]} for n, d in files.items()]


def facts(files: Mapping[str, bytes]) -> dict[str, object]:
    """What the Hub says of the repository."""
    siblings = [
        {"rfilename": name, "size": len(data), "blobId": hashlib.sha1(data, usedforsecurity=False).hexdigest()}
        for name, data in files.items()
    ]
    return {"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
