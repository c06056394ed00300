"""Sound in the forms that recorders, phones and editors write: a tone of four seconds, encoded by ffmpeg's libraries.

tone(folder / "a.m4a", "aac")
"""

from __future__ import annotations

import struct
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

SECONDS, RATE = 4.0, 16_000
SAMPLES: NDArray[np.int16] = (np.sin(np.arange(int(SECONDS * RATE)) * 0.17) * 8000).astype(np.int16)
PCM = SAMPLES.tobytes()


def tone(
    path: Path, codec: str, rate: int = 44_100, layout: str = "mono", *, samples: NDArray[np.int16] = SAMPLES,
    video: bool = False, options: dict[str, str] | None = None, quality: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    """Write samples of 16 kHz as `codec`, with a film of two seconds if asked."""
    with av.open(str(path), "w", options=options or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=quality or {})
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        if video:
            film = out.add_stream("mpeg4", rate=10)
            assert isinstance(film, av.VideoStream)
            film.width, film.height, film.pix_fmt = 64, 64, "yuv420p"
            for _ in range(20):
                out.mux(film.encode(av.VideoFrame(64, 64, "yuv420p")))
            out.mux(film.encode(None))
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = RATE
        size = stream.codec_context.frame_size or None
        resampler = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate, frame_size=size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return path


def long_wave(path: Path, piece: bytes, times: int) -> Path:
    """Write samples of 8 bits and 8 kHz, the same so many times, without holding them all."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        for _ in range(times):
            file.writeframes(piece)
    return path


def riff(riff_size: int, data_size: int, *, channels: int = 1, rate: int = RATE, extensible: bool = False) -> bytes:
    """Return a WAV of `PCM` with the lengths that its header is to say."""
    frame, guid = channels * 2, struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else 1, channels, rate, rate * frame, frame, 16)
    form += struct.pack("<HHI", 22, 16, 0) + guid if extensible else b""
    head = b"RIFF" + struct.pack("<I", riff_size) + b"WAVEfmt " + struct.pack("<I", len(form)) + form
    return head + b"data" + struct.pack("<I", data_size) + PCM


def id3(pictures: int) -> bytes:
    """Return an ID3 tag with a title and a cover of so many bytes."""
    frames: list[tuple[bytes, bytes]] = [
        (b"TIT2", b"\x01" + "Täl".encode("utf-16")),
        (b"APIC", b"\x00image/png\x00\x03\x00" + b"\x89PNG\r\n\x1a\n" + b"Xing" * (pictures // 4)),
    ]
    body = b"".join(name + struct.pack(">I", len(data)) + b"\0\0" + data for name, data in frames)
    size = bytes(len(body) >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + size + body


FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "a.m4a": ("aac", {}), "lossless.m4a": ("alac", {}), "a.mp3": ("libmp3lame", {}), "a.flac": ("flac", {}),
    "a.ogg": ("libopus", {"rate": 48_000}), "a.opus": ("libopus", {"rate": 48_000}),
    "a.webm": ("libopus", {"rate": 48_000}), "browser.webm": ("libopus", {"rate": 48_000, "options": {"live": "1"}}),
    "a.aac": ("aac", {}), "a.wma": ("wmav2", {"quality": {"b": "64k"}}),
    "a.aiff": ("pcm_s16be", {}), "a.caf": ("pcm_s16le", {}), "a.amr": ("amr_nb", {"rate": 8000}), "a.3gp": ("aac", {}),
    "a.ts": ("aac", {}), "a.flv": ("aac", {}), "a.wv": ("wavpack", {}), "film.mp4": ("aac", {"video": True}),
    "film.mkv": ("libmp3lame", {"video": True}), "film.avi": ("libmp3lame", {"video": True}),
    "pieces.mp4": ("aac", {"options": {"movflags": "frag_keyframe+empty_moov"}}),
    "24-bit.wav": ("pcm_s24le", {}), "float.wav": ("pcm_f32le", {}), "double.wav": ("pcm_f64le", {}),
    "u8.wav": ("pcm_u8", {"rate": 8000}), "mu-law.wav": ("pcm_mulaw", {"rate": 8000}),
    "a-law.wav": ("pcm_alaw", {"rate": 8000}), "adpcm.wav": ("adpcm_ms", {"rate": 8000}),
    "mp3-in.wav": ("libmp3lame", {}), "large.wav": ("pcm_s16le", {"options": {"rf64": "always"}}),
    "5.1.wav": ("pcm_s16le", {"rate": 48_000, "layout": "5.1"}), "5.1.m4a": ("aac", {"rate": 48_000, "layout": "5.1"}),
    "stereo.mp3": ("libmp3lame", {"layout": "stereo"}), "96k.flac": ("flac", {"rate": 96_000, "layout": "stereo"}),
}  # fmt: skip
"""What people record with, by file name: the codec, and what else `tone` is told."""

HEADERS: dict[str, bytes] = {
    "streamed-0.wav": riff(0, 0), "streamed-ff.wav": riff(2**32 - 1, 2**32 - 1),
    "streamed-7f.wav": riff(2**31 - 1, 2**31 - 37), "data-ff.wav": riff(len(PCM) + 36, 2**32 - 1),
    "extensible.wav": riff(len(PCM) + 60, len(PCM), channels=2, rate=8000, extensible=True),
}  # fmt: skip
"""WAVs as programs leave them that could not go back to their header."""
