"""Recordings as blocks of 16 kHz samples, whatever form they come in, and how long they are.

Only forms in which the file itself holds its sound are opened: a play list or a list of files in a file that is called
`talk.mp3` would have other files read, or servers asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tuneline_transcriber.reading.documents import Unusable, refuse_stub

if TYPE_CHECKING:
    import numpy as np
    from av import AudioFrame, AudioResampler, AudioStream
    from av.container import InputContainer
    from numpy.typing import NDArray

RATE = 16_000
"""Samples per second, as Whisper takes them."""
_LEAST_RATE = 2_000
"""Samples per second of the poorest voice; fewer are a broken header, of which a small file would fill days."""
_OPTIONS = {
    "format_whitelist": "wav,w64,aiff,caf,au,flac,wv,ape,tta,mp3,aac,ac3,eac3,ogg,mov,matroska,asf,avi,amr,dss,mpeg,"
    "mpegts,flv",
    "protocol_whitelist": "file",
}
_ESTIMATED = frozenset({"mp3", "aac", "ac3", "eac3", "amr", "mpeg", "mpegts"})
"""Forms that nowhere say how long they are: ffmpeg guesses it from their first seconds."""
_MISSING = 0.9
"""A recording that holds less than this share of what it says it holds is cut short."""
_FIRST_FRAME = re.compile(rb"\xff[\xe0-\xff].{7,40}?(?:Xing|Info)\0\0\0[\x03\x07\x0b\x0f].{4}(.{4})", re.DOTALL)
"""Of an MP3 as encoders write it: how many frames and, as group 1, how many bytes there are."""
_UNKNOWN = "in a form that is not known: save it anew, as WAV or MP3"
_FEW, _LOST = 5, 0.01
"""So many packets of a recording may be damaged, or this share of them; players pass over them, too."""


def seconds_of(path: Path) -> float:
    """Return how long a recording is by its header, in seconds, 0 if that does not say. Raises Unusable."""
    import av

    _refuse_cut(path)
    try:
        with av.open(str(path), metadata_errors="ignore", options=_OPTIONS) as container:
            stream = _sound(container)
            declared = stream.duration * stream.time_base if stream.duration and stream.time_base else None
            return max(0.0, float(declared or (container.duration or 0) / av.time_base))
    except (av.error.FFmpegError, ValueError, OSError, IndexError):
        raise Unusable(f"the recording is broken, or {_UNKNOWN}") from None


def decoded(path: Path, channels: int) -> Iterator[NDArray[np.int16]]:
    """Yield blocks of samples, one column per channel. Raises Unusable."""
    import av

    done = 0
    _refuse_cut(path)
    try:
        with av.open(str(path), metadata_errors="ignore", options=_OPTIONS) as container:
            stream = _sound(container)
            if channels == 2 and stream.codec_context.channels != 2:
                count = stream.codec_context.channels
                raise Unusable(f"the recording has {count} channels, not one for each of two speakers")
            if stream.codec_context.sample_rate < _LEAST_RATE:
                raise Unusable(f"the recording has {stream.codec_context.sample_rate:,} samples a second: no speech")
            declared = _declared(container, stream)
            for frame in _resampled(_frames(container, stream), "stereo" if channels == 2 else "mono"):
                done += frame.samples
                yield _samples(frame, channels)
    except (av.error.FFmpegError, ValueError, OSError, IndexError):
        place = f" after {done / RATE:,.0f} s: save it anew, as WAV or MP3" if done else f", or {_UNKNOWN}"
        raise Unusable(f"the recording is broken{place}") from None
    if done / RATE < _MISSING * declared - 1:
        raise Unusable(f"the recording ends after {done / RATE:,.0f} of {declared:,.0f} s: copy it anew")


def _sound(container: InputContainer) -> AudioStream:
    """Return what of a file is heard. Raises Unusable."""
    import av

    stream = container.streams.best("audio")
    # A stream in a form that the library does not know has no context.
    if not isinstance(stream, av.AudioStream) or cast("object", stream.codec_context) is None:
        raise Unusable("the recording holds no sound that can be read: a film without, or in a form that is not known")
    return stream


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Yield what can be decoded. Raises Unusable for more damage than a few packets."""
    import av

    packets = lost = 0
    for packet in container.demux(stream):
        packets += 1
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            lost += 1
            continue
        for frame in frames:
            assert isinstance(frame, av.AudioFrame)
            yield frame
    if lost > max(_FEW, _LOST * packets):
        raise Unusable(f"the recording is broken: {lost:,} of its {packets:,} packets cannot be read; save it anew")


def _resampled(frames: Iterator[AudioFrame], layout: str) -> Iterator[AudioFrame]:
    """Yield frames of 16 kHz; what a file is put together from may have other rates and channels in each part."""
    import av

    form: tuple[object, ...] = ()
    resampler: AudioResampler | None = None
    for frame in frames:
        now = (frame.format.name, frame.layout.name, frame.layout.nb_channels, frame.sample_rate)
        if resampler is None or now != form:
            if resampler is not None:
                yield from resampler.resample(None)
            form, resampler = now, av.AudioResampler(format="s16", layout=layout, rate=RATE)
        frame.pts = None  # gaps in time stamps are no gaps in sound
        yield from resampler.resample(frame)
    if resampler is not None:
        yield from resampler.resample(None)


def _declared(container: InputContainer, stream: AudioStream) -> float:
    """Return how long the file itself says it is, in seconds, 0 if it does not."""
    import av

    if container.format.name in _ESTIMATED:
        return 0.0
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return 0.0 if container.streams.video else (container.duration or 0) / av.time_base


def _refuse_cut(path: Path) -> None:
    """Raise Unusable for a file that is shorter than its header says; where that was streamed, it says nothing."""
    with path.open("rb") as file:
        head = file.read(100)
        refuse_stub(head, "recording")
        tag = 10 + sum((byte & 127) << 7 * (3 - place) for place, byte in enumerate(head[6:10]))
        file.seek(tag if head[:3] == b"ID3" else 0)
        start, frame = file.tell(), file.read(200)
    said, there = 0, path.stat().st_size - 8
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        said = int.from_bytes(head[4:8], "little")
    elif found := _FIRST_FRAME.match(frame):
        said, there = int.from_bytes(found[1], "big"), path.stat().st_size - start
    if 0 < said < 2**31 - 2**16 and there < _MISSING * said:
        raise Unusable(f"the recording has {there:,} of {said:,} bytes: copy it anew")


def _samples(frame: AudioFrame, channels: int) -> NDArray[np.int16]:
    import numpy as np

    return frame.to_ndarray().astype(np.int16, copy=False).reshape(-1, channels)
