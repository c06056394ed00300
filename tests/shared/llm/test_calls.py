"""Calls that are tried again."""

from __future__ import annotations

import weakref
from typing import NamedTuple

from tuneline.errors import Fault
from tuneline.llm.calls import Calls, Patience
from tuneline.stage import Usage


class Body:
    """What was answered."""


class Answered(NamedTuple):
    usage: Usage = Usage()


def test_what_failed_attempts_were_answered_is_not_kept_while_the_next_is_made() -> None:
    bodies: list[weakref.ref[Body]] = []
    held: list[int] = []

    async def attempt() -> Answered:
        held.append(sum(one() is not None for one in bodies))
        body = Body()
        bodies.append(weakref.ref(body))
        if len(bodies) < 3:
            raise Fault("the connection broke")
        return Answered()

    async def hang_up() -> None:
        pass

    calls = Calls("http://127.0.0.1:1", 60, 1, Patience(first_wait_s=0.01, longest_wait_s=0.02), None)
    try:
        calls.make(attempt, None)
    finally:
        calls.close(hang_up)
    assert held == [0, 0, 0]
