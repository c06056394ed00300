"""What is planned for recordings, and what the same take on a server that bills by the minute."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kit.calibrating import PROMPT
from kit.scripted_openai import Answer, Call, serve_openai
from kit.speech import make, pdf, rows_of, run_file, write_wave
from tuneline.commands.plan import RunPlan, plan_of
from tuneline.engine.checks import Findings, Where, check_run
from tuneline.engine.plans import plan_run
from tuneline.engine.runfile import read_run_file
from tuneline.stage import installed_stages
from tuneline.store.base import open_store

SECONDS = 35


def planned(file: Path, store: Path) -> RunPlan:
    return plan_of(read_run_file(file, installed_stages()), open_store(str(store)))


def row_of(plan: RunPlan) -> Any:
    """The row of the one role that there is."""
    rows: Any = plan.json["calls"]
    [row] = rows
    return row


def hears(call: Call) -> Answer:
    said = {"start": 0.0, "end": 8.0, "text": " Falls are common and a sensor sees them every time they happen."}
    return Answer(body=json.dumps({"text": said["text"], "language": "english", "segments": [said]}).encode())


def references(folder: Path) -> None:
    write_wave(folder / "references" / "a.wav", [[n % 99 * 100 for n in range(8000)] * SECONDS], 8000)
    (folder / "references" / "a.pdf").write_bytes(pdf(["Falls are common."]))
    (folder / "references" / "b.txt").write_text("Falls are common.")
    (folder / "references" / "b.vtt").write_text(f"WEBVTT\n\n00:00.000 --> 01:00.000\n{'Falls are common. ' * 50}\n")


@pytest.mark.slow
def test_chunks_of_a_server_are_planned_with_their_minutes_and_what_was_paid_is_left_out(tmp_path: Path) -> None:
    references(tmp_path)
    with serve_openai(hears) as server:
        hosted = {"provider": "openai", "model": "whisper-1", "base_url": server.url, "minute_usd": 0.6}
        file = run_file(tmp_path, hosted, chunk_seconds=10)
        row = row_of(planned(file, tmp_path / "store"))
        assert not server.calls and not (tmp_path / "store").exists()
        cost = make(file, tmp_path / "store").metrics.cost
        assert (row["role"], row["calls"], row["usd"]) == ("recogniser", 5, pytest.approx(0.6 * SECONDS / 60))
        assert cost.total_usd == pytest.approx(row["usd"]) and abs(len(server.calls) - row["calls"]) <= 1
        shutil.copy(tmp_path / "references" / "b.txt", tmp_path / "references" / "c.txt")
        write_wave(tmp_path / "references" / "c.wav", [[n % 77 * 90 for n in range(8000)] * 9], 8000)
        again = row_of(planned(run_file(tmp_path, hosted, "again", chunk_seconds=10), tmp_path / "store"))
    assert again["left_calls"] <= 2 and again["usd"] == pytest.approx(0.6 * (SECONDS + 9) / 60, rel=0.1)
    assert 0.09 <= again["left_usd"] <= 0.2


def test_a_calibration_is_planned_before_its_recordings_are_heard(tmp_path: Path) -> None:
    references(tmp_path)
    (tmp_path / "references" / "d.txt").write_text("Nobody spoke of it.")
    file = run_file(tmp_path, on_bad="skip")
    (tmp_path / "prompt.txt").write_text(PROMPT)
    local = {"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
    more = {"prompt": "prompt.txt", "writer": local, "judge": local}
    file.write_text(file.read_text().replace("goal: transcriber", "goal: calibrate"))
    for name, value in more.items():
        file.write_text(file.read_text().replace("inputs:", f"inputs:\n  {name}: {json.dumps(value)}"))
    plan = planned(file, tmp_path / "store")
    rows: Any = plan.json["calls"]
    assert [(row["role"], row["calls"]) for row in rows] == [("writer", 2 * 5 + 4), ("judge", 2 * (2 + 3 * 5 + 2))]
    assert any("0.01 hours of sound to recognise" in line for line in plan.lines)
    assert any("2 pairs, at most 5 trials" in line for line in plan.lines)
    assert any("1 of 3 cannot be used, d first: no_audio" in line for line in plan.findings.warnings)


def test_what_is_only_told_is_planned_as_it_will_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "references"
    folder.mkdir()
    for name in ("clock", "plain"):
        (folder / f"{name}.txt").write_text("A document.")
    said = "Falls are common, and sensors see them."
    (folder / "clock.transcript.txt").write_text(f"[Ann] 10:02:23\n{said}\n\n[Ben] 10:02:27\n{said}\n")
    (folder / "plain.transcript.txt").write_text("Falls are common.")
    write_wave(folder / "unheard.wav", [[0] * 8000], 8000)
    file = run_file(tmp_path, {"provider": "given"}, on_bad="skip", require_source=False)
    plan = plan_run(
        read_run_file(file, installed_stages()), open_store(str(tmp_path / "store")), Where(tmp_path / "work"), {}
    )
    assert any("2 of 3 references are whole" in line for line in plan.findings.notes), "nothing hears the third"
    [preview] = (tmp_path / "work").rglob("pairs*")
    known = [json.loads(line) for line in preview.read_text().splitlines()]
    made = rows_of(tmp_path / "store", make(file, tmp_path / "store"), "pairs.jsonl")
    found = [[(row["pair"], row["status"], row.get("seconds", 0)) for row in rows] for rows in (known, made)]
    assert found[0] == found[1] == [("clock", "ready", 6.8), ("plain", "no_audio", 0), ("unheard", "failed", 0)]


def test_the_small_whisper_is_asked_for_english_only(tmp_path: Path) -> None:
    references(tmp_path)

    def found(language: str | None) -> Findings:
        file = run_file(tmp_path, {"provider": "faster-whisper", "language": language})
        run, store = read_run_file(file, installed_stages()), open_store(str(tmp_path / "store"))
        return check_run(run, store, Where(tmp_path / "work"), {})

    assert not found("en").problems and not found("en").warnings
    assert any("knows English only, and makes English of others" in line for line in found(None).warnings)
    assert any("language: the Whisper" in line and "name another" in line for line in found("de").problems)
