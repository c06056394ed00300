"""Commands of stages that are killed with -9, after so many calls to a scripted server."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kit.scripted_openai import ScriptedOpenAI
from tuneline.engine.context import BEAT_SECONDS

FLUSH_SECONDS = 2.0
"""How long a busy machine may take to write what a beat has found."""


class Kill(NamedTuple):
    """Between which two moments a command died: some calls come after it is decided."""

    decided: float
    dead: float


def killed_at_random(
    commands: Sequence[list[str]], server: ScriptedOpenAI, *, calls: tuple[int, int], seed: int
) -> list[Kill]:
    """Start one after the other and kill each after so many calls, drawn; return when, of half of them at least."""
    drawn = random.Random(seed)
    found = [killed_after(drawn.randint(*calls), server, words) for words in commands]
    kills = [kill for kill in found if kill is not None]
    assert len(kills) >= len(commands) / 2
    return kills


def lost_by(kills: Iterable[Kill], server: ScriptedOpenAI) -> int:
    """Return how many calls are so shortly before a kill that nothing may be left of them."""
    last = BEAT_SECONDS + FLUSH_SECONDS
    return sum(any(decided - last <= call.at <= dead for decided, dead in kills) for call in server.calls)


def killed_after(calls: int, server: ScriptedOpenAI, words: list[str]) -> Kill | None:
    """Start it and kill it once it has made so many calls; return when, None if it was done before."""
    seen = len(server.calls)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while process.poll() is None and len(server.calls) < seen + calls:
            time.sleep(0.005)
        decided = time.monotonic()
    finally:
        process.kill()
        _, said = process.communicate()
    assert process.returncode in (0, -9), said.decode()
    return Kill(decided, time.monotonic()) if process.returncode else None
