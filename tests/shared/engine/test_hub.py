from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuneline.engine.given import list_given
from tuneline.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FETCH = """
import json, sys
from pathlib import Path
from tuneline.errors import UserError
from tuneline.engine.given import check_unchanged, fetch_given, list_given
answers = []
for uri, *patterns in json.loads(sys.argv[1]):
    try:
        fetched = fetch_given(list_given(uri, patterns), Path("unused"))
        check_unchanged(fetched)
        sizes = [fetched.size, fetched.count, len(fetched.files)]
        answers.append([fetched.uri, str(fetched.path), fetched.sha256, *sizes])
    except UserError as error:
        answers.append(str(error))
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
    assert branch.startswith("hf://toys/tiny@other: is not whole in the cache of this machine")
    assert absent.startswith(f"hf://toys/absent@{COMMIT}: is not whole in the cache of this machine")


def fetch_offline(cache: Path, asked: list[list[str]]) -> list[Any]:
    """Ask in a process of its own: the Hub's library reads its environment when it is imported."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", FETCH, json.dumps(asked)], env=env, capture_output=True, text=True, check=True
    )
    answers: list[Any] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("uri", ["hf://tiny", "hf://a/b/c", "hf://a/b@<commit>", "hf://a/b@", "hf:///b"])
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match="hf://organisation/name@revision"):
        list_given(uri)
