from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kit.browser import open_browser
from kit.judge_parts import RUBRIC, write_transcripts
from kit.pages import Page
from kit.support import run_stage
from kit.toys import CounterInputs, CounterParams
from tuneline.commands.tuneline import app
from tuneline.stage import Context, Metrics, Outputs, Stage
from tuneline.stage import page as page_output
from tuneline_assessor.stage import STAGE


def tuneline(folder: Path, *words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--store", str(folder / "store")])


@pytest.fixture
def page(tmp_path: Path) -> Path:
    inputs = {
        "transcripts": write_transcripts(tmp_path / "t.jsonl", 8), "rubric": RUBRIC, "judge": {"provider": "heuristic"},
    }  # fmt: skip
    run_stage(STAGE, tmp_path, inputs=inputs, run="small")
    (tmp_path / "rubric.yaml").write_text(json.dumps(RUBRIC))
    out = tmp_path / "page.html"
    done = tuneline(tmp_path, "view", "small", "assessor", "--rubric", tmp_path / "rubric.yaml", "--out", out)
    assert done.exit_code == 0 and done.output.strip() == str(out), done.output
    return out


def test_transcripts_stand_on_a_page_the_nearest_to_the_threshold_first(page: Path) -> None:
    shown = Page(page.read_text())
    rows = [json.loads(a["data-facts"] or "") for _, a in shown.tags if "data-facts" in a]
    assert len(rows) == 8 and all(row["answers"] for row in rows)
    scores = [float(text) / 100 for text in shown.words if text.replace(".", "", 1).isdigit() and "." in text]
    threshold = float(str(RUBRIC.get("pass_threshold", 0.8)))
    assert len(scores) == 8 and scores == sorted(scores, key=lambda score: abs(score - threshold))
    assert all(question["question"] in shown.text for group in RUBRIC["categories"] for question in group["criteria"])


def test_a_run_without_transcripts_or_without_a_page_says_what_there_is(tmp_path: Path, page: Path) -> None:
    other = tuneline(tmp_path, "view", "small")
    assert other.exit_code == 2 and "tuneline view small assessor" in other.output
    nowhere = tuneline(tmp_path, "view", "none", "assessor")
    assert nowhere.exit_code == 2 and "it has small" in nowhere.output
    bad = tuneline(tmp_path, "view", "small", "assessor", "--out", tmp_path / "no" / "page.html")
    assert bad.exit_code == 2 and "cannot be written" in bad.output


def test_open_says_where_the_pages_of_a_run_lie_and_nothing_else(tmp_path: Path, page: Path) -> None:
    done = tuneline(tmp_path, "open", "small")
    assert done.exit_code == 0, done.output
    [place] = done.output.splitlines()
    assert place.endswith("runs/small/assessor/audit.md") and Path(place).is_file()


class Pages(Outputs):
    """What a comparison shows."""

    view: Path = page_output("conversations.html")
    """A page."""


def hold(params: CounterParams, inputs: CounterInputs, outputs: Pages, context: Context) -> Metrics:
    outputs.view.write_text("<p>said</p>")
    return Metrics(headline="held")


def test_the_page_of_a_comparison_is_shown_where_it_lies_and_copied_where_a_person_wants_it(tmp_path: Path) -> None:
    run_stage(Stage("evaluator", 1, CounterParams, CounterInputs, Pages, hold), tmp_path, inputs={"words": ["a"]})
    shown = tuneline(tmp_path, "view", "test").output.strip()
    assert shown == str(tmp_path / "store" / "runs" / "test" / "evaluator" / "conversations.html")
    copy = tmp_path / "page.html"
    assert tuneline(tmp_path, "view", "test", "--out", copy).output == f"{copy}\n"
    assert copy.read_text() == "<p>said</p>" == Path(shown).read_text()
    nowhere = tuneline(tmp_path, "view", "test", "--out", tmp_path / "no" / "page.html").output
    assert nowhere.startswith(f"{tmp_path}/no/page.html: No such file")
    rubric = tuneline(tmp_path, "view", "test", "--rubric", tmp_path / "rubric.yaml")
    assert rubric.exit_code == 2 and "--rubric is for the page of the assessor" in rubric.output


@pytest.mark.slow
def test_the_page_needs_nothing_that_the_plain_command_line_does_not_have(tmp_path: Path, page: Path) -> None:
    optional = ["py3langid", "scipy", "numpy", "tokenizers", "presidio_analyzer", "datasets", "rapidfuzz"]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({optional}));from tuneline.commands.tuneline import main; main()"
    )
    words = ["view", "small", "assessor", "--out", tmp_path / "plain.html", "--store", tmp_path / "store"]
    subprocess.run([sys.executable, "-c", program, *map(str, words)], check=True, capture_output=True)
    shown = Page((tmp_path / "plain.html").read_text())
    assert "Answers in another language are not flagged" in shown.text
    assert "are not flagged" not in Page(page.read_text()).text


@pytest.mark.slow
def test_in_a_browser_a_person_labels_blind_and_judge_check_reads_the_labels(tmp_path: Path, page: Path) -> None:
    with open_browser(tmp_path) as browser:
        browser.open(page.as_uri())
        assert browser.run("[...document.querySelectorAll('.judged')].every(e => e.offsetParent === null)")
        for _ in range(2):
            browser.run(
                "document.querySelectorAll('.talk').forEach((talk, n) => talk.querySelectorAll('.label').forEach(s => {"
                "s.value = n % 2 ? 'NO' : 'YES'; s.dispatchEvent(new Event('change', {bubbles: true})); }))"
            )
            browser.open(page.as_uri())
            assert browser.run("document.getElementById('labelled').textContent") == "8 labelled"
        browser.click("#reveal")
        assert browser.run("document.querySelector('.talk .judged').offsetParent !== null")
        browser.click("#export")
        labels = tmp_path / "labels.jsonl"
        end = time.monotonic() + 60
        while not labels.exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert not browser.told
    done = tuneline(tmp_path, "judge-check", "small", "--labels", labels)
    assert done.exit_code == 0 and "8 judged transcripts, 8 of them with labels" in done.output, done.output
