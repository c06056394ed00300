"""The run file: one YAML that describes a run, the same on a laptop, in Docker and on Argo, and the order it gives.

Every top-level key is `run`, `goal`, `inputs` or the name of a stage. The whole file is checked by every stage, so that
a misspelt parameter of the last stage is refused before the first one starts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from tuneline.engine.parameters import read_parameters
from tuneline.errors import UserError
from tuneline.parsing.problems import Source, did_you_mean, problems_of
from tuneline.parsing.yaml import read_yaml
from tuneline.stage import AnyStage, InputPort, Params

RUN_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


class Node(NamedTuple):
    """One step of a run: a stage or a variant of it, and the nodes whose results it reads."""

    name: str
    stage: AnyStage
    variant: str | None
    needs: tuple[str, ...]


@dataclass(frozen=True)
class RunFile:
    """A checked run file. `inputs` holds URIs (str) and inline content (all else); `nodes` are in dependency order."""

    source: Source
    run: str
    inputs: Mapping[str, Any]
    params: Mapping[str, Params]
    nodes: tuple[Node, ...]

    def node(self, name: str) -> Node:
        """Return the node called `name`. Raises UserError when it is not part of this run."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise UserError(
            f"{self.source.name}: {name} is not part of this run; it has {', '.join(n.name for n in self.nodes)}"
        )


def read_run_file(path: Path, stages: Mapping[str, AnyStage], run: str | None = None) -> RunFile:
    """Read and check a run file against the installed stages. `run` overrides the file's name for the run.

    Raises UserError that lists every problem with file, line and field.
    """
    return _checked(read_yaml(path), stages, run or "", path.stem)


def read_run_parameters(
    encoded: str, stages: Mapping[str, AnyStage], run: str | None = None, workflow: str | None = None
) -> RunFile:
    """Read and check a run file that a workflow hands on as its parameters. A run without a name has the workflow's.

    Raises UserError that lists every problem with parameter and field.
    """
    return _checked(read_parameters(encoded, _known(stages)), stages, run or "", workflow or "")


def _checked(source: Source, stages: Mapping[str, AnyStage], run: str, default_run: str) -> RunFile:
    content = source.content if source.content is not None else {}
    if not isinstance(content, dict):
        raise UserError(f"{source.name}:1: a run file is a mapping with the keys run, inputs and the stages' names")
    params, problems = _check_params(source, content, stages)
    problems += _check_keys(source, content, stages)
    name = str(run or content.get("run") or default_run)
    if not RUN_NAME.fullmatch(name):
        problems.append(
            f"{source.where(('run',))}: a run is named in a-z, 0-9, `.`, `_`, `-`, at most 63 (got {name!r})"
        )
    if problems:
        raise UserError("\n".join(problems))
    inputs = {k: _address(v, source.folder) for k, v in (content.get("inputs") or {}).items() if v is not None}
    return RunFile(source, name, inputs, params, plan(stages, inputs, content.get("goal")))


def _known(stages: Mapping[str, AnyStage]) -> list[str]:
    return ["run", "goal", "inputs", *stages]


def _check_params(
    source: Source, content: Mapping[str, Any], stages: Mapping[str, AnyStage]
) -> tuple[dict[str, Params], list[str]]:
    params: dict[str, Params] = {}
    problems: list[str] = []
    for name, stage in stages.items():
        try:
            params[name] = stage.params.model_validate(content.get(name) or {})
        except ValidationError as e:
            problems += problems_of(e, stage.params, source, (name,))
    return params, problems


def _check_keys(source: Source, content: Mapping[str, Any], stages: Mapping[str, AnyStage]) -> Iterator[str]:
    known = _known(stages)
    for key in content:
        if key not in known:
            yield f"{source.where((str(key),))}: unknown key{did_you_mean(str(key), known)}"
    goal = content.get("goal")
    if goal is not None and str(goal) not in {n.name for n in _all_nodes(stages)}:
        yield f"{source.where(('goal',))}: no stage of this name{did_you_mean(str(goal), stages)}"
    inputs = content.get("inputs") or {}
    if not isinstance(inputs, dict):
        yield f"{source.where(('inputs',))}: a mapping from input to address or content"
        return
    ports = {p.name for stage in stages.values() for p in stage.input_ports()}
    for key, value in inputs.items():
        where = source.where(("inputs", str(key)))
        if key not in ports:
            yield f"{where}: no stage reads this input{did_you_mean(str(key), ports)}"
        elif problem := _input_problem(value, source.folder):
            yield f"{where}: {problem}"


def _input_problem(value: Any, folder: Path | None) -> str | None:
    """Say why `value` cannot be an input, or None if it can."""
    if isinstance(value, str):
        if folder is None and "://" not in value and not Path(value).is_absolute():
            return (
                f"{value!r} is a path on another machine. `tuneline upload FILE --store URI` puts it into a store and "
                "prints the run file with its address"
            )
    elif value is not None and not isinstance(value, dict | list):
        return "an address (text) or the content itself (mapping or list)"
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return "holds what JSON has no form for: a date without quotes, an infinite number, binary data"
    return None


def _address(value: Any, folder: Path | None) -> Any:
    """Make a relative path count from the run file's folder; leave URIs and inline content alone."""
    if not isinstance(value, str) or "://" in value or folder is None:
        return value
    return str((folder / Path(value).expanduser()).absolute())


def plan(stages: Mapping[str, AnyStage], given: Mapping[str, Any], goal: str | None = None) -> tuple[Node, ...]:
    """Return the nodes that lead to `goal` (default: to every stage whose result nobody reads), in dependency order.

    The edges come from the stages' input ports. An input that is given needs no edge. An optional input that a stage
    makes is an edge only if that stage is part of the run anyway.
    """
    nodes = {n.name: n for n in _all_nodes(stages)}
    needed = {n: {p.stage for p in _edges(nodes[n], given) if not p.optional and p.stage} for n in nodes}
    read = {p.stage for node in nodes.values() for p in _edges(node, {})}
    todo = [goal] if goal else [n for n in nodes if n not in read]
    chosen: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in nodes:
            raise UserError(f"{name}: a stage of this run reads its output, but it is not installed")
        if name not in chosen:
            chosen.add(name)
            todo += needed[name]
    graph = {n: {p.stage for p in _edges(nodes[n], given) if p.stage in chosen} for n in sorted(chosen)}
    order = TopologicalSorter(graph).static_order()
    return tuple(nodes[n]._replace(needs=tuple(sorted(filter(None, graph[n])))) for n in order)


def _all_nodes(stages: Mapping[str, AnyStage]) -> Iterator[Node]:
    for name, stage in stages.items():
        yield Node(name, stage, None, ())
        for variant in stage.variants:
            yield Node(f"{name}@{variant}", stage, variant, ())


def _edges(node: Node, given: Mapping[str, Any]) -> Iterator[InputPort]:
    return (p for p in node.stage.input_ports(node.variant) if p.stage is not None and p.name not in given)
