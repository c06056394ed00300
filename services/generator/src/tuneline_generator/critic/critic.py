"""The critic: a model that says yes or no with its next token, tested before it is trusted.

A model that knows nothing says yes to most rows, right and wrong: at a margin of 1 a small one accepted 20 of 24 right
pairs and 20 of 24 wrong ones. So it is first asked about rows of its own and about the same responses under other
instructions, and what counts is how well it tells them apart (AUC).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from tuneline.llm.completion import Completion
from tuneline.stage import Closed
from tuneline_generator.writing.writer import LocalConfig, TextServer

MOST_PAIRS = 64
LEAST_STEP = 7
"""Rows further on from which a response is taken at least: neighbours may be about the same."""
RESAMPLES = 2000
MOVED_ACCEPTED = 0.1
"""Share of moved pairs that a threshold found by itself accepts at most."""

PROMPT = """\
Judge whether the response answers the instruction.

Instruction: Name the season that follows winter.
Response: Spring follows winter.
Does the response answer the instruction? yes

Instruction: How many wheels does a tricycle have?
Response: Stir the soup slowly until it is thick.
Does the response answer the instruction? no

Instruction: Give another word for angry.
Response: The library opens at ten on Saturdays.
Does the response answer the instruction? no

Instruction: What do bees make?
Response: Bees make honey.
Does the response answer the instruction? yes

Instruction: {instruction}
Response: {response}
Does the response answer the instruction?"""
"""Worked examples put nearly all probability on yes and no; the bare question puts a fifth of it there."""

Word = Annotated[str, Field(min_length=1, max_length=40)]


class LogprobCritic(Closed):
    """A model that answers yes or no; how sure it is decides."""

    provider: Literal["logprob"]
    yes: tuple[Word, ...] = Field(default=(" yes", "yes", " Yes", "Yes"), min_length=1)
    """Tokens that mean yes; case and spaces around them do not count."""
    no: tuple[Word, ...] = Field(default=(" no", "no", " No", "No"), min_length=1)
    """Tokens that mean no."""
    top: int = Field(default=1000, ge=2, le=10_000)
    """Likeliest tokens that are looked through; servers that list fewer give fewer."""
    min_mass: float = Field(default=0.05, ge=0, le=1)
    """Probability of yes and no together below which a row is unsure."""
    server: LocalConfig | TextServer | None = Field(default=None, discriminator="provider")
    """Where the model is, as for a writer of texts; the default is the writer's, or `critic_model`."""
    prompt: str = PROMPT
    """What it is asked, with {instruction} and {response}; it ends where yes or no follows."""

    @field_validator("prompt")
    @classmethod
    def _asks_about_both(cls, value: str) -> str:
        if "{instruction}" not in value or "{response}" not in value:
            raise PydanticCustomError("prompt", "must have {instruction} and {response}")
        return value

    @field_validator("no")
    @classmethod
    def _differs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not _word(word) for word in value):
            raise PydanticCustomError("no", "must be words")
        return value

    def asked(self, instruction: str, response: str) -> str:
        """Return the prompt about a row; what the row says is put in once, whatever braces it has."""
        parts = self.prompt.split("{instruction}")
        return instruction.join(part.replace("{response}", response) for part in parts)


class Opinion(NamedTuple):
    """What the critic's next token says."""

    margin: float | None
    """ln P(yes) - ln P(no); a bound where one of them is not listed, None where neither is."""
    mass: float
    """P(yes) + P(no)."""
    missing: Literal["", "yes", "no", "both"] = ""

    def accepts(self, min_margin: float, min_mass: float) -> bool | None:
        """Tell whether the row is good; None is unsure. A margin from above can only reject."""
        if self.margin is None or self.mass < min_mass:
            return None
        return self.margin >= min_margin and self.missing != "yes"


class CriticTest(Closed):
    """How well a critic tells responses from the same responses under other instructions."""

    pairs: int
    auc: float
    """Share of (own, moved) in which the own has the larger margin, ties counting half: 0.5 is a coin."""
    low: float
    """95 % interval by a bootstrap over the pairs."""
    high: float
    mass: float
    """Mean probability of yes and no together."""
    accepted_own: int
    accepted_moved: int
    """Accepted at `min_margin`."""
    min_margin: float
    varies: bool = False
    """Whether asking the same once more gave another margin."""


