"""A Hub with one repository, and what is asked of it. Its library reads the address when it is imported: `environ`.

With `xet` it keeps weights in the newer storage, Xet, whose client asks what a file is made of and fetches blocks.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "toys/tiny"
BLOCK = "ab" * 32


class Hub:
    """Where it is, and the files that were asked for."""

    def __init__(self, address: str, cache: Path, xet: bool) -> None:
        self.address = address
        self.environ = {"HF_ENDPOINT": address, "HF_HOME": str(cache)} | ({} if xet else {"HF_HUB_DISABLE_XET": "1"})
        self.listed = 0
        self.sent: list[str] = []
        """Files whose bytes were sent."""
        self.asked: list[str] = []
        """All paths."""
        self.fault: Callable[[str], int | None] = lambda path: None
        """The status that a path is answered with in place of what is there."""


@contextmanager
def serve_hub(
    files: Mapping[str, bytes], cache: Path, kind: Literal["model", "dataset"] = "model", *, xet: bool = False
) -> Iterator[Hub]:
    """Serve `files` as the repository `toys/tiny`; what is downloaded lies below `cache`."""
    prefix = "datasets/" if kind == "dataset" else ""
    stored = xet_hashes({name: data for name, data in files.items() if xet and name.endswith(".safetensors")})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            hub.asked.append(path)
            if status := hub.fault(path):
                self.answer(b"no", {}, status)
            elif path.startswith(f"/api/{kind}s/{REPOSITORY}/xet-read-token/"):
                self.answer(b"{}", token(hub))
            elif path.startswith(f"/api/{kind}s/{REPOSITORY}"):
                hub.listed += 1
                found = tree(files, stored) if "/tree/" in path else facts(files, stored)
                self.answer(json.dumps(found).encode(), {"Content-Type": "application/json"})
            elif path.startswith("/xet/"):
                self.storage(path)
            else:
                self.file(path.removeprefix(f"/{prefix}{REPOSITORY}/resolve/{COMMIT}/"))

        do_HEAD = do_POST = do_GET

        def file(self, name: str) -> None:
            if name not in files:
                self.answer(b"no such page", {}, 404)
                return
            if self.command == "GET":
                hub.sent.append(name)
            digest = hashlib.sha256(files[name]).hexdigest()
            self.answer(files[name], {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})

        def storage(self, path: str) -> None:
            what, _, name = path.removeprefix("/xet/").rpartition("/")
            file = next((file for file, digest in stored.items() if digest == name), None)
            if what == "v1/reconstructions" and file:
                self.answer(json.dumps(made_of(hub, name, files[file])).encode(), {})
            elif what == "blocks" and file:
                hub.sent.append(file)
                self.answer(block(files[file]), {}, 206)
            else:
                self.answer(b"no such page", {}, 404)

        def answer(self, data: bytes, headers: Mapping[str, str], status: int = 200) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data if self.command == "GET" else b"")

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        hub = Hub(f"http://127.0.0.1:{server.server_address[1]}", cache, xet)
        yield hub
        server.shutdown()


def tree(files: Mapping[str, bytes], stored: Mapping[str, str]) -> list[dict[str, object]]:
    """What the Hub says of its files."""
    return [
        {"type": "file", "path": name, "size": len(data), "oid": sha1(data)}
        | ({"lfs": pointer(data, "oid"), "xetHash": stored[name]} if name in stored else {})
        for name, data in files.items()
    ]


def facts(files: Mapping[str, bytes], stored: Mapping[str, str]) -> dict[str, object]:
    """What the Hub says of the repository."""
    siblings = [
        {"rfilename": name, "size": len(data), "blobId": sha1(data)}
        | ({"lfs": pointer(data, "sha256")} if name in stored else {})
        for name, data in files.items()
    ]
    return {"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def pointer(data: bytes, name: str) -> dict[str, object]:
    return {name: hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}


def token(hub: Hub) -> dict[str, str]:
    """What opens the storage, and where it is."""
    return {
        "X-Xet-Cas-Url": f"{hub.address}/xet", "X-Xet-Access-Token": "xet_toy", "X-Xet-Token-Expiration": "4102444800",
    }  # fmt: skip


def xet_hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return Xet's hash of each file, all of them shorter than its shortest chunk (8 KiB)."""
    from hf_xet import hash_files  # type: ignore[import-untyped]

    assert all(len(data) < 8192 for data in files.values())
    with TemporaryDirectory() as folder:
        paths = [Path(folder, str(number)) for number in range(len(files))]
        for path, data in zip(paths, files.values(), strict=True):
            path.write_bytes(data)
        return {name: one.hash for name, one in zip(files, hash_files([*map(str, paths)]), strict=True)}


def made_of(hub: Hub, digest: str, data: bytes) -> dict[str, object]:
    """What a file is made of: the only chunk of one block."""
    whole, end = {"start": 0, "end": 1}, len(block(data)) - 1
    fetch = {"range": whole, "url": f"{hub.address}/xet/blocks/{digest}", "url_range": {"start": 0, "end": end}}
    terms = [{"hash": BLOCK, "unpacked_length": len(data), "range": whole}]
    return {"offset_into_first_range": 0, "terms": terms, "fetch_info": {BLOCK: [fetch]}}


def block(data: bytes) -> bytes:
    """Return a chunk as it is stored: behind version, size, form (as it is) and its size once more."""
    size = len(data).to_bytes(3, "little")
    return b"\0" + size + b"\0" + size + data
