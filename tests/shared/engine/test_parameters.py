from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.places import EXAMPLES
from kit.toys import COUNTER, STAGES
from kit.workflow_parameters import as_parameters, encode
from tuneline.engine.identity import fingerprint
from tuneline.engine.pipelines import Address, Inline
from tuneline.engine.runfile import RunFile, read_run_file, read_run_parameters
from tuneline.engine.runner import new_job, run_job
from tuneline.errors import UserError
from tuneline.stage import Json, installed_stages
from tuneline.store.base import Store, open_store


def read(*rows: tuple[str, str | None], run: str | None = None) -> RunFile:
    given = [{"name": name} if value is None else {"name": name, "value": value} for name, value in rows]
    return read_run_parameters(encode(given), STAGES, run, "finetune-x7k2p", (Path("/data"),))


def refused(*rows: tuple[str, str]) -> str:
    with pytest.raises(UserError) as e:
        read(*rows)
    return str(e.value)


@pytest.mark.parametrize("name", ["demo.yaml", "gemma-2-9b.yaml"])
def test_parameters_and_file_give_the_same_fingerprints(name: str) -> None:
    file = read_run_file(EXAMPLES / name, installed_stages())
    text = yaml.safe_dump(yaml.safe_load((EXAMPLES / name).read_text()) | {"inputs": {}})
    handed_on = read_run_parameters(as_parameters(text), installed_stages())
    assert handed_on.run == file.run
    assert [node.name for node in handed_on.steps] == [node.name for node in file.steps]
    for node in file.steps:
        here, there = file.params[node.stage.name], handed_on.params[node.stage.name]
        assert fingerprint(node.name, 1, here, {}) == fingerprint(node.name, 1, there, {}), node.name


def test_numbers_that_lose_their_form_on_the_way_are_the_same_input(tmp_path: Path) -> None:
    text = yaml.safe_dump({"run": "r", "inputs": {"words": [2.0, {"a": [1e-05, -0.0, 1e21]}, 2.5]}})
    (tmp_path / "run.yaml").write_text(text)
    store = open_store(str(tmp_path / "store"))
    found = [read_run_file(tmp_path / "run.yaml", STAGES), read_run_parameters(as_parameters(text), STAGES)]
    assert [str(run_file.inputs["words"]).partition("[")[2][:4] for run_file in found] == ["2.0,", "2, {"]
    assert len({made(run_file, store) for run_file in found}) == 1


def made(run_file: RunFile, store: Store) -> str:
    with new_job(run_file, run_file.step("counter"), store) as job:
        return run_job(job).manifest.fingerprint


def test_every_character_of_a_value_survives() -> None:
    odd = "\"'`\\ \n\t{{workflow.name}} {{=1+1}} </a>& é 漢 😀 \u2028 \x85 $HOME # : - y"
    words: list[Json] = [odd, {odd: odd}, "1e-5", "012", "yes", "", None, True]
    assert read(("inputs", as_value({"words": words}))).inputs == {"words": Inline(words)}


def as_value(value: Any) -> str:
    (row,) = json.loads(b64decode(as_parameters(yaml.safe_dump({"only": value}))))
    return str(row["value"])


def test_the_last_one_of_a_name_counts() -> None:
    run_file = read(("counter", '{"unit": "a"}'), ("run", "one"), ("counter", '{"pause": 1}'), ("run", "two"))
    assert run_file.run == "two"
    assert run_file.params["counter"] == COUNTER.params.model_validate({"pause": 1})


@pytest.mark.parametrize("nothing", ["", " ", "null", None])
def test_a_parameter_without_a_value_is_not_given(nothing: str | None) -> None:
    run_file = read(("run", nothing), ("goal", nothing), ("inputs", nothing), ("counter", nothing))
    assert run_file.run == "finetune-x7k2p"
    assert run_file.inputs == {}
    assert run_file.params["counter"] == COUNTER.params()
    assert run_file.steps[-1].name == "adder"


def test_a_run_is_named_by_option_then_parameter_then_workflow() -> None:
    assert read(("run", "given"), run="option").run == "option"
    assert read(("run", "given")).run == "given"
    assert read().run == "finetune-x7k2p"
    with pytest.raises(UserError, match="parameter run: a run's name has a-z"):
        read_run_parameters(encode([]), STAGES)


