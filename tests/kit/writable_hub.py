"""A Hub that can be written to: repositories with commits and tags, large files in parts, and faults where a test asks.

It speaks the protocol of the official client, which reads the address when it is imported: run it with `environ`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow
import yaml

TOKEN, XET_TOKEN = "hf_toytoytoytoy", "xet_toytoytoy"
LARGE = (".gguf", ".safetensors", ".jsonl")


@dataclass
class Repo:
    """One repository; `commits` are all files by commit, in order."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.head]

    def commit(self, files: dict[str, bytes], message: str) -> str:
        self.messages.append(message)
        oid = hashlib.sha1(f"{len(self.commits)} {message}".encode(), usedforsecurity=False).hexdigest()
        self.commits[oid] = files
        return oid

    def at(self, revision: str) -> str | None:
        oid = self.head if revision == "main" else self.tags.get(revision, revision)
        return oid if oid in self.commits else None


@dataclass
class WritableHub:
    """Its state, and what a test may change: `fault` sees every request and may return a status, 0 cuts it off."""

    address: str = ""
    name: str = "toys"
    orgs: tuple[str, ...] = ("team",)
    role: str = "write"
    repos: dict[str, Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    chunk: int | None = None
    """Bytes of a part; None takes large files whole."""
    xet: bool = False
    """Whether it has the newer storage, to which a large file goes as blocks of chunks, and then what it is made of."""
    blocks: list[bytes] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    fault: Callable[[str], int | None] = lambda request: None
    garbage: tuple[str, bytes] | None = None
    """What every answer to a request with this text in it is instead."""

    def repo(self, name: str, kind: str = "model") -> Repo:
        return self.repos[f"{kind}s/{name}"]

    def environ(self, folder: Path) -> dict[str, str]:
        settings = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_TOKEN": TOKEN}
        return {"HF_ENDPOINT": self.address, "HF_HOME": str(folder)} | settings

    def asked(self, pattern: str) -> list[str]:
        return [request for request in self.requests if re.search(pattern, request)]


@contextmanager
def serve_writable_hub() -> Iterator[WritableHub]:
    hub = WritableHub()

    class Handler(_Handler):
        state = hub

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        hub.address = f"http://127.0.0.1:{server.server_address[1]}"
        yield hub
        server.shutdown()


Answer = tuple[int, Any]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: WritableHub

    def do_GET(self) -> None:
        self._serve(self.command if self.command != "HEAD" else "GET")

    do_POST = do_PUT = do_HEAD = do_GET

    def _serve(self, method: str) -> None:
        parts = urlsplit(self.path)
        self.path_ = unquote(parts.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.body = self._read()
        request = f"{self.command} {self.path}"
        self.state.requests.append(request)
        status = self.state.fault(request)
        if status == 0:
            self.close_connection = True
            self.connection.close()
            return
        token = XET_TOKEN if self.path_.startswith("/xet/") else TOKEN
        known = self.headers.get("Authorization") == f"Bearer {token}" or self.path_.startswith("/lfs/")
        if status is not None or not known:
            invalid = {} if known else {"X-Error-Message": "Invalid credentials in Authorization header"}
            self._answer(status or 401, {"error": "refused"}, invalid)
            return
        for pattern, act in _ROUTES:
            if found := re.fullmatch(pattern, f"{method} {self.path_}"):
                answer = act(self, **found.groupdict())
                if answer is not None:
                    self._answer(*answer)
                return
        self._answer(404, {"error": "no such page"})

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        if self.state.garbage and self.state.garbage[0] in self.path:
            data, headers = self.state.garbage[1], {}
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else data)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def _json(self) -> Any:
        return json.loads(self.body)

    def _repo(self, kind: str, name: str) -> Repo | None:
        repo = self.state.repos.get(f"{kind}/{name}")
        if repo is None:
            self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return repo

    def whoami(self) -> Answer:
        orgs = [{"name": name} for name in self.state.orgs]
        return 200, {"name": self.state.name, "orgs": orgs, "auth": {"accessToken": {"role": self.state.role}}}

    def create(self) -> Answer:
        asked = self._json()
        kind = f"{asked.get('type', 'model')}s"
        owner = asked["organization"] or self.state.name
        key = f"{kind}/{owner}/{asked['name']}"
        if owner not in (self.state.name, *self.state.orgs):
            return 403, {"error": "You don't have the rights to create a model under this namespace"}
        if key in self.state.repos:
            return 409, {"error": "You already created this model repo", "url": f"{self.state.address}/{key}"}
        repo = self.state.repos[key] = Repo(asked.get("visibility") == "private")
        repo.commit({".gitattributes": b"*.gguf filter=lfs\n"}, "initial commit")
        return 200, {"url": f"{self.state.address}/{key.removeprefix('models/')}"}

    def info(self, kind: str, name: str, revision: str | None = None) -> Answer | None:
        if (repo := self._repo(kind, name)) is None:
            return None
        facts: dict[str, object] = {
            "id": name,
            "sha": repo.at(revision or "main"),
            "private": repo.private,
            "tags": [],
            "siblings": [],
        }
        return 200, facts

    def refs(self, kind: str, name: str) -> Answer | None:
        if (repo := self._repo(kind, name)) is None:
            return None
        tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": oid} for n, oid in repo.tags.items()]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head}
        return 200, {"branches": [main], "converts": [], "tags": tags}

    def tree(self, kind: str, name: str, revision: str) -> Answer | None:
        if (repo := self._repo(kind, name)) is None:
            return None
        files = repo.commits[str(repo.at(revision))]
        return 200, [_entry(path, data) for path, data in files.items()]

    def validate(self) -> Answer:
        found = re.match(r"---\n(.*?)\n---\n", self._json()["content"], re.DOTALL)
        content = yaml.safe_load(found[1]) if found else None
        wrong = not isinstance(content, dict) or not isinstance(content.get("license", ""), str)
        return (400, {"errors": [{"message": "bad metadata"}], "warnings": []}) if wrong else (200, {"warnings": []})

    def preupload(self, kind: str, name: str, revision: str) -> Answer | None:
        if (repo := self._repo(kind, name)) is None:
            return None
        rows = []
        for file in self._json()["files"]:
            mode, there = "lfs" if file["path"].endswith(LARGE) else "regular", repo.files.get(file["path"])
            oid = _oid(file["path"], there) if there is not None else None
            rows.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return 200, {"files": rows}

    def batch(self, name: str) -> Answer:
        found = []
        for one in self._json()["objects"]:
            row = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.state.objects:
                base, chunk = f"{self.state.address}/lfs/{one['oid']}", self.state.chunk
                upload: dict[str, Any] = {"href": base}
                if chunk and one["size"] > chunk:
                    count = -(-one["size"] // chunk)
                    urls = {str(n + 1): f"{base}/part/{n + 1}" for n in range(count)}
                    upload = {"href": f"{base}/complete", "header": {"chunk_size": str(chunk), **urls}}
                row["actions"] = {"upload": upload, "verify": {"href": f"{base}/verify"}}
            found.append(row)
        return 200, {"transfer": "multipart" if self.state.chunk else "basic", "objects": found}

    def put(self, oid: str) -> Answer:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.state.objects[oid] = self.body
        return 200, {}

    def put_part(self, oid: str, number: str) -> Answer | None:
        self.state.parts.setdefault(oid, {})[int(number)] = self.body
        self._answer(200, {}, {"ETag": f'"part-{number}"'})
        return None

    def complete(self, oid: str) -> Answer:
        asked = self._json()["parts"]
        parts = self.state.parts[oid]
        assert [row["etag"] for row in asked] == [f'"part-{n}"' for n in sorted(parts)]
        data = b"".join(parts[n] for n in sorted(parts))
        assert hashlib.sha256(data).hexdigest() == oid
        self.state.objects[oid] = data
        return 200, {}

    def verify(self, oid: str) -> Answer:
        return (200, {}) if oid in self.state.objects else (404, {})

    def xet_token(self, kind: str, name: str, revision: str) -> Answer | None:
        if self.state.xet:
            place, until = f"{self.state.address}/xet", int(time.time()) + 3600
            headers = {"X-Xet-Cas-Url": place, "X-Xet-Access-Token": XET_TOKEN, "X-Xet-Token-Expiration": str(until)}
            self._answer(200, {"casUrl": place, "accessToken": XET_TOKEN, "exp": until}, headers)
            return None
        return 404, {"error": "no such page"}

    def block(self, digest: str) -> Answer:
        self.state.blocks.append(self.body)
        return 200, {"was_inserted": True}

    def shard(self) -> Answer:
        """Take what the blocks since the last one hold as one file, of whose hash each eight bytes are turned round."""
        data = b"".join(map(_chunks, self.state.blocks))
        digest = hashlib.sha256(data).digest()
        assert b"".join(digest[at : at + 8][::-1] for at in range(0, 32, 8)) in self.body
        self.state.blocks.clear()
        self.state.objects[digest.hex()] = data
        return 200, {"result": 1}

    def commit(self, kind: str, name: str, revision: str) -> Answer | None:
        if (repo := self._repo(kind, name)) is None:
            return None
        header, *rows = [json.loads(line) for line in self.body.splitlines()]
        if header["value"].get("parentCommit", repo.head) != repo.head:
            return 412, {"error": "A commit has happened since. Please refresh and try again."}
        files = dict(repo.files)
        for row in rows:
            value = row["value"]
            if row["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif row["key"] == "lfsFile":
                files[value["path"]] = self.state.objects[value["oid"]]
            else:
                del files[value["path"]]
        oid = repo.commit(files, header["value"]["summary"])
        return 200, {"commitUrl": f"{self.state.address}/{name}/commit/{oid}", "commitOid": oid}

    def tag(self, kind: str, name: str, revision: str) -> Answer | None:
        if (repo := self._repo(kind, name)) is None:
            return None
        label = self._json()["tag"]
        if label in repo.tags:
            return 409, {"error": "Tag reference exists already."}
        repo.tags[label] = str(repo.at(revision))
        return 200, {}

    def resolve(self, name: str, revision: str, path: str) -> Answer | None:
        kind, name = ("datasets", name.removeprefix("datasets/")) if name.startswith("datasets/") else ("models", name)
        if (repo := self._repo(kind, name)) is None:
            return None
        commit = str(repo.at(revision))
        data = repo.commits[commit][path]
        digest = hashlib.sha256(data).hexdigest()
        self._answer(200, data, {"ETag": f'"{digest}"', "X-Repo-Commit": commit})
        return None


_API = r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"
_ROUTES: list[tuple[str, Callable[..., Answer | None]]] = [
    ("GET /api/whoami-v2", _Handler.whoami),
    ("POST /api/repos/create", _Handler.create),
    ("POST /api/validate-yaml", _Handler.validate),
    (rf"GET {_API}", _Handler.info),
    (rf"GET {_API}/revision/(?P<revision>.+)", _Handler.info),
    (rf"GET {_API}/refs", _Handler.refs),
    (rf"GET {_API}/tree/(?P<revision>[^/]+)/?", _Handler.tree),
    (rf"POST {_API}/preupload/(?P<revision>.+)", _Handler.preupload),
    (rf"POST {_API}/commit/(?P<revision>.+)", _Handler.commit),
    (rf"POST {_API}/tag/(?P<revision>.+)", _Handler.tag),
    (rf"GET {_API}/xet-write-token/(?P<revision>.+)", _Handler.xet_token),
    (r"POST /xet/v1/xorbs/default/(?P<digest>[0-9a-f]+)", _Handler.block),
    (r"POST /xet/(?:v1/)?shards", _Handler.shard),
    (r"POST /(?P<name>.+)\.git/info/lfs/objects/batch", _Handler.batch),
    (r"PUT /lfs/(?P<oid>[0-9a-f]+)", _Handler.put),
    (r"PUT /lfs/(?P<oid>[0-9a-f]+)/part/(?P<number>\d+)", _Handler.put_part),
    (r"POST /lfs/(?P<oid>[0-9a-f]+)/complete", _Handler.complete),
    (r"POST /lfs/(?P<oid>[0-9a-f]+)/verify", _Handler.verify),
    (r"GET /(?P<name>(?:datasets/)?[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.resolve),
]


def _chunks(block: bytes) -> bytes:
    """Return what a block holds: chunks, each behind version, size, form and its size as it was."""
    found = b""
    while block and block[0] == 0:
        size, form, full = (int.from_bytes(block[a:b], "little") for a, b in ((1, 4), (4, 5), (5, 8)))
        data, block = block[8 : 8 + size], block[8 + size :]
        if form:
            data = pyarrow.decompress(data, full, "lz4", asbytes=True)
        if form == 2:  # the first bytes of all words stand first
            ends = [len(data[at::4]) for at in range(4)]
            words, start = bytearray(full), 0
            for at, count in enumerate(ends):
                words[at::4] = data[start : start + count]
                start += count
            data = bytes(words)
        found += data
    return found


def _oid(path: str, data: bytes) -> str:
    if path.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _entry(path: str, data: bytes) -> dict[str, object]:
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": git}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry
