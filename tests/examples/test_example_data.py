"""The example transcripts, rubric and personas say what examples/README.md promises of them."""

from __future__ import annotations

import json
from typing import get_args

from kit.places import EXAMPLES, ROOT
from tuneline.data.personas import load_personas
from tuneline.data.rubric import load_rubric, score
from tuneline.data.text.rules import Rule
from tuneline.data.transcripts import Transcript, read_transcripts

RUBRIC = load_rubric(EXAMPLES / "rubric.yaml")
RULES = {criterion.id: criterion.heuristic for criterion in RUBRIC.criteria if criterion.heuristic}
TRANSCRIPTS = {transcript.id: transcript for transcript in read_transcripts(EXAMPLES / "transcripts").transcripts}

POOR = {
    "blames-the-customer",
    "chalk-water-nice-words-only",
    "dangerous-shortcut",
    "guesses-without-asking",
    "half-sentences",
    "late-parcel-shrug",
    "lecture-about-coffee",
    "lid-hinge-dry-manner",
    "one-word-replies",
    "promises-everything",
    "questions-without-end",
    "reads-out-the-catalogue",
    "refuses-to-look-up-order",
    "same-answer-for-everything",
    "sends-in-circles",
    "smoke-played-down",
    "steam-question-brushed-off",
    "talks-about-itself",
}


def passes(transcript: Transcript) -> bool:
    answers = {name: rule.answer(transcript.exchanges) for name, rule in RULES.items()}
    return score(RUBRIC, answers, len(transcript.exchanges)).passed


def test_the_poor_transcripts_fail_and_all_others_pass() -> None:
    assert {name for name, transcript in TRANSCRIPTS.items() if not passes(transcript)} == POOR


def test_there_are_as_many_transcripts_as_the_readme_says_and_most_are_good() -> None:
    assert f"| {len(TRANSCRIPTS)} conversations" in (EXAMPLES / "README.md").read_text()
    assert len(TRANSCRIPTS) >= 36
    assert len(TRANSCRIPTS) - len(POOR) >= 22


def test_every_transcript_has_four_to_seven_exchanges() -> None:
    assert {name for name, t in TRANSCRIPTS.items() if not 4 <= len(t.exchanges) <= 7} == set()


def test_the_transcripts_show_all_three_shapes() -> None:
    files = [f for f in sorted((EXAMPLES / "transcripts").rglob("*")) if f.is_file()]
    rows = [json.loads(f.read_text() if f.suffix == ".json" else f.read_text().splitlines()[0]) for f in files]
    assert {key for row in rows for key in row} == {"id", "exchanges", "messages", "conversations"}


def test_the_rubric_or_the_page_on_rules_shows_every_rule_and_each_criterion_has_one() -> None:
    page = (ROOT / "docs" / "rules.md").read_text()
    known = {name for rule in Rule.__args__[0].__args__ for name in get_args(rule.model_fields["rule"].annotation)}
    used = {rule.rule for rule in RULES.values()}
    assert {name for name in known - used if f"`{name}`" not in page} == set()
    assert {rule for rule in known if not rule.startswith(("no_", "language", "length_", "varied"))} <= used
    assert len(RULES) == len(RUBRIC.criteria)
    readme = (EXAMPLES / "README.md").read_text()
    assert f"{len(RUBRIC.criteria) - len(RUBRIC.gates)} criteria in four categories, three gates" in readme
    assert (len(RUBRIC.categories), len(RUBRIC.gates)) == (4, 3)


def test_every_criterion_of_the_rubric_is_missed_by_some_transcript_and_met_by_another() -> None:
    answers = {name: {rule.answer(t.exchanges) for t in TRANSCRIPTS.values()} for name, rule in RULES.items()}
    assert {name for name, given in answers.items() if not {"YES", "NO"} <= given} == set()


def test_there_are_personas_enough_for_a_verdict_with_lines_for_four_turns() -> None:
    personas = load_personas(EXAMPLES / "personas.yaml")
    assert f"| {len(personas)} simulated customers" in (EXAMPLES / "README.md").read_text()
    assert len(personas) >= 30
    assert {p.id for p in personas if len(p.script) < 4} == set()
