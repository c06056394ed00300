"""Requests in pieces of which each is one batch: their sizes, names and prices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from tuneline.llm.config import ModelConfig
from tuneline.llm.prices import Tokens, cost_usd
from tuneline.llm.providers.provider import Reply, Request

MOST_REQUESTS, MOST_BYTES = 1_000, 15 * 2**20
"""Of one batch: what the smallest limit of the vendors allows, with room for the answers."""

Piece = dict[str, Request]


def pieces(requests: Mapping[str, Request], most: int) -> Iterator[Piece]:
    """Cut requests into batches of at most `most`, of a size that every vendor takes."""
    piece: Piece = {}
    size = 0
    for key, request in requests.items():
        weight = len(json.dumps([[dict(message) for message in request.messages], request.schema])) + 1_000
        if piece and (len(piece) >= most or size + weight > MOST_BYTES):
            yield piece
            piece, size = {}, 0
        piece[key] = request
        size += weight
    if piece:
        yield piece


def halves(piece: Piece) -> tuple[Piece, Piece]:
    """Cut a piece in two."""
    half = len(piece) // 2
    rows = list(piece.items())
    return dict(rows[:half]), dict(rows[half:])


def batch_name(piece: Piece, at: float) -> str:
    """Return the name of a batch, by which it is found again."""
    return f"tuneline-{hashlib.sha256(f'{at} {list(piece)}'.encode()).hexdigest()[:16]}"


def batch_priced(config: ModelConfig, reply: Reply) -> Reply:
    """Return a reply with what it costs in a batch."""
    tokens = Tokens(reply.input_tokens, reply.cached_tokens, reply.cache_write_tokens, reply.output_tokens)
    return reply._replace(cost_usd=cost_usd(config, tokens, batch=True))
