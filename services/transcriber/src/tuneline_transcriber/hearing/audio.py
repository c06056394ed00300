"""Sound as 16 kHz samples, some minutes at a time: a recording of any length needs the memory of one chunk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tuneline_transcriber.hearing.decoding import RATE, decoded
from tuneline_transcriber.reading.documents import Unusable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LOOK_BACK_S = 30
"""A chunk is cut where it is quietest in its last seconds."""
_WINDOW_S = 0.2
_SAME = 0.02
"""Two channels that differ by less, of their mean loudness, are one."""
_EACH = 7
"""Of so many samples one is compared."""


class Chunk(NamedTuple):
    """Some minutes of one channel."""

    channel: int
    """From 0."""
    number: int
    start: float
    """Seconds from the beginning of the recording."""
    samples: NDArray[np.int16]

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE


def chunks_of(path: Path, seconds: int, max_hours: float, channels: int) -> Iterator[Chunk]:
    """Yield a recording in chunks of at most `seconds`, channel by channel in each.

    `channels` is 1 for all mixed, 2 for a speaker in each. Raises Unusable.
    """
    start, number, apart, loud = 0, 0, 0.0, 0.0
    for samples in _pieces(path, seconds * RATE, channels):
        if start + len(samples) > max_hours * 3600 * RATE:
            raise Unusable(f"the recording is longer than `max_hours` ({max_hours:g})", "too_long")
        for channel in range(channels):
            yield Chunk(channel, number, start / RATE, samples[:, channel])
        start, number = start + len(samples), number + 1
        if channels == 2:
            apart, loud = apart + _difference(samples), loud + _loudness(samples)
    if not start:
        raise Unusable("the recording holds no sound")
    if channels == 2 and loud and apart / loud < _SAME:
        raise Unusable("both channels hold the same; with speakers mixed, use `channels: mixed`")


def _pieces(path: Path, most: int, channels: int) -> Iterator[NDArray[np.int16]]:
    """Yield a recording in pieces of at most `most` samples, cut where it is quiet. Raises Unusable."""
    import numpy as np

    blocks: list[NDArray[np.int16]] = []
    held = 0
    for block in decoded(path, channels):
        blocks.append(block)
        held += len(block)
        while held >= most:
            whole = np.concatenate(blocks)
            cut = _quietest(whole, most)
            yield whole[:cut]
            blocks, held = [whole[cut:].copy()], len(whole) - cut
    if held:
        yield np.concatenate(blocks)


def _quietest(samples: NDArray[np.int16], most: int) -> int:
    """Return where to cut, in the last seconds before `most` samples."""
    import numpy as np

    window, back = int(_WINDOW_S * RATE), min(_LOOK_BACK_S * RATE, most // 2)
    loud = np.abs(samples[most - back : most].astype(np.int32)).sum(axis=1)
    sums = loud[: len(loud) // window * window].reshape(-1, window).sum(axis=1)
    return int(most - back + (int(np.argmin(sums)) + 0.5) * window)


def _difference(samples: NDArray[np.int16]) -> float:
    import numpy as np

    return float(np.abs(np.diff(samples[::_EACH].astype(np.int32), axis=1)).mean() * len(samples))


def _loudness(samples: NDArray[np.int16]) -> float:
    import numpy as np

    return float(np.abs(samples[::_EACH].astype(np.int32)).mean() * len(samples))
