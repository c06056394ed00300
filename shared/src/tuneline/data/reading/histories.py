"""Calls of one conversation: each request repeats what was said before, so the last call holds all the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from tuneline.data.judged import Transcript


def continued(calls: Mapping[str, Transcript]) -> dict[str, str]:
    """Return, for the key of each call that another one continues, the key of the longest that does."""
    wholes: dict[str, bytes] = {}
    longest: dict[bytes, str] = {}
    for key in sorted(calls):
        *beginnings, wholes[key] = _hashes(calls[key])
        for beginning in beginnings:
            other = longest.get(beginning, key)
            more = len(calls[key].exchanges) > len(calls[other].exchanges)
            longest[beginning] = key if more else other
    return {key: longest[whole] for key, whole in wholes.items() if whole in longest}


def continues(one: Transcript, other: Transcript) -> bool:
    """Tell whether a call repeats all that another one holds, and goes on."""
    count = len(other.exchanges)
    begin = (one.system, one.greeting, one.exchanges[:count])
    return len(one.exchanges) > count and begin == (other.system, other.greeting, other.exchanges)


def _hashes(transcript: Transcript) -> Iterator[bytes]:
    """Yield the hash of each of its beginnings, the whole last."""
    state = hashlib.sha256(json.dumps([transcript.system, transcript.greeting]).encode())
    for exchange in transcript.exchanges:
        state.update(json.dumps([exchange.user, exchange.assistant]).encode())
        yield state.digest()
