"""The whole demonstration in containers, through an S3 server that is the only thing they reach."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from kit.containers import KEYS, NODES, Chain, Site, docker, output_hashes, wait_code
from kit.places import ROOT
from kit.speech import calibration, check_calibration
from tuneline.engine.records import Manifest

pytestmark = pytest.mark.timeout(900)

CONCURRENCY = 4
"""The judge's calls at once."""


def test_the_outputs_in_s3_are_those_of_the_laptop(chain: Chain, laptop: dict[str, Manifest]) -> None:
    for node in NODES:
        print(f"{node}: {chain.seconds[node]:.1f} s, on the laptop {laptop[node].seconds} s")
    for node in ("assessor", "slicer", "trainer", "gguf-converter@base", "gguf-converter"):
        assert chain.manifests[node].fingerprint == laptop[node].fingerprint
    for node in ("assessor", "slicer", "trainer"):
        assert output_hashes(chain.manifests[node]) == output_hashes(laptop[node])
    for node in ("gguf-converter@base", "gguf-converter"):
        assert output_hashes(chain.manifests[node])["model"] == output_hashes(laptop[node])["model"]
    assert chain.manifests["evaluator"].metrics.counts["verdict"] == laptop["evaluator"].metrics.counts["verdict"]


def test_talks_are_heard_and_a_prompt_is_calibrated_by_them(site: Site, tmp_path: Path) -> None:
    file = calibration(tmp_path / "talks")
    for node in ("transcriber", "calibrator"):
        site.run(node, "talks", file)
        check_calibration(node, site.manifest(node, "talks", "calibrate"))


def test_every_container_again_finds_its_result(chain: Chain, site: Site) -> None:
    for node in NODES:
        name = site.start(node, "chain")
        assert wait_code(name) == 0
        assert f"{node} {chain.manifests[node].fingerprint[:12]} found" in site.logs(name)


def test_each_container_killed_twice_and_started_again_ends_in_the_same_results(chain: Chain, site: Site) -> None:
    for node in NODES:
        for _ in range(2):
            name = site.start(node, "killed")
            time.sleep(random.uniform(0.1, 0.9) * chain.seconds[node])
            docker("kill", "--signal", "KILL", name, check=False)
            code = wait_code(name)
            assert code in (0, 137), site.logs(name)
        site.run(node, "killed")
        if node in ("assessor", "slicer", "trainer"):
            assert output_hashes(site.manifest(node, "killed")) == output_hashes(chain.manifests[node])
    assert (
        site.manifest("evaluator", "killed").metrics.counts["verdict"]
        == chain.manifests["evaluator"].metrics.counts["verdict"]
    )


def test_docker_stop_saves_the_training_and_the_next_container_goes_on(chain: Chain, site: Site) -> None:
    for node in ("assessor", "slicer"):
        site.run(node, "stopped")
    name = site.start("trainer", "stopped")
    while "settings resolved" not in site.logs(name):  # how long it takes to come so far hangs on the machine
        time.sleep(0.2)
    time.sleep(3)  # it trains, or will stop behind its first step
    start = time.monotonic()
    docker("stop", "--time", "30", name)
    assert time.monotonic() - start < 25
    assert wait_code(name) == 75, site.logs(name)
    site.run("trainer", "stopped")
    manifest = site.manifest("trainer", "stopped")
    assert output_hashes(manifest) == output_hashes(chain.manifests["trainer"])
    assert manifest.metrics.counts["resumed_from_step"], manifest.metrics


def test_a_killed_assessor_pays_only_for_what_was_in_flight_again(site: Site, tmp_path: Path) -> None:
    judge = site.start_any(
        "assessor", "/tests/images/judge_server.py",
        options=(
            *("--network-alias", "judge", "--entrypoint", "python"),
            *("--volume", f"{ROOT}/tests:/tests:ro", "--env", "PYTHONPATH=/tests"),
        ),
    )  # fmt: skip
    folder = tmp_path / "paid"
    shutil.copytree(ROOT / "examples", folder)
    content = yaml.safe_load((folder / "demo.yaml").read_text())
    content["inputs"]["judge"] = {"provider": "openai", "model": "m", "base_url": "http://judge:8000/v1"}
    content["assessor"] = {"concurrency": CONCURRENCY}
    (folder / "demo.yaml").write_text(yaml.safe_dump(content))
    kills = 0
    for _ in range(2):
        name = site.start("assessor", "paid", folder / "demo.yaml")
        time.sleep(random.uniform(4, 7))
        docker("kill", "--signal", "KILL", name, check=False)
        kills += wait_code(name) == 137
    assert kills
    site.run("assessor", "paid", folder / "demo.yaml")
    asked = Counter(docker("logs", judge).stdout.split())
    judged = site.manifest("assessor", "paid").metrics.counts["transcripts"]
    assert len(asked) == judged
    # In flight when it was killed, and answered within the second before that: at most one round each.
    assert asked.total() - len(asked) <= 2 * CONCURRENCY * kills


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "access denied"),
        ({"AWS_ENDPOINT_URL": "http://s3:1"}, "run the same command again"),
    ],
)
def test_what_is_wrong_with_the_store_is_one_line(site: Site, env: dict[str, str], message: str) -> None:
    words = ("run", "--file", "/data/examples/demo.yaml", "--store", "s3://demo/chain")
    volume = ("--volume", f"{ROOT}/examples:/data/examples:ro")
    name = site.start_any(
        "slicer", *words, options=(*volume, *(word for k, v in env.items() for word in ("--env", f"{k}={v}")))
    )
    assert wait_code(name) == (2 if "access" in message else 75)
    said = site.logs(name)
    assert message in said
    assert "Traceback" not in said
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in said
