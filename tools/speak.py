"""Has espeak-ng read texts aloud: python tools/speak.py TEXTS DEST

Every `TEXTS/<name>.txt` becomes `DEST/<name>.wav`, 150 words a minute. No sound is part of the project; it is made.
"""

from __future__ import annotations

import array
import ctypes
import sys
import wave
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import espeakng_loader

WORDS_A_MINUTE = 150


@cache
def _engine() -> tuple[ctypes.CDLL, int]:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(2, 0, str(Path(espeakng_loader.get_data_path())).encode(), 0)
    if rate <= 0:
        raise OSError("espeak-ng cannot be initialised")
    library.espeak_SetVoiceByName(b"en-us")
    library.espeak_SetParameter(1, WORDS_A_MINUTE, 0)
    return library, rate


def spoken(text: str) -> tuple[list[int], int]:
    """Return what espeak-ng says: samples of 16 bits, and their rate."""
    library, rate = _engine()
    samples = array.array("h")
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

    def take(data: Any, count: int, _: Any) -> int:
        if data and count > 0:
            samples.extend(data[:count])
        return 0

    callback = kind(take)  # it must live until the end
    library.espeak_SetSynthCallback(callback)
    said = text.encode() + b"\0"
    assert library.espeak_Synth(said, len(said), 0, 0, 0, 1, None, None) == 0
    library.espeak_Synchronize()
    return samples.tolist(), rate


def write_wave(path: Path, channels: Sequence[Sequence[int]], rate: int) -> Path:
    """Write samples, one list per channel."""
    longest = max(map(len, channels))
    padded = [[*one, *([0] * (longest - len(one)))] for one in channels]
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(array.array("h", [value for row in zip(*padded, strict=True) for value in row]).tobytes())
    return path


def speak(text: str, path: Path) -> Path:
    """Write what espeak-ng says, as WAV."""
    samples, rate = spoken(text)
    return write_wave(path, [samples], rate)


def main() -> None:
    """Read the texts of a folder aloud."""
    texts, dest = map(Path, sys.argv[1:])
    for text in sorted(texts.glob("*.txt")):
        speak(text.read_text(), dest / f"{text.stem}.wav")


if __name__ == "__main__":
    main()
