"""How closely a file says what the merged model would say, next token by next token, and how sure that is.

Both are told the true text, so that one different word does not make all that follows different. The server names the
likeliest tokens only, so the KL divergence is that of these tokens with all others taken as one: never above the true
divergence (data processing inequality), and close to it where the others hardly count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

from pydantic import BaseModel, Field

from tuneline.data.model_facts import Estimate, Fidelity
from tuneline.model.gguf_header import Header
from tuneline.model.llama_server import Server
from tuneline_gguf_converter.checking.samples import Samples

MOST_NAMED = 64
"""Likeliest tokens at a position that are compared one by one."""

CONFIDENCE = 0.95
SPOKEN = 64
"""Tokens that are written to see how fast."""


class Foreseen(NamedTuple):
    """What a model thinks comes next: natural logarithms of probabilities of its likeliest tokens, likeliest first."""

    choice: int
    logprobs: Mapping[int, float]


class Position(NamedTuple):
    """One token, foreseen by the merged model and by the file; `ours` is None where the server does not tell it."""

    agrees: bool
    merged: Foreseen
    ours: Foreseen | None
    true: int


class Pace(NamedTuple):
    """How fast the file answers here, one conversation at a time, and the most memory that its server took."""

    tokens_per_second: float
    memory_bytes: int | None


def compare(server: Server, samples: Samples, merged: Sequence[Sequence[Foreseen]]) -> list[list[Position]]:
    """Return every compared position, by conversation."""
    return [
        [
            _position(server, sample.ids[:place], foreseen, sample.ids[place])
            for place, foreseen in zip(sample.positions, expected, strict=True)
        ]
        for sample, expected in zip(samples.predicted, merged, strict=True)
    ]


def figures(
    file: Path, header: Header, encoding: str, samples: Samples, positions: Sequence[Sequence[Position]]
) -> Fidelity:
    """Return the file's row in the table of all types."""
    vocabulary, size = _vocabulary(header), file.stat().st_size
    told = [[p for p in talk if p.ours] for talk in positions]
    divergences = [[divergence(p.merged, p.ours) for p in talk if p.ours] for talk in positions]
    return Fidelity(
        file=file.name,
        file_type=encoding,
        bytes=size,
        bits_per_weight=round(8 * size / header.parameters, 2),
        conversations=len(positions),
        positions=sum(map(len, positions)),
        source=samples.kind,
        top1=agreement([[p.agrees for p in talk] for talk in positions]),
        kl=_mean(divergences) if any(divergences) else None,
        perplexity=_perplexity([(p.ours, p.true) for talk in told for p in talk if p.ours], vocabulary),
        merged_perplexity=_perplexity([(p.merged, p.true) for talk in told for p in talk], vocabulary),
    )


def pace(server: Server, prompt: Sequence[int]) -> Pace:
    """Let the file write for a moment."""
    body = {"prompt": [*prompt], "n_predict": SPOKEN, "ignore_eos": True, "cache_prompt": False}
    spoken = _Spoken.model_validate(server.post("/completion", body))
    return Pace(round(spoken.timings.predicted_per_second, 1), _peak_memory(server.pid))


def agreement(talks: Sequence[Sequence[bool]]) -> Estimate:
    """Return the share of agreement with Wilson's interval (1927), for as many positions as they are worth.

    Positions of one conversation resemble each other: their number is divided by the design effect, the variance
    between conversations over that of independent positions, if that is above 1 (Kish, Survey Sampling, 1965).
    """
    count, value = sum(map(len, talks)), sum(map(sum, talks)) / sum(map(len, talks))
    independent = value * (1 - value) / count
    clustered = _variance(talks, value)
    effect = max(1.0, clustered / independent) if independent and clustered is not None else 1.0
    worth, z = count / effect, _quantile(len(talks))
    middle = (value + z * z / (2 * worth)) / (1 + z * z / worth)
    half = z / (1 + z * z / worth) * math.sqrt(value * (1 - value) / worth + z * z / (4 * worth * worth))
    return _estimate(value, middle - half, middle + half)


