"""Lists that say who speaks in another way than by messages: pairs with a role, marks, speakers beside the texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneline.data.transcripts import Exchange, ReadTranscripts, read_transcripts
from tuneline.errors import UserError

TWO = (Exchange("p", "r"), Exchange("q", "s"))


def read(folder: Path, record: dict[str, Any]) -> ReadTranscripts:
    (folder / "a.json").write_text(json.dumps([{"id": "a", **record}]))
    return read_transcripts(folder)


@pytest.mark.parametrize(
    "record",
    [
        {"conversation": [["user", "p"], ["assistant", "r"], ["user", "q"], ["assistant", "s"]]},
        {"messages": [["Customer", "p"], ["Agent", "r"], ["Customer", "q"], ["Agent", "s"]]},
        {"utterances": ["patient: p", "doctor: r", "patient: q", "doctor: s"]},
        {"dialogue": ["p", "r", "q", "s"], "speakers": ["Ann", "Bob", "Ann", "Bob"]},
        {"turns": ["p", "r", "q", "s"], "roles": ["user", "agent", "user", "agent"]},
        {"history": [["p", "r"], ["q", "s"]]},
        {"messages": [{"user": "p"}, {"assistant": "r"}, {"user": "q"}, {"assistant": "s"}]},
        {"messages": {"-Na": {"sender": "user", "text": "p"}, "-Nb": {"sender": "bot", "text": "r"},
                      "-Nc": {"sender": "user", "text": "q"}, "-Nd": {"sender": "bot", "text": "s"}}},
    ],
)  # fmt: skip
def test_who_speaks_is_no_part_of_what_is_said(tmp_path: Path, record: dict[str, Any]) -> None:
    assert read(tmp_path, record).transcripts[0].exchanges == TWO


def test_speakers_beside_texts_count_where_they_do_not_speak_by_turns(tmp_path: Path) -> None:
    found = read(tmp_path, {"dialogue": ["p", "and", "r", "q", "s"], "speakers": ["Ann", "Ann", "Bob", "Ann", "Bob"]})
    assert found.transcripts[0].exchanges == (Exchange("p\n\nand", "r"), TWO[1])


def test_of_three_speakers_nobody_is_taken_for_the_one_who_answers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dialogue\[0\]\.role: must say who speaks"):
        read(tmp_path, {"dialogue": ["p", "r", "q"], "speakers": ["Ann", "Bob", "Eve"]})


def test_a_pair_whose_first_half_is_no_role_is_asked_and_answered(tmp_path: Path) -> None:
    found = read(
        tmp_path, {"messages": [["user", "a person"], ["What is a host?", "a machine"], ["A guest?", "a visitor"]]}
    )
    assert [one.user for one in found.transcripts[0].exchanges] == ["user", "What is a host?", "A guest?"]
