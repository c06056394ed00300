"""Sound of any length comes in chunks that are cut where it is quiet."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest

from kit.sounds import long_wave
from kit.speech import write_wave
from tuneline_transcriber.hearing.audio import chunks_of
from tuneline_transcriber.hearing.decoding import RATE
from tuneline_transcriber.reading.documents import Unusable


@pytest.mark.slow
def test_a_long_recording_needs_the_memory_of_a_few_chunks_and_every_second_is_heard_once(tmp_path: Path) -> None:
    path = long_wave(tmp_path / "long.wav", b"\x80\x90" * 240_000, 15)
    next(chunks_of(path, 10, 4, 1))  # what is imported counts for nothing
    tracemalloc.start()
    places = [(chunk.start, chunk.seconds) for chunk in chunks_of(path, 60, 4, 1)]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 14_000_000  # a chunk has 2 MB, the last half minute of it takes part of 10 for a moment; all has 29
    assert 15 <= len(places) <= 31 and sum(seconds for _, seconds in places) == pytest.approx(900, abs=0.5)
    assert all(a + b == pytest.approx(c) for (a, b), (c, _) in pairwise(places))


def test_a_chunk_is_cut_in_a_pause_and_channels_that_are_one_are_refused(tmp_path: Path) -> None:
    loud, pause = [8000, -8000] * (RATE // 2), [0] * (RATE // 2)
    path = write_wave(tmp_path / "a.wav", [[*loud * 8, *pause, *loud * 6]], RATE)
    first, _ = chunks_of(path, 10, 4, 1)
    assert 8.0 <= first.seconds <= 8.5
    path = write_wave(tmp_path / "b.wav", [loud, loud], RATE)
    with pytest.raises(Unusable, match="both channels"):
        list(chunks_of(path, 10, 4, 2))
    with pytest.raises(Unusable, match="longer than `max_hours`") as long:
        list(chunks_of(tmp_path / "a.wav", 10, 0.001, 1))
    assert long.value.status == "too_long"
