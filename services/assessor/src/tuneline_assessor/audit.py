"""The set audit: what a judge easily overlooks, counted by code over all transcripts, and what is done about it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tuneline.data.rubric import Rubric
from tuneline.data.text.artifacts import artifacts_in
from tuneline.data.text.audit import MOST_EXAMPLES, Action, Audit, FaultyExchange, Finding
from tuneline.data.text.checks import FaultRule, Language, LengthRatio, NoLoops, opening
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Verdict
from tuneline.errors import UserError
from tuneline.parsing.problems import printable
from tuneline_assessor.stage import AuditParams

CHECKS: Mapping[str, FaultRule] = {
    "language": Language(rule="language"),
    "loops": NoLoops(rule="no_loops"),
    "length": LengthRatio(rule="length_ratio", max_ratio=50, free_words=400),
}
OPENING_WORDS, OPENING_SHARE = 3, 0.2
OPENING_ANSWERS = 20
"""A set with fewer answers is too small to speak of its habits."""

RULE = "rubric."
"""Stands before the id of a criterion whose rule is counted."""

Faults = Mapping[str, Mapping[str, Sequence[int]]]
"""Numbers of the exchanges at fault, by check and transcript id; a transcript without a fault is not in it."""


class SetAudit(NamedTuple):
    """What was found in a set, and what is to be done about it."""

    faults: Faults
    actions: Mapping[str, Action]

    def refusing(self, name: str) -> list[str]:
        """Return the checks that do not let this transcript pass."""
        return [check for check, at in self.faults.items() if self.actions.get(check) == "refuse" and name in at]


def audit_set(params: AuditParams, rubric: Rubric, transcripts: Sequence[Transcript]) -> SetAudit:
    """Look at all transcripts. Raises UserError when a check that says `stop` finds something."""
    actions: dict[str, Action] = dict(params)
    faults: dict[str, dict[str, Sequence[int]]] = defaultdict(dict)
    for transcript in transcripts:
        for check, numbers in _faults_of(transcript, rubric, actions):
            faults[check][transcript.id] = numbers
    if actions["same_opening"] != "off" and (alike := _same_opening(transcripts)):
        faults["same_opening"] = alike
    if stopping := [check for check in faults if actions.get(check) == "stop"]:
        raise UserError("\n".join(_stop(check, faults[check], len(transcripts)) for check in stopping))
    return SetAudit(dict(faults), actions)


def report(audit: SetAudit, transcripts: Sequence[Transcript], verdicts: Sequence[Verdict]) -> Audit:
    """Count what was found, now that it is known what passed."""
    passed = {verdict.id for verdict in verdicts if verdict.passed}
    affected = {name for at in audit.faults.values() for name in at}
    found = [_found(audit, check, passed) for check in audit.faults]
    return Audit(
        transcripts=len(transcripts), exchanges=sum(len(t.exchanges) for t in transcripts), passing=len(passed),
        affected=len(affected), passing_affected=len(affected & passed),
        refused=sum(bool(verdict.audit) for verdict in verdicts),
        found=sorted(found, key=lambda f: (-f.passing, -f.transcripts, f.check)),
    )  # fmt: skip


def headline_of(audit: Audit) -> str:
    """Return what the stage's headline says about it: nothing where nothing was found."""
    refused = [f"the audit refused {audit.refused}"] if audit.refused else []
    kinds = [f"{found.check.replace('_', ' ')} {found.passing}" for found in audit.found if found.passing]
    if kinds:
        named = ", ".join([*kinds[:3], *(["…"] if len(kinds) > 3 else [])])
        return "; ".join([*refused, f"audit: {audit.passing_affected} that passed need a look ({named})"])
    if refused or not audit.affected:
        return "".join(refused)
    return f"audit: {audit.affected} have faults, none of which passed"


