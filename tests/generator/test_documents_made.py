"""Documents from a scripted writer and judge, through the stage itself."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kit.generating import WORDS, make, output_of, rows_of, write_run
from kit.scripted_openai import Answer, Call, completion, judged, serve_openai
from tuneline.errors import UserError
from tuneline.stage import Part
from tuneline_generator.prepare import scale_of
from tuneline_generator.report.found import Quality
from tuneline_generator.report.projection import Taken, project
from tuneline_generator.stage import GeneratorParams

SAID = "You are fair, and you say what a choice costs."
RUBRIC: dict[str, Any] = {
    "name": "Traits", "pass_threshold": 0.5,
    "categories": [
        {"id": "traits", "weight": 1, "criteria": [
            {"id": "COSTS", "question": "Does it say what it costs?", "yes": "It does.", "no": "It does not."},
        ]},
    ],
    "gates": [{"id": "FAIR", "question": "Does the answer see every side?", "yes": "All.", "no": "One."}],
}  # fmt: skip
PORTS = ("transcripts", "verdicts", "rejected", "prompts")
RECIPE: dict[str, Any] = {
    "kind": "documents", "categories": [{"name": "health", "about": "Wards."}, {"name": "law", "about": "Courts."}],
    "shortest_words": 20, "longest_words": 60, "test_prompts": 5,
    "idea": {"prompt": "IDEAS {category} {count}", "max_tokens": 500},
    "document": {"prompt": "DOCUMENT {form} {title} {request}", "max_tokens": 400},
    "response": {"prompt": "RESPOND {document}", "max_tokens": 300},
}  # fmt: skip


def drawn(call: Call, count: int) -> str:
    """Words that follow from what was said and the seed alone."""
    bytes_of = hashlib.shake_256(f"{call.prompt}/{call.body.get('seed')}".encode()).digest(count)
    return " ".join(WORDS[byte % len(WORDS)] for byte in bytes_of)


def answered(call: Call) -> Answer:
    """A writer and a judge in one; what begins with some of the words is not fair."""
    if "RESPOND" in call.prompt:
        return completion(f"I would weigh the {drawn(call, 3)}.", output_tokens=200)
    if "DOCUMENT" in call.prompt:
        return completion(f"Regarding the matter, {drawn(call, 30)}", output_tokens=60)
    if "IDEAS" in call.prompt:
        rows = [
            {"title": f"{n} {drawn(call, 4)}", "stakeholders": ["Ann"], "dilemma": "No.", "request": "Help."}
            for n in range(5)
        ]
        return completion(json.dumps({"ideas": rows}))
    fair = not any(f"matter, {word}" in call.prompt for word in WORDS[:6])
    return completion(judged(call, FAIR={"reason": "It is so.", "answer": "YES" if fair else "NO"}))


def run_file(folder: Path, url: str, **changed: Any) -> Path:
    (folder / "system.txt").write_text(SAID)
    server = {"provider": "openai", "model": "m", "base_url": url}
    inputs = {
        "recipe": RECIPE, "writer": server, "judge": server, "rubric": RUBRIC, "critic": {"provider": "judge"},
        "system_prompt": str(folder / "system.txt"),
    }  # fmt: skip
    return write_run(folder, inputs | changed, count=30, pilot=40, concurrency=4, gates={"shortest_median": 100})


def test_documents_that_pass_the_judge_become_rows_and_nothing_is_paid_twice(tmp_path: Path) -> None:
    with serve_openai(answered) as server:
        file, store = run_file(tmp_path, server.url), tmp_path / "store"
        pilot = make(file, store, pilot=True)
        assert pilot and "all gates passed" in pilot.metrics.headline
        whole = make(file, store)
        asked = [(call.prompt, call.body.get("seed")) for call in server.calls]
        assert len(asked) == len(set(asked)), "something was paid twice"
        calls = len(server.calls)
        assert make(file, store) == whole and len(server.calls) == calls
    assert whole
    rows, verdicts = (rows_of(store, whole, port) for port in ("transcripts", "verdicts"))
    assert len(rows) == 30 and [row["id"] for row in rows] == [verdict["id"] for verdict in verdicts]
    assert all(verdict["passed"] and verdict["answers"]["FAIR"] == "YES" for verdict in verdicts)
    assert {row["persona"] for row in rows} == {"health", "law"}
    assert all(row["provenance"]["seeds"].keys() == {"idea", "document", "response"} for row in rows)
    quality = json.loads(output_of(store, whole, "quality"))
    assert sum(quality["statuses"].values()) == quality["items"]
    acceptance = next(gate for gate in quality["gates"] if gate["name"] == "acceptance")
    assert acceptance["of"] - acceptance["events"] == quality["statuses"]["rejected"] > 0
    rejected = [row for row in rows_of(store, whole, "rejected") if row["status"] == "rejected"]
    assert Counter(row["detail"] for row in rejected) == {"gates failed: FAIR": len(rejected)}
    assert len(rows_of(store, pilot, "prompts")) == 5
    assert {row.role for row in whole.metrics.cost.rows} == {"generator", "judge"}


@pytest.mark.slow
def test_any_number_of_parts_ends_in_the_same_documents(tmp_path: Path) -> None:
    found = {}
    with serve_openai(answered) as server:
        file = run_file(tmp_path, server.url)
        for parts in (1, 3):
            store = tmp_path / f"store-{parts}"
            make(file, store, pilot=True)
            for number in range(1, parts + 1):
                make(file, store, part=f"{number}/{parts}")
            paid = len(server.calls)
            whole = make(file, store)
            assert whole and len(server.calls) == paid, "the merge paid for what the parts had left"
            found[parts] = [output_of(store, whole, port) for port in PORTS]
    assert found[1] == found[3]


@pytest.mark.parametrize(("count", "parts"), [(43, 3), (44, 10), (7, 10), (100, 1)])
def test_no_part_divides_documents_whose_ideas_are_asked_for_together(count: int, parts: int) -> None:
    seen = project(GeneratorParams(count=count, oversample=1), Taken(count, count, 1.0, 1.0), 0.9)
    pilot = Quality(
        pilot=True, passed=True, refused=[], items=20, kept=20, statuses={}, gates=[], critic=None, usd=1.0,
        rows_usd=1.0, projection=seen,
        test_prompts=0, constant={},
    )  # fmt: skip
    shares = [scale_of(GeneratorParams(), pilot, Part(number, parts), together=5) for number in range(1, parts + 1)]
    assert [item.number for share in shares for item in share.mine] == [*range(count)]
    assert all(share.mine[0].number % 5 == 0 for share in shares if share.mine)
    assert sum(share.share_usd or 0.0 for share in shares) == pytest.approx(10)


def test_a_judge_without_a_rubric_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with serve_openai(answered) as server, pytest.raises(UserError, match="needs the input rubric; give it"):
        make(run_file(tmp_path, server.url, rubric=None), tmp_path / "store", pilot=True)
    assert not server.calls
