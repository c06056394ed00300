"""Recordings of any form are heard whole, and a file that would have others opened is none."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from kit.sounds import FORMS, HEADERS, PCM, RATE, SAMPLES, SECONDS, id3, riff, tone
from tuneline.parsing.text import POINTER
from tuneline_transcriber.hearing.decoding import decoded, seconds_of
from tuneline_transcriber.reading.documents import Unusable


def heard(path: Path, channels: int = 1) -> tuple[float, float]:
    """Return the seconds of a recording, and how loud it is."""
    samples = np.concatenate(list(decoded(path, channels))).astype(np.float64)
    return len(samples) / RATE, float(np.sqrt((samples**2).mean()))


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_heard_whole(name: str, tmp_path: Path) -> None:
    codec, more = FORMS[name]
    path = tone(tmp_path / name, codec, **more)
    seconds, loud = heard(path)
    assert seconds == pytest.approx(SECONDS, abs=0.2) and loud > 1000
    said = seconds_of(path)
    assert said == (0 if name == "browser.webm" else pytest.approx(SECONDS, abs=0.2))


@pytest.mark.parametrize("name", HEADERS)
def test_a_wav_whose_header_does_not_say_how_long_it_is_is_heard_to_its_end(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(HEADERS[name])
    assert heard(tmp_path / name)[0] == seconds_of(tmp_path / name) == SECONDS
    if name == "extensible.wav":
        assert heard(tmp_path / name, 2)[0] == SECONDS


def test_a_header_of_too_few_samples_a_second_is_no_recording_of_days(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(riff(len(PCM) + 36, len(PCM), rate=1))
    with pytest.raises(Unusable, match="has 1 samples a second"):
        heard(tmp_path / "a.wav")


def test_the_ending_of_a_name_says_nothing_and_neither_do_tags_and_covers(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(tone(tmp_path / "a.opus", "libopus", 48_000).read_bytes())
    (tmp_path / "b.mp3").write_bytes(id3(200_000) + tone(tmp_path / "a.mp3", "libmp3lame").read_bytes())
    for name in ("a.wav", "b.mp3"):
        assert heard(tmp_path / name)[0] == pytest.approx(SECONDS, abs=0.1)


def test_parts_of_other_rates_and_channels_in_one_file_are_heard_one_after_the_other(tmp_path: Path) -> None:
    speech = tone(tmp_path / "a.mp3", "libmp3lame", 22_050).read_bytes()
    (tmp_path / "podcast.mp3").write_bytes(
        speech + tone(tmp_path / "b.mp3", "libmp3lame", layout="stereo").read_bytes() + speech
    )
    assert heard(tmp_path / "podcast.mp3")[0] == pytest.approx(3 * SECONDS, abs=0.5)


def test_a_few_damaged_packets_are_passed_over_and_many_are_not(tmp_path: Path) -> None:
    whole = bytearray(tone(tmp_path / "a.m4a", "aac").read_bytes())
    whole[20_000:20_200] = bytes(place * 37 & 255 for place in range(200))
    (tmp_path / "few.m4a").write_bytes(whole)
    assert heard(tmp_path / "few.m4a")[0] == pytest.approx(SECONDS, abs=0.2)
    whole[8_000:30_000] = bytes(place * 37 & 255 for place in range(22_000))
    (tmp_path / "many.m4a").write_bytes(whole)
    with pytest.raises(Unusable, match="packets cannot be read"):
        heard(tmp_path / "many.m4a")


@pytest.mark.parametrize("name", ["a.mp3", "a.webm", "a.flac", "film.mkv", "a.aiff"])
def test_a_recording_that_is_cut_short_says_so(name: str, tmp_path: Path) -> None:
    codec, more = FORMS[name]
    whole = tone(tmp_path / name, codec, **more).read_bytes()
    (tmp_path / f"cut-{name}").write_bytes(whole[: len(whole) // 2])
    if name == "film.mkv":  # its film is longer than its sound, or shorter: nothing says how long the sound is
        assert heard(tmp_path / f"cut-{name}")[0] < SECONDS
        return
    with pytest.raises(Unusable, match="bytes: copy it anew" if name == "a.mp3" else "ends after 2 of 4 s"):
        heard(tmp_path / f"cut-{name}")


@pytest.mark.parametrize(
    ("content", "why"),
    [(riff(len(PCM) + 36, len(PCM))[:50_000], "has 49,992 of 128,036 bytes"), (b"", "is an empty file"),
     (POINTER + b"v1\noid sha256:0\nsize 9\n", "git lfs pull")],
    ids=["cut", "empty", "pointer"],
)  # fmt: skip
def test_a_wav_that_is_not_all_there_says_so(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    for asked in (seconds_of, heard):
        with pytest.raises(Unusable, match=why):
            asked(tmp_path / "a.wav")


def test_sound_in_a_form_that_nobody_knows_says_so(tmp_path: Path) -> None:
    sound = bytearray(riff(len(PCM) + 36, len(PCM)))
    sound[20:22] = b"\xfe\xab"
    (tmp_path / "a.wav").write_bytes(sound)
    for asked in (seconds_of, heard):
        with pytest.raises(Unusable, match=r"holds no sound that can be read: .* in a form that is not known"):
            asked(tmp_path / "a.wav")


def test_a_film_without_sound_says_so(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        film = out.add_stream("mpeg4", rate=10)
        assert isinstance(film, av.VideoStream)
        film.width, film.height, film.pix_fmt = 64, 64, "yuv420p"
        out.mux(film.encode(av.VideoFrame(64, 64, "yuv420p")))
        out.mux(film.encode(None))
    for asked in (seconds_of, heard):
        with pytest.raises(Unusable, match="holds no sound"):
            asked(tmp_path / "a.mp4")


def test_an_mp3_of_changing_bit_rate_that_counts_no_frames_is_not_taken_for_cut(tmp_path: Path) -> None:
    noise = (np.random.default_rng(0).standard_normal(RATE * 8) * 6000).astype(np.int16)
    samples = np.concatenate([np.zeros(RATE * 8, np.int16), noise])
    quality = {"flags": "+qscale", "global_quality": str(118 * 4)}
    path = tone(tmp_path / "vbr.mp3", "libmp3lame", RATE, samples=samples, options={"write_xing": "0"}, quality=quality)
    guess = seconds_of(path)
    assert guess > 30 and heard(path)[0] == pytest.approx(16, abs=0.3)


PLAY_LIST = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:6,\nother.wav\n#EXT-X-ENDLIST\n"
SESSION = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"


@pytest.mark.parametrize(
    "content", [PLAY_LIST, "ffconcat version 1.0\nfile 'other.wav'\n", SESSION, "<html>404</html>"]
)
def test_a_file_that_has_others_opened_or_holds_no_sound_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "other.wav").write_bytes(riff(len(PCM) + 36, len(PCM)))
    for name in ("a.wav", "a.mp3", "a.m4a"):
        (tmp_path / name).write_text(content)
        for asked in (seconds_of, heard):
            with pytest.raises(Unusable, match="in a form that is not known"):
                asked(tmp_path / name)


def test_channels_that_are_not_two_speakers_are_refused_and_two_are_kept_apart(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="has 6 channels"):
        heard(tone(tmp_path / "a.m4a", "aac", 48_000, "5.1"), 2)
    both = next(decoded(tone(tmp_path / "b.flac", "flac", RATE, "stereo"), 2))
    assert both.shape[1] == 2 and len(SAMPLES) == int(SECONDS * RATE)
