"""Items: everything random about one follows from its number, so that nothing depends on order or parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeVar

T = TypeVar("T")

Stream = Literal["train", "test"]


def id_of(stream: Stream, number: int) -> str:
    """Return the id of what item `number` of a stream becomes."""
    return f"{stream}-{number:07d}"


class Item(NamedTuple):
    """Item `number`, from 0, of a stream: `train` is for learning, `test` for comparing."""

    start: int
    """The parameter `seed`."""
    stream: Stream
    number: int

    def seed(self, step: str) -> int:
        """Return the seed of a step, from 0 to 2^31 - 1."""
        drawn = hashlib.sha256(f"{self.start}/{self.stream}/{self.number}/{step}".encode()).digest()
        return int.from_bytes(drawn[:4], "big") >> 1

    def of(self, categories: Sequence[T]) -> T:
        """Return its category: they take turns."""
        return categories[self.number % len(categories)]

    def some(self, count: int, of: int, step: str = "shots") -> list[int]:
        """Draw `count` different places below `of`."""
        seed = self.seed(step)
        return sorted(range(of), key=lambda place: hashlib.sha256(f"{seed}/{place}".encode()).digest())[:count]
