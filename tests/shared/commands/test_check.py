from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from kit.support import run_stage
from kit.toys import COUNTER
from tuneline.commands.check import check_store
from tuneline.errors import UserError
from tuneline.store.base import Store, open_store


class Careless(BaseHTTPRequestHandler):
    """An S3 server that takes every write, whatever its conditions."""

    protocol_version = "HTTP/1.1"
    files: ClassVar[dict[str, bytes]] = {}
    conditional = 200

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.conditional != 200 and self.headers["If-None-Match"]:
            self.answer(self.conditional, b"<Error><Code>NotImplemented</Code></Error>")
        else:
            self.files[self.path] = data
            self.answer(200, b"")

    def do_GET(self) -> None:
        if "list-type" in self.path:
            self.answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        else:
            self.answer(200 if self.path in self.files else 404, self.files.get(self.path, b""))

    def do_DELETE(self) -> None:
        self.files.pop(self.path, None)
        self.answer(204, b"")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Careless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            monkeypatch.setenv(name, "test")
        yield open_store("s3://bucket/prefix")
        server.shutdown()


def check(uri: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tuneline.commands.check", "--store", uri]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_store_that_works_is_said_to_work_and_left_as_it_was(uri: str, store: Store) -> None:
    store.put("runs/a/b", b"x")
    done = check(uri)
    assert (done.returncode, done.stdout) == (0, f"{uri}: works\n")
    assert [entry.key for entry in store.list("")] == ["runs/a/b"]


def test_a_bucket_that_is_not_there_exits_2_and_says_so(s3: str) -> None:
    done = check("s3://no-such-bucket/prefix")
    assert done.returncode == 2
    assert "there is no such bucket" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_stage_works_with_a_server_that_overwrites_or_has_no_conditional_writes(
    careless: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for status, message in ((200, "ignores If-None-Match"), (501, r"NotImplemented\): conditional writes")):
        monkeypatch.setattr(Careless, "conditional", status)
        with pytest.raises(UserError, match=message):
            run_stage(COUNTER, tmp_path, inputs={"words": ["one"]}, store=careless.uri)
        assert not [path for path in Careless.files if "/results/" in path or "/journals/" in path]


def test_a_server_that_overwrites_whatever_the_condition_is_refused(careless: Store) -> None:
    with pytest.raises(UserError, match="ignores If-None-Match"):
        check_store(careless)
