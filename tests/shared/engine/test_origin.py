from __future__ import annotations

from pathlib import Path

import pytest

from kit.toys import STAGES
from tuneline.engine.origin import inline_name, named_by_origin
from tuneline.engine.runfile import read_run_file

TEXT = """\
run: toys
inputs:
  words:
    - one
    - deep: 1
  table:
    a: 2
"""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{folder}/inputs/words/{words}:1: 1.deep: is odd", "{file}:5: inputs.words.1.deep: is odd"),
        ("{words}:1: [1].deep: is odd", "{file}:5: inputs.words.1.deep: is odd"),
        ("{words}: the text is empty", "{file}:3: inputs.words: the text is empty"),
        ("{table}:1: a: is used in line 1; no", "{file}:7: inputs.table.a: is used; no"),
        ("2:\n{words}:1: x\n{table}:1: b: y", "2:\n{file}:3: inputs.words: x\n{file}:6: inputs.table.b: y"),
        ("words.json:4: in line 1", "words.json:4: in line 1"),
    ],
)  # fmt: skip
def test_content_of_the_run_file_is_named_by_its_line_there(tmp_path: Path, said: str, told: str) -> None:
    file, folder = tmp_path / "a run.yaml", tmp_path / "work files"
    file.write_text(TEXT)
    names = {"words": inline_name("words"), "table": inline_name("table"), "file": str(file), "folder": str(folder)}
    run_file = read_run_file(file, STAGES)
    assert named_by_origin(said.format(**names), run_file, folder) == told.format(**names)
