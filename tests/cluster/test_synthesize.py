"""Rows that a scripted writer writes in pods, in parts; what is killed or fails for good is gone on with."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from kit.clusters import TUNELINE, Cluster, Object, pod_of, task_of
from kit.containers import output_hashes
from kit.generating import calls_of, make, run_file, serve_writer
from kit.kills import FLUSH_SECONDS
from kit.writer_pod import WriterPod, serve_writer_pod
from tuneline.engine.context import BEAT_SECONDS
from tuneline.engine.heartbeat import LOST_SECONDS
from tuneline_generator.writing.items import Item

pytestmark = pytest.mark.timeout(900)

MANY: dict[str, Any] = {"count": 120, "concurrency": 2, "part_minutes": 0.2}
ITEMS = 132
"""What is written for so many rows, of which a tenth is to spare."""
OF_PILOT = {"pilot": "quality", "pilot_prompts": "prompts"}
PORTS = ("transcripts", "verdicts", "rejected", "prompts")


class Undisturbed(NamedTuple):
    """The same rows made at once on this machine: hashes of the outputs, and of what was asked for them."""

    outputs: dict[str, str]
    questions: set[str]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    with serve_writer() as server:
        file = run_file(folder, server.url, **MANY)
        make(file, folder / "store", pilot=True)
        whole = make(file, folder / "store")
        asked = calls_of(server)
    assert whole
    return Undisturbed(output_hashes(whole), {hashlib.sha256(f"{p}/{s}".encode()).hexdigest() for p, s in asked})


@pytest.fixture(scope="module")
def writer(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WriterPod]:
    with serve_writer_pod(cluster, tmp_path_factory.mktemp("writer")) as made:
        yield made


def seeds(*numbers: int, start: int = 0) -> set[int]:
    """The seeds of items, by their number."""
    return {Item(start, "train", number).seed(step) for number in numbers for step in ("instruction", "response")}


def parts_of(cluster: Cluster, name: str) -> list[str]:
    """The parts that the pilot asked for, once it is done."""
    while True:
        pods = cluster.nodes(name, "generator-pilot")
        told = {p["name"]: p["value"] for n in pods for p in n.get("outputs", {}).get("parameters", ())}
        if "parts" in told:
            found: list[str] = json.loads(told["parts"])
            return found
        time.sleep(0.5)


def pods_of(cluster: Cluster, name: str, part: str) -> list[Object]:
    """The attempts at a part, the first one first."""
    nodes = cluster.nodes(name)
    return [n for n in nodes if part in [row["value"] for row in n.get("inputs", {}).get("parameters", ())]]


def test_a_part_that_is_deleted_and_one_that_fails_for_good_end_in_the_same_bytes_once_it_is_mended(
    cluster: Cluster, writer: WriterPod, undisturbed: Undisturbed
) -> None:
    before, since = cluster.prometheus(), len(writer.asked())
    writer.refuse(seeds(ITEMS - 1))
    name = cluster.submit(writer.run_file("made", **MANY), "synthesize", "parts")
    *others, doomed, failing = parts = parts_of(cluster, name)
    number, count = map(int, doomed.split("/"))
    begun = seeds(*range(max(20, (number - 1) * ITEMS // count) + 3, number * ITEMS // count))
    while not [one for one in writer.asked() if one.seed in begun]:
        time.sleep(0.2)
    [node] = pods_of(cluster, name, doomed)
    pod, deleted_at = cluster.get("pod", pod_of(node)), writer.asked()[-1].at
    cluster.kubectl("delete", "pod", pod_of(node), "--now")
    assert cluster.wait(name) == "Failed"
    assert all([node["phase"] for node in pods_of(cluster, name, part)] == ["Succeeded"] for part in others)
    *_, again = pods_of(cluster, name, doomed)  # the same node, if the first pod was not yet seen to run
    assert again["phase"] == "Succeeded"
    assert cluster.get("pod", pod_of(again))["metadata"]["uid"] != pod["metadata"]["uid"]
    [failed] = pods_of(cluster, name, failing)
    assert failed["outputs"]["exitCode"] == "2" and not cluster.nodes(name, "generator")
    writer.mend()
    cluster.argo("retry", name)
    time.sleep(2)
    assert cluster.wait(name) == "Succeeded", cluster.report(name)
    assert {len(pods_of(cluster, name, part)) for part in (*others, failing)} == {1}

    made = cluster.manifests("parts", "made", ["generator"])["generator"]
    assert {port: output_hashes(made)[port] for port in PORTS} == {port: undisturbed.outputs[port] for port in PORTS}
    asked = writer.asked()[since:]
    paid = Counter(one.question for one in asked if one.answered)
    last = BEAT_SECONDS + FLUSH_SECONDS
    lost = sum(deleted_at - last <= one.at <= deleted_at + last for one in asked)
    print(f"\n{len(parts)} parts, {paid.total()} calls for {len(paid)} questions, at most {lost} may be lost")
    assert set(paid) == undisturbed.questions and paid.total() - len(paid) <= lost + MANY["concurrency"]
    told = {key: value - before.get(key, 0) for key, value in cluster.prometheus().items() if "generator" in key}
    ended = [told.get(f'stages_total{{stage="generator",status="{end}"}}') for end in ("Succeeded", "Failed", "Error")]
    assert ended == [1 + len(parts) + 1, 1, None]  # the pilot, the parts, the whole


@pytest.fixture
def made(cluster: Cluster, writer: WriterPod) -> None:
    """The run `made` is whole, whichever test made it."""
    if not cluster.manifests("parts", "made", ["generator"]):
        writer.mend()
        name = cluster.submit(writer.run_file("made", **MANY), "synthesize", "parts")
        assert cluster.wait(name) == "Succeeded", cluster.report(name)


@pytest.mark.usefixtures("made")
def test_where_everything_is_made_no_part_is_started_and_nobody_is_asked(cluster: Cluster, writer: WriterPod) -> None:
    asked = len(writer.asked())
    name = cluster.submit(writer.run_file("made", **MANY), "synthesize", "parts")
    assert cluster.wait(name) == "Succeeded", cluster.report(name)
    assert parts_of(cluster, name) == []
    assert [task_of(node) for node in cluster.nodes(name)] == ["check", "generator-pilot", "generator"]
    assert len(writer.asked()) == asked


@pytest.mark.usefixtures("made")
def test_a_pilot_that_is_given_is_not_made_again_and_counts_no_parts(cluster: Cluster, writer: WriterPod) -> None:
    pilot = cluster.manifests("parts", "made", ["generator@pilot"])["generator@pilot"]
    found = {name: next(iter(pilot.outputs[port].files.values())).key for name, port in OF_PILOT.items()}
    inputs = {name: f"s3://tuneline/parts/{key}" for name, key in found.items()}
    name = cluster.submit(writer.run_file("given", inputs, **MANY), "synthesize", "parts")
    assert cluster.wait(name) == "Succeeded", cluster.report(name)
    assert [task_of(node) for node in cluster.nodes(name)] == ["check", "generator"]


def test_a_run_that_has_spent_its_dollars_goes_on_by_argo_retry_with_more(cluster: Cluster, writer: WriterPod) -> None:
    file = writer.run_file("spent", top={"goal": "generator@pilot", "max_usd": 0.1}, seed=2,
                           prices={"input_usd": 0, "output_usd": 1000})  # fmt: skip
    name = cluster.submit(file, "synthesize", "parts")
    assert cluster.wait(name) == "Failed"
    [stopped] = cluster.nodes(name, "generator-pilot")
    assert stopped["outputs"]["exitCode"] == "75" and "max_usd" in stopped["message"]
    cluster.argo("retry", name, "-p", "max_usd=100")
    time.sleep(2)
    assert cluster.wait(name) == "Succeeded", cluster.report(name)


KILL = """
import os, pathlib, signal
for one in pathlib.Path("/proc").glob("[0-9]*"):
    words = (one / "cmdline").read_bytes().split(bytes(1))
    if b"python" in words[0] and words[1].endswith(b"tuneline-generator"):
        os.kill(int(one.name), signal.SIGKILL)
