"""Whether a model that judges does judge: answers may have the right form and hold nothing.

Four signs, each only where enough has been answered to tell, and none of them the answers alone: conversations that
were chosen well may all get the same ones. What one conversation is told about itself differs from the next.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict

from tuneline.data.rubric import Rubric
from tuneline.data.verdicts import Judgement

FEW, SEVERAL, SOME, MANY = 3, 8, 10, 30
"""Judged conversations from which a sign counts: of empty reasons, of one reason, of missing citations, of equality."""

SOME_REASONS = 50
"""Reasons without a single citation that are no accident."""

MOST_HOLLOW, MOST_EQUAL = 0.5, 0.8
"""Share of the reasons that may be empty, and that may be one and the same."""

DISTINCT = 3
"""Criteria to which one reason each is too little for fewer than `MANY`; of two, both may be gates."""

LEAST_VARIETY = 0.1
"""Least share of different reasons per criterion in a set whose answers are all equal."""

_PLACEHOLDERS = {
    "reason", "your reason", "your reason here", "explanation", "text", "string", "none", "null", "example", "n/a",
    "na", "yes", "no", "true", "false", "your own sentences",
}  # fmt: skip
_CITES = re.compile(
    r"\d|\b(?:exchanges?|turns?|messages?|first|second|third|fourth|fifth|last|opening|final|beginning|end|throughout"
    r"|austausch\w*|erste\w*|letzte\w*|échanges?|premi\w+|derni\w+|intercambio\w*|primer\w*|últim\w+|scambi\w*|ultim\w+"
    r"|troca\w*|обмен\w*|перв\w+|последн\w+)\b|[第轮輪回次]|최초|마지막|번째|أول|آخر|पहल|आख़िर",
    re.IGNORECASE,
)
"""What names a place in a conversation; digits of any script."""


class Substance:
    """Counts what the judgements of one rubric hold. Not safe for threads."""

    def __init__(self, rubric: Rubric) -> None:
        self._copied = {plain(text) for c in rubric.criteria for text in (c.question, c.yes, c.no, c.na or "")}
        self._criteria = len(rubric.criteria)
        self.judged = self._cited = self._hollow = 0
        self._reasons: Counter[str] = Counter()
        self._by_criterion: dict[str, set[str]] = defaultdict(set)
        self._answers: set[str] = set()

    def add(self, judgement: Judgement) -> None:
        """Count a judgement that was scored."""
        self.judged += 1
        self._answers |= set(judgement.answers.values())
        for name, reason in judgement.reasons.items():
            bare = plain(reason)
            self._reasons[bare] += 1
            self._by_criterion[name].add(bare)
            self._hollow += self._is_hollow(bare)
            self._cited += bool(_CITES.search(reason))

    def is_empty(self, judgement: Judgement) -> bool:
        """Tell whether no reason of a judgement says anything: then it is worth no more than no answer."""
        return bool(judgement.reasons) and all(self._is_hollow(plain(r)) for r in judgement.reasons.values())

    def problem(self, total: int) -> str:
        """Say what is wrong with the judge; nothing as long as it cannot be told. `total` are all to be judged."""
        count = self._reasons.total()
        if self.judged >= min(FEW, total) and self._hollow > MOST_HOLLOW * count:
            return f"{self._hollow} of {count} reasons are empty or copied from the prompt (hollow reasons)"
        if self.judged >= SOME and count >= SOME_REASONS and not self._cited:
            return f"none of {count} reasons names an exchange, although each was asked to (no citation)"
        if self.judged < SEVERAL or self._criteria < 2:
            return ""
        most = max(self._reasons.values())
        if most > MOST_EQUAL * count:
            return f"{most} of {count} reasons are the same one, for every criterion (one reason for everything)"
        varied = max(len(reasons) for reasons in self._by_criterion.values())
        enough = self.judged >= MANY or (varied == 1 and self._criteria >= DISTINCT)
        if enough and len(self._answers) == 1 and varied < max(2, LEAST_VARIETY * self.judged):
            return (
                f"all {count} answers to {self.judged} conversations are equal, and their reasons do not tell one "
                "conversation from another (equal answers to everything)"
            )
        return ""

    def _is_hollow(self, bare: str) -> bool:
        return is_hollow(bare) or bare in self._copied


def is_hollow(bare: str) -> bool:
    """Tell whether a plain reason says nothing."""
    return sum(map(str.isalpha, bare)) < 2 or bare in _PLACEHOLDERS


def plain(text: str) -> str:
    """Return a reason without what hardly tells it from another: case, spaces, punctuation at its ends."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(" .…!?<>()[]{}\"'*_-")
