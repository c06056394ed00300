from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, ModelCard

from kit.forgetting import canary
from kit.places import ROOT
from kit.published_runs import FILE
from kit.writable_hub import Repo, WritableHub
from publisher.conftest import TUNELINE, Bench
from tuneline.data.io import read_record
from tuneline.data.published import Published

pytestmark = pytest.mark.slow
GGUF, LORA = "team/coffee-GGUF", "team/coffee-LoRA"


def published(bench: Bench) -> Published:
    [place] = (bench.folder / "store" / "runs" / "demo" / "publisher").glob("published.json")
    return read_record(place, Published)


def once(pattern: str, status: int, times: int = 1) -> Callable[[str], int | None]:
    """Return a fault that answers the first requests with `pattern` in them so."""
    left = [times]

    def fault(request: str) -> int | None:
        if pattern not in request or not left[0]:
            return None
        left[0] -= 1
        return status

    return fault


def test_each_package_is_one_commit_with_a_tag_and_its_hashes(bench: Bench, hub: WritableHub) -> None:
    hub.chunk = 5000
    done = bench.publish(dataset=True)
    assert done.code == 0, done.said
    assert set(hub.repos) == {f"models/{GGUF}", f"models/{LORA}", "datasets/team/coffee"}
    made = published(bench)
    for package in made.packages:
        kind, _, name = package.address.removeprefix("hf://").rpartition("datasets/")
        repo = hub.repo(name, "dataset" if kind or package.name == "dataset" else "model")
        assert repo.messages == ["initial commit", "Release v1"] and repo.private
        assert repo.tags == {"v1": package.commit} and package.commit == repo.head
        for file, known in package.files.items():
            assert hashlib.sha256(repo.files[file]).hexdigest() == known.sha256
    assert hub.asked(r"PUT /lfs/.*/part/4") and hub.asked(r"PUT /lfs/[0-9a-f]+$")
    files = hub.repo(GGUF).files
    assert files["Modelfile"].decode().splitlines()[1] == f"FROM ./{FILE}"
    assert {"README.md", "SHA256SUMS", "comparison.json", "gguf.json", "report.html", FILE} < set(files)
    card = ModelCard(files["README.md"].decode())
    assert card.data.get("license") == "apache-2.0"
    for told in ("interval +6.5", "What could not be seen", "gpt-5-mini", "sha256 of its manifest"):
        assert told in card.text, told
    data = DatasetCard(hub.repo("team/coffee", "dataset").files["README.md"].decode())
    assert "Nobody looked for it" in data.text and "answers\\_not\\_learnt: 1" in data.text


def test_transcripts_are_published_only_if_asked_for_by_name(bench: Bench, hub: WritableHub) -> None:
    assert bench.publish().code == 0
    assert set(hub.repos) == {f"models/{GGUF}", f"models/{LORA}"}
    sent = b"".join([*hub.objects.values(), *hub.repo(GGUF).files.values(), *hub.repo(LORA).files.values()])
    assert b"kingfisher" not in sent


def test_a_second_run_finds_what_is_published_and_asks_nothing(bench: Bench, hub: WritableHub) -> None:
    assert bench.publish().code == 0
    before = len(hub.requests)
    done = bench.publish()
    assert done.code == 0 and "Nothing to do" in done.said and len(hub.requests) == before


def test_an_upload_that_is_killed_goes_on_and_sends_no_file_twice(bench: Bench, hub: WritableHub) -> None:
    hub.fault = once("/commit/", 500, 2)
    assert bench.publish().code == 75
    sent = len(hub.asked("^PUT"))
    assert sent and not hub.repo(GGUF).tags
    assert bench.publish(adapter=False).code == 75
    assert bench.publish().code == 0
    assert len(set(hub.asked("^PUT"))) == len(hub.asked("^PUT"))
    assert hub.repo(GGUF).messages == ["initial commit", "Release v1"]


@pytest.mark.parametrize("lost", ["commit", "tag"])
def test_a_lost_answer_makes_no_second_commit(bench: Bench, hub: WritableHub, lost: str) -> None:
    """The server does what it was asked, and its answer never arrives: the next try sees that."""
    hub.fault = once("/tag/", 0) if lost == "tag" else lambda request: None
    if lost == "commit":
        state = iter([True])

        def lose(request: str) -> int | None:
            repo = hub.repos.get(f"models/{GGUF}")
            if "/tag/" in request and repo and next(state, False):
                return 503
            return None

        hub.fault = lose
    assert bench.publish().code == 75
    assert bench.publish().code == 0
    repo = hub.repo(GGUF)
    assert repo.messages == ["initial commit", "Release v1"] and set(repo.tags) == {"v1"}


