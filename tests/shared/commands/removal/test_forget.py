from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tuneline
from kit.forgetting import Forgetting, canary
from kit.judge_parts import SHORT_RUBRIC, live
from kit.scripted_batches import BatchServer
from kit.scripted_openai import serve_openai
from kit.scripted_vendors import PROTOCOLS
from tuneline.commands.removal.forget import forget
from tuneline.commands.removal.gc import collect
from tuneline.commands.removal.trace import ids_in
from tuneline.commands.show import run_lines
from tuneline.commands.tuneline import app
from tuneline.data.transcripts import read_transcripts
from tuneline.engine.lineage import trace
from tuneline.errors import Temporary, UserError
from tuneline.judge.by_model import LlmJudge
from tuneline.judge.judging import judge_all
from tuneline.store.base import Store, local_path


@pytest.fixture
def desk(tmp_path: Path, store: Store) -> Forgetting:
    """A run `demo` that is complete."""
    desk = Forgetting(tmp_path, store)
    desk.run()
    return desk


def forget_ids(store: Store, *ids: str) -> list[str]:
    return list(forget(store, trace(store, ids)))


def test_what_was_forgotten_is_nowhere_and_everything_else_is_as_it_was(desk: Forgetting) -> None:
    before = {port: desk.rows("assessor", port) for port in ("transcripts", "verdicts")}
    slices = desk.rows("slicer", "slices")
    assert list(desk.holding(canary("eva"))) and any("journals" in key for key in desk.holding(sha256_of(desk, "eva")))
    content = sha256_of(desk, "eva")
    done = forget_ids(desk.store, "eva")
    collect(desk.store, 0)
    assert list(desk.holding(canary("eva"))) == []
    assert all(key.startswith("forgotten/") for key in desk.holding(content))
    assert list(desk.holding(canary("bob")))
    outputs = [key for key in desk.holding("eva") if key.startswith(("results/assessor", "results/slicer"))]
    assert [key for key in outputs if not key.endswith("manifest.json")] == []  # which names the package evaluator
    for port, rows in before.items():
        assert desk.rows("assessor", port) == [row for row in rows if row["id"] != "eva"]
    assert desk.rows("slicer", "slices") == [row for row in slices if row["transcript"] != "eva"]
    passing = next(iter(desk.manifest("assessor").outputs["passing"].files.values()))
    assert json.loads(desk.store.get(passing.key) or b"")["count"] == 3
    assert desk.manifest("assessor").metrics.headline.endswith("; 1 forgotten since")
    assert any("demo/slicer: cut again" in line for line in done)


def sha256_of(desk: Forgetting, name: str) -> str:
    return str(next(row["sha256"] for row in desk.rows("assessor", "verdicts") if row["id"] == name))


def test_a_run_after_it_finds_everything_and_is_asked_to_train_again(desk: Forgetting) -> None:
    forget_ids(desk.store, "eva")
    with pytest.raises(UserError, match=r"run demo was made with other inputs.*inputs.slices changed"):
        desk.run()
    assert desk.run(replace=True) == {"assessor": True, "slicer": True, "learner": False}
    assert desk.manifest("learner").metrics.headline.startswith("learnt from")
    assert not any("forgotten since: train" in line for line in run_lines(desk.store, "demo"))


def test_a_new_run_on_the_same_file_leaves_it_out_and_counts_it(desk: Forgetting) -> None:
    forget_ids(desk.store, "eva")
    desk.run("next", assessor={"max_unparsed": 0.5})
    assert [row["id"] for row in desk.rows("assessor", "transcripts", "next")] == ["ada", "bob", "zoe"]
    metrics = desk.manifest("assessor", "next").metrics
    assert metrics.counts["forgotten"] == 1 and "1 forgotten" in metrics.headline
    assert list(desk.holding(canary("eva"))) == []


def test_the_same_content_under_another_id_goes_too(desk: Forgetting) -> None:
    text = desk.transcripts.read_text()
    twin = next(line for line in text.splitlines() if '"eva"' in line).replace('"id": "eva"', '"id": "eva-2"')
    desk.transcripts.write_text(f"{text}{twin}\n")
    desk.run("twins")
    assert trace(desk.store, ["eva"]).ids == ["eva", "eva-2"]
    forget_ids(desk.store, "eva")
    assert [row["id"] for row in desk.rows("assessor", "transcripts", "twins")] == ["ada", "bob", "zoe"]


def test_models_are_marked_and_stay(desk: Forgetting) -> None:
    before = desk.manifest("learner")
    done = forget_ids(desk.store, "eva", "bob")
    assert "marked, to be trained again: demo/learner" in done
    assert desk.manifest("learner") == before
    note = "Made with 2 transcripts forgotten since: train it again."
    assert any(note in line for line in run_lines(desk.store, "demo"))
    collect(desk.store, 0)
    assert any(note in line for line in run_lines(desk.store, "demo"))
    assert tuneline.open_run("demo", desk.store.uri).results["learner"] == before
    words = [f"learner/{next(iter(before.outputs))}", str(desk.transcripts.parent), "--store", desk.store.uri]
    code, said = invoke("get", "demo", *words)
    assert code == 0 and note in said


