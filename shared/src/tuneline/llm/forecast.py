"""What calls to a model will take, from what they will be sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tuneline.llm.config import ModelConfig
from tuneline.llm.prices import Tokens, cost_usd
from tuneline.stage import Forecast, Usage

MEASURED = 5
"""Calls from which what a journal holds is a measurement."""

CALL_SECONDS, TOKENS_WRITTEN, TOKENS_READ = 1.0, 60.0, 10_000.0
"""Assumed of a server: a second for each call, and so many tokens a second."""

USER_TOKENS, ANSWER_TOKENS = 40, 150
"""Of a simulated user's message and of the answer to it, where nothing shows it."""


class Expected(NamedTuple):
    """Calls that are still to be made."""

    inputs: Sequence[int]
    """Tokens of each prompt, as counted here."""
    output: float
    """Tokens of an answer."""
    input_ratio: float = 1.0
    """The server's tokens by ours."""
    cached_share: float = 0.0
    """Share of a prompt that the server has in its cache."""


def forecast(config: ModelConfig, role: str, label: str, expected: Expected, held: Usage, concurrency: int) -> Forecast:
    """Return what the calls take, `concurrency` of them at once, beside `held`, which is paid."""
    batch = config.mode == "batch"
    left, costs, seconds = held, list[float | None](), 0.0
    for counted in expected.inputs:
        size, output = round(counted * expected.input_ratio), round(expected.output)
        cached = round(size * expected.cached_share)
        cost = cost_usd(config, Tokens(size, cached=cached, output=output), batch=batch)
        left += Usage(
            calls=1, input_tokens=size, cached_tokens=cached, output_tokens=output, cost_usd=cost or 0.0,
            unpriced=int(cost is None),
        )  # fmt: skip
        costs.append(cost)
        seconds += CALL_SECONDS + output / TOKENS_WRITTEN + size / TOKENS_READ
    known = [cost for cost in costs if cost is not None]
    usd = sum(known) if len(known) == len(costs) else None
    return Forecast(role, label, left, held, usd, seconds / concurrency)
