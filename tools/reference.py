"""Writes docs/reference.md from the stages themselves; with --check, says whether it is up to date."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tuneline.engine.identity import is_pace
from tuneline.engine.pipelines import in_order, steps_of
from tuneline.stage import AnyStage, InputPort, installed_stages

PLACE = Path(__file__).parent.parent / "docs" / "reference.md"

HEAD = """\
# Reference

This page is generated from the stages (`make format` writes it). A run file has the keys `run` (the run's name), `goal`
(the stage to stop after), `max_usd` (what all stages together may spend on calls to models), `store` (where
results live; a workflow's is the chart's), `gate` (what must hold of the comparison, see
[Compare runs](compare.md#a-policy-for-ci)), `inputs` (an address or the content itself, by name) and one key for each
stage with its parameters. `--set trainer.epochs=1` takes the place of a value for once. An address is a path (relative
to the run file), `file:///…`, `s3://bucket/key` or `hf://org/name@revision`; `output:<stage>/<port>` is what another
stage of the run makes.

| variable | meaning |
|---|---|
| `TUNELINE_STORE`, `TUNELINE_SCRATCH` | the store, and the folder for work files |
| `RUN_FILE` | the run file of a stage without `--file`, from Argo: `{{=sprig.b64enc(workflow.parameters.json)}}` |
| `WORKFLOW` | with `RUN_FILE`: the name of a run that has none |
| `TUNELINE_DATA` | with `RUN_FILE`: mounted folders whose files inputs may name, with `:` between (default `/data`) |
| `TUNELINE_OUTPUTS` | folder in which a stage puts `headline` and, by port, the addresses of its pages |

| exit code | meaning |
|---|---|
| 0 | done |
| 2 | the request or the data is wrong: the message names file, line or field; nothing is retried |
| 3 | all was made, and the `gate` of the run file says no; nothing is retried |
| 75 | stopped or unlucky for now: run the same command again to resume where it stopped |
| 1 | a bug: where it happened is recorded, its message is withheld because it may quote a transcript |
"""


def main() -> int:
    """Write the page, or compare it."""
    stages = installed_stages()
    order = list(dict.fromkeys(step.stage.name for step in in_order(steps_of(stages), {})))
    text = "\n".join([HEAD, *(line for name in order for line in _stage(stages[name]))])
    if "--check" not in sys.argv:
        PLACE.write_text(text)
    elif not PLACE.exists() or PLACE.read_text() != text:
        print(f"{PLACE.name} is not up to date: run `make format`")
        return 1
    return 0


def _stage(stage: AnyStage) -> Iterator[str]:
    yield f"\n## {stage.name}\n"
    yield "| reads | from | what |"
    yield "|---|---|---|"
    for port in stage.input_ports():
        yield f"| `{port.name}`{' (optional)' if port.optional else ''} | {_origin(port)} | {_cell(port.description)} |"
    for name, absent in stage.variants.items():
        yield f"\nVariant `{stage.name}@{name}`: without {', '.join(f'`{i}`' for i in sorted(absent))}."
    yield "\n| writes | name | what |"
    yield "|---|---|---|"
    for out in stage.output_ports():
        yield f"| `{out.name}` | `{out.path}{'/' if out.kind == 'folder' else ''}` | {_cell(out.description)} |"
    yield "\n| parameter | type | default | what |"
    yield "|---|---|---|---|"
    yield from _params(stage.params, stage.params.model_json_schema(), "")


def _params(model: type[BaseModel], schema: dict[str, Any], prefix: str) -> Iterator[str]:
    whole = model.model_json_schema()
    for name, field in schema.get("properties", {}).items():
        info = model.model_fields[name]
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _params(info.annotation, info.annotation.model_json_schema(), f"{prefix}{name}.")
            continue
        default = "required" if info.is_required() else f"`{_default(info.get_default(call_default_factory=True))}`"
        pace = " *(pace)*" if is_pace(model, name) else ""
        yield f"| `{prefix}{name}` | {_type(field, whole)} | {default} | {_cell(info.description or '')}{pace} |"


def _type(field: dict[str, Any], whole: dict[str, Any]) -> str:
    if "$ref" in field:
        field = whole["$defs"][field["$ref"].split("/")[-1]]
    if "anyOf" in field:
        return " or ".join(_type(option, whole) for option in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    names = {"null": "none", "array": "list"}
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = " ".join(f"{sign} {field[key]}" for key, sign in bounds.items() if key in field)
    kind = str(field.get("type", "any"))
    return f"{names.get(kind, kind)} {limits}".strip()


def _default(value: object) -> str:
    if value is None:
        return "none"
    text = ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return text.replace("\n", "\\n")  # a row of a table is one line


def _origin(port: InputPort) -> str:
    if port.stage:
        return f"`{port.stage}/{port.port}`"
    return "the run file" + (f" (only {', '.join(f'`{p}`' for p in port.patterns)})" if port.patterns else "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