def test_a_branch_that_moved_is_read_again_and_nothing_of_others_is_lost(bench: Bench, hub: WritableHub) -> None:
    moved = iter([True])

    def move(request: str) -> int | None:
        if "coffee-GGUF/commit/" in request and next(moved, False):
            repo = hub.repo(GGUF)
            repo.commit(repo.files | {"notes.txt": b"theirs"}, "a note")
        return None

    hub.fault = move
    done = bench.publish()
    assert done.code == 0, done.said
    repo = hub.repo(GGUF)
    assert repo.messages == ["initial commit", "a note", "Release v1"] and repo.files["notes.txt"] == b"theirs"


def test_what_others_put_there_is_never_overwritten(bench: Bench, hub: WritableHub) -> None:
    repo = hub.repos[f"models/{GGUF}"] = Repo(private=True)
    repo.commit({"README.md": b"# my own card"}, "mine")
    done = bench.publish(adapter=False)
    assert done.code == 2 and "README.md there is not what an earlier release of yours put there" in done.said
    assert repo.messages == ["mine"] and repo.files["README.md"] == b"# my own card"


def test_another_release_replaces_the_files_of_the_one_before_and_keeps_its_tag(bench: Bench, hub: WritableHub) -> None:
    assert bench.publish(adapter=False).code == 0
    repo, first = hub.repo(GGUF), hub.repo(GGUF).head
    bench.make(trainer={"seed": 1}, gguf_converter={"seed": 1})
    done = bench.publish(adapter=False, replace=True)
    assert done.code == 2 and "has a release v1 with other files" in done.said and "`release`" in done.said
    assert bench.publish(adapter=False, replace=True, release="v2").code == 0
    assert set(repo.tags) == {"v1", "v2"} and repo.tags["v1"] == first and repo.tags["v2"] == repo.head
    repo.commit(repo.files | {"README.md": b"edited on the website"}, "edit")
    bench.make(trainer={"seed": 2}, gguf_converter={"seed": 2})
    done = bench.publish(adapter=False, replace=True, release="v3")
    assert done.code == 2 and "README.md" in done.said and repo.files["README.md"] == b"edited on the website"


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"role": "read"}, 2, "may only read"),
        ({"orgs": ()}, 2, "no member"),
        ({"orgs": (), "role": "fineGrained"}, 2, "may not write there (403)"),
        ({"fault": once("whoami", 401)}, 2, "does not know this token"),
        ({"fault": once("/lfs/objects/batch", 403)}, 2, "may not write there (403)"),
        ({"fault": once("/lfs/objects/batch", 413)}, 2, "of this size"),
        ({"fault": once("/commit/", 402)}, 2, "no room"),
        ({"fault": once("/preupload/", 400)}, 2, "the Hub answers 400"),
        ({"fault": once("/refs", 0)}, 75, "cannot be reached"),
        ({"fault": once("/commit/", 409, 9)}, 75, "others commit all the time"),
        ({"fault": once("whoami", 429)}, 75, "the Hub answers 429"),
    ],
)
def test_what_the_hub_refuses_is_said_with_the_way_out(
    bench: Bench, hub: WritableHub, change: dict[str, object], code: int, said: str
) -> None:
    for name, value in change.items():
        setattr(hub, name, value)
    done = bench.publish()
    assert (done.code, said in done.said) == (code, True), done.said
    assert "Traceback" not in done.said and "a bug" not in done.said


def test_a_missing_token_is_said_before_anything_is_done(bench: Bench, hub: WritableHub) -> None:
    del bench.environ["HF_TOKEN"]
    done = bench.publish()
    assert done.code == 2 and "HF_TOKEN is not set" in done.said and not hub.requests


def test_a_public_repository_takes_nothing_private(bench: Bench, hub: WritableHub) -> None:
    hub.repos[f"models/{GGUF}"] = Repo(private=False)
    hub.repo(GGUF).commit({}, "initial commit")
    done = bench.publish()
    assert done.code == 2 and "is public" in done.said and hub.repo(GGUF).messages == ["initial commit"]


@pytest.mark.parametrize("xet", [True, False])
def test_large_files_go_by_xet_or_the_older_way_as_the_server_has_it(
    bench: Bench, hub: WritableHub, xet: bool, tmp_path: Path
) -> None:
    del bench.environ["HF_HUB_DISABLE_XET"]
    hub.xet = xet
    done = bench.publish()
    assert done.code == 0, done.said
    assert bool(hub.asked("/xet/v1/xorbs/")) == xet and bool(hub.asked("lfs/objects/batch")) != xet
    assert len(hub.asked("xet-write-token")) >= 1
    assert hub.repo("team/coffee-LoRA").files["adapter_model.safetensors"] == b"weights 0" * 500
    assert bench.publish(str(tmp_path / "release"), replace=True).code == 0
    assert hub.repo(GGUF).files[FILE] == (tmp_path / "release" / "gguf" / FILE).read_bytes()


