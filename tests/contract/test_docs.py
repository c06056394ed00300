"""What the pages say exists: every page is read, each kind of claim is counted, and too few of a kind is a failure."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import helm_python
import pytest
import typer.main
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel, TypeAdapter, ValidationError
from typer.core import TyperGroup

import site_pages
from chart import render
from kit.judge_parts import RUBRIC
from kit.manifests import TEMPLATES, VALUES, check_schema, reached_by
from kit.places import ROOT
from tuneline.commands.tuneline import app
from tuneline.data.personas import Personas
from tuneline.data.reading.repairs import normalise
from tuneline.data.rubric import Criterion, Rubric
from tuneline.data.text.rules import Rule
from tuneline.llm.config import MODELS
from tuneline.parsing.yaml import yaml_of
from tuneline.stage import installed_stages
from tuneline.stage.policy import Gate

PAGES = site_pages.pages()
STAGES = installed_stages()
COMMANDS = typer.main.get_command(app)
assert isinstance(COMMANDS, TyperGroup)
OPTIONS = {
    name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for name, command in COMMANDS.commands.items()
}
FOREIGN_OPTIONS = {"--parameter-file", "--from", "--watch", "--follow", "--force-conflicts", "--create-namespace"}
FOREIGN_OPTIONS |= {"--gpus", "--shm-size", "--require-hashes", "--version", "--skip-tests"}
"""Options of other programs that pages name alone."""
FOREIGN_VARIABLES = {"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "OPENAI_KEY", "NAME_FILE", "OLLAMA_CONTEXT_LENGTH"}
"""Variables that only boto3 or another program reads, and examples of names."""

RUN_SCHEMA = json.loads((ROOT / "shared" / "src" / "tuneline" / "data" / "schemas" / "run.json").read_text())
EVERY_RULE = {name for rule in Rule.__args__[0].__args__ for name in get_args(rule.model_fields["rule"].annotation)}

Checked = Iterator[tuple[str, bool]]
"""What a page says, and whether it is so."""


def links(page: Path, text: str) -> Checked:
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith("http"):
            file, _, anchor = link.partition("#")
            target = (page.parent / file) if file else page
            yield link, target.exists() and (not anchor or anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    """Return what can be linked to in a page, as GitHub and GitLab name headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def paths(page: Path, text: str) -> Checked:
    """Check paths from the project's top, and modules by their room, as in `model/base_model.py`; not what is made."""
    for path in re.findall(r"(?<![\w/.:$}…-])((?:[\w.-]+|<\w+>)(?:/(?:[\w.*@-]+|<\w+>))+)", code(text)):
        pattern = re.sub(r"<\w+>|YYYYMMDD.subject", "*", path)
        top = path.split("/")[0]
        if (ROOT / top).is_dir() and top not in (*STAGES, ".cache", ".."):
            yield path, any(ROOT.glob(pattern))
        elif path.endswith(".py"):
            yield path, any(found for top in ("shared", "services") for found in (ROOT / top).rglob(pattern))


def commands(page: Path, text: str) -> Checked:
    """Check `tuneline …` and `tuneline-<stage> …` with their options, and options that stand alone."""
    for stage, name, rest in re.findall(
        r"(?:^|\$ |`|/bin/)tuneline(-[\w<>-]+)? ([a-z]+(?:-[a-z]+)*)([^`|>\n#]*)", code(text), re.M
    ):
        options = set(re.findall(r"(?<!\S)--[\w-]+", rest))
        known = options_of_a_stage() if stage else OPTIONS
        exists = not stage or stage[1:] in {*STAGES, "<stage>"}
        yield f"tuneline{stage} {name}{rest}", exists and name in known and options <= known[name]
    ours = set[str]().union(*OPTIONS.values(), *options_of_a_stage().values())
    for option in re.findall(r"`(--[\w-]+)[^`]*`", text):
        yield option, option in ours | FOREIGN_OPTIONS


@cache
def options_of_a_stage() -> dict[str, set[str]]:
    """Return the options of each command of a stage, as its help lists them."""
    program = str(Path(sys.executable).parent / "tuneline-slicer")
    texts = {name: subprocess.check_output([program, name, "--help"], text=True) for name in ("run", "schema")}
    return {name: set(re.findall(r"--[a-z-]+", text)) for name, text in texts.items()}