def divergence(merged: Foreseen, ours: Foreseen) -> float:
    """Return the KL divergence from the merged model in nats, over the tokens that both name and one for all others."""
    both = merged.logprobs.keys() & ours.logprobs.keys()
    pairs = [(math.exp(merged.logprobs[token]), math.exp(ours.logprobs[token])) for token in both]
    pairs.append((1 - sum(p for p, _ in pairs), 1 - sum(q for _, q in pairs)))
    least = 1e-9  # what rounding leaves of a remainder
    return max(0.0, sum(p * math.log(p / max(q, least)) for p, q in pairs if p > least))


def _mean(talks: Sequence[Sequence[float]]) -> Estimate:
    """Return the mean over all positions with a t interval clustered by conversation."""
    values = [value for talk in talks for value in talk]
    mean = sum(values) / len(values)
    variance = _variance(talks, mean)
    if variance is None:
        variance = sum((value - mean) ** 2 for value in values) / len(values) ** 2
    half = _quantile(len(talks)) * math.sqrt(variance)
    return _estimate(mean, max(0.0, mean - half), mean + half)


def _variance(talks: Sequence[Sequence[float]], mean: float) -> float | None:
    """Return the variance of a mean over all positions, from the conversations' totals; None for a single one."""
    filled = [talk for talk in talks if talk]
    if len(filled) < 2:
        return None
    squares = sum((sum(talk) - mean * len(talk)) ** 2 for talk in filled)
    return len(filled) / (len(filled) - 1) * squares / sum(map(len, filled)) ** 2


def _quantile(conversations: int) -> float:
    """Return the two-sided t quantile for conversations − 1 degrees of freedom (Abramowitz and Stegun, 26.7.5).

    The expansion is within 4 % from 3 degrees of freedom on. With fewer conversations that of 3 is taken, and the row
    says how few they are.
    """
    z, degrees = NormalDist().inv_cdf((1 + CONFIDENCE) / 2), max(3, conversations - 1)
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def _perplexity(told: Sequence[tuple[Foreseen, int]], vocabulary: int) -> float | None:
    """Return the perplexity of the true tokens; one that is not named has an equal part of what is left."""
    if not told:
        return None
    total = 0.0
    for foreseen, true in told:
        left = max(1 - sum(map(math.exp, foreseen.logprobs.values())), 1e-9)
        unnamed = math.log(left / max(1, vocabulary - len(foreseen.logprobs)))
        total -= foreseen.logprobs.get(true, unnamed)
    return round(math.exp(total / len(told)), 3)


def _position(server: Server, ids: list[int], merged: Foreseen, true: int) -> Position:
    # Only this sampler: others, which the file may ask for, would change what is likeliest. The probabilities are those
    # before it.
    greedy = {"samplers": ["temperature"], "temperature": 0.0, "n_probs": MOST_NAMED}
    body = {"prompt": ids, "n_predict": 1, "return_tokens": True, "id_slot": 0, "cache_prompt": True} | greedy
    next_token = _Next.model_validate(server.post("/completion", body))
    choice = next_token.tokens[0]
    # The server leaves probabilities out for a token that is part of a character.
    named = next_token.completion_probabilities[0].top_logprobs if next_token.completion_probabilities else []
    ours = Foreseen(choice, {token.id: token.logprob for token in named if token.logprob is not None})
    return Position(choice == merged.choice, merged, ours if ours.logprobs else None, true)


def _vocabulary(header: Header) -> int:
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    return len(tokens) if isinstance(tokens, list) else 0


def _estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=round(value, 4), low=round(max(0.0, low), 4), high=round(high, 4))


def _peak_memory(pid: int | None) -> int | None:
    """Return the most bytes of memory that a process had, where the system tells it."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


class _Named(BaseModel):
    id: int
    logprob: float | None


class _Token(BaseModel):
    top_logprobs: list[_Named] = Field(default_factory=list)


class _Next(BaseModel):
    tokens: list[int] = Field(min_length=1)
    completion_probabilities: list[_Token] = Field(default_factory=list)


class _Timings(BaseModel):
    predicted_per_second: float


class _Spoken(BaseModel):
    timings: _Timings