def test_what_the_newer_storage_refuses_is_said(bench: Bench, hub: WritableHub) -> None:
    del bench.environ["HF_HUB_DISABLE_XET"]
    hub.xet, hub.fault = True, lambda request: 403 if "xet-write-token" in request else None
    done = bench.publish(adapter=False)
    assert done.code == 2 and "may not write there (403)" in done.said, done.said


def test_check_sees_a_token_that_cannot_write_before_anything_is_made(bench: Bench, hub: WritableHub) -> None:
    hub.role = "read"
    (bench.folder / "p.yaml").write_text("run: demo\ngoal: publish\npublisher: {target: hf://team/coffee}\n")
    done = bench.tuneline("check", "p.yaml")
    assert done.code == 2 and "p.yaml:3: publisher.target: HF_TOKEN may only read" in done.said, done.said
    assert not hub.repos


def test_a_forgotten_transcript_is_not_published_and_neither_is_what_learnt_from_it(
    bench: Bench, hub: WritableHub
) -> None:
    assert bench.tuneline("forget", "ada", "--yes").code == 0
    done = bench.publish()
    assert done.code == 2 and "forgotten" in done.said and not hub.repos
    assert bench.publish(gguf=False, adapter=False, dataset=True).code == 0
    rows = b"".join(d for n, d in hub.repo("team/coffee", "dataset").files.items() if n.startswith("data/"))
    assert canary("bob").encode() in rows and canary("ada").encode() not in rows


def test_the_rows_of_the_data_set_are_the_transcripts_that_passed(bench: Bench, hub: WritableHub) -> None:
    assert bench.publish(gguf=False, adapter=False, dataset=True, dataset_licence="cc0-1.0").code == 0
    files = hub.repo("team/coffee", "dataset").files
    rows = [json.loads(line) for n, d in files.items() if n.startswith("data/") for line in d.splitlines()]
    assert {row["id"] for row in rows} == {"ada", "bob", "eva", "zoe"}
    [zoe] = [row for row in rows if row["id"] == "zoe"]
    assert [m["role"] for m in zoe["messages"]][:3] == ["assistant", "user", "assistant"]
    assert [m["learn"] for m in zoe["messages"]][:5] == [False, False, False, False, True]
    assert DatasetCard(files["README.md"].decode()).data.get("license") == "cc0-1.0"


KEYS = b'{"orgs": 1, "auth": 1, "files": [1], "objects": [{"oid": 1}], "sha": 1}'
GARBAGE = (b"<html>", b"null", KEYS)
PATHS = (
    "whoami", "repos/create", "validate-yaml", "models/team/x", "/refs", "/tree/", "/preupload/", "/batch", "/commit/",
    "/tag/", "/verify", "/lfs/",
)  # fmt: skip


def test_a_server_that_answers_with_something_else_is_said_to_be_one(hub: WritableHub, tmp_path: Path) -> None:
    environ = os.environ | hub.environ(tmp_path / "cache") | {"PYTHONPATH": str(ROOT / "tests")}
    script = [sys.executable, "-W", "ignore", str(ROOT / "tests" / "publisher" / "garbage.py"), str(tmp_path)]
    with subprocess.Popen(script, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdin and client.stdout
        for place, path in enumerate(PATHS):
            for number, data in enumerate(GARBAGE):
                hub.garbage = (path, data)
                client.stdin.write(f"x{place}-{number}\n")
                client.stdin.flush()
                assert client.stdout.readline() == "done\n", (path, data, client.stdout.readline())
        client.stdin.close()


def test_a_publisher_that_is_killed_while_it_uploads_goes_on(bench: Bench, hub: WritableHub) -> None:
    (bench.folder / "p.yaml").write_text("run: demo\ngoal: publish\npublisher: {target: hf://team/coffee}\n")
    words = [str(TUNELINE.with_name("tuneline-publisher")), "run", "--file", "p.yaml", "--store", bench.store]
    started: list[subprocess.Popen[bytes]] = []

    def kill(request: str) -> int | None:
        if "coffee-LoRA.git" in request and started[0].poll() is None:
            started[0].kill()
            return 0
        return None

    hub.fault = kill
    started.append(subprocess.Popen(words, env=os.environ | bench.environ, cwd=bench.folder, stderr=subprocess.DEVNULL))
    assert started[0].wait() == -signal.SIGKILL
    sent, commits = hub.asked("^PUT"), hub.repo(GGUF).messages
    assert bench.tuneline("run", "p.yaml").code == 0
    assert len(set(hub.asked("^PUT"))) == len(hub.asked("^PUT")) > len(sent)
    assert hub.repo(GGUF).messages == commits and hub.repo(LORA).messages == ["initial commit", "Release v1"]