def test_what_repeats_it_word_for_word_is_removed_from_results_and_journals(desk: Forgetting) -> None:
    desk.run("parrot", learner={"quote": True})
    assert any(key.startswith("journals/learner") for key in desk.holding(canary("eva")))
    done = forget_ids(desk.store, "eva")
    assert any(line.startswith("removed, because it repeats their words: parrot/learner") for line in done)
    collect(desk.store, 0)
    assert list(desk.holding(canary("eva"))) == []
    assert any(key.startswith("journals/learner") for key in desk.holding(canary("bob")))


def test_every_answer_about_it_and_its_places_in_batches_are_removed_from_journals(desk: Forgetting) -> None:
    [protocol] = [p for p in PROTOCOLS if p.provider == "openai"]
    given = read_transcripts(desk.transcripts).transcripts
    with serve_openai(BatchServer(protocol, lambda call: protocol.reply("I would rather not."))) as served:
        judge = LlmJudge(protocol.config(served.url, mode="batch"), lambda name: name)
        for _ in range(2):
            with live(desk.folder, store=desk.store) as context:
                judge_all(judge, SHORT_RUBRIC, given, context, concurrency=2, timeout_s=60)
    eva, bob = sha256_of(desk, "eva"), sha256_of(desk, "bob")

    def rows(content: str) -> list[str]:
        lines = [ln for e in desk.store.list("journals/") for ln in (desk.store.get(e.key) or b"").splitlines()]
        return sorted(row["key"] for row in map(json.loads, lines) if content in json.dumps(row))

    mine, others = rows(eva), rows(bob)
    assert {f"{eva} 1", f"{eva} 2"} < set(mine) and any(key.endswith(" read") for key in mine)
    forget_ids(desk.store, "eva")
    assert rows(eva) == [] and rows(bob) == others
    assert not any(key in mine for key in rows(""))


def test_it_may_be_killed_anywhere_and_repeated(tmp_path: Path, store: Store) -> None:
    desk = Forgetting(tmp_path, store)
    desk.run()
    steps = 0
    while True:
        left = forget(store, trace(store, ["eva"]))
        try:
            for _ in range(steps + 1):
                next(left)
        except StopIteration:
            break
        del left
        steps += 1
    assert steps > 2
    collect(store, 0)
    assert list(desk.holding(canary("eva"))) == []
    assert desk.run(replace=True)["slicer"]
    again = trace(store, ["eva"])
    assert (again.holders, again.journals, again.uploads) == ([], {}, [])
    assert [(result.manifest.stage, result.nodes) for result in again.made] == [("learner", ())]
    collect(store, 0)
    assert trace(store, ["eva"]).made == []


