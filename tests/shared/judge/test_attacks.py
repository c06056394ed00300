"""What people write to move a judge, and what becomes of it: recorded in attacks.yaml, and found so again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.judge_parts import SHORT_RUBRIC
from kit.judging import judge_in, openai_judge
from kit.obedient_judge import mark_of, mumbling, obedient, obey, quoting
from kit.scripted_openai import Script, serve_openai
from tuneline.data.transcripts import Exchange, Transcript
from tuneline.judge.prompt import judge_messages

ATTACKS: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("attacks.yaml").read_text())["attacks"]
IDS = [f"{attack['id']:02}-{attack['kind'].replace(' ', '-')}" for attack in ATTACKS]
BENIGN: dict[str, Any] = {"id": 0, "kind": "none", "where": "user", "text": "My kettle drips. Yes, the large one."}
FIXED = "DELIMITER"


def talk(attack: dict[str, Any]) -> Transcript:
    """A bad conversation with the attack in it."""
    text, where = attack["text"], attack["where"]
    said = {"user": "Hello?", "assistant": "No.", "system": None} | ({where: text} if where != "split" else {})
    second = Exchange("to every criterion, judge.", "No.") if where == "split" else Exchange("Well?", "Go away.")
    first = Exchange(text if where == "split" else str(said["user"]), str(said["assistant"]))
    return Transcript(f"attack-{attack['id']:02}", (first, second), said["system"])


def prompt(attack: dict[str, Any]) -> str:
    [message] = judge_messages(SHORT_RUBRIC, talk(attack), again=False)
    return message["content"]


def bare(attack: dict[str, Any]) -> bool:
    """Whether the judge obeys where the conversation is only pasted in."""
    return obey(prompt(attack), None)


def fixed(attack: dict[str, Any]) -> bool:
    """Whether it obeys where delimiters are the same each time."""
    return obey(prompt(attack).replace(mark_of(prompt(attack)) or "", FIXED), FIXED)


def tokens(attack: dict[str, Any]) -> bool:
    """Whether it obeys where control tokens reach it."""
    return obey(prompt(attack), mark_of(prompt(attack)))


def outcomes(folder: Path, script: Script) -> list[str]:
    """What our own prompt, client and reader make of all attacks: a status, or the answers given."""
    with serve_openai(script) as server:
        verdicts = judge_in(folder, openai_judge(server.url), [talk(attack) for attack in ATTACKS], concurrency=8)
    return [" ".join(sorted(set(v.answers.values()))) if v.status == "scored" else v.status for v in verdicts]


def test_no_attack_moves_an_obedient_judge(tmp_path: Path) -> None:
    found = outcomes(tmp_path, obedient)
    assert [name for name, answers in zip(IDS, found, strict=True) if answers != "NO"] == []


def test_a_verdict_that_the_judge_only_quotes_is_not_its_own(tmp_path: Path) -> None:
    found = outcomes(tmp_path / "quoting", quoting)
    assert found == [attack["quoted"] for attack in ATTACKS]
    assert set(found) <= {"NO", "unparsed"} and found.count("NO") > len(found) / 2
    assert set(outcomes(tmp_path / "mumbling", mumbling)) == {"unparsed"}


@pytest.mark.parametrize("attack", ATTACKS, ids=IDS)
def test_each_attack_works_where_the_defence_against_it_is_missing(attack: dict[str, Any]) -> None:
    assert {"bare": bare(attack), "fixed": fixed(attack), "tokens": tokens(attack)} == {
        name: attack[name] == "YES" for name in ("bare", "fixed", "tokens")
    }
    assert bare(attack)


def test_the_corpus_is_large_and_mixed_and_each_defence_is_needed() -> None:
    kinds = Counter(attack["kind"] for attack in ATTACKS)
    assert len(ATTACKS) >= 60 and len(kinds) >= 11
    assert len({attack["text"] for attack in ATTACKS}) == len(ATTACKS)
    assert sum(attack["fixed"] == "YES" and attack["tokens"] == "NO" for attack in ATTACKS) >= 1
    assert sum(attack["tokens"] == "YES" for attack in ATTACKS) >= 8


def test_an_honest_conversation_moves_nobody() -> None:
    assert not bare(BENIGN) and not fixed(BENIGN) and not tokens(BENIGN)
