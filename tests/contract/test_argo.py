"""argo/ says the same as the stages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import argo
from kit.manifests import TEMPLATES, evaluate
from kit.places import ROOT
from kit.workflow_parameters import as_parameters, encode
from tuneline.commands.hook import end_of
from tuneline.commands.stage import _parts
from tuneline.engine.parameters import TEXT
from tuneline.engine.pipelines import Address, Given, OutputOf, in_order, plan, steps_of
from tuneline.engine.runfile import read_run_parameters
from tuneline.errors import UserError
from tuneline.stage import Inputs, Metrics, Outputs, Params, Stage, folder_name, installed_stages, output_of
from tuneline.stage import given as declared_given
from tuneline.stage import page as declared_page
from tuneline.store.base import open_store

STAGES = installed_stages()
NODES = [node.name for node in in_order(steps_of(STAGES), {}) if not node.stage.takes_runs]
PIPELINE = {step.name for step in plan(STAGES, {})}
"""The steps of the pipeline; other stages run as goals of their own, or where an input names their output."""
FINETUNE = TEMPLATES["finetune"]["spec"]
DAG = FINETUNE["templates"][0]["dag"]
ALL_TASKS: dict[str, dict[str, Any]] = {task["name"]: task for task in DAG["tasks"]}
PARTS = {name for name, task in ALL_TASKS.items() if "withParam" in task}
"""Tasks that are parts of a stage's work: they come before the stage itself."""
TASKS = {name: task for name, task in ALL_TASKS.items() if name not in (argo.CHECK, *PARTS)}
"""The tasks that are stages; the check comes before all of them."""
PARAMETERS: dict[str, dict[str, Any]] = {row["name"]: row for row in FINETUNE["arguments"]["parameters"]}
MADE = ("judged", "verdicts", "slices", "adapter", "model", "base")
"""Inputs that one stage makes and a later one cannot do without."""


def template(stage: str) -> dict[str, Any]:
    found: dict[str, Any] = TEMPLATES[stage]["spec"]["templates"][0]
    return found


def task_of(node: str) -> str:
    return node.replace("@", "-")


def before(task: str, tasks: dict[str, Any] = TASKS) -> set[str]:
    """Return the tasks that end before `task` starts."""
    depends = tasks[task].get("depends", "")
    for parts in PARTS & {*depends.split(" && ")}:
        depends = depends.replace(parts, ALL_TASKS[parts]["depends"])
    needs = set(filter(None, depends.split(" && "))) - {argo.CHECK}
    return needs.union(*(before(need, tasks) for need in needs))


def nodes_before(node: str) -> set[str]:
    step = next(n for n in in_order(steps_of(STAGES), {}) if n.name == node)
    needs = {*step.needs, *(port.after for port in step.stage.input_ports(step.variant) if port.after)}
    needs |= {*NODES} - PIPELINE if node in PIPELINE else set()  # an input may name their outputs
    return needs.union(*map(nodes_before, needs))


WHOLE, ENDS, ANOTHER = re.split(r" [?:] ", DAG["target"])
"""Whether the goal is the whole pipeline, the tasks that it ends in, and the task of another goal."""


