from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kit.scripted_hub import serve_hub
from tuneline.engine.addresses.hub import of_page
from tuneline.engine.addresses.listing import list_given
from tuneline.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FETCH = """
import json, sys
from pathlib import Path
from tuneline.errors import Temporary, UserError
from tuneline.engine.addresses.given import check_unchanged, identify
from tuneline.engine.addresses.listing import list_given
answers = []
for uri, *patterns in json.loads(sys.argv[1]):
    try:
        fetched = identify(list_given(uri, patterns), Path("unused"))
        check_unchanged(fetched)
        sizes = [fetched.size, len(fetched.files), len(fetched.digests)]
        answers.append([fetched.uri, str(fetched.path), fetched.sha256, *sizes])
    except (UserError, Temporary) as error:
        answers.append(f"{type(error).__name__} {error}")
print(json.dumps(answers))
"""


def test_a_cached_repository_needs_no_network(tmp_path: Path) -> None:
    repository = tmp_path / "models--toys--tiny"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for n, (name, data) in enumerate({"config.json": b"{}", "tokenizer.json": b"[]", "model.bin": b"12345"}.items()):
        (repository / "blobs" / str(n)).write_bytes(data)
        (snapshot / name).symlink_to(f"../../blobs/{n}")
    asked = [
        [f"hf://toys/tiny@{COMMIT}"],
        ["hf://toys/tiny", "*.json"],
        ["hf://toys/tiny@main", "*.gguf"],
        ["hf://toys/tiny@other"],
        [f"hf://toys/absent@{COMMIT}"],
    ]
    by_commit, by_branch, unmatched, branch, absent = fetch_offline(tmp_path, asked)
    uri = f"hf://toys/tiny@{COMMIT}"
    identity = hashlib.sha256(uri.encode()).hexdigest()
    assert by_commit == [uri, str(snapshot), identity, 9, 3, 0]
    assert by_branch == [uri, str(snapshot), identity, 4, 2, 0]
    assert "gguf" in unmatched
    assert branch.startswith("UserError hf://toys/tiny@other: is incomplete in this machine's cache")
    assert absent.startswith(f"UserError hf://toys/absent@{COMMIT}: is incomplete in this machine's cache")


def fetch_offline(cache: Path, asked: list[list[str]]) -> list[Any]:
    return fetch(asked, HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(cache))


def fetch(asked: list[list[str]], **environ: str) -> list[Any]:
    """Ask in a process of its own: the Hub's library reads its environment when it is imported."""
    env = {**os.environ, **environ}
    done = subprocess.run(
        [sys.executable, "-c", FETCH, json.dumps(asked)], env=env, capture_output=True, text=True, check=True
    )
    answers: list[Any] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("uri", ["hf://tiny", "hf://a/b/c", "hf://a/b@<commit>", "hf://a/b@", "hf:///b"])
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match="hf://organisation/name@revision"):
        list_given(uri)


@pytest.mark.parametrize(
    ("page", "address"),
    [
        ("https://huggingface.co/google/gemma-2-9b-it", "hf://google/gemma-2-9b-it"),
        ("https://huggingface.co/google/gemma-2-9b-it/", "hf://google/gemma-2-9b-it"),
        ("https://huggingface.co/google/gemma-2-9b-it/tree/main", "hf://google/gemma-2-9b-it@main"),
        ("http://hf.co/a/b/blob/v1.0/config.json?raw=1", "hf://a/b@v1.0"),
        ("https://huggingface.co/datasets/a/b", "hf://datasets/a/b"),
        ("hf://a/b/tree/main", "hf://a/b@main"),
        ("hf://a/b/", "hf://a/b"),
        ("hf://datasets/a/b/config/train", None),
        ("https://example.com/a/b", None),
        ("https://huggingface.co/models", None),
    ],
)
def test_a_page_of_the_hub_is_told_its_address(page: str, address: str | None) -> None:
    assert of_page(page) == address
    if address and page.startswith("hf://"):
        with pytest.raises(UserError, match=rf"is a page of the Hub\. Its address here is {address}$"):
            list_given(page)


