"""Personal data is replaced before a judge, a journal, an output or a log sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.judge_parts import RUBRIC
from kit.judging import perfect
from kit.scripted_openai import serve_openai
from kit.support import run_stage
from tuneline.data.io import read_lines
from tuneline.data.judged import read_judged
from tuneline.data.verdicts import Verdict
from tuneline.errors import UserError
from tuneline_assessor.stage import STAGE, AssessorParams

PLANTED = {
    "EMAIL": "eva.canary@example.org", "PHONE": "+49 30 901820", "CREDIT_CARD": "4111 1111 1111 1111",
    "IBAN": "DE89 3704 0044 0532 0130 00", "SECRET": "sk-ant-api03-abcdefghijklmnop1234",
}  # fmt: skip


def write(folder: Path) -> Path:
    texts = [f"Mine is {value}, yes." for value in PLANTED.values()]
    exchanges = [{"user": text, "assistant": f"Thank you: {text} Anything else?"} for text in texts]
    rows = [
        {"id": "talk-1", "exchanges": exchanges, "system": texts[0], "persona": PLANTED["EMAIL"]},
        {"id": PLANTED["EMAIL"], "exchanges": [{"user": "Hello", "assistant": "Please tell me more, would you?"}]},
        {"id": "talk-3", "exchanges": [{"user": "Hello", "assistant": "Please tell me more, would you?"}]},
    ]
    path = folder / "transcripts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def inputs(folder: Path, judge: object) -> dict[str, Any]:
    return {"transcripts": write(folder), "rubric": RUBRIC, "judge": judge}


def holds_planted(text: str) -> list[str]:
    return [value for value in PLANTED.values() if value in text]


def test_redact_keeps_planted_values_from_judge_journal_outputs_and_pins(tmp_path: Path) -> None:
    with serve_openai(perfect) as server:
        judge = {"provider": "openai", "model": "m", "base_url": server.url, "input_usd": 1.0, "output_usd": 1.0}
        done = run_stage(STAGE, tmp_path, inputs=inputs(tmp_path, judge), params={"pii": "redact"})
    assert len(server.calls) == 2  # two transcripts say the same
    for call in server.calls:
        assert not holds_planted(json.dumps(call.body, ensure_ascii=False))
    kept = [file for file in (tmp_path / "store").rglob("*") if file.is_file()]
    assert any("journals" in file.parts for file in kept)
    for file in kept:
        assert not holds_planted(file.read_text()), file
    transcripts = {t.id: t for t in read_judged(done.paths["transcripts"])}
    said = [exchange.user for exchange in transcripts["talk-1"].exchanges]
    assert said == [f"Mine is [{kind}_1], yes." for kind in PLANTED]
    verdicts = {v.id: v.sha256 for v in read_lines(done.paths["verdicts"], Verdict)}
    assert verdicts == {name: t.sha256 for name, t in transcripts.items()}
    metrics = done.manifest.metrics
    assert metrics.counts["pii"] == {"CREDIT_CARD": 2, "EMAIL": 5, "IBAN": 2, "PHONE": 2, "SECRET": 2}
    assert metrics.counts["pii_transcripts"] == 2
    assert "personal data redacted: 2 CREDIT_CARD, 5 EMAIL" in metrics.headline
    assert "names are not looked for" in metrics.headline


def test_an_id_that_is_an_address_stands_in_no_list_of_what_was_mended_or_left_out(tmp_path: Path) -> None:
    given = inputs(tmp_path, {"provider": "heuristic"})
    said = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Please tell me more, would you?"}]
    rows = [
        {"id": "mended@example.org", "messages": [*said, {"role": "user", "content": "Are you there?"}]},
        {"id": "bad@example.org", "messages": []},
    ]
    with given["transcripts"].open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    params = {"pii": "redact", "on_bad": "skip", "max_bad": 1}
    done = run_stage(STAGE, tmp_path, inputs=given, params=params)
    assert done.manifest.metrics.counts["rejected"] == done.manifest.metrics.counts["repaired"] == 1
    for file in (tmp_path / "store").rglob("*"):
        assert not file.is_file() or "@example.org" not in file.read_text(), file


def test_a_second_run_pays_nothing_because_the_redacted_text_is_the_same(tmp_path: Path) -> None:
    with serve_openai(perfect) as server:
        judge = {"provider": "openai", "model": "m", "base_url": server.url, "input_usd": 1.0, "output_usd": 1.0}
        for run, concurrency in (("one", 1), ("two", 2)):
            params = {"pii": "redact", "max_unparsed": 0.01 * concurrency}
            run_stage(STAGE, tmp_path, inputs=inputs(tmp_path, judge), params=params, run=run)
    assert len(server.calls) == 2


def test_report_counts_and_changes_nothing(tmp_path: Path) -> None:
    plain = run_stage(STAGE, tmp_path, inputs=inputs(tmp_path, {"provider": "heuristic"}), run="plain")
    done = run_stage(
        STAGE, tmp_path, inputs=inputs(tmp_path, {"provider": "heuristic"}), params={"pii": "report"}, run="report"
    )
    assert done.paths["transcripts"].read_bytes() == plain.paths["transcripts"].read_bytes()
    assert done.manifest.metrics.counts["pii_transcripts"] == 2
    assert "pii" not in plain.manifest.metrics.counts


def test_refuse_lists_ids_and_kinds_before_anything_is_paid_and_quotes_nothing(tmp_path: Path) -> None:
    with serve_openai(perfect) as server, pytest.raises(UserError) as refused:
        judge = {"provider": "openai", "model": "m", "base_url": server.url, "input_usd": 1.0, "output_usd": 1.0}
        run_stage(STAGE, tmp_path, inputs=inputs(tmp_path, judge), params={"pii": "refuse"})
    assert not server.calls
    message = str(refused.value)
    assert message.startswith("2 of 3 transcripts hold personal data")
    assert "transcripts.jsonl:1: talk-1: 2 CREDIT_CARD, 4 EMAIL, 2 IBAN, 2 PHONE, 2 SECRET" in message
    assert not holds_planted(message)


@pytest.mark.slow
def test_the_log_of_the_command_holds_nothing_either_and_yaml_may_say_off(tmp_path: Path) -> None:
    write(tmp_path)
    for number, mode in enumerate(("off", "refuse")):
        content = f"run: r{number}\ninputs: {{transcripts: transcripts.jsonl, judge: {{provider: heuristic}}}}\n"
        file = tmp_path / f"{number}.yaml"
        file.write_text(f"{content}assessor: {{pii: {mode}}}\ngoal: assessor\n")
        rubric = tmp_path / "rubric.yaml"
        rubric.write_text(yaml.safe_dump(RUBRIC))
        file.write_text(file.read_text().replace("{transcripts:", "{rubric: rubric.yaml, transcripts:"))
        words: list[str | Path] = [
            Path(sys.executable).with_name("tuneline-assessor"),
            "run",
            "--file",
            file,
            "--store",
            tmp_path / "s",
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == (2 if mode == "refuse" else 0), done.stderr
        assert not holds_planted(done.stdout + done.stderr)


def test_off_is_the_default_and_a_word_that_yaml_reads_as_false() -> None:
    assert AssessorParams().pii == AssessorParams.model_validate({"pii": False}).pii == "off"
