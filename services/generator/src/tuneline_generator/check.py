"""What can be known before anything is written."""

from __future__ import annotations

from tuneline.stage import Checks
from tuneline_generator.stage import GeneratorParams


def check_given(params: GeneratorParams, checks: Checks) -> None:
    """Read recipe, writer and critic."""
