"""The page: rows of every status, nothing of a row as HTML, the same bytes each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tuneline_generator.report.bounds import rate
from tuneline_generator.report.found import Quality
from tuneline_generator.report.gates import LIMITS, share_gate
from tuneline_generator.report.report import histograms, some, write_report
from tuneline_generator.report.wording import GATES, refusal
from tuneline_generator.writing.rows import Row, Status, counted


def rows(**counts: int) -> list[Row]:
    found: list[Row] = []
    for name, count in counts.items():
        status: Status = name  # type: ignore[assignment]
        for _ in range(count):
            place = len(found)
            found.append(Row(item=place, status=status, prompt=f"prompt {place}", response="a b", tokens=place % 7))
    return found


def quality(found: list[Row]) -> Quality:
    return Quality(
        pilot=True, passed=False, refused=["runaway"], items=len(found), kept=0, statuses={**counted(found)},
        gates=[share_gate("runaway", rate(14, 30), "below", 0.05)], critic=None, projection=None, usd=None,
        rows_usd=None, test_prompts=0, constant={},
    )  # fmt: skip


def test_rows_of_every_status_are_shown_evenly_and_twenty_at_most() -> None:
    shown = some(rows(rejected=500, empty=3, leaks=2, runaway=100))
    assert len(shown) == 20 and shown == sorted(shown, key=lambda row: row.item)
    assert {status: sum(row.status == status for row in shown) for status in ("empty", "leaks")} == {
        "empty": 3, "leaks": 2,
    }  # fmt: skip
    assert some([]) == [] and len(some(rows(kept=4))) == 4


def test_what_a_model_wrote_is_never_html_and_control_characters_are_seen(tmp_path: Path) -> None:
    found = [Row(item=0, status="leaks", category="<b>", prompt="<script>x</script>", response="a\x1b[31m\ud800 & b")]
    write_report(tmp_path / "page.html", found, quality(found))
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page and "&lt;script&gt;x&lt;/script&gt;" in page and "\x1b" not in page
    assert "No critic looked at these rows" in page and "47% (14 of 30)" in page
    write_report(tmp_path / "again.html", found, quality(found))
    assert (tmp_path / "again.html").read_text() == page


def test_a_histogram_of_whole_numbers_has_no_gaps_where_nothing_could_be() -> None:
    tokens = next(iter(histograms(rows(kept=70))))
    assert len(tokens.bars) == 7 and all(bar.height for bar in tokens.bars)
    assert list(histograms([])) == []


def test_a_histogram_of_large_and_of_small_numbers_is_labelled_without_exponents() -> None:
    long = [Row(item=n, status="kept", prompt="p", response="r", tokens=12_345 + 9_000 * n) for n in range(9)]
    tokens = histograms(long)[0]
    assert (tokens.low, tokens.high) == ("12,345", "84,345") and tokens.bars[0].label == "12,345 to 15,345: 1"
    near = [replace(row, margin=margin) for row, margin in zip(long, (-6e-5, 0.0, 6e-5), strict=False)]
    margin = histograms(near)[-1]
    assert (margin.low, margin.high) == ("-0.00006", "0.00006") and margin.bars[12].label == "0 to 0.000005: 1"


def test_what_was_lost_says_what_most_of_it_is() -> None:
    found = quality(rows(kept=7, empty=9, refused=4))
    gate = share_gate("lost", rate(13, 20), "at most", 0.05)
    [line] = refusal(found.model_copy(update={"refused": ["lost"], "gates": [gate], "kept": 7}))
    assert line == "lost: 65% (13 of 20), wanted at most 5.0%; most are `empty` (no text)"


def test_each_gate_is_said_in_words() -> None:
    named = {"leakage", "overlap", "test_prompts", *(name for limits in LIMITS.values() for name in limits)}
    assert named == GATES.keys()
