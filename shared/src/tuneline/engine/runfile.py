"""The run file: one YAML that describes a run, the same on a laptop, in Docker and on Argo, and the order it gives.

Every top-level key is `run`, `goal`, `max_usd`, `store`, `gate`, `inputs` or the name of a stage. All that the run
needs is checked by every stage, so that a misspelt parameter of the last stage is refused before the first one starts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

from tuneline.engine.addresses.hub import of_page
from tuneline.engine.parameters import Parameters, read_parameters
from tuneline.engine.pipelines import (
    PIPELINES,
    REFUSED,
    Address,
    Given,
    Inline,
    OutputOf,
    Step,
    plan,
    steps_of,
    with_shards,
)
from tuneline.errors import UserError
from tuneline.parsing.problems import Source, did_you_mean, nearest, problems_of
from tuneline.parsing.settings import with_settings, without
from tuneline.parsing.yaml import read_yaml
from tuneline.stage import AnyStage, InputPort, Params
from tuneline.stage.policy import Gate
from tuneline.store.base import at_home, is_local, local_path

log = structlog.get_logger()

OUTPUT = "output:"

RUN_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class RunFile:
    """A checked run file; `params` are those of the stages in `steps`, which are in dependency order."""

    source: Source
    run: str
    inputs: Mapping[str, Given]
    params: Mapping[str, Params]
    steps: tuple[Step, ...]
    max_usd: float | None = None
    """What all stages of the run may spend on calls to models, in US dollars, over all attempts."""
    store: str | None = None
    """Where its results live, if the file says so: a path or URI."""
    gate: Gate | None = None
    """What must hold of its comparison for the run to end well."""
    settings: tuple[str, ...] = ()
    """What the command line set, as `key.key=value`; `params` and `inputs` have it already."""

    def step(self, name: str) -> Step:
        """Return the step called `name`. Raises UserError when it is not part of this run."""
        for step in self.steps:
            if step.name == name:
                return step
        raise UserError(
            f"{self.source.name}: {name} is not part of this run; it has {', '.join(s.name for s in self.steps)}"
        )

    def meaning(self, name: str) -> str:
        """Return what an input is, in the words of a stage that reads most of it."""
        ports = (port for step in self.steps for port in step.stage.input_ports(step.variant) if port.name == name)
        return max(ports, key=lambda port: len(port.patterns)).description

    def selections(self, name: str) -> set[tuple[str, ...]]:
        """Return which files of an input each stage of the run reads, as patterns; an empty tuple is all files."""
        ports = (port for step in self.steps for port in step.stage.input_ports(step.variant))
        return {port.patterns for port in ports if port.name == name}


def read_run_file(
    path: Path, stages: Mapping[str, AnyStage], run: str | None = None, wrong: list[str] | None = None,
    settings: Sequence[str] = (),
) -> RunFile:  # fmt: skip
    """Read and check a run file against the installed stages. `run` overrides the file's name for the run.

    `settings` replace values of the file, as `trainer.epochs=1`.

    Raises UserError that lists every problem with file, line and field. With `wrong` they are added to that list where
    the rest of the file is a run that can be checked, though not started.
    """
    source = with_settings(read_yaml(path), settings)
    return replace(_checked(source, stages, run or "", path.stem, wrong), settings=tuple(settings))


def read_run_parameters(
    encoded: str, stages: Mapping[str, AnyStage], run: str | None = None, workflow: str | None = None,
    data: tuple[Path, ...] = (), wrong: list[str] | None = None,
) -> RunFile:  # fmt: skip
    """Read and check a run file that a workflow hands on as its parameters. A run without a name has the workflow's.

    Of the files of this machine its inputs may name those below the folders `data`; `wrong` as in `read_run_file`.

    Raises UserError that lists every problem with parameter and field.
    """
    return _checked(read_parameters(encoded, _known(stages), data), stages, run or "", workflow or "", wrong)


def _checked(
    source: Source, stages: Mapping[str, AnyStage], run: str, default_run: str, wrong: list[str] | None = None
) -> RunFile:
    content = source.content if source.content is not None else {}
    if not isinstance(content, dict):
        raise UserError(f"{source.name}:1: a run file is a mapping with the keys run, inputs and the stages' names")
    problems = list(_check_keys(source, content, stages))
    if problems and "inputs" not in content:  # all that it lacks would hide what it is
        raise UserError("\n".join(problems))
    inputs = _read_inputs(source, content.get("inputs") or {}, stages, problems)
    goal = content.get("goal")
    steps = _plan(source, stages, inputs, goal, problems)
    planned = {step.stage.name: step.stage for step in steps}
    params = _read_params(source, content, planned, problems)
    name = _name(source, run or content.get("run") or default_run, problems)
    max_usd = content.get("max_usd")
    if max_usd is not None and not _is_money(max_usd):
        problems.append(
            f"{source.where(('max_usd',))}: US dollars that the run may spend, 0 or more (got {max_usd!r:.40})"
        )
    store, gate = _store(source, content.get("store"), problems), _gate(source, content.get("gate"), problems)
    is_run = planned.keys() == params.keys() and steps and (goal is None or str(goal) in _goals(stages))
    if problems and (wrong is None or not is_run):
        raise UserError("\n".join(problems))
    if wrong is not None:
        wrong += problems
    for key in sorted(stages.keys() & content.keys() - planned.keys()):
        log.info("ignored: this run has no such stage", key=key)
    shards = {name: found.model_dump().get("shards", 1) for name, found in params.items()}
    return RunFile(source, name, inputs, params, with_shards(steps, shards.__getitem__), max_usd, store, gate)


def _name(source: Source, value: object, problems: list[str]) -> str:
    """Return the run's name. What YAML reads as another value than stands there, such as 1.10 or `yes`, is refused."""
    if isinstance(value, bool | float):
        problems.append(f"{source.where(('run',))}: YAML reads this name as {value}; put it in quotes")
    elif not RUN_NAME.fullmatch(str(value)):
        problems.append(
            f"{source.where(('run',))}: a run's name has a-z, 0-9, `.`, `_`, `-`, at most 63 characters (got {value!r})"
        )
    return str(value)