def test_addresses_pass_and_a_relative_path_is_refused_with_the_way_out() -> None:
    inputs = '{"words": "s3://b/words.txt", "table": "/data/table", "counts": "file:///data/c", "short": [1, 2]}'
    data = (Path("/data"),)
    assert read(("inputs", inputs)).inputs == {
        "words": Address("s3://b/words.txt"), "table": Address("/data/table", data),
        "counts": Address("file:///data/c", data), "short": Inline([1, 2]),
    }  # fmt: skip
    assert refused(("inputs", '{"words": "data/words.txt", "table": "~/t"}')).splitlines() == [
        f"parameter inputs: {name}: '{path}' is a path on another machine. `tuneline upload FILE --store URI` puts it "
        "into a store and prints the run file with its address"
        for name, path in (("words", "data/words.txt"), ("table", "~/t"))
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("counter", '{"unti": "x"}', "parameter counter: unti: unknown key; did you mean `unit`?"),
        ("counter", '{"shape": {"width": 0}}', "parameter counter: shape.width: input should be greater than"),
        ("counter", '{"unit": "a", "unit": "b"}', "parameter counter: a key stands twice in one object"),
        ("counter", '{"pause": NaN}', "parameter counter: NaN is not a number"),
        ("counter", "[1]", "parameter counter: input should be a mapping, as in `{key: value}`"),
        ("conter", "{}", "parameter conter: unknown key; did you mean `counter`?"),
        ("conter", "", "parameter conter: unknown key; did you mean `counter`?"),
        ("conter", "anything: {", "parameter conter: unknown key; did you mean `counter`?"),
        ("inputs", '{"wrods": "s3://b"}', "parameter inputs: wrods: no stage reads this input; did you mean `words`?"),
        ("inputs", '{"words": 7}', "parameter inputs: words: an address (text) or the content itself"),
        ("inputs", '["a"]', "parameter inputs: a mapping from input to address or content"),
        ("inputs", '{"words": ["\\ud83d"]}', "parameter inputs: words: contains what JSON cannot express"),
        ("goal", "addre", "parameter goal: no stage with this name; did you mean `adder`?"),
        ("run", "Big Name", "parameter run: a run's name has a-z"),
    ],
)
def test_a_mistake_is_named_with_parameter_and_field(name: str, value: str, message: str) -> None:
    assert refused((name, value)).startswith(message)


@pytest.mark.parametrize("value", ["canary: {", '{"unit": "canary"', '{"unit": "canary"} x', "[" * 100_000])
def test_a_value_that_is_not_json_is_refused_and_not_quoted(value: str) -> None:
    message = refused(("counter", value))
    assert re.match("parameter counter: .*; its value is JSON", message)
    assert "canary" not in message


@pytest.mark.parametrize(
    "encoded",
    [
        "canary!",
        "Y2FuYXJ5",  # canary
        b64encode(b'{"name": "canary"}').decode(),
        b64encode(b'["canary"]').decode(),
        b64encode(b'[{"name": "canary", "value": {}}]').decode(),
        b64encode("canaré".encode("latin-1")).decode(),
        "é",
    ],
)
def test_what_is_not_a_list_of_parameters_is_refused_and_not_quoted(encoded: str) -> None:
    with pytest.raises(UserError, match="RUN_FILE: is not base64 of a JSON list") as e:
        read_run_parameters(encoded, STAGES)
    assert "canar" not in str(e.value)
    assert encoded not in str(e.value)


def test_a_missing_input_is_named_as_a_parameter(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^parameter inputs: words: is missing\. counter needs it: Words"):
        made(read(), open_store(str(tmp_path)))


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/var/run/secrets/token", "file:///proc/self/environ", "/data/../etc/x"]
)
def test_a_workflow_names_no_file_of_the_pod_but_mounted_data(path: str) -> None:
    assert refused(("inputs", json.dumps({"words": path}))).startswith(
        f"parameter inputs: words: {path!r} is not below /data. `tuneline upload FILE --store URI`"
    )


def test_a_link_in_mounted_data_leads_nowhere_else(tmp_path: Path) -> None:
    data = tmp_path.resolve() / "data"
    (data / "table").mkdir(parents=True)
    (tmp_path / "token").write_text("canary")
    (data / "table" / "a.txt").symlink_to(tmp_path / "token")
    (data / "words.txt").symlink_to(tmp_path / "token")
    store = open_store(str(tmp_path / "store"))
    for inputs, problem in (
        ({"words": f"{data}/words.txt"}, "is not below"),
        ({"words": ["x"], "table": f"{data}/table"}, "table/a.txt: the symbolic link leads out of"),
    ):
        with pytest.raises(UserError) as e:
            rows = [{"name": "run", "value": "r"}, {"name": "inputs", "value": json.dumps(inputs)}]
            made(read_run_parameters(encode(rows), STAGES, data=(data,)), store)
        assert problem in str(e.value) and "canary" not in str(e.value)
