"""The recogniser `faster-whisper`: Whisper on this machine's processor, with weights of 8 bits."""

from __future__ import annotations

from pathlib import Path

from tuneline.data.text.recordings import Segment
from tuneline.errors import UserError
from tuneline_transcriber.hearing.audio import Chunk
from tuneline_transcriber.hearing.recogniser import Heard, WhisperConfig


class Whisper:
    """Hears with a model from a folder; it never asks a hub."""

    def __init__(self, config: WhisperConfig, weights: Path, threads: int, workers: int, vad: bool) -> None:
        from faster_whisper import WhisperModel

        self._config, self._vad = config, vad
        try:
            self._model = WhisperModel(
                str(weights), device="cpu", compute_type="int8", cpu_threads=threads, num_workers=workers,
                local_files_only=True,
            )  # fmt: skip
        except (RuntimeError, ValueError, TypeError, KeyError, OSError) as e:
            raise UserError(f"speech_model: it cannot be loaded ({type(e).__name__}); is it a whole Whisper?") from None
        known = self._model.supported_languages
        if config.language and config.language not in known:
            raise UserError(f"recogniser: language: this model does not know `{config.language}`; it knows "
                            f"{', '.join(sorted(known)[:10])}{' …' if len(known) > 10 else ''}")  # fmt: skip

    def hear(self, chunk: Chunk, language: str | None) -> Heard:
        import numpy as np

        samples = chunk.samples.astype(np.float32) / 32768.0
        found, info = self._model.transcribe(
            samples, language=language or self._config.language, beam_size=self._config.beam,
            temperature=self._config.temperature, condition_on_previous_text=False, vad_filter=self._vad,
        )  # fmt: skip
        segments = [
            Segment(
                start=round(max(0.0, one.start), 3), end=round(max(0.0, one.start, one.end), 3),
                text=one.text.strip(), avg_logprob=round(one.avg_logprob, 4), no_speech=round(one.no_speech_prob, 4),
            )
            for one in found if one.text.strip()
        ]  # fmt: skip
        return Heard(segments=segments, language=info.language if segments else None)
