"""Talks that are heard and a prompt that is calibrated on a cluster, by the workflow `calibrate`."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.clusters import Cluster, task_of
from kit.speech import calibration, check_calibration

pytestmark = pytest.mark.timeout(900)


def test_a_prompt_is_calibrated_by_recorded_talks_and_found_again(cluster: Cluster, tmp_path: Path) -> None:
    file, nodes = calibration(tmp_path / "talks"), ("transcriber", "calibrator")
    uploaded = cluster.upload("store", file)
    name = cluster.submit(uploaded, "calibrate")
    assert cluster.wait(name) == "Succeeded", cluster.report(name)
    assert [task_of(node) for node in cluster.nodes(name)] == ["check", *nodes]
    found = cluster.manifests("store", "calibrate", nodes)
    for node in nodes:
        check_calibration(node, found[node])
    again = cluster.submit(uploaded, "calibrate")
    assert cluster.wait(again) == "Succeeded", cluster.report(again)
    assert all("found" in cluster.log(node) for node in cluster.nodes(again)[1:])