def targets(page: Path, text: str) -> Checked:
    makefile = (ROOT / "Makefile").read_text()
    images = {f"image-{file.parent.name}" for file in ROOT.glob("images/*/Dockerfile")}
    known = set(re.findall(r"^([a-z-]+):", makefile, re.M)) | images
    for words in re.findall(r"\bmake((?: (?:-s|[A-Z]+=[^\s`]+|[a-z][a-z0-9-]*))+)", code(text)):
        for word in words.split():
            name, is_variable, _ = word.partition("=")
            if word != "-s":
                yield (
                    f"make {word}",
                    bool(re.search(rf"^{name} \??=|\$\${{{name}", makefile, re.M)) if is_variable else word in known,
                )


def parameters(page: Path, text: str) -> Checked:
    """Check `stage.parameter`, `stage: {parameter: …}` and names of the chart's values."""
    for name in re.findall(r"`([a-z][\w-]*(?:\.[\w<>-]+)+)(?::[^`]*)?`", text):
        top, *rest = name.split(".")
        if top in STAGES:
            yield name, field_exists(STAGES[top].params, rest)
        elif top in VALUES:
            yield name, value_exists(["stageDefaults", *rest[1:]] if top == "stages" else [top, *rest])
    for name, content in re.findall(r"(?<![\w-])([a-z-]+): (\{[^{}`…]*\})", code(text)):
        if name in STAGES and "=" not in content:
            yield f"{name}: {content}", valid(name, yaml.safe_load(content))


def valid(stage: str, content: object) -> bool:
    """Return whether a stage takes these parameters, or the chart this value of a stage."""
    if isinstance(content, dict) and content.keys() <= VALUES["stageDefaults"].keys() | {"reaches"}:
        return True
    try:
        STAGES[stage].params.model_validate(content)
    except ValidationError:
        return False
    return True


def field_exists(model: type[BaseModel], names: list[str]) -> bool:
    for i, name in enumerate(names):
        if name not in model.model_fields:
            return False
        kinds = [model.model_fields[name].annotation, *get_args(model.model_fields[name].annotation)]
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if names[i + 1 :]:
            return any(field_exists(kind, names[i + 1 :]) for kind in inner)
    return True


def value_exists(names: list[str]) -> bool:
    known: Any = VALUES
    for name in names:
        if not isinstance(known, Mapping) or name not in known:
            return False
        known = known[name]
    return True


def ports(page: Path, text: str) -> Checked:
    """Check `stage/port` and `stage@variant/port`; the port's file stands for it, too."""
    stages = "|".join(STAGES)
    for stage, port in re.findall(rf"(?<![\w/.-])({stages})(?:@\w+)?/([a-z][\w.]*)", code(text)):
        yield f"{stage}/{port}", port in {n for p in STAGES[stage].output_ports() for n in (p.name, p.path)}


def variables(page: Path, text: str) -> Checked:
    """Check names of environment variables: what nobody reads or sets is misspelt."""
    for name in re.findall(r"(?<![\w…])([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?![\w…])", code(text)):
        yield name, name in known_variables() | FOREIGN_VARIABLES


