"""Every test of batches, for every vendor and without long waits."""

from __future__ import annotations

import pytest

from kit.scripted_vendors import PROTOCOLS, Protocol
from tuneline.llm.batches import run as module


@pytest.fixture(params=PROTOCOLS, ids=lambda p: p.provider)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    found: Protocol = request.param
    return found


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"DURABLE_S": 0.0, "FIRST_POLL_S": 0.01, "LONGEST_POLL_S": 0.02, "SAFE_POINT_S": 0.01}.items():
        monkeypatch.setattr(module, name, seconds)
