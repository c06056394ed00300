"""Who writes scripts by a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from tuneline.llm.config import MODELS, ModelConfig, provider_in, refuse_batch
from tuneline.parsing.yaml import read_yaml
from tuneline_calibrator.asking import Line, Lost

CONFIGS: Mapping[str, type[ModelConfig]] = MODELS


class Writer(Protocol):
    """Writes scripts. Safe for threads."""

    @property
    def label(self) -> str:
        """Name for people."""

    def script(self, prompt: str, seed: int) -> str:
        """Return a script by a filled prompt. Raises Lost where there is none."""


def load_writer(path: Path) -> ModelConfig:
    """Read who writes. Raises UserError with file, line and field."""
    source = read_yaml(path)
    config = provider_in(source, CONFIGS)
    refuse_batch(config, source, "each trial waits for the one before")
    return config


class ModelWriter:
    """Lets a language model write."""

    def __init__(self, line: Line) -> None:
        self.label, self._line = line.label, line

    def script(self, prompt: str, seed: int) -> str:
        told = self._line.ask("script", [{"role": "user", "content": prompt}], seed=seed)
        if told.status:
            raise Lost(told.status)
        return told.text
