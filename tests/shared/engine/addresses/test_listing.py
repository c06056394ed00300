"""What is refused as soon as an address is listed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tuneline.engine.addresses.listing import list_given
from tuneline.errors import UserError


def test_what_cannot_be_read_as_files_is_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("loop/deep", "broken", "self", "fifo", "latin"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.jsonl").write_bytes(b"one\n")
    (tmp_path / "loop" / "deep" / "back").symlink_to("..")
    (tmp_path / "broken" / "link.jsonl").symlink_to("nowhere")
    (tmp_path / "self" / "self.jsonl").symlink_to("self.jsonl")
    os.mkfifo(tmp_path / "fifo" / "pipe.jsonl")
    Path(os.fsdecode(os.fsencode(tmp_path / "latin") + b"/\xe9.jsonl")).write_bytes(b"")
    for name, message in {
        "missing": "missing: No such file",
        "empty": "empty: the folder has no files",
        "pipe": "pipe: is neither a file nor a folder",
        "loop": "deep/back: the symbolic link leads back",
        "broken": r"link\.jsonl: No such file",
        "self": r"self\.jsonl: Too many levels of symbolic links",
        "fifo": r"pipe\.jsonl: is neither a file nor a folder",
        "latin": "not UTF-8",
    }.items():
        with pytest.raises(UserError, match=message):
            list_given(str(tmp_path / name))
    with pytest.raises(UserError, match=r"has no files that match \*\.gguf"):
        list_given(str(tmp_path / "fifo"), ["*.gguf"])


def test_a_folder_without_what_is_read_is_told_by_what_it_holds(tmp_path: Path) -> None:
    for name in (".hidden/config.json", "one.gguf", "notes/two.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"match config\.json, \*\.safetensors: it holds notes, one\.gguf\."):
        list_given(str(tmp_path), ["config.json", "*.safetensors"])
    for name in ("step-90/config.json", "step-100/config.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"they stand in folders like step-100\. Give the one that you mean\.$"):
        list_given(str(tmp_path), ["config.json", "*.safetensors"])


def test_an_address_in_s3_that_holds_nothing_is_refused(s3: str) -> None:
    for address in (s3, f"{s3}/", f"{s3}/file.jsonl"):
        with pytest.raises(UserError, match="there is no such object, and no folder"):
            list_given(address)
