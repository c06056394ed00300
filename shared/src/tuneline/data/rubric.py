"""The rubric: what makes a conversation good enough, as questions a judge answers YES, NO or NA.

The score is arithmetic over the answers and is done here, never by a judge. A category's score is the share of its
criteria that are met, where NA counts as met; the score is the mean of the categories weighted by their weights. A
conversation passes when its score reaches `pass_threshold` and no gate is answered NO.

A criterion with a `rule` is answered by code, whoever judges the rest. One with `from_exchange` does not apply to
conversations that are shorter: nobody is asked, and it is left out of its category's share. A category of which nothing
applies counts as met, like an NA; but a conversation to which nothing in any category applies does not pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from tuneline.data.io import Closed
from tuneline.data.text.rules import Answer, EchoesUser, Rule, WhenUserContains
from tuneline.errors import UserError
from tuneline.parsing.problems import Loc
from tuneline.parsing.yaml import YamlFile, read_yaml

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
Text = Annotated[str, Field(min_length=1, max_length=100_000)]
"""Questions with worked examples of YES and NO are long; what is too long for the judge's context, its server says."""

Fact = Literal["words", "questions", "exchanges"]
"""What models count badly and code counts well."""

WEIGHT_TOLERANCE = 1e-6
"""How far the weights may sum from 1: room for thirds written with seven digits, none for a forgotten category."""

SCORE_DIGITS = 6
"""Decimals of a score. Rounding makes `score >= pass_threshold` mean what it says on paper, where 0.1 + 0.2 is 0.3."""


class Criterion(Closed):
    """One question to the judge."""

    id: Name
    question: Text
    """What the judge is asked about the whole conversation."""
    yes: Text
    """YES is always the good answer."""
    no: Text
    na: Text | None = None
    """Without it a model that judges may not answer NA."""
    from_exchange: int = Field(default=1, ge=1)
    """Applies to conversations of at least so many exchanges; in a shorter one it is not asked and not counted."""
    facts: list[Fact] = Field(default_factory=list)
    """Figures that are counted and given to a model that judges, where the question asks for counting."""
    rule: Rule | None = None
    """Answers this criterion in place of the judge, whatever the provider."""
    heuristic: Rule | None = None
    """Rule for the provider `heuristic`; other judges never see it."""


class Category(Closed):
    """Criteria that together make one part of the score."""

    id: Name
    weight: float = Field(gt=0, le=1)
    """Share of the score, from 0 to 1; the weights of all categories sum to 1."""
    criteria: list[Criterion] = Field(min_length=1)
    """Each counts the same within its category."""


class Score(NamedTuple):
    """What the answers of one conversation come to."""

    score: float
    """From 0 to 1, rounded to six decimals."""
    passed: bool
    category_scores: dict[str, float]
    """Share of met criteria by category, rounded to six decimals."""
    failed_gates: list[str]


class Rubric(Closed):
    """A whole rubric; `gates` are criteria outside the score that fail a conversation when answered NO."""

    name: Text
    pass_threshold: float = Field(default=0.8, ge=0, le=1)
    """Least score of a conversation that passes; higher means fewer and better training examples."""
    categories: list[Category] = Field(min_length=1)
    gates: list[Criterion] = Field(default_factory=list)
    """Criteria that must not be answered NO, whatever the score."""
    judges: tuple[Name, Name] | None = None
    """Names of two judges, as the input `judge` has them, who both judge everything."""
    judges_rule: Literal["stricter", "mean"] = "stricter"
    """How two verdicts become one: by the stricter answer to each criterion, or by the mean of the scores."""

    @property
    def criteria(self) -> list[Criterion]:
        """Return every criterion in the order of the file, gates last."""
        return [c for category in self.categories for c in category.criteria] + self.gates

    @property
    def groups(self) -> dict[str, str]:
        """Return where each criterion belongs, by its id: the id of its category, or `gates`."""
        listed = [(category.id, category.criteria) for category in self.categories] + [("gates", self.gates)]
        return {criterion.id: group for group, criteria in listed for criterion in criteria}

    def applying(self, exchanges: int) -> list[Criterion]:
        """Return the criteria that count in a conversation of so many exchanges."""
        return [criterion for criterion in self.criteria if criterion.from_exchange <= exchanges]

    def asked(self, exchanges: int | None = None) -> Rubric:
        """Return what a judge is asked: nothing with a `rule`, nor what so few exchanges are too short for."""

        def keep(criteria: list[Criterion]) -> list[Criterion]:
            return [c for c in criteria if c.rule is None and (exchanges is None or c.from_exchange <= exchanges)]

        kept = [category.model_copy(update={"criteria": keep(category.criteria)}) for category in self.categories]
        return self.model_copy(update={"categories": kept, "gates": keep(self.gates)})


def load_rubric(path: Path) -> Rubric:
    """Read a rubric from YAML or JSON. Raises UserError that lists every problem as `file:line: field: problem`."""
    source = _usual(read_yaml(path))
    rubric = source.as_model(Rubric, "a rubric")
    if problems := list(_disagreements(rubric, source)):
        raise UserError("\n".join(problems))
    return rubric


