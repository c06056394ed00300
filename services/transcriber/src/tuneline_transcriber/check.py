"""What can be known before anything is recognised."""

from __future__ import annotations

from pathlib import Path

from tuneline.errors import UserError
from tuneline.stage import Checks
from tuneline_transcriber.hearing.decoding import seconds_of
from tuneline_transcriber.hearing.recogniser import (
    GivenConfig,
    HostedConfig,
    WhisperConfig,
    find_weights,
    load_recogniser,
)
from tuneline_transcriber.reading.documents import Unusable
from tuneline_transcriber.reading.references import read_folder
from tuneline_transcriber.stage import TranscriberParams

_ENGLISH = "the Whisper that is used without `speech_model` knows English only"


def check_given(params: TranscriberParams, checks: Checks) -> None:
    """Read the recogniser, and see which references are whole."""
    config = checks.read("recogniser", load_recogniser)
    if isinstance(config, HostedConfig):
        with checks.about("recogniser"):
            config.key(checks.secret)
    if isinstance(config, GivenConfig) and params.measure_errors:
        with checks.about("measure_errors"):
            raise UserError("`measure_errors`: nothing is recognised with the recogniser `given`")
    if isinstance(config, WhisperConfig) and (checks.origin("speech_model") is None):
        with checks.about("recogniser"):
            find_weights(None)
            _refuse_other_languages(config.language, checks)
    references = checks.read("references", read_folder)
    if not references:
        return
    said, what = [one for one in references if one.audio or one.transcript], "document or recording"
    if isinstance(config, GivenConfig):
        said, what = [one for one in references if one.transcript], "document or transcript (nothing recognises)"
    whole = [one for one in said if one.source or not params.require_source]
    if len(whole) < params.min_pairs or (params.on_bad == "fail" and len(whole) < len(references)):
        with checks.about("references"):
            missing = sorted({one.name for one in references} - {one.name for one in whole})
            raise UserError(
                f"{len(missing):,} of {len(references):,} references lack {what}, {missing[0]} first: "
                "`tuneline pairs` lists them, `on_bad: skip` goes on without them"
            )
    try:
        hours = sum(_seconds(one.audio) for one in whole if one.audio) / 3600
        sound = f", {hours:.2f} hours of sound"
    except ModuleNotFoundError:  # the image that checks for all stages reads no sound
        sound = ""
    checks.note(f"{len(whole):,} of {len(references):,} references are whole{sound}")


def _refuse_other_languages(language: str | None, checks: Checks) -> None:
    """Raise UserError, or warn, where the small Whisper that is there without `speech_model` makes English of all."""
    if language is None:
        checks.warn("recogniser", f"{_ENGLISH}, and makes English of others: say `language: en`, or name another")
    elif language != "en":
        raise UserError(f"language: {_ENGLISH}: name another (hf://Systran/faster-whisper-base)")


def _seconds(audio: Path) -> float:
    """Return how long a recording is as far as anything says so; the plan names those that are broken."""
    try:
        return seconds_of(audio)
    except Unusable:
        return 0.0
