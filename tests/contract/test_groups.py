"""Tests that share what is made once are run by one worker."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("itself")
def test_the_mark_of_a_group_reaches_what_distributes_the_tests(request: pytest.FixtureRequest) -> None:
    grouped = request.config.getoption("loadgroup", default=False)
    assert not grouped or request.node.nodeid.endswith("@itself")
