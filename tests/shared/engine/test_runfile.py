from __future__ import annotations

from pathlib import Path

import pytest

from kit.toys import STAGES
from tuneline.engine.pipelines import Address, Inline, plan
from tuneline.engine.runfile import RunFile, read_run_file
from tuneline.errors import UserError


def read(folder: Path, text: str) -> RunFile:
    file = folder / "run.yaml"
    file.write_text(text)
    return read_run_file(file, STAGES)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(UserError) as e:
        read(folder, text)
    return str(e.value).replace(f"{folder}/", "")


def test_the_order_of_the_stages_comes_from_their_ports() -> None:
    names = [node.name for node in plan(STAGES, {})]
    assert sorted(names) == ["adder", "counter", "counter@short"]
    assert names[-1] == "adder"
    assert plan(STAGES, {})[-1].needs == ("counter", "counter@short")


def test_an_input_that_is_given_needs_no_stage() -> None:
    nodes = plan(STAGES, {"counts": Address("/counts.txt"), "short": Inline([1])})
    assert [(n.name, n.needs) for n in nodes] == [("adder", ())]


def test_an_optional_input_is_an_edge_only_if_its_stage_is_part_of_the_run() -> None:
    assert plan(STAGES, {"short": Address("/s")})[-1].needs == ("counter",)


def test_a_goal_stops_earlier() -> None:
    assert [n.name for n in plan(STAGES, {}, "counter")] == ["counter"]


def test_a_relative_path_counts_from_the_folder_of_the_file(tmp_path: Path) -> None:
    run_file = read(tmp_path, "inputs: {words: words.txt, table: s3://bucket/t, counts: [1, 2]}\n")
    assert run_file.inputs == {
        "words": Address(str(tmp_path / "words.txt")), "table": Address("s3://bucket/t"), "counts": Inline([1, 2]),
    }  # fmt: skip
    assert run_file.run == "run"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("counter:\n  unti: x\n", "run.yaml:2: counter.unti: unknown key; did you mean `unit`?"),
        ("counter:\n  shape: {wdith: 2}\n", "run.yaml:2: counter.shape.wdith: unknown key; did you mean `width`?"),
        ("counter:\n  shape:\n    width: 0\n", "run.yaml:3: counter.shape.width: input should be greater than"),
        ("counter: {width: 2}\n", "run.yaml:1: counter.width: unknown key; did you mean `shape.width`?"),
        ("conter: {}\n", "run.yaml:1: conter: unknown key; did you mean `counter`?"),
        ("inputs:\n  wrods: a\n", "run.yaml:2: inputs.wrods: no stage reads this input; did you mean `words`?"),
        ("inputs:\n  words: 7\n", "run.yaml:2: inputs.words: an address (text) or the content itself"),
        ("inputs:\n  words: {a: .inf}\n", "run.yaml:2: inputs.words: contains what JSON cannot express"),
        ("goal: addre\n", "run.yaml:1: goal: no stage with this name; did you mean `adder`?"),
        ("goal: {a: b}\n", "run.yaml:1: goal: no stage with this name"),
        ("run: 1.10\n", "run.yaml:1: run: YAML reads this name as 1.1; put it in quotes"),
        ("run: yes\n", "run.yaml:1: run: YAML reads this name as True; put it in quotes"),
        ("counter: {shape: {width:2}}\n", "run.yaml:1: counter.shape.width:2: a space is missing: write `width: 2`"),
        ("counter: {shape: 2}\n", "run.yaml:1: counter.shape: input should be a mapping, as in `{key: value}` (got 2)"),
        ("name: Help desk\ncategories: []\ngates: []\n", "run.yaml:1: this is no run file, whose keys are run, goal,"),
        ("run: r\nimage: a\ndeadlineSeconds: 9\n", "run.yaml:2: image: unknown key"),
        ("run: Big Name\n", "run.yaml:1: run: a run's name has a-z"),
        ("counter: {unit: a, unit: b}\n", "run.yaml:1: counter.unit: given twice"),
        ("counter: {\n", "run.yaml:2: not valid YAML"),
        ("- counter\n", "run.yaml:1: a run file is a mapping"),
        ("inputs: [a]\n", "run.yaml:1: inputs: a mapping from input to address or content"),
        ("counter: 3\n", "run.yaml:1: counter: "),
    ],
)
def test_a_mistake_is_named_with_file_line_and_field(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text)


def test_a_file_whose_inputs_are_misspelt_is_not_told_of_all_that_it_lacks(tmp_path: Path) -> None:
    assert refused(tmp_path, "Inputs:\n  words: a\n") == "run.yaml:1: Inputs: unknown key; did you mean `inputs`?"


def test_every_mistake_is_listed_at_once(tmp_path: Path) -> None:
    message = refused(tmp_path, "counter:\n  unti: x\nadder:\n  start: many\ninputs:\n  wrods: a\n")
    assert sorted(line.split(":")[1] for line in message.splitlines()) == ["2", "4", "6"]


def test_a_missing_file_and_one_that_is_not_text_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_run_file(tmp_path / "absent.yaml", STAGES)
    (tmp_path / "latin.yaml").write_bytes("run: caf\xe9".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        read_run_file(tmp_path / "latin.yaml", STAGES)


def test_the_keys_yes_and_no_stay_words_and_an_alias_without_end_is_refused(tmp_path: Path) -> None:
    assert read(tmp_path, "inputs: {words: {yes: a, no: b, 1: c}}\n").inputs["words"] == Inline(
        {
            "yes": "a",
            "no": "b",
            "1": "c",
        }
    )
    assert "nested more than" in refused(tmp_path, "inputs: {words: &x [*x]}\n")