def page_of(audit: Audit) -> str:
    """Return the audit as a page in Markdown."""
    lines = [
        "# Set audit", "",
        f"{audit.affected} of {audit.transcripts} transcripts have a fault that code can see, "
        f"{audit.passing_affected} of the {audit.passing} that passed. {audit.refused} were refused for one.",
    ]  # fmt: skip
    if audit.found:
        lines += [
            "",
            "| check | transcripts | that passed | exchanges | action | examples |",
            "|---|---|---|---|---|---|",
        ]
    for found in audit.found:
        places = ", ".join(_place(place) for place in found.examples[:5])
        row = [found.check, found.transcripts, found.passing, found.exchanges, found.action, places]
        lines.append(f"| {' | '.join(map(str, row))} |")
    lines += ["", *(f"* {found.check}: {found.meaning}" for found in audit.found)]
    return "\n".join(lines) + "\n"


def _faults_of(
    transcript: Transcript, rubric: Rubric, actions: Mapping[str, Action]
) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield each check that finds something, with the numbers of the exchanges at fault."""
    exchanges = transcript.exchanges
    for name, check in CHECKS.items():
        if actions[name] != "off" and (numbers := check.faults(exchanges)):
            yield name, numbers
    kinds: dict[str, list[int]] = defaultdict(list)
    for number, exchange in enumerate(exchanges, 1):
        for kind in artifacts_in(*exchange):
            kinds[kind].append(number)
    yield from ((kind, numbers) for kind, numbers in kinds.items() if actions[kind] != "off")
    for criterion in rubric.applying(len(exchanges)):
        if criterion.rule and criterion.rule.answer(exchanges) == "NO":
            numbers = criterion.rule.faults(exchanges) if isinstance(criterion.rule, FaultRule) else []
            yield f"{RULE}{criterion.id}", numbers


def _same_opening(transcripts: Sequence[Transcript]) -> dict[str, Sequence[int]]:
    openings = Counter(opening(e.assistant, OPENING_WORDS) for t in transcripts for e in t.exchanges)
    answers = openings.total()
    often = {words for words, count in openings.items() if count > OPENING_SHARE * answers}
    if answers < OPENING_ANSWERS or not often:
        return {}
    at = {
        t.id: [n for n, e in enumerate(t.exchanges, 1) if opening(e.assistant, OPENING_WORDS) in often]
        for t in transcripts
    }
    return {name: numbers for name, numbers in at.items() if numbers}


def meaning_of(check: str) -> str:
    """Return the sentence that says what a check looks for."""
    if check.startswith(RULE):
        return f"The rubric's rule of {check.removeprefix(RULE)} answers NO."
    return str(AuditParams.model_fields[check].description)


def _found(audit: SetAudit, check: str, passed: set[str]) -> Finding:
    at = audit.faults[check]
    names = sorted(at, key=lambda name: (name not in passed, name))
    return Finding(
        check=check, meaning=meaning_of(check), action=audit.actions.get(check, "report"),
        transcripts=len(at), exchanges=sum(map(len, at.values())),
        passing=len(at.keys() & passed), passing_exchanges=sum(len(at[name]) for name in at.keys() & passed),
        examples=_examples(at, names),
    )  # fmt: skip


def _examples(at: Mapping[str, Sequence[int]], names: Sequence[str]) -> list[FaultyExchange]:
    """Return the first fault of each of the first transcripts named."""
    return [FaultyExchange(id=name, exchange=next(iter(at[name]), None)) for name in names[:MOST_EXAMPLES]]


def _stop(check: str, at: Mapping[str, Sequence[int]], total: int) -> str:
    some = ", ".join(map(_place, _examples(at, sorted(at))))
    more = f" and {len(at) - MOST_EXAMPLES:,} more" if len(at) > MOST_EXAMPLES else ""
    return (
        f"audit.{check}: {len(at)} of {total} transcripts, as {some}{more}: {meaning_of(check)} "
        f"Mend them or leave them out, or set it to `refuse` or `report`."
    )


def _place(place: FaultyExchange) -> str:
    name = printable(place.id).replace("|", "\\|")
    return f"{name} (exchange {place.exchange})" if place.exchange else name
