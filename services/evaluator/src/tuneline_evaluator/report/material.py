"""What earlier stages of the run left for the report: each file is optional, and the report says what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class ReportMaterial(NamedTuple):
    """Files that the report reads apart from the comparison itself; None where the run did not make one."""

    assessed: Path | None
    """verdicts.jsonl of the assessor."""
    slices_stats: Path | None
    """slices.stats.json of the slicer."""
    training: Path | None
    """training.json of the trainer."""
    training_metrics: Path | None
    """metrics.jsonl of the trainer."""
    model_info: Path
    """gguf.json of the fine-tuned model."""
    base_info: Path
    """gguf.json of the base model."""
