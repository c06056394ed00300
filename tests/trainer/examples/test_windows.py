"""Token ids come from the slicer, or are made where they are missing or of another model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kit.chat_models import Family, write_chat_model
from kit.slicing import Bench, talk
from trainer import runs
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer
from tuneline_trainer.examples import windows
from tuneline_trainer.examples.windows import Window, read_windows


def rows_of_the_slicer(folder: Path, family: Family = "gemma", **params: object) -> list[dict[str, object]]:
    bench = Bench(folder, family, context=400)
    bench.write(talk("a", 14, greeting="Good morning!"), talk("b", 9, unlearnt=(4,)), talk("c", 3, system="Be brief."))
    return bench.slice(**params).slices


def read(folder: Path, rows: list[dict[str, object]]) -> list[Window]:
    slices = runs.write_rows(folder / "slices.jsonl", rows)
    return list(read_windows(slices, ChatTokenizer.from_folder(folder / "base")))


def bare(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{key: value for key, value in row.items() if key != "encoding"} for row in rows]


@pytest.mark.parametrize("family", ["gemma", "chatml", "llama"])
@pytest.mark.parametrize("window", ["slide", "tile"])
def test_the_ids_of_the_slicer_are_those_that_would_be_made_here(
    tmp_path: Path, family: Family, window: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of_the_slicer(tmp_path, family, window=window)
    made = read(tmp_path, bare(rows))
    assert len(made) < len(rows)
    assert all(found.exact for found in made)
    monkeypatch.setattr(windows, "encode_window", None)  # nothing is left to encode
    assert read(tmp_path, rows) == made


def test_ids_of_another_chat_template_are_made_anew(tmp_path: Path) -> None:
    rows = rows_of_the_slicer(tmp_path, "chatml")
    template = (tmp_path / "base" / "chat_template.jinja").read_text().replace("<|im_start|>", "<|im_start|>The ")
    write_chat_model(tmp_path / "base", "chatml", template=template)
    assert read(tmp_path, rows) == read(tmp_path, bare(rows))


@pytest.mark.parametrize(
    "damage",
    [
        {"ids": [1, 2**40], "answers": [[0, 1]]},
        {"ids": [1, -2], "answers": [[0, 1]]},
        {"ids": [1, 2], "answers": [[1, 3]]},
        {"ids": [1, 2], "answers": [[-1, 2]]},
        {"ids": [1, 2], "answers": [[1, 2], [0, 1]]},
    ],
)
def test_damaged_ids_are_refused_by_the_name_of_their_slice(tmp_path: Path, damage: dict[str, object]) -> None:
    row = rows_of_the_slicer(tmp_path)[-1]
    encoding = row["encoding"]
    assert isinstance(encoding, dict)
    with pytest.raises(UserError, match="the token ids of c#3 are damaged"):
        read(tmp_path, [json.loads(json.dumps(row)) | {"encoding": encoding | damage}])
