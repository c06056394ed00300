"""Texts of people, by the bytes that editors write."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tuneline.errors import BadJson, UserError
from tuneline.parsing.json import parse_json
from tuneline.parsing.text import read_utf8
from tuneline.parsing.yaml import yaml_of


def test_a_text_file_is_read_without_its_mark_and_with_one_kind_of_line_end(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"\xef\xbb\xbfBe brief.\r\nCaf\xc3\xa9\n")
    assert read_utf8(file) == "Be brief.\nCafé\n"


@pytest.mark.parametrize(
    ("data", "place"),
    [(b"a\nb\nCaf\xe9", "3: not UTF-8 text .byte 0xe9."), ("Hé".encode("utf-16"), "1: not UTF-8 text .byte 0xff.")],
)
def test_a_text_file_in_another_encoding_is_refused_with_the_line_and_the_way_out(
    tmp_path: Path, data: bytes, place: str
) -> None:
    file = tmp_path / "prompt.txt"
    file.write_bytes(data)
    with pytest.raises(UserError, match=f"prompt.txt:{place}; save it as UTF-8"):
        read_utf8(file)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (gzip.compress(b"Be brief."), "1: not text but compressed with gzip: unpack it first"),
        (b"PK\x03\x04\x14\0\n\n\xff", "1: not text but a ZIP archive or an Office file"),
        (b"%PDF-1.7\n%\xe2\xe3", "1: not text but a PDF"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "1: is Git's pointer to a large file"),
    ],
    ids=["gzip", "Office", "PDF", "Git"],
)
def test_a_file_of_another_kind_is_named_as_what_it_is(tmp_path: Path, data: bytes, problem: str) -> None:
    file = tmp_path / "prompt.txt"
    file.write_bytes(data)
    with pytest.raises(UserError, match=f"prompt.txt:{problem}"):
        read_utf8(file)
    with pytest.raises(UserError, match=f"prompt.txt:{problem}"):
        yaml_of("prompt.txt", data)
    with pytest.raises(BadJson, match=problem.removeprefix("1: ")):
        parse_json(data)


def test_a_folder_is_no_text_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder: give the text file in it"):
        read_utf8(tmp_path)