@contextmanager
def answering(status: int, kind: str, body: bytes) -> Iterator[tuple[str, list[str]]]:
    """Answer every request alike, as a portal does; yields the address and what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if self.command == "GET" else b"")

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


@pytest.mark.parametrize("uri", ["hf://toys/tiny", f"hf://toys/tiny@{COMMIT}"])
@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, {"error": "Invalid credentials in Authorization header"}, "UserError .*the token.*HF_TOKEN"),
        (403, {"error": "no"}, "UserError .*the token.*HF_TOKEN"),
        (200, {"welcome": True}, "UserError .*the server that answers is not the Hub.*HF_ENDPOINT"),
        (200, [1], "UserError .*the server that answers is not the Hub.*HF_ENDPOINT"),
        (200, None, "UserError .*the server that answers is not the Hub.*HF_ENDPOINT"),
        (418, {}, "UserError .*the Hub answers 418.*HF_ENDPOINT"),
        (501, {}, "Temporary .*the Hub answers 501"),
    ],
)
def test_what_the_hub_refuses_is_a_request_error_and_what_time_mends_is_temporary(
    uri: str, status: int, body: object, expected: str, tmp_path: Path
) -> None:
    text = b"<html>Please sign in</html>" if body is None else json.dumps(body).encode()
    with answering(status, "text/html" if body is None else "application/json", text) as (address, asked):
        [answer] = fetch([[uri]], HF_ENDPOINT=address, HF_HOME=str(tmp_path), HF_TOKEN="hf_wrong")
    assert re.match(expected, answer), answer
    assert "hf_wrong" not in answer and "sign in" not in answer
    assert len(asked) <= 3


WEIGHTS = bytes(range(256)) * 4
READ = """
import sys
from pathlib import Path
from tuneline.engine.addresses.given import check_unchanged, identify
from tuneline.engine.addresses.listing import list_given
from tuneline.model.base_model import refuse_code
fetched = identify(list_given("hf://toys/tiny", ["*.json", "*.safetensors"]), Path("unused"))
check_unchanged(fetched)
refuse_code(fetched.path)
print(fetched.path)
"""


def test_a_model_whose_weights_come_through_xet_is_read_from_the_cache(tmp_path: Path) -> None:
    """That is how the Hub keeps weights today; the cache then has a link to a link."""
    files = {"config.json": b"{}", "model.safetensors": WEIGHTS}
    with serve_hub(files, tmp_path / "home", xet=True) as hub:
        env = os.environ | hub.environ
        done = subprocess.run([sys.executable, "-c", READ], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    assert {name: (folder / name).read_bytes() for name in files} == files
    assert [path for path in hub.asked if "/xet/blocks/" in path] and "/xet/v1/telemetry" not in hub.asked
    shared = (folder / "model.safetensors").resolve().relative_to(tmp_path / "home" / "hub").parts[0]
    assert shared == "blobs", "no link to the folder that repositories share: the test shows nothing"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "status", "expected"),
    [
        ("xet-read-token", 403, "UserError .*refuses the token"),
        ("xet-read-token", 503, "Temporary .*the Hub answers 503"),
        ("reconstructions", 404, "Temporary .*the Hub's storage .Xet. answers 404.*HF_HUB_DISABLE_XET"),
        ("reconstructions", 503, "Temporary .*the Hub's storage .Xet. answers 503"),
        ("blocks", 403, "Temporary .*the Hub's storage .Xet. answers 403"),
    ],
)
def test_what_the_hubs_storage_refuses_is_said_and_is_no_fault_of_ours(
    what: str, status: int, expected: str, tmp_path: Path
) -> None:
    with serve_hub({"config.json": b"{}", "model.safetensors": WEIGHTS}, tmp_path, xet=True) as hub:
        hub.fault = lambda path: status if what in path else None
        [answer] = fetch([["hf://toys/tiny"]], HF_XET_CLIENT_RETRY_BASE_DELAY="100ms", **hub.environ)
    assert re.match(expected, answer), answer