Pair = tuple[str, str]


def read_opinion(answer: Completion, critic: LogprobCritic) -> Opinion:
    """Read what the listed first tokens say."""
    return opinion_of(answer.top, critic.yes, critic.no)


def opinion_of(top: Iterable[tuple[str, float]], yes: Iterable[str], no: Iterable[str]) -> Opinion:
    """Return the margin of tokens with log-probabilities; the lowest that is listed bounds what is not."""
    listed = [(_word(token), value) for token, value in top]
    sides = {_word(word) for word in yes}, {_word(word) for word in no}
    of_yes, of_no = ([value for word, value in listed if word in side] for side in sides)
    if not of_yes and not of_no:
        return Opinion(None, 0.0, "both")
    mass = sum(map(math.exp, [*of_yes, *of_no]))
    lowest = min(value for _, value in listed)
    if not of_no:
        return Opinion(_log_sum(of_yes) - lowest, mass, "no")
    if not of_yes:
        return Opinion(lowest - _log_sum(of_no), mass, "yes")
    return Opinion(_log_sum(of_yes) - _log_sum(of_no), mass)


def moved(pairs: Sequence[Pair]) -> list[tuple[Pair, Pair]]:
    """Return each pair beside its instruction with another pair's response.

    The response is that of the pair s further on, s the smallest step from 7 on that has no common divisor with their
    number; pairs whose responses are alike are left out. At most 64, the first ones.
    """
    chosen = list(pairs[:MOST_PAIRS])
    count = len(chosen)
    if count < 2:
        return []
    step = next(s for s in range(LEAST_STEP, LEAST_STEP + 2 * count + 1) if math.gcd(s, count) == 1)
    return [
        (own, (own[0], other[1]))
        for own, other in ((chosen[k], chosen[(k + step) % count]) for k in range(count))
        if _alike(own[1]) != _alike(other[1])
    ]


def judge_critic(own: Sequence[Opinion], others: Sequence[Opinion], min_margin: float | Literal["auto"]) -> CriticTest:
    """Return what the opinions on rows and on moved rows, in the same order, say about the critic.

    One that names neither yes nor no has a margin of 0: it says nothing. Raises ValueError for none at all.
    """
    good, bad = ([0.0 if it.margin is None else it.margin for it in side] for side in (own, others))
    low, high = _interval(good, bad)
    threshold = auto_margin(bad) if min_margin == "auto" else min_margin
    masses = [it.mass for it in (*own, *others)]
    return CriticTest(
        pairs=len(good), auc=auc(good, bad), low=low, high=high, mass=sum(masses) / len(masses),
        accepted_own=sum(it.accepts(threshold, 0.0) is True for it in own),
        accepted_moved=sum(it.accepts(threshold, 0.0) is True for it in others), min_margin=threshold,
    )  # fmt: skip


def auc(good: Sequence[float], bad: Sequence[float]) -> float:
    """Return the share of (good, bad) in which good is larger; a tie counts half (Mann and Whitney 1947)."""
    return sum((x > y) + (x == y) / 2 for x in good for y in bad) / (len(good) * len(bad))


def auto_margin(bad: Sequence[float]) -> float:
    """Return the smallest threshold at which at most a tenth of the moved pairs are accepted."""
    falling = sorted(bad, reverse=True)
    return math.nextafter(falling[int(MOVED_ACCEPTED * len(falling))], math.inf)


def _interval(good: Sequence[float], bad: Sequence[float]) -> tuple[float, float]:
    import numpy as np

    better, number = np.asarray(good)[:, None], len(good)
    wins = (better > np.asarray(bad)) + (better == np.asarray(bad)) / 2
    drawn = np.random.default_rng(0).integers(number, size=(RESAMPLES, number))
    shares = [wins[np.ix_(rows, rows)].mean() for rows in drawn]
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)


def _log_sum(values: Sequence[float]) -> float:
    most = max(values)
    return most + math.log(sum(math.exp(value - most) for value in values))


def _word(token: str) -> str:
    return token.strip(" \t\r\n\u2581\u0120").casefold()  # SentencePiece and GPT-2 write a space so


def _alike(text: str) -> str:
    return " ".join(text.casefold().split())
