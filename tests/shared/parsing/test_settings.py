"""Values of a file that a command line replaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.toys import STAGES
from tuneline.engine.runfile import RunFile, read_run_file
from tuneline.errors import UserError


def read(folder: Path, *settings: str, text: str = "inputs:\n  words: [a]\ncounter: {pause: 0.5}\n") -> RunFile:
    (folder / "run.yaml").write_text(text)
    return read_run_file(folder / "run.yaml", STAGES, settings=settings)


def test_a_setting_takes_the_place_of_what_the_file_says(tmp_path: Path) -> None:
    found = read(tmp_path, "counter.pause=0.25", "run=other", "max_usd=3", "goal=counter")
    assert found.params["counter"].model_dump()["pause"] == 0.25
    assert (found.run, found.max_usd, [step.name for step in found.steps]) == ("other", 3, ["counter"])
    assert found.settings[0] == "counter.pause=0.25"


def test_a_setting_may_be_of_a_group_that_the_file_leaves_out(tmp_path: Path) -> None:
    found = read(tmp_path, "counter.pause=0.25", 'inputs.words=["b", "c"]', text="inputs: {}\ncounter:\n")
    assert found.params["counter"].model_dump()["pause"] == 0.25
    assert found.source.content["inputs"]["words"] == ["b", "c"]


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("counter.pause=-1", "--set counter.pause: input should be greater than or equal to 0 (got -1)"),
        ("counter.pauze=1", "--set counter.pauze: unknown key; did you mean `pause`?"),
        ("countr.pause=1", "--set countr: unknown key"),
        ("counter.pause", "--set counter.pause: write it as trainer.epochs=1"),
        ("counter..pause=1", "write it as trainer.epochs=1"),
        ("=1", "write it as trainer.epochs=1"),
        ("inputs.words.x=1", "what it stands in is no mapping"),
        ("counter.pause={", "not valid YAML"),
        ("counter.pause=\x1b[31m", "a character that YAML forbids"),
        ("counter.pause=\udcff", "not UTF-8"),
        ("counter.pause=!!python/object:os.system 1", "has no meaning here"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, setting: str, problem: str) -> None:
    with pytest.raises(UserError) as refused:
        read(tmp_path, setting)
    assert problem in str(refused.value) and "\x1b" not in str(refused.value)


def test_the_store_may_stand_in_the_file_and_counts_from_there(tmp_path: Path) -> None:
    assert read(tmp_path, "store=results").store == str(tmp_path / "results")
    assert read(tmp_path, "store=s3://team/tuneline").store == "s3://team/tuneline"
    assert read(tmp_path).store is None
    for wrong in ("store=[1]", "store=hf://org/name", "store=ftp://x"):
        with pytest.raises(UserError, match="--set store: a folder, file:///… or s3://bucket/prefix"):
            read(tmp_path, wrong)
