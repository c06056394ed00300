"""Files of one name belong together, and a look at them changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from kit.speech import pdf, write_wave
from tuneline.commands.tuneline import app
from tuneline.errors import UserError
from tuneline_transcriber.reading.references import read_folder


def test_pairs_names_each_reference_with_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf(["One.", "Two."]))
    write_wave(tmp_path / "a.wav", [[0] * 8000 * 61], 8000)
    (tmp_path / "b.md").write_text("# B")
    (tmp_path / "b.transcript.txt").write_text("Hello.")
    (tmp_path / "c.mp3").write_bytes(b"no sound")
    done = CliRunner().invoke(app, ["pairs", str(tmp_path)])
    assert done.exit_code == 0 and done.stdout.splitlines() == [
        "a: a.pdf (2 pages, 2 words), a.wav (1:01)",
        "b: b.md (1 page, 1 word), b.transcript.txt — no recording",
        "c: c.mp3 — no document; the recording is broken, or in a form that is not known: save it anew, as WAV or MP3",
        "whole: 1 of 3",
    ]


def test_files_that_belong_to_no_reference_are_refused_together(tmp_path: Path) -> None:
    for name in ("a.pdf", "a.md", "b.xlsx", ".DS_Store", "Thumbs.db", "~$a.docx"):
        (tmp_path / name).write_text("x")
    (tmp_path / "more").mkdir()
    (tmp_path / "gone.mp3").symlink_to("elsewhere.mp3")
    with pytest.raises(UserError) as refused:
        read_folder(tmp_path)
    said = str(refused.value)
    assert (
        "4 files" in said
        and "a.pdf: a.md is a document" in said
        and "b.xlsx: is no document" in said
        and "more: is a folder" in said
        and "gone.mp3: is a link to a file that is not there" in said
    )


def test_one_stray_file_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("x")
    with pytest.raises(UserError, match=r"^1 file is part of no reference"):
        read_folder(tmp_path)


def test_names_are_joined_as_programs_and_systems_write_them(tmp_path: Path) -> None:
    for name in (
        "Cafe\u0301.mp3", "Caf\u00e9.pdf", "a.wav", "a.wav.txt", "a.docx", "b.webm", "b.pt-BR.vtt", "b.txt",
        "c.mp4", "c.transcript.md", "v1.2.mp3", "v1.2.md", "Talk.PDF", "talk.MP3", "TALK.en.vtt", "Two.wav", "two.wav",
        "two.md", "page.html",
    ):  # fmt: skip
        (tmp_path / name).write_text("x")
    (tmp_path / "page_files").mkdir()
    found = {
        one.name: [path.name if path else None for path in (one.source, one.audio, one.transcript)]
        for one in read_folder(tmp_path)
    }
    assert found == {
        "Caf\u00e9": ["Caf\u00e9.pdf", "Cafe\u0301.mp3", None],
        "a": ["a.docx", "a.wav", "a.wav.txt"],
        "b": ["b.txt", "b.webm", "b.pt-BR.vtt"],
        "c": [None, "c.mp4", "c.transcript.md"],
        "v1.2": ["v1.2.md", "v1.2.mp3", None],
        "talk": ["Talk.PDF", "talk.MP3", "TALK.en.vtt"],
        "Two": [None, "Two.wav", None],
        "two": ["two.md", "two.wav", None],
        "page": ["page.html", None, None],
    }
