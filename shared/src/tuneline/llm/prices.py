"""What calls to a model cost, in US dollars: from the configuration, or from the price list that genai-prices ships.

The list is read from the installed package, never from the network, so a price is as old as the install. A server that
the list does not know has no price here, even if a model of the same name is sold elsewhere: its cost is then not known
and is never taken for 0. A server on this machine costs nothing unless its configuration says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tuneline.errors import UserError
from tuneline.llm.config import ModelConfig
from tuneline.stage import Json


class Tokens(NamedTuple):
    """Tokens of a call as servers bill them."""

    input: int
    """Of the prompt; those that were read from a cache or written to it are among them."""
    cached: int = 0
    """Read from the server's cache."""
    written: int = 0
    """Written to the server's cache at an extra price."""
    output: int = 0


def cost_usd(config: ModelConfig, tokens: Tokens, *, batch: bool = False) -> float | None:
    """Return what a call costs, None if a price is not known. Own prices are taken as they are, for a batch too."""
    own = _Parts(_own_input_usd(config, tokens), _times(tokens.output, config.output_usd))
    listed = _Parts(0.0, 0.0) if None not in own or config.is_local else _listed_usd(config, tokens, batch)
    parts = [theirs if ours is None else ours for ours, theirs in zip(own, listed, strict=True)]
    known = [part for part in parts if part is not None]
    return round(sum(known), 9) if len(known) == len(parts) else None


def known_cost(config: ModelConfig, tokens: Tokens) -> float | None:
    """Return what a call cost; of a server that counts no prompt it is known only where tokens are free."""
    if tokens.input:
        return cost_usd(config, tokens)
    million = cost_usd(config, Tokens(10**6, output=10**6))
    return 0.0 if million == 0 else None


def require_price(config: ModelConfig) -> None:
    """Raise UserError if nobody knows what the model's calls cost, so that no limit could be kept."""
    if cost_usd(config, Tokens(1, output=1)) is None:
        raise UserError(
            f"the price of {config.model} is not known, and the run has a limit, `max_usd`: give `input_usd` and "
            "`output_usd` (0 is free)"
        )


def most_usd(
    config: ModelConfig, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None = None, *,
    batch: bool = False,
) -> float | None:  # fmt: skip
    """Return the most that a call can cost: no tokenizer makes more tokens of a text than it has bytes."""
    texts = [text for message in messages for text in message.values()] + [json.dumps(schema)]
    size = sum(len(text.encode("utf-8", "replace")) + 16 for text in texts)
    worst = (Tokens(size, written=written, output=config.max_tokens) for written in (0, size))
    costs = [cost for tokens in worst if (cost := cost_usd(config, tokens, batch=batch)) is not None]
    return max(costs, default=None)


class _Parts(NamedTuple):
    input: float | None
    output: float | None


def _own_input_usd(config: ModelConfig, tokens: Tokens) -> float | None:
    if config.input_usd is None:
        return None
    cached, written = (
        config.input_usd if own is None else own for own in (config.cached_input_usd, config.cache_write_usd)
    )
    fresh = max(0, tokens.input - tokens.cached - tokens.written)
    return (fresh * config.input_usd + tokens.cached * cached + tokens.written * written) / 1e6


def _times(count: int, per_million: float | None) -> float | None:
    return None if per_million is None else count * per_million / 1e6


def _listed_usd(config: ModelConfig, tokens: Tokens, batch: bool) -> _Parts:
    """Return the list's prices; a model without a price for text has none. Where it has no price for a cache, what was
    cached counts as fresh."""
    cached = min(tokens.cached, tokens.input)
    written = min(tokens.written, tokens.input - cached)
    for cache in ({"cache_read_tokens": cached, "cache_write_tokens": written}, dict[str, int]()):
        found = _looked_up(config, {"input_tokens": tokens.input, "output_tokens": tokens.output, **cache}, batch)
        if found is not None:
            return found
    return _Parts(None, None)


def _looked_up(config: ModelConfig, usage: Mapping[str, int], batch: bool) -> _Parts | None:
    from genai_prices import Usage, calc_price

    context = {"processing": "batch"} if batch else None
    try:
        if config.base_url is None:
            found = calc_price(Usage(**usage), config.model, provider_id=config.provider, price_context=context)
        else:
            found = calc_price(Usage(**usage), config.model, provider_api_url=config.base_url, price_context=context)
    except (LookupError, ValueError):  # not in the list, or a usage that its prices cannot express
        return None
    of_text = (found.model_price.input_mtok, found.model_price.output_mtok)
    costs = (found.input_price, found.output_price)
    return _Parts(*(None if price is None else float(cost) for price, cost in zip(of_text, costs, strict=True)))