class Killed(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("place", range(0, 40, 5))
def test_a_kill_at_any_write_or_delete_is_mended_by_the_next_call(tmp_path: Path, place: int) -> None:
    from tuneline.store.base import open_store

    store = open_store(str(tmp_path / "store"))
    desk = Forgetting(tmp_path, store)
    desk.run()
    calls = 0

    class Dying:
        def __getattr__(self, name: str) -> object:
            real = getattr(store, name)
            if name not in ("put", "delete", "upload"):
                return real

            def call(*args: object, **more: object) -> object:
                nonlocal calls
                calls += 1
                if calls > place:
                    raise Killed
                return real(*args, **more)

            return call

    try:
        list(forget(Dying(), trace(store, ["eva"])))  # type: ignore[arg-type]
    except Killed:
        forget_ids(store, "eva")
    collect(store, 0)
    assert list(desk.holding(canary("eva"))) == []
    assert len(desk.rows("slicer", "slices")) > 0
    assert trace(store, ["eva"]).holders == []
    assert desk.run(replace=True)["assessor"]


def test_twice_is_once(desk: Forgetting) -> None:
    forget_ids(desk.store, "eva")
    before = {e.key: desk.store.get(e.key) for e in desk.store.list("")}
    assert not [line for line in forget_ids(desk.store, "eva") if not line.startswith("marked")]
    assert {e.key: desk.store.get(e.key) for e in desk.store.list("")} == before


def test_an_upload_that_holds_it_is_removed_also_before_anything_is_judged(desk: Forgetting) -> None:
    twelve = "0123456789abcdef"
    desk.store.put(f"uploads/transcripts-{twelve}/t.jsonl.gz", gzip.compress(desk.transcripts.read_bytes()))
    desk.store.put(f"uploads/transcripts-{twelve}.json", b"{}")
    desk.store.put("uploads/transcripts-fedcba9876543210/other.jsonl", b'{"id": "evan"}\n')
    table = f'id,prompt,response\neva,"{canary("eva")}",No.\n'
    desk.store.put("uploads/transcripts-aaaaaaaaaaaaaaaa/t.csv", table.encode())
    found = trace(desk.store, ["eva"], ids_in)
    assert found.uploads == [f"transcripts-{twelve}", "transcripts-aaaaaaaaaaaaaaaa"]
    list(forget(desk.store, found))
    assert [e.key for e in desk.store.list("uploads/")] == ["uploads/transcripts-fedcba9876543210/other.jsonl"]


def test_what_a_killed_run_had_judged_is_found_by_its_own_files(desk: Forgetting) -> None:
    desk.store.delete([e.key for e in desk.store.list("results/")])
    desk.store.delete([e.key for e in desk.store.list("runs/") if "/inputs/" not in e.key])
    assert trace(desk.store, ["eva"]).journals == {}
    found = trace(desk.store, ["eva"], ids_in)
    assert list(found.journals.values()) == [1] and found.given == [desk.transcripts.as_uri()]
    list(forget(desk.store, found))
    assert trace(desk.store, ["eva"], ids_in).journals == {}


def test_an_unpinned_result_that_holds_it_is_removed(desk: Forgetting) -> None:
    desk.run("other", assessor={"max_unparsed": 0.5})
    desk.store.delete([e.key for e in desk.store.list("runs/other/")])
    forget_ids(desk.store, "eva")
    assert list(desk.holding(canary("eva"))) == []


def test_a_run_at_work_is_not_disturbed(tmp_path: Path) -> None:
    from tuneline.store.base import open_store

    store = open_store(str(tmp_path / "store"))
    desk = Forgetting(tmp_path, store)
    desk.run()
    lock = local_path(store.uri) / "scratch" / "tuneline-x" / "running.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Temporary, match="at work"):
            forget_ids(store, "eva")
    forget_ids(store, "eva")
    assert list(desk.holding(canary("eva"))) == []


def test_an_id_that_nothing_holds_is_kept_out_of_later_runs(desk: Forgetting) -> None:
    assert forget_ids(desk.store, "new") == []
    desk.write("ada", "bob", "new", "zoe")
    desk.run("later")
    assert [row["id"] for row in desk.rows("assessor", "transcripts", "later")] == ["ada", "bob", "zoe"]


def test_the_id_of_a_redacted_transcript_is_found_by_the_one_that_the_file_has(tmp_path: Path, store: Store) -> None:
    desk = Forgetting(tmp_path, store, ("eva@example.org", "bob"))
    desk.run(assessor={"pii": "redact"})
    hashed = f"id-{hashlib.sha256(b'eva@example.org').hexdigest()[:16]}"
    assert trace(store, ["eva@example.org"]).ids == ["eva@example.org", hashed]
    forget_ids(store, "eva@example.org")
    assert [row["id"] for row in desk.rows("assessor", "transcripts")] == ["bob"]


def invoke(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.output


def test_the_commands_show_first_and_change_nothing_without_yes(desk: Forgetting) -> None:
    before = {e.key: desk.store.get(e.key) for e in desk.store.list("")}
    code, shown = invoke("trace", "eva", "--store", desk.store.uri)
    assert code == 0
    for words in ("1 transcript: eva", "demo/assessor", "demo/slicer", "made with  demo/learner", "journals/assessor/"):
        assert words in shown
    assert str(desk.transcripts) in shown and "not in this store" in shown
    code, told = invoke("forget", "eva", "--store", desk.store.uri)
    assert code == 2 and "Add --yes" in told and shown.strip() in told
    assert {e.key: desk.store.get(e.key) for e in desk.store.list("")} == before
    assert invoke("forget", "eva", "--store", desk.store.uri, "--yes")[0] == 0
    shown = invoke("trace", "eva", "--store", desk.store.uri)[1]
    assert "forgotten before" in shown and "; marked as made with what was forgotten" in shown
    assert json.loads(invoke("trace", "eva", "--json", "--store", desk.store.uri)[1])["made_with"][0]["marked"] is True


def test_ids_may_be_patterns_or_come_from_a_file_and_json_is_for_programs(desk: Forgetting) -> None:
    ids = desk.folder / "ids.txt"
    ids.write_text("zoe\n\nada\n")
    found = json.loads(invoke("trace", "e*", "--from", str(ids), "--json", "--store", desk.store.uri)[1])
    assert found["ids"] == ["ada", "eva", "zoe"]
    assert found["holds"][0]["pinned_as"] == ["demo/assessor"]
    assert (found["made_with"][0]["stage"], found["made_with"][0]["marked"]) == ("learner", False)
    assert invoke("trace", "--store", desk.store.uri)[0] == 2
    ids.write_bytes(b"\xff\xfe")
    assert invoke("trace", "--from", str(ids), "--store", desk.store.uri)[0] == 2
