"""What is said in more than one place is said alike."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib

import pytest

from contract.golden import PLACE, golden
from kit.places import ROOT
from tuneline.engine.layout import Node
from tuneline.engine.pipelines import plan
from tuneline.stage import installed_stages

STAGES = installed_stages()
HEAVY = {"torch", "transformers", "trl", "peft", "scipy", "numpy", "tiktoken", "openai", "boto3", "jinja2", "gguf"}


def test_a_result_changes_only_with_the_version_of_its_stage() -> None:
    written, now = json.loads(PLACE.read_text()), json.loads(json.dumps(golden()))
    changed = [name for name in now if now[name] != written.get(name)]
    same_version = [name for name in changed if now[name]["version"] == written.get(name, {}).get("version")]
    assert not same_version, f"raise the version of {same_version} in stage.py: {now}"
    assert not changed, "run `make format` to write the new versions down"


def test_a_stage_has_one_name() -> None:
    folders = {p.name for p in (ROOT / "services").iterdir() if (p / "pyproject.toml").exists()}
    assert folders == set(STAGES)
    for name, stage in STAGES.items():
        project = tomllib.loads((ROOT / "services" / name / "pyproject.toml").read_text())["project"]
        assert stage.name == name
        assert Node.parse(name) == Node(name), f"{name}: means something else in a run's folder, or cannot be a name"
        assert project["name"] == f"tuneline-{name}"
        assert list(project["scripts"]) == [f"tuneline-{name}"]
        assert (ROOT / "requirements" / f"{name}.txt").exists()
        assert (ROOT / "tests" / name.replace("-", "_")).is_dir()


def test_every_port_that_is_read_is_written_by_the_stage_it_names() -> None:
    for stage in STAGES.values():
        for port in stage.input_ports():
            if port.stage is not None:
                maker, _, variant = port.stage.partition("@")
                assert port.port in {out.name for out in STAGES[maker].output_ports()}, port
                assert not variant or variant in STAGES[maker].variants


def test_the_order_of_a_whole_run() -> None:
    names = [node.name for node in plan(STAGES, {})]
    assert {"assessor", "slicer", "trainer", "gguf-converter", "gguf-converter@base", "evaluator"} == set(names)
    for earlier, later in [("assessor", "slicer"), ("slicer", "trainer"), ("trainer", "gguf-converter")]:
        assert names.index(earlier) < names.index(later)
    assert names[-1] == "evaluator"
    assert next(node for node in plan(STAGES, {}) if node.name == "gguf-converter@base").needs == ()


def test_every_parameter_port_and_output_has_a_sentence() -> None:
    for stage in STAGES.values():
        fields = [*stage.params.model_fields.items(), *stage.inputs.model_fields.items()]
        for name, info in [*fields, *stage.outputs.model_fields.items()]:
            assert info.description and info.description.endswith("."), f"{stage.name}.{name}"


@pytest.mark.parametrize("name", sorted(STAGES))
def test_help_and_schema_import_nothing_heavy(name: str) -> None:
    module = f"tuneline_{name.replace('-', '_')}.stage"
    script = (
        f"import sys, {module}; from tuneline.commands.stage import schema_of; "
        f"schema_of({module}.STAGE); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)


def test_the_library_imports_no_stage() -> None:
    for path in (ROOT / "shared" / "src").rglob("*.py"):
        assert not any(f"tuneline_{name.replace('-', '_')}" in path.read_text() for name in STAGES), path


def test_no_page_names_an_address_of_a_registry_or_of_this_machine() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    hosts = ("pypi" + ".org", "files.python" + "hosted", "deb." + "debian", "registry." + "npm", str(ROOT))
    for file in files:
        if (ROOT / file).suffix != ".png" and (ROOT / file).is_file():
            text = (ROOT / file).read_text()
            assert not [host for host in hosts if host in text], file
