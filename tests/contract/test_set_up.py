"""Set-up and images run nothing that no hash pins."""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from kit.places import ROOT

FILES = [ROOT / "Makefile", *ROOT.glob("images/*/Dockerfile"), *ROOT.glob("tools/*.sh")]
PYTHON = ROOT / ".uv" / "bin" / "python"
"""The interpreter that has pip."""


def commands(word: str) -> list[str]:
    """Return the commands of set-up and images that have `word` in them, each in one line."""
    texts = [re.sub(r"\\\n\s*", "", file.read_text()) for file in FILES]
    found = [part for text in texts for part in re.split(r"\n|&&|;", text) if word in part]
    assert found, word
    return found


@pytest.mark.parametrize("word", ["pip sync", "pip install", "pip download"])
def test_what_is_installed_is_ours_or_a_wheel_with_a_hash(
    word: str,
) -> None:
    for command in commands(word):
        hashed = "--require-hashes" in command and ("--no-build" in command or "--only-binary :all:" in command)
        ours = "--no-index" in command and ("--no-build-isolation" in command or command.endswith("/wheels/*.whl"))
        assert hashed or ours, command


def test_our_own_packages_are_built_by_the_pinned_backend() -> None:
    assert all("--no-build-isolation" in command and "--no-index" in command for command in commands("pip wheel"))
    pinned = re.findall(r"^(hatchling==\S+)", (ROOT / "requirements" / "build.txt").read_text(), re.MULTILINE)
    for file in [ROOT / "shared" / "pyproject.toml", *ROOT.glob("services/*/pyproject.toml")]:
        assert re.findall(r'requires = \["(.*)"\]', file.read_text()) == pinned, file


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[str, bytes]]:
    """A package index with one file; it is no archive, so whoever opened it would fail."""
    content = b"not an archive"
    page = tmp_path / "index" / "toy-package"
    page.mkdir(parents=True)
    (page / "toy_package-1.0.tar.gz").write_bytes(content)
    (page / "index.html").write_text('<a href="./toy_package-1.0.tar.gz#sha256=0">toy</a>')
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=page.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}", content
        server.shutdown()


def fetch(index: str, pin: str, folder: Path) -> subprocess.CompletedProcess[str]:
    requirements, there = folder / "requirements.txt", folder / "there"
    requirements.write_text(pin)
    there.mkdir()
    words = [PYTHON, ROOT / "tools" / "sdist.py", requirements, there]
    return subprocess.run(words, env=os.environ | {"PIP_INDEX_URL": index}, capture_output=True, text=True, check=False)


def test_a_source_distribution_is_fetched_by_its_hash_and_not_opened(index: tuple[str, bytes], tmp_path: Path) -> None:
    address, content = index
    done = fetch(address, f"toy-package==1.0 --hash=sha256:{hashlib.sha256(content).hexdigest()}\n", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "there" / "toy_package-1.0.tar.gz").read_bytes() == content


@pytest.mark.parametrize(
    ("pin", "message"), [(f"toy-package==1.0 --hash=sha256:{'0' * 64}", "its hash is"),
                      (f"toy-package==1.1 --hash=sha256:{'0' * 64}", "it has no toy_package-1.1.tar.gz"),
                      ("toy-package==1.0", "expected one line")]
)  # fmt: skip
def test_another_file_than_the_pinned_one_is_refused(
    pin: str, message: str, index: tuple[str, bytes], tmp_path: Path
) -> None:
    done = fetch(index[0], pin, tmp_path)
    assert done.returncode == 1 and message in done.stderr
    assert not list((tmp_path / "there").iterdir())