def _usual(source: YamlFile) -> YamlFile:
    """Return the file with lists for mappings by id, shares for percentages, small letters for `YES`, `NO` and `NA`."""
    content, moved = source.content, dict[Loc, Loc]()
    if not isinstance(content, dict):
        return source
    content = dict(content)
    if "categories" in content:
        categories = [
            {**row, "criteria": _by_id(row["criteria"], (*old, "criteria"), ("categories", n, "criteria"), moved)}
            if isinstance(row, dict) and "criteria" in row
            else row
            for n, (old, row) in enumerate(_rows(content["categories"], ("categories",), ("categories",), moved))
        ]
        content["categories"] = _shares(categories) if _is_listed(content["categories"]) else content["categories"]
    if "gates" in content:
        content["gates"] = _by_id(content["gates"], ("gates",), ("gates",), moved)
    return source.rearranged(content, moved)


def _is_listed(held: object) -> bool:
    by_id = isinstance(held, dict) and bool(held) and all(isinstance(row, dict) for row in held.values())
    return by_id or isinstance(held, list)


def _rows(held: object, old: Loc, new: Loc, moved: dict[Loc, Loc]) -> Iterator[tuple[Loc, object]]:
    """Yield the old place and the content of each row, of a list or of a mapping by id."""
    rows = (
        {key: {"id": key, **row} for key, row in held.items()} if isinstance(held, dict) and _is_listed(held) else None
    )
    for number, (key, row) in enumerate(rows.items() if rows else enumerate(held if isinstance(held, list) else [])):
        moved[*old, key] = (*new, number)
        yield (*old, key), row


def _by_id(held: object, old: Loc, new: Loc, moved: dict[Loc, Loc]) -> object:
    """Return criteria as a list."""
    if not _is_listed(held):
        return held
    found: list[object] = []
    for place, row in _rows(held, old, new, moved):
        small = (
            {k: k.lower() for k in row if k in ("YES", "NO", "NA") and k.lower() not in row}
            if isinstance(row, dict)
            else {}
        )
        moved.update({(*place, k): (*new, len(found), name) for k, name in small.items()})
        found.append({small.get(k, k): v for k, v in row.items()} if isinstance(row, dict) else row)
    return found


def _shares(categories: list[object]) -> list[object]:
    """Return categories whose weights, where they are percentages that sum to 100, are shares."""
    rows = [row for row in categories if isinstance(row, dict)]
    weights = [_percent(row.get("weight")) for row in rows]
    if not weights or len(rows) < len(categories) or None in weights:
        return categories
    if abs(math.fsum(w for w in weights if w is not None) - 100) > 100 * WEIGHT_TOLERANCE:
        return categories
    return [{**row, "weight": weight / 100} for row, weight in zip(rows, weights, strict=True) if weight is not None]


def _percent(weight: object) -> float | None:
    """Read 30, 30.5 and "30 %"."""
    if isinstance(weight, str) and re.fullmatch(r"\d{1,3}(?:\.\d{1,6})? ?%", weight.strip()):
        return float(weight.strip(" %"))
    return float(weight) if type(weight) in (int, float) and abs(float(weight)) <= 100 else None  # type: ignore[arg-type]


def _disagreements(rubric: Rubric, source: YamlFile) -> Iterator[str]:
    """Yield what is wrong between fields that are each fine on their own."""
    for loc, criterion in _placed(rubric):
        if isinstance(criterion.rule, EchoesUser | WhenUserContains) and not criterion.na:
            yield f"{source.where((*loc, 'na'))}: is required, because the rule may answer NA"
    total = math.fsum(category.weight for category in rubric.categories)
    if abs(total - 1) > WEIGHT_TOLERANCE:
        yield f"{source.where(('categories',))}: the weights sum to {total:g}, but must sum to 1"
    categories: list[tuple[Loc, str]] = [(("categories", i, "id"), c.id) for i, c in enumerate(rubric.categories)]
    criteria: list[tuple[Loc, str]] = [((*loc, "id"), criterion.id) for loc, criterion in _placed(rubric)]
    yield from _repeated(categories, source)
    yield from _repeated(criteria, source)


def _placed(rubric: Rubric) -> Iterator[tuple[Loc, Criterion]]:
    for i, category in enumerate(rubric.categories):
        yield from ((("categories", i, "criteria", j), criterion) for j, criterion in enumerate(category.criteria))
    yield from ((("gates", i), criterion) for i, criterion in enumerate(rubric.gates))


def _repeated(ids: list[tuple[Loc, str]], source: YamlFile) -> Iterator[str]:
    first: dict[str, Loc] = {}
    for loc, name in ids:
        if name in first:
            line = source.lines.get(first[name], 1)
            yield f"{source.where(loc)}: `{name}` is already used in line {line}; ids must be unique"
        first.setdefault(name, loc)


def score(rubric: Rubric, answers: Mapping[str, Answer], exchanges: int) -> Score:
    """Compute score and pass from one answer per criterion that applies; raises KeyError when one is missing.

    Criteria that so few `exchanges` are too short for are not counted.
    """
    met = {criterion.id: answers[criterion.id] != "NO" for criterion in rubric.applying(exchanges)}
    flags = {c.id: [met[criterion.id] for criterion in c.criteria if criterion.id in met] for c in rubric.categories}
    shares = {name: sum(found) / len(found) if found else 1.0 for name, found in flags.items()}
    total = round(math.fsum(c.weight * shares[c.id] for c in rubric.categories), SCORE_DIGITS)
    failed = [gate.id for gate in rubric.gates if not met.get(gate.id, True)]
    passed = total >= rubric.pass_threshold and not failed and any(flags.values())
    return Score(total, passed, {name: round(share, SCORE_DIGITS) for name, share in shares.items()}, failed)
