"""Sound as 16 kHz samples, some minutes at a time: a recording of any length needs the memory of one chunk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tuneline_transcriber.documents import Unusable

if TYPE_CHECKING:
    import numpy as np
    from av import AudioFrame
    from numpy.typing import NDArray

RATE = 16_000
"""Samples per second, as Whisper takes them."""
_LOOK_BACK_S = 30
"""A chunk is cut where it is quietest in its last seconds."""
_WINDOW_S = 0.2
_MISSING = 0.9
"""A recording that holds less than this share of what it says it holds is cut short."""
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
    for block in _decoded(path, channels):
        blocks.append(block)
        held += len(block)
        while held >= most:
            whole = np.concatenate(blocks)
            cut = _quietest(whole, most)
            yield whole[:cut]
            blocks, held = [whole[cut:].copy()], len(whole) - cut
    if held:
        yield np.concatenate(blocks)


def _decoded(path: Path, channels: int) -> Iterator[NDArray[np.int16]]:
    """Yield blocks of samples, one column per channel. Raises Unusable."""
    import av

    done, declared = 0, 0.0
    _refuse_cut(path)
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise Unusable("the recording is broken: it holds no sound that can be read")
            stream = container.streams.audio[0]
            declared = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
            if channels == 2 and stream.codec_context.channels != 2:
                raise Unusable(
                    f"the recording has {stream.codec_context.channels} channels, not one for each of two speakers"
                )
            resampler = av.AudioResampler(format="s16", layout="stereo" if channels == 2 else "mono", rate=RATE)
            for frame in container.decode(stream):
                frame.pts = None  # gaps in time stamps are no gaps in sound
                for out in resampler.resample(frame):
                    done += out.samples
                    yield _samples(out, channels)
            for out in resampler.resample(None):
                done += out.samples
                yield _samples(out, channels)
    except (av.error.FFmpegError, ValueError, OSError, IndexError):
        raise Unusable(
            f"the recording is broken{f' after {done / RATE:,.0f} s' if done else ''}: save it anew"
        ) from None
    if done / RATE < _MISSING * declared - 1:
        raise Unusable(f"the recording ends after {done / RATE:,.0f} of {declared:,.0f} s: copy it anew")


def _refuse_cut(path: Path) -> None:
    """Raise Unusable for a WAV that is shorter than its header says; where that was streamed, it says nothing."""
    with path.open("rb") as file:
        head = file.read(12)
    said, there = int.from_bytes(head[4:8], "little"), path.stat().st_size - 8
    if head[:4] == b"RIFF" and head[8:] == b"WAVE" and said < 2**31 - 2**16 and there < _MISSING * said:
        raise Unusable(f"the recording has {there:,} of {said:,} bytes: copy it anew")


def _samples(frame: AudioFrame, channels: int) -> NDArray[np.int16]:
    import numpy as np

    return frame.to_ndarray().astype(np.int16, copy=False).reshape(-1, channels)


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
