"""Who writes scripts by a prompt, and edits the prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

from tuneline.llm.config import MODELS, ModelConfig, read_asked_at_once
from tuneline_calibrator.models.answers import read_answer
from tuneline_calibrator.models.asking import Line, Lost
from tuneline_calibrator.models.evidence import Evidence, Refined, refine_messages, refine_schema
from tuneline_calibrator.models.offline import ExtractiveConfig
from tuneline_calibrator.talks.given import filled

WriterConfig: TypeAlias = ExtractiveConfig | ModelConfig
CONFIGS: Mapping[str, type[WriterConfig]] = {**MODELS, "extractive": ExtractiveConfig}
TASKS = ("script", "refine")


class Writer(Protocol):
    """Writes scripts. Safe for threads; every method raises Lost where there is no answer."""

    @property
    def label(self) -> str:
        """Name for people."""

    def script(self, prompt: str, source: str, profile: str, seed: int) -> str:
        """Return a script by a prompt."""

    def refine(self, prompt: str, evidence: Evidence, problem: str = "") -> Refined:
        """Return an edited prompt; `problem` is what was wrong with an earlier one."""


def load_writer(path: Path) -> WriterConfig:
    """Read who writes. Raises UserError with file, line and field."""
    return read_asked_at_once(path, CONFIGS, "each trial waits for the one before")


class ModelWriter:
    """Lets a language model write."""

    def __init__(self, line: Line) -> None:
        self.label, self._line = line.label, line

    def script(self, prompt: str, source: str, profile: str, seed: int) -> str:
        message = {"role": "user", "content": filled(prompt, source, profile)}
        told = self._line.ask("script", [message], seed=seed)
        if told.status:
            raise Lost(told.status)
        return told.text

    def refine(self, prompt: str, evidence: Evidence, problem: str = "") -> Refined:
        mark = hashlib.sha256(f"{prompt}{evidence.told()}".encode("utf-8", "replace")).hexdigest()[:16]
        messages = refine_messages(prompt, evidence, mark, problem)
        return self._line.read("refine", messages, refine_schema(), lambda text: read_answer(text, Refined))
