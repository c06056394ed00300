"""Trials, what goes back to the writer, and what may be said of the winner."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kit.calibrating import PROMPT, answered, make, output_of, run_file
from kit.places import EXAMPLES
from kit.scripted_openai import Answer, Call, completion, serve_openai
from speak import speak
from tuneline.errors import UserError

TUNELINE = Path(sys.executable).parent / "tuneline"


def talks(*segments: dict[str, Any]) -> str:
    """The same talk of each pair."""
    return "".join(json.dumps({"pair": name, "segments": segments}) + "\n" for name in ("ash", "elm", "oak"))


SHUFFLED = talks({"start": 5, "end": 9, "text": "a"}, {"start": 0, "end": 99, "text": "b"})
NO_WORDS = talks({"start": 0, "end": 9, "text": "…"})
OFFLINE = {"writer": {"provider": "extractive"}, "judge": {"provider": "heuristic"}}


def found(store: Path, file: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(output_of(store, make(file, store), "calibration"))
    return told


def test_losses_fall_where_a_better_prompt_exists_by_construction(tmp_path: Path) -> None:
    told = found(tmp_path / "store", run_file(tmp_path, "", OFFLINE, max_trials=3))
    totals = [trial["training"]["total"] for trial in told["trials"]]
    assert len(totals) == 3 and min(totals[1:]) < 0.8 * totals[0] and told["best"] > 1
    assert told["verdict"]["word"] == "cannot be shown", "three pairs cannot"
    assert all("{source}" in trial["prompt"] and "{profile}" in trial["prompt"] for trial in told["trials"])


@pytest.mark.slow
def test_recordings_are_heard_before_a_prompt_is_held_against_them(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("*.wav"))
    for talk in (EXAMPLES / "talks").iterdir():
        speak(talk.read_text(), tmp_path / "examples" / "references" / f"{talk.stem}.wav")
    words = [str(TUNELINE), "run", str(tmp_path / "examples/calibrate.yaml"), "--store", str(tmp_path / "store")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "store/runs/calibrate/calibrator/calibration.json").read_text())
    totals = [trial["training"]["total"] for trial in told["trials"]]
    assert len(totals) == 3 and totals[-1] < 0.5 * totals[0]
    again = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "started" not in again.stderr
    found = "../store/runs/calibrate/calibrator/prompt.txt"
    more = [*words, "--run", "again", "--set", f"inputs.prompt={found}"]
    done = subprocess.run(more, capture_output=True, text=True, check=True)
    assert f"{totals[-1]:.3f} → {totals[-1]:.3f} in 1 trial over 4 pairs; no better than where we began" in done.stdout
    page = (tmp_path / "store/runs/again/calibrator/calibrated.html").read_text()
    assert "No better than where we began" in page and "<polyline" not in page, "of one trial there is no curve"


def test_losses_do_not_fall_where_no_prompt_helps(tmp_path: Path) -> None:
    def deaf(call: Call) -> Answer:
        return answered(call, script="The bridge hums.", prompt=f"{PROMPT}\nTry {call.number}.")

    with serve_openai(deaf) as server:
        told = found(tmp_path / "store", run_file(tmp_path, server.url, max_trials=5))
    assert len({trial["training"]["total"] for trial in told["trials"]}) == 1
    assert (told["stop"], told["best"], told["verdict"]["word"]) == ("converged", 1, "the first prompt")


def test_every_answer_is_paid_once_and_a_second_run_gives_the_same_bytes(tmp_path: Path) -> None:
    with serve_openai(answered) as server:
        judge = {"provider": "openai", "model": "judge", "base_url": server.url}
        file = run_file(tmp_path, server.url, {"judge": judge}, max_trials=2)
        first, paid = make(file, tmp_path / "store"), len(server.calls)
        asked = {
            json.dumps([call.body["model"], call.body["messages"], call.body.get("seed")]) for call in server.calls
        }
        assert len(asked) == paid
        (tmp_path / "prompt.txt").write_text(f"{PROMPT}\n\n")  # another file, the same prompt
        file.write_text(file.read_text().replace("run: tried", "run: again"))
        again = make(file, tmp_path / "store")
        assert len(server.calls) == paid and again.fingerprint != first.fingerprint
        for port in ("prompt", "trials", "calibration", "profile", "calibrated"):
            assert output_of(tmp_path / "store", first, port) == output_of(tmp_path / "store", again, port), port


def test_a_prompt_with_words_of_a_source_is_asked_for_once_more_and_then_left(tmp_path: Path) -> None:
    stolen = "For a hundred years builders believed that weight was enough."
    with serve_openai(lambda call: answered(call, prompt=f"{PROMPT}\n{stolen}")) as server:
        told = found(tmp_path / "store", run_file(tmp_path, server.url))
        assert sum("You improve a prompt" in call.prompt for call in server.calls) == 2
        assert "8 words in a row" in server.calls[-1].prompt and stolen not in server.calls[-1].prompt
    assert told["stop"] == "not_refined" and len(told["trials"]) == 1


def test_an_edit_without_slots_is_asked_for_once_more_and_then_gets_them_back(tmp_path: Path) -> None:
    with serve_openai(lambda call: answered(call, prompt=f"Be brief {call.number}.")) as server:
        told = found(tmp_path / "store", run_file(tmp_path, server.url, max_trials=2, min_improvement=0))
    assert [trial["prompt"].count("{source}") for trial in told["trials"]] == [1, 1] and told["stop"] == "max_trials"
    assert told["trials"][1]["prompt"].startswith("Be brief") and "{profile}" in told["trials"][1]["prompt"]


@pytest.mark.parametrize(
    ("said", "why"), [("I cannot do that.", "its answer is unparsed"), ("", "its answer is empty")]
)
def test_a_writer_that_edits_nothing_ends_it_and_the_page_says_why(tmp_path: Path, said: str, why: str) -> None:
    def stubborn(call: Call) -> Answer:
        return completion(said) if "You improve a prompt" in call.prompt else answered(call)

    with serve_openai(stubborn) as server:
        made = make(run_file(tmp_path, server.url), tmp_path / "store")
    told = json.loads(output_of(tmp_path / "store", made, "calibration"))
    assert (told["stop"], told["problem"]) == ("not_refined", why)
    assert why.encode() in output_of(tmp_path / "store", made, "calibrated")


def test_held_out_pairs_are_never_shown_to_who_edits_the_prompt(tmp_path: Path) -> None:
    with serve_openai(answered) as server:
        told = found(tmp_path / "store", run_file(tmp_path, server.url, held_out=["oak"], max_trials=2))
        edits = [call.prompt for call in server.calls if "You improve a prompt" in call.prompt]
    assert edits and not any("oak" in edit for edit in edits)
    assert told["verdict"]["basis"] == "held_out" and told["trials"][0]["held_out"]["total"] > 0


def test_a_second_recording_of_a_source_is_what_people_reach(tmp_path: Path) -> None:
    file = run_file(tmp_path, "", OFFLINE, max_trials=1)
    (tmp_path / "sources" / "elm.txt").write_text((tmp_path / "sources" / "ash.txt").read_text())
    told = found(tmp_path / "store", file)
    assert told["pairs"] == 2 and 0 < told["ceiling"]["total"] < told["trials"][0]["training"]["total"]


@pytest.mark.parametrize("status", ["refused", "empty"])
def test_a_trial_that_loses_too_many_scripts_is_no_trial(tmp_path: Path, status: str) -> None:
    said = completion(None, refusal="No.") if status == "refused" else completion("")
    with serve_openai(lambda call: said) as server, pytest.raises(UserError, match=rf"trial 1: 3 of 3.*{status}"):
        make(run_file(tmp_path, server.url), tmp_path / "store")


def priced(url: str) -> dict[str, Any]:
    """A writer that takes 3 cents for what `completion` answers, and might take 5 more."""
    return {
        "provider": "openai", "model": "w", "base_url": url, "max_tokens": 50, "input_usd": 100, "output_usd": 1000,
    }  # fmt: skip


@pytest.mark.parametrize("max_usd", [0.3, 0.5])
def test_calls_in_flight_cannot_pass_the_limit_together(tmp_path: Path, max_usd: float) -> None:
    late = lambda call: replace(answered(call), latency_s=0.1)  # noqa: E731
    names = tuple(f"tree-{n}" for n in range(12))
    with serve_openai(late) as server:
        file = run_file(tmp_path, server.url, {"writer": priced(server.url)}, names, max_usd=max_usd, concurrency=12)
        with pytest.raises(UserError, match=r"max_usd: the calibration has cost"):
            make(file, tmp_path / "store")
        cost = 0.03 * len(server.calls)
    assert max_usd - 0.2 < cost <= max_usd


def test_money_that_is_spent_ends_it_and_what_is_paid_is_kept(tmp_path: Path) -> None:
    with serve_openai(answered) as server:
        writer = priced(server.url)
        file = run_file(tmp_path, server.url, {"writer": writer}, max_usd=0.2, concurrency=1)
        with pytest.raises(UserError, match=r"max_usd: the calibration has cost"):
            make(file, tmp_path / "store")
        paid = len(server.calls)
        file.write_text(file.read_text().replace("max_usd: 0.2", "max_usd: null"))
        make(file, tmp_path / "store")
        bodies = [json.dumps([call.body["messages"], call.body.get("seed")]) for call in server.calls]
        assert 0 < paid < len(bodies) == len({*bodies})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"held_out": ["yew"]}, "held_out: no pair yew"),
        ({"held_out": 3}, "all 3 pairs are held out"),
        ({"weights": {"duration": 0.5}}, "together they must be 1"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_paid(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        make(run_file(tmp_path, "", OFFLINE, **change), tmp_path / "store")


@pytest.mark.parametrize(
    ("port", "content", "problem"),
    [
        ("prompt.txt", "No slot.", "{source} must stand there once"),
        ("prompt.txt", "Clear. \x1b[2J {source} {profile}", "prompt.txt: it has control characters"),
        ("pairs.jsonl", '{"pair": "ash", "status": "no_audio"}\n', "no pair is ready"),
        (
            "pairs.jsonl",
            '{"pair": "yew", "status": "ready"}\n',
            "pairs.jsonl: the pair yew is ready, and yew.txt is not among the sources",
        ),
        ("talks.jsonl", "", "no line is there for the pair ash"),
        ("talks.jsonl", NO_WORDS, "ash: source and talk must both have words"),
        ("talks.jsonl", "{", "talks.jsonl:1.*One of your own has an object in each line"),
        ("sources/ash.txt", b"\xe4 la carte", "ash.txt:1: .*UTF-8"),
        ("talks.jsonl", SHUFFLED, "ash: the times of its segments are wrong"),
        ("pairs.jsonl", json.dumps({"pair": "a" * 300, "status": "ready"}), "pairs.jsonl: aaa"),
        ("pairs.jsonl", '{"pair": "../ash", "status": "ready"}\n', "names a file outside"),
    ],
)
def test_references_that_do_not_belong_together_are_refused(
    tmp_path: Path, port: str, content: str | bytes, problem: str
) -> None:
    file = run_file(tmp_path, "", OFFLINE)
    (tmp_path / port).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=problem):
        make(file, tmp_path / "store")