"""


def test_a_process_that_is_killed_is_lost_within_70_seconds_until_its_workflow_goes_on(
    cluster: Cluster, writer: WriterPod
) -> None:
    file = writer.run_file("killed", top={"goal": "generator@pilot"}, seed=1, pilot=40, concurrency=1)
    name = cluster.submit(file, "synthesize", "parts")
    while not [one for one in writer.asked() if one.seed in seeds(5, start=1)]:
        time.sleep(0.2)
    cluster.argo("suspend", name)  # else Argo starts another one in ten seconds
    [node] = cluster.nodes(name, "generator-pilot")
    cluster.kubectl("exec", pod_of(node), "-c", "main", "--", "python", "-c", KILL)
    start, seen = time.monotonic(), list[str]()
    while (state := cluster.step("parts", "killed", "generator@pilot").state) != "lost":
        seen.append(state)
        assert time.monotonic() - start < LOST_SECONDS + 10, seen
        time.sleep(1)
    print(f"\nlost after {time.monotonic() - start:.0f} s")
    assert set(seen) == {"running"}
    words = [str(TUNELINE), "status", "killed", "--store", "s3://tuneline/parts", "--wait"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 75 and "lost" in done.stdout
    cluster.argo("resume", name)
    assert cluster.wait(name) == "Succeeded", cluster.report(name)
    assert [node["phase"] for node in cluster.nodes(name, "generator-pilot")] == ["Failed", "Succeeded"]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
