from __future__ import annotations

import re
from pathlib import Path

from kit.comparisons import fidelity, material
from tuneline.data.io import read_record
from tuneline.data.model_facts import Fidelity, ModelFacts
from tuneline_evaluator.report.fidelity import on_the_front, pick_in_words
from tuneline_evaluator.report.plots import fidelity_plot


def facts(folder: Path, *rows: dict[str, object]) -> ModelFacts:
    made = read_record(material(folder).model_info or folder, ModelFacts)
    return made.model_copy(update={"fidelity": tuple(Fidelity.model_validate(row) for row in rows)}) if rows else made


def test_a_file_that_another_beats_in_size_and_agreement_is_not_on_the_front(tmp_path: Path) -> None:
    rows = facts(tmp_path).fidelity
    assert [row.file_type for row in on_the_front(rows)] == ["Q2_K", "Q4_K_M", "Q8_0"]
    plot = fidelity_plot(rows)
    assert all(f">{row.file_type}<" in plot for row in rows)
    (corners,) = re.findall(r'points="([^"]+)"', plot)
    assert len(corners.split()) == 3


def test_the_pick_is_the_smallest_file_that_is_close_enough_and_says_when_another_one_was_compared(
    tmp_path: Path,
) -> None:
    found = facts(tmp_path)
    said = r"Take Q2_K \(3\.81\sGB\): it is the smallest .* at least 80\s% at the lower end"
    assert re.match(said, pick_in_words(found))
    assert pick_in_words(found).endswith("It was not compared with the base: Q4_K_M was.")
    own = facts(tmp_path, fidelity("Q4_K_M", 5.76, 0.92, 0.04, file=found.file), fidelity("Q2_K", 3.81, 0.82, 0.22))
    assert re.match(r"Take Q4_K_M \(5\.76\sGB\): .* interval\.$", pick_in_words(own))
    assert pick_in_words(facts(tmp_path, fidelity("Q2_K", 3.81, 0.6, 0.5))) == ""