@cache
def known_variables() -> set[str]:
    found = [
        p for top in ("shared", "services", "helm", "images", "examples", "tests") for p in (ROOT / top).rglob("*")
    ]
    kinds = {".py", ".yaml", ".json", ".sh", ""}
    sources = [p for p in [*found, ROOT / "Makefile"] if p.suffix in kinds and p.is_file() and p != Path(__file__)]
    return set(re.findall(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+", "\n".join(p.read_text(errors="replace") for p in sources)))


def blocks(page: Path, text: str) -> Checked:
    """Check examples: values, manifests, parts of run files and rubrics, transcripts."""
    for language, content in re.findall(r"```(yaml|json)\n(.*?)```", text, re.DOTALL):
        if language == "json" and content.startswith('{"id"'):
            yield content, all(normalise(json.loads(line)).transcript for line in content.splitlines())
        else:
            yield content, example_is_fine(yaml_of(page.name, content.encode()).content)


def example_is_fine(content: Any) -> bool:
    if "apiVersion" in content:
        check_schema(content)
        return True
    if "Statement" in content:
        return True
    if content.keys() == {"gate"}:
        return bool(Gate.model_validate(content["gate"]))
    if "categories" in content:
        return bool(Rubric.model_validate(content))
    if "gates" in content:
        gates = [Criterion.model_validate(gate) for gate in content["gates"]]
        return all(gate.rule or gate.facts for gate in gates)
    if content.keys() == {"personas"}:
        return bool(Personas.model_validate(content))
    if content.keys() == {"rules"}:
        rules = [TypeAdapter(Rule).validate_python(rule) for rule in content["rules"]]
        return {rule.rule for rule in rules} == EVERY_RULE
    if content.keys() == {"judge"} and isinstance(content["judge"], dict) and "provider" in content["judge"]:
        return bool(MODELS[content["judge"]["provider"]].model_validate(content["judge"]))
    if isinstance(content.get("judges"), dict):
        return all(MODELS[judge["provider"]].model_validate(judge) for judge in content["judges"].values())
    if "judges" in content:
        return bool(Rubric.model_validate({**RUBRIC, **content}).judges)
    if content.keys() <= RUN_SCHEMA["properties"].keys() - {"store"}:
        known = all(STAGES[name].params.model_validate(content[name]) for name in content.keys() & STAGES.keys())
        return known and (content.keys() <= STAGES.keys() or Draft202012Validator(RUN_SCHEMA).is_valid(content))
    try:
        return bool(render(content))
    except helm_python.HelmError:
        return False


def code(text: str) -> str:
    """Return what stands in backticks and in blocks, one piece a line."""
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return "\n".join([*(block.replace("\\\n", " ") for block in blocks), *re.findall(r"`([^`\n]+)`", rest)])


def form(page: Path, text: str) -> Checked:
    """Check that nothing waits to be filled in, and that a decision says what, why and no more than a page."""
    yield "nothing is left to fill in", not re.search(r"\b(TODO|TABLE|FIXME|XXX|TBD)\b", text)
    if page.parent.name == "decisions":
        yield "a date and a subject", bool(re.fullmatch(r"20\d{6}\.[a-z0-9-]+\.md", page.name))
        yield "decided and why", "**Decided.**" in text and "**Why" in text
        yield "short", len(re.sub(r"^\|.*$", "", text, flags=re.MULTILINE).split()) <= 800


KINDS: list[tuple[Callable[[Path, str], Checked], int, str, int]] = [
    (links, 30, "[a](no.md) [b](../README.md#no-heading) [c](../README.md#the-stages)", 2),
    (paths, 50, "`docs/no.md` `model/no.py` `services/<stage>/no` `examples/demo.yaml`", 3),
    (commands, 35, "`tuneline no x` `tuneline show --no` `tuneline-no run` `--no` `tuneline-slicer schema`", 4),
    (targets, 40, "`make no` `make NO=1 run` `make check && make test no`", 3),
    (parameters, 20, "`trainer.no` `trainer.lora.no` `judge.no` `evaluator: {no: 1}` `slicer.min_gap`", 4),
    (ports, 8, "`slicer/no` `gguf-converter@base/no` `output:assessor/no` `assessor/verdicts`", 3),
    (variables, 60, "`NO_SUCH_NAME` `AWS_NO` `RUN_FILE`", 2),
    (blocks, 30, '```yaml\nno: 1\n```\n```json\n{"id": "a", "messages": []}\n```', 2),
    (form, 60, "TODO", 1),
]
each_kind = pytest.mark.parametrize(("check", "least", "wrong", "problems"), KINDS, ids=[k[0].__name__ for k in KINDS])


@each_kind
def test_what_the_pages_say_is_so(check: Callable[[Path, str], Checked], least: int, wrong: str, problems: int) -> None:
    checked = [(page.relative_to(ROOT), *found) for page in PAGES for found in check(page, page.read_text())]
    assert [f"{page}: {text}" for page, text, fine in checked if not fine] == []
    assert len(checked) >= least, "less was checked than the pages say"
    assert sum(not fine for _, fine in check(ROOT / "docs" / "made-up.md", wrong)) == problems


def test_every_page_of_the_project_is_read() -> None:
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/reference.md", "k8s/README.md"} <= names
    assert len(names) >= 32


@pytest.mark.parametrize("column", ["hub", "judge"])
def test_the_page_on_security_says_what_each_stage_may_reach(column: str) -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    marked = {
        stage
        for names, everywhere, hub, judge in (row for row in rows if len(row) == 4)
        for stage in names.split(", ")
        if stage in STAGES and everywhere == "yes" and {"hub": hub, "judge": judge}[column] == "yes"
    }
    assert marked == {name for name in STAGES if column in reached_by(name)}


def test_the_page_on_operating_says_how_often_a_stage_is_tried_again() -> None:
    retry = TEMPLATES["trainer"]["spec"]["templates"][0]["retryStrategy"]
    text = (ROOT / "docs" / "operate.md").read_text()
    assert f"at most {retry['limit']} times" in text
    assert retry["backoff"] == {"duration": "10s", "factor": 2, "cap": "5m"} and "10 s, 20 s … 5 min" in text


def test_every_command_of_a_page_submits_what_exists() -> None:
    for page in PAGES:
        for name in re.findall(r"--from workflowtemplate/(\S+)", page.read_text()):
            assert name in TEMPLATES