def _store(source: Source, value: object, problems: list[str]) -> str | None:
    """Return where results live: relative paths count from the file's folder. A workflow's is the chart's."""
    if value is None or isinstance(source, Parameters):
        return None
    if not isinstance(value, str) or not (value.startswith("s3://") or is_local(value)):
        problems.append(f"{source.where(('store',))}: a folder, file:///… or s3://bucket/prefix (got {value!r:.60})")
        return None
    return value if "://" in value else _address(value, source).uri


def _gate(source: Source, value: object, problems: list[str]) -> Gate | None:
    """Read the policy; what is refused becomes problems."""
    if value is None:
        return None
    try:
        return Gate.model_validate(value)
    except ValidationError as e:
        problems += problems_of(e, Gate, source, ("gate",))
        return None


def _is_money(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _known(stages: Mapping[str, AnyStage]) -> list[str]:
    return ["run", "goal", "max_usd", "store", "gate", "inputs", *stages]


def _goals(stages: Mapping[str, AnyStage]) -> list[str]:
    return [*PIPELINES, *steps_of(stages)]


def _read_params(
    source: Source, content: Mapping[str, Any], stages: Mapping[str, AnyStage], problems: list[str]
) -> dict[str, Params]:
    """Read the parameters of each stage; those that are refused become problems, and the others count."""
    params: dict[str, Params] = {}
    for name, stage in stages.items():
        try:
            params[name] = stage.params.model_validate(content.get(name) or {})
        except ValidationError as e:
            problems += problems_of(e, stage.params, source, (name,))
            rest = without(content[name], [error["loc"] for error in e.errors(include_url=False)])
            with suppress(ValidationError):  # a parameter that must be there, or two that do not fit: said already
                params[name] = stage.params.model_validate(rest)
    return params


def _check_keys(source: Source, content: Mapping[str, Any], stages: Mapping[str, AnyStage]) -> Iterator[str]:
    known = _known(stages)
    strange = sum(nearest(str(key), known) is None for key in content)
    if strange > len(content) / 2 and not content.keys() & {*known}:
        yield f"{source.where(())}: this is no run file, whose keys are {', '.join(known)}"
        return
    for key in content:
        if key not in known:
            yield f"{source.where((str(key),))}: unknown key{did_you_mean(str(key), known)}"


def _plan(
    source: Source, stages: Mapping[str, AnyStage], inputs: Mapping[str, Given], goal: object, problems: list[str]
) -> tuple[Step, ...]:
    """Return the steps up to `goal`, or to the default one if there is no such goal."""
    goals = _goals(stages)
    if goal is not None and str(goal) not in goals:
        problems.append(f"{source.where(('goal',))}: no stage with this name{did_you_mean(str(goal), goals)}")
        goal = None
    try:
        return plan(stages, inputs, None if goal is None else str(goal))
    except UserError as e:
        problems.append(f"{source.name}: {e}")
        return ()


def _read_inputs(
    source: Source, inputs: object, stages: Mapping[str, AnyStage], problems: list[str]
) -> dict[str, Given]:
    if not isinstance(inputs, dict):
        problems.append(f"{source.where(('inputs',))}: a mapping from input to address or content")
        return {}
    ports = {p.name: p for stage in stages.values() for p in stage.input_ports()}
    found: dict[str, Given] = {}
    for key, value in inputs.items():
        try:
            if key not in ports:
                raise ValueError(f"no stage reads this input{did_you_mean(str(key), ports)}")
            if value is not None:
                found[key] = _given(value, ports[key], source, stages)
        except (ValueError, UserError) as e:
            problems.append(f"{source.where(('inputs', str(key)))}: {e}")
            if key in ports:
                found[key] = REFUSED
    return found


def _given(value: object, port: InputPort, source: Source, stages: Mapping[str, AnyStage]) -> Given:
    """Read the value of an input. Raises ValueError for what cannot be one."""
    if not isinstance(value, str | dict | list):
        raise ValueError("an address (text) or the content itself (mapping or list)")
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise ValueError("contains what JSON cannot express: an infinite number or binary data") from None
    if not isinstance(value, str):
        if port.text:
            raise ValueError(f"a {port.name.replace('_', ' ')} is text; give the path of a text file")
        return Inline(value)
    return _output_of(value, stages) if value.startswith(OUTPUT) else _address(value, source)


def _output_of(value: str, stages: Mapping[str, AnyStage]) -> OutputOf:
    node, _, port = value.removeprefix(OUTPUT).rpartition("/")
    steps = steps_of(stages)
    if node not in steps:
        raise ValueError(f"{value!r} is not {OUTPUT}<stage>/<port>: no such stage{did_you_mean(node, steps)}")
    ports = [out.name for out in steps[node].stage.output_ports()]
    if port not in ports:
        raise ValueError(f"{node} makes no {port!r}{did_you_mean(port, ports)}")
    return OutputOf(node, port)


def _address(value: str, source: Source) -> Address:
    """Make a relative path count from the run file's folder. What comes from elsewhere may name data folders only."""
    if value.startswith(("s3://", "hf://")):
        return Address(value)
    if meant := of_page(value):
        raise ValueError(f"{value!r} is a page of the Hub: write {meant}")
    if not is_local(value):
        raise ValueError(f"{value.partition('://')[0]!r} is no kind of address; known: file, hf, s3")
    if not isinstance(source, Parameters):
        folder = Path(source.name).parent
        return Address(value if "://" in value else str((folder / at_home(value)).absolute()))
    way_out = "`tuneline upload FILE --store URI` puts it into a store and prints the run file with its address"
    if not value.startswith(("/", "file://")):
        raise ValueError(f"{value!r} is a path on another machine. {way_out}")
    if not any(local_path(value).resolve().is_relative_to(folder) for folder in source.data):
        raise ValueError(f"{value!r} is not below {' or '.join(map(str, source.data)) or 'a data folder'}. {way_out}")
    return Address(value, source.data)