class Mapped(dict[str, Any]):
    """A map as Argo's expressions see it: what is not there is nil."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name)


def starts(goal: str, given: Mapping[str, object], tasks: dict[str, Any] = TASKS) -> set[str]:
    """Return the tasks that Argo starts: those before the target whose `when` is true."""
    parameters = SimpleNamespace(goal=goal, inputs=Mapped(given))
    scope = {
        "workflow": SimpleNamespace(parameters=parameters),
        "fromJSON": lambda content: content,
    }
    targets = ENDS.strip('"').split() if goal == "finetune" else [task_of(goal)]
    reached = set(targets).union(*(before(target, tasks) for target in targets))
    conditions = {name: tasks[name].get("when", "{{=True}}").strip() for name in reached}
    return {name for name, when in conditions.items() if evaluate(when[len("{{=") : -len("}}")], scope)}


def test_each_stage_has_a_template_an_image_and_nothing_else_has() -> None:
    assert set(TEMPLATES) == {*STAGES, *argo.GRAPHS, argo.CHECK, argo.HOOK}
    for name in STAGES:
        assert TEMPLATES[name]["metadata"]["name"] == template(name)["name"] == name
        assert f'ENTRYPOINT ["tini", "--", "tuneline-{name}"]' in (ROOT / "images" / name / "Dockerfile").read_text()
        assert template(name)["container"]["command"] == ["tini", "--", f"tuneline-{name}"]
        project = tomllib.loads((ROOT / "services" / name / "pyproject.toml").read_text())["project"]
        assert f"tuneline-{name}" in project["scripts"]


@pytest.mark.parametrize("name", sorted(STAGES))
def test_the_templates_of_the_stages_differ_in_names_words_and_outputs_only(name: str) -> None:
    def alike(stage: str) -> Any:
        one = json.loads(re.sub(rf"\b{stage}\b", "STAGE", json.dumps(TEMPLATES[stage])))
        del one["metadata"]["annotations"], one["spec"]["templates"][0]["outputs"], one["spec"]["templates"][1:]
        return one

    assert alike(name) == alike("slicer")


@pytest.mark.parametrize("name", sorted(STAGES))
def test_a_variant_has_a_template_that_differs_in_its_name_and_its_word(name: str) -> None:
    whole, *variants = [one for one in TEMPLATES[name]["spec"]["templates"] if "inputs" not in one]
    assert [one["name"] for one in variants] == [f"{name}-{variant}" for variant in STAGES[name].variants]
    assert whole["container"]["args"] == ["run"]
    for variant, one in zip(STAGES[name].variants, variants, strict=True):
        assert one["container"]["args"] == ["run", "--variant", variant]
        rows = [row for row in one["outputs"]["parameters"] if row["name"] != "parts"]
        alike = {"name": name, "container": one["container"] | {"args": ["run"]}, "outputs": {"parameters": rows}}
        assert one | alike == whole


def test_parts_of_a_stage_are_as_many_as_its_pilot_says_and_come_before_the_whole() -> None:
    shared = {name for name, stage in STAGES.items() if stage.parts}
    assert {f"{name}-part" for name in shared} == PARTS == {"generator-part"}
    [part] = [one for one in TEMPLATES["generator"]["spec"]["templates"] if "inputs" in one]
    whole = template("generator")
    assert part["inputs"] == {"parameters": [{"name": "part", "description": "Which part of the work, as 3/10."}]}
    assert part["container"] == whole["container"] | {"args": ["run", "--part={{inputs.parameters.part}}"]}
    assert part["retryStrategy"] == whole["retryStrategy"]
    for graph in ("finetune", "synthesize"):
        tasks = {task["name"]: task for task in TEMPLATES[graph]["spec"]["templates"][0]["dag"]["tasks"]}
        task = tasks["generator-part"]
        assert task["withParam"] == "{{tasks.generator-pilot.outputs.parameters.parts}}"
        assert task["arguments"] == {"parameters": [{"name": "part", "value": "{{item}}"}]}
        assert task["depends"] == "generator-pilot" and tasks["generator"]["depends"] == "generator-part"
        assert task["when"] == tasks["generator-pilot"]["when"], "a pilot that is given leaves no list of parts behind"
    pilot = next(one for one in TEMPLATES["generator"]["spec"]["templates"] if one["name"] == "generator-pilot")
    [told] = [row for row in pilot["outputs"]["parameters"] if row["name"] == "parts"]
    assert told["valueFrom"] == {"path": "/tmp/outputs/parts", "default": "[]"}


def test_the_pods_of_a_pilot_say_how_many_parts_are_worth_it() -> None:
    assert _parts(Metrics(headline="", counts={"parts": 3, "passed": True})) == ["1/3", "2/3", "3/3"]
    for counts in ({"parts": 3, "passed": False}, {"parts": 1, "passed": True}, {"parts": None, "passed": True}, {}):
        assert _parts(Metrics(headline="", counts=counts)) == []


def test_the_files_are_what_the_stages_say() -> None:
    there = {path.name: path.read_text() for path in (ROOT / "argo").glob("*.yaml")}
    assert argo.workflows(STAGES) == there


def test_a_workflow_can_replace_nothing_of_a_pod() -> None:
    """Whichever template is its entrypoint: one without inputs has nothing that an argument could take the place of.

    The one input is the number of a part, one word of a command that takes nothing else there.
    """
    for one in TEMPLATES.values():
        for part in one["spec"]["templates"]:
            assert "inputs" not in part or part["container"]["args"] == ["run", "--part={{inputs.parameters.part}}"]
        pasted = set(
            re.findall(r"\{\{.*?\}\}", json.dumps([part.get("container") for part in one["spec"]["templates"]]))
        )
        words = {"{{=sprig.b64enc(workflow.parameters.json)}}", "{{workflow.name}}", "{{inputs.parameters.part}}"}
        of_the_end = {"{{=workflow.mainEntrypoint}}", "{{=workflow.status}}", "{{=workflow.duration}}",
                      "{{=sprig.b64enc(sprig.trunc(60000, workflow.failures))}}"}  # fmt: skip
        assert pasted <= (words | of_the_end if one["metadata"]["name"] == argo.HOOK else words)


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_template_that_is_submitted_alone_runs_with_no_more_rights_than_in_the_graph(name: str) -> None:
    keys = ("serviceAccountName", "securityContext", "podSpecPatch", "archiveLogs", "podGC", "ttlStrategy")
    assert {key: TEMPLATES[name]["spec"][key] for key in keys} == {key: FINETUNE[key] for key in keys}
    assert yaml.safe_load(FINETUNE["podSpecPatch"])["automountServiceAccountToken"] is False


class CopiedOutputs(Outputs):
    """What the copied stage makes."""

    page: Path = declared_page("page.html")
    """A page."""


class CopiedInputs(Inputs):
    """What the copied stage reads."""

    slices: Path = output_of("slicer")
    """The training examples."""


def test_a_stage_that_is_added_gets_its_template_and_its_place_from_its_ports() -> None:
    copied = Stage("copied", 1, Params, CopiedInputs, CopiedOutputs, lambda *_: Metrics(headline="done"))
    made = {name: yaml.safe_load(text) for name, text in argo.workflows(STAGES | {"copied": copied}).items()}
    assert set(made) == {f"{name}.yaml" for name in {*TEMPLATES, "copied"}}
    (part,) = made["copied.yaml"]["spec"]["templates"]
    assert part["container"]["command"][-1] == "tuneline-copied"
    assert [row["name"] for row in part["outputs"]["parameters"]] == [
        "headline",
        "cost",
        "items",
        "usd",
        "decision",
        "page",
    ]
    tasks = {task["name"]: task for task in made["finetune.yaml"]["spec"]["templates"][0]["dag"]["tasks"]}
    assert tasks["copied"] == {
        "name": "copied", "depends": "slicer", "templateRef": {"name": "copied", "template": "copied"}
    }  # fmt: skip
    assert "copied && (inputs.slices == nil ||" in tasks["slicer"]["when"]


class MakerInputs(Inputs):
    """What the maker reads."""

    personas: Path = declared_given()
    """Who talks."""


class MakerOutputs(Outputs):
    """What the maker makes."""

    talks: Path = folder_name("talks")
    """Transcripts."""


def test_a_stage_outside_of_the_pipeline_joins_a_run_if_and_only_if_an_input_names_its_output() -> None:
    maker = Stage("maker", 1, Params, MakerInputs, MakerOutputs, lambda *_: Metrics(headline="done"))
    stages = STAGES | {"maker": maker}
    dag = yaml.safe_load(argo.workflows(stages)["finetune.yaml"])["spec"]["templates"][0]["dag"]
    tasks = {task["name"]: task for task in dag["tasks"]}
    assert set(tasks) == {*ALL_TASKS, "maker"}
    talks = {"transcripts": OutputOf("maker", "talks")}
    for goal in ["finetune", *NODES]:
        for given in ({}, talks, talks | {"slices": Address("s3://bucket/slices")}):
            texts = {
                name: f"output:{v.node}/{v.port}" if isinstance(v, OutputOf) else v.uri for name, v in given.items()
            }
            assert starts(goal, texts, tasks) == {task_of(s.name) for s in plan(stages, given, goal)}, (goal, texts)
    assert "maker" in before("assessor", tasks), "the assessor would not wait for its transcripts"


def test_an_importance_matrix_of_slices_brings_the_slicer_into_the_run_and_the_base_arm_behind_it() -> None:
    assert "slicer" in before("gguf-converter-base")
    texts = {"slices": "s3://b/s", "adapter": "s3://b/a", "imatrix": "output:slicer/slices"}
    made = {name: Address(text) for name, text in texts.items()} | {"imatrix": OutputOf("slicer", "slices")}
    for goal in ("gguf-converter", "gguf-converter@base"):
        assert starts(goal, texts) == {task_of(step.name) for step in plan(STAGES, made, goal)}
        assert "slicer" in starts(goal, texts)
        assert "slicer" not in starts(goal, texts | {"imatrix": "s3://b/imatrix.gguf"})


def test_the_check_comes_before_everything_and_its_refusal_ends_the_workflow() -> None:
    assert ALL_TASKS[argo.CHECK] == {"name": "check", "templateRef": {"name": "check", "template": "check"}}
    for name in TASKS:
        assert TASKS[name]["depends"] == argo.CHECK if not before(name) else argo.CHECK not in TASKS[name]["depends"]
    part, stage = template(argo.CHECK), template("assessor")
    assert part["container"] == stage["container"] | {"command": ["tini", "--", "tuneline"], "args": ["check"]}
    assert part["retryStrategy"] == stage["retryStrategy"]


def test_the_hook_tells_all_that_its_program_reads_and_its_own_failure_fails_nothing() -> None:
    call, end = TEMPLATES[argo.HOOK]["spec"]["templates"]
    told = {row["name"]: row["value"] for row in call["container"]["env"]}
    assert set(told) == {"RUN_FILE", "WORKFLOW", "PIPELINE", "STATUS", "SECONDS_TAKEN", "FAILURES"}
    with pytest.raises(UserError, match="RUN_FILE"):  # what an empty one is refused with: no other is missed
        end_of(told | {"SECONDS_TAKEN": "1", "RUN_FILE": ""}, open_store("none"))
    assert end["steps"] == [[{"name": "hook", "template": "hook", "continueOn": {"failed": True, "error": True}}]], (
        "Argo fails a workflow whose exit hook fails"
    )
    again = call["retryStrategy"]
    assert again["retryPolicy"] == "Always", "a pod that is refused would be an error that nothing continues on"
    asked = [SimpleNamespace(exitCode=code) for code in ("2", "75", "-1")]
    assert [evaluate(again["expression"], {"lastRetry": last}) for last in asked] == [False, True, True]
    assert "hooks" not in FINETUNE, "the chart writes it in, where it is asked for"


def test_titles_and_descriptions_are_there_for_people() -> None:
    for one in TEMPLATES.values():
        assert one["metadata"]["annotations"]["workflows.argoproj.io/title"]
        assert one["metadata"]["annotations"]["workflows.argoproj.io/description"].strip().endswith(".")


def test_the_target_is_the_goals_task_and_for_the_whole_pipeline_its_last_ones() -> None:
    assert WHOLE == '{{=workflow.parameters.goal == "finetune"'
    assert ENDS == '"evaluator"'
    assert ANOTHER == 'sprig.replace("@", "-", workflow.parameters.goal)}}'


def test_the_graph_has_the_nodes_of_a_run_in_the_order_that_their_ports_give() -> None:
    assert set(TASKS) == {task_of(node) for node in NODES}
    for node in NODES:
        assert before(task_of(node)) == {task_of(n) for n in nodes_before(node)}
        stage = node.partition("@")[0]
        assert TASKS[task_of(node)]["templateRef"] == {"name": stage, "template": task_of(node)}
        assert "arguments" not in TASKS[task_of(node)]


@pytest.mark.parametrize("goal", ["finetune", *NODES])
def test_a_stage_starts_if_and_only_if_it_is_part_of_the_run(goal: str) -> None:
    for count in range(len(MADE) + 1):
        for names in combinations(MADE, count):
            given = dict.fromkeys(names, "s3://bucket/key")
            expected = {task_of(s.name) for s in plan(STAGES, {n: Address(uri) for n, uri in given.items()}, goal)}
            assert starts(goal, {"transcripts": "s3://bucket/t", **given}) == expected, (goal, names)


def test_publishing_is_a_workflow_of_its_own_and_no_part_of_another() -> None:
    publish = TEMPLATES["publish"]["spec"]
    [task] = publish["templates"][0]["dag"]["tasks"]
    assert task == {"name": "publisher", "templateRef": {"name": "publisher", "template": "publisher"}}
    rows = publish["arguments"]["parameters"]
    assert {row["name"] for row in rows if "value" in row} == {"run", "goal", "max_usd", "inputs", "publisher"}
    run_file = read_run_parameters(encode(rows), STAGES, run="demo")
    assert [step.name for step in run_file.steps] == ["publisher"]
    assert "publisher" not in ALL_TASKS and "publisher" not in PARAMETERS


def test_an_input_that_names_the_output_of_a_stage_leaves_that_stage_in_the_run() -> None:
    named = {
        p.name: f"output:{p.stage}/{p.port}"
        for s in plan(STAGES, {})
        for p in s.stage.input_ports(s.variant)
        if p.stage
    }
    assert set(MADE) <= set(named)
    whole = {task_of(name) for name in PIPELINE}
    assert starts("finetune", {"transcripts": "s3://bucket/t", **named}) == whole
    given = {"transcripts": "s3://bucket/t", "slices": "s3://bucket/s", "adapter": named["adapter"]}
    assert starts("finetune", given) == whole - {"assessor", "slicer"}


@pytest.mark.parametrize(
    "named",
    [
        {"model": "output:gguf-converter@base/model"},
        {"judged": "output:generator/transcripts", "verdicts": "output:generator/verdicts"},
        {"writer_model": "output:gguf-converter@base/model", "prompts": "output:generator/prompts"},
        {"prompt": "output:calibrator/prompt", "transcripts": "output:transcriber/transcripts"},
    ],
)
def test_an_input_that_names_another_stage_than_its_usual_one_takes_that_one_in_its_place(
    named: dict[str, str],
) -> None:
    nodes = {name: OutputOf(*text.removeprefix("output:").split("/")) for name, text in named.items()}
    for more in ({}, {"transcripts": "s3://bucket/t"}):
        given: dict[str, Given] = {name: Address(uri) for name, uri in more.items()}
        expected = {task_of(step.name) for step in plan(STAGES, given | nodes, "finetune")}
        assert starts("finetune", {**more, **named}) == expected


def test_an_endpoint_that_answers_in_place_of_a_file_leaves_its_conversion_out() -> None:
    endpoint, whole = {"provider": "openai", "model": "m"}, {task_of(name) for name in PIPELINE}
    given = {"transcripts": "s3://bucket/t", "base": endpoint}
    assert starts("finetune", given) == whole - {"gguf-converter-base"}
    assert starts("finetune", {"base": endpoint, "model": endpoint}) == {"evaluator"}


def test_the_inputs_in_question_are_those_that_a_stage_needs_of_another() -> None:
    ports = (port for node in plan(STAGES, {}) for port in node.stage.input_ports(node.variant))
    assert {port.name for port in ports if port.stage and not port.optional} == set(MADE)


def test_the_parameters_are_the_keys_of_a_run_file() -> None:
    assert set(PARAMETERS) == {"run", "goal", "max_usd", "gate", "inputs", *(node.partition("@")[0] for node in NODES)}
    assert set(PARAMETERS["goal"]["enum"]) == {"finetune", *NODES}
    assert [name for name, row in PARAMETERS.items() if "value" not in row] == ["inputs"]
    for name, row in PARAMETERS.items():
        assert row["description"].endswith(".")
        assert name in TEXT or "JSON" in row["description"]


def test_the_default_parameters_are_a_run_file_without_settings() -> None:
    rows = [row for row in PARAMETERS.values() if "value" in row]
    run_file = read_run_parameters(encode(rows), STAGES, workflow="finetune-x7k2p")
    assert run_file.run == "finetune-x7k2p"
    assert {node.name for node in run_file.steps} == PIPELINE
    assert run_file.params == {step.stage.name: step.stage.params() for step in run_file.steps}


@pytest.mark.slow
def test_a_pods_words_and_variables_run_the_stage_and_leave_its_outputs(tmp_path: Path) -> None:
    words, names = (
        template("assessor")["container"]["args"],
        [e["name"] for e in template("assessor")["container"]["env"]],
    )
    assert names == ["RUN_FILE", "WORKFLOW", "TUNELINE_OUTPUTS"]
    inputs = {"transcripts": str(ROOT / "examples/transcripts/desk"), "rubric": str(ROOT / "examples/rubric.yaml")}
    run_file = as_parameters(yaml.safe_dump({"inputs": inputs | {"judge": {"provider": "heuristic"}}}))
    outputs, of_the_chart = (
        tmp_path / "outputs",
        {"TUNELINE_STORE": str(tmp_path / "store"), "TUNELINE_IMAGE": "image:1", "TUNELINE_DATA": str(ROOT)},
    )
    done = subprocess.run(
        [Path(sys.executable).parent / template("assessor")["container"]["command"][-1], *words],
        env=os.environ | dict(zip(names, [run_file, "finetune-x7k2p", str(outputs)], strict=True)) | of_the_chart
        | {"ARGO_PROGRESS_FILE": str(tmp_path / "progress")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "store/runs/finetune-x7k2p/assessor.json").exists()
    assert "image:1" in next((tmp_path / "store").glob("results/assessor/*/manifest.json")).read_text()
    shown = template("assessor")["outputs"]["parameters"][0]
    assert "of 14 transcripts passed" in (outputs / Path(shown["valueFrom"]["path"]).name).read_text()
    told = {name: (outputs / name).read_text() for name in ("items", "usd", "decision")}
    assert told == {"items": "14", "usd": "0.000000", "decision": "none"}


def test_what_a_workflow_shows_is_what_its_stages_write() -> None:
    for name, stage in STAGES.items():
        shown = template(name)["outputs"]["parameters"]
        pages = [port.name for port in stage.output_ports() if port.kind == "page"]
        assert [row["name"] for row in shown] == ["headline", "cost", "items", "usd", "decision", *pages]
        assert all(row["valueFrom"]["path"] == f"/tmp/outputs/{row['name']}" for row in shown)
        defaults = {"items": "0", "usd": "0", "decision": "none"}
        told = {row["name"]: row["valueFrom"]["default"] for row in shown}
        assert told == dict.fromkeys(told, "") | defaults, "an output must not fail a stage that worked"
    in_order_of_work = dict.fromkeys(node.partition("@")[0] for node in NODES)  # of one name the last is shown
    rows = [(row.get("globalName"), n) for n in in_order_of_work for row in template(n)["outputs"]["parameters"]]
    shown_by = dict.fromkeys(["verdict", "cost", "report", "view"], "evaluator")
    assert dict(row for row in rows if row[0]) == shown_by | {
        "audit": "assessor",
        "generated": "generator",
        "calibrated": "calibrator",
    }


AGAIN, NEVER = True, False
RETRIES = [
    ("75", "main: Error (exit code 75): the judge cannot be reached", AGAIN),
    ("75", "main: Error (exit code 75): Pod was active said a stage", AGAIN),
    ("75", "main: Error (exit code 75): max_usd: the run has spent $4.9981 of $5", NEVER),
    ("75", "main: Error (exit code 75): the judge said max_usd: no", AGAIN),
    ("143", "main: Error (exit code 143)", AGAIN),
    ("137", "main: Error (exit code 137)", AGAIN),
    ("-1", "pod deleted", AGAIN),
    ("-1", "The node was low on resource: memory.", AGAIN),
    ("-1", "Pod was terminated in response to imminent node shutdown.", AGAIN),
    ("-1", "Preempted in order to admit critical pod", AGAIN),
    ("2", "main: Error (exit code 2): params.trainer.lr: -1 is not > 0", NEVER),
    ("2", "main: Error (exit code 2): pod deleted is not a word", NEVER),
    ("1", "main: Error (exit code 1): KeyError (a bug in this stage)", NEVER),
    ("137", "main: OOMKilled (exit code 137)", NEVER),
    ("75", "Pod was active on the node longer than the specified deadline", NEVER),
    ("143", 'Usage of EmptyDir volume "scratch" exceeds the limit "5Mi". ', NEVER),
    ("-1", 'pods "a" is forbidden: violates PodSecurity "restricted:latest"', NEVER),
    ("0", "", NEVER),
]


@pytest.mark.parametrize(("code", "message", "again"), RETRIES)
def test_what_is_tried_again_and_what_never_is(code: str, message: str, again: bool) -> None:
    retry = template("trainer")["retryStrategy"]
    assert retry["retryPolicy"] == "Always", "another policy would decide before the expression does"
    last = SimpleNamespace(exitCode=code, message=message, status="Error" if code == "-1" else "Failed")
    assert evaluate(retry["expression"], {"lastRetry": last}) is again


def test_a_workflow_holds_no_secret_and_no_address_of_one() -> None:
    for one in TEMPLATES.values():
        assert not {"secretKeyRef", "secretRef", "secret"} & set(re.findall(r"\w+", json.dumps(one["spec"])))


def test_every_template_tells_prometheus_seconds_items_cost_and_verdict_and_no_text() -> None:
    names = ["stages_total", "stage_seconds", "items_total", "cost_usd_total", "verdicts_total"]
    for name in (*STAGES, "check"):
        for one in TEMPLATES[name]["spec"]["templates"]:
            rows = one["metrics"]["prometheus"]
            assert [row["name"] for row in rows] == [f"tuneline_{what}" for what in names]
            for row in rows:
                assert row["help"] and ("counter" in row) != ("histogram" in row)
                decision = "{{=$env?.retries != nil ? $env?.outputs?.parameters?.decision ?? 'none' : 'none'}}"
                assert {label["key"]: label["value"] for label in row["labels"]}.items() <= {
                    "stage": name,
                    "status": "{{status}}",
                    "verdict": decision,
                }.items()
                assert row["when"].startswith("{{=$env?.retries != nil"), "attempts are counted as stages"
            told = set(re.findall(r"outputs\?\.parameters\?\.(\w+)", json.dumps(rows)))
            assert told == {"items", "usd", "decision"} <= {row["name"] for row in one["outputs"]["parameters"]}
