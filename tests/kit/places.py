"""Where the project's folders are."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
KIT = ROOT / "tests" / "kit"
REAL_DATA = ROOT.parent / "shared" / "data" / "therapy-coach"
"""A real data set beside the project; tests that read it are skipped where it is not."""
