"""Writes argo/ from the stages' ports: a template for each stage, and a graph; with --check, says what is stale.

The YAML is tools/workflows/ with `[[ … ]]` and `[% … %]` filled in, because Argo has the braces for itself.
"""

from __future__ import annotations

import inspect
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import jinja2

from tuneline.engine.pipelines import PIPELINES, Step, in_order, steps_of
from tuneline.stage import AnyStage, installed_stages

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "helm" / "tuneline" / "files" / "argo"

GRAPHS = {
    "finetune": (
        "Fine-tune and compare",
        "From transcripts to a small model and a verdict on it. Results that exist already are found, not made again.",
    ),
    "synthesize": (
        "Write conversations",
        "By a recipe: a pilot, which has to pass its gates, then as many parts as are worth it, then the merge.",
    ),
    "calibrate": (
        "Calibrate a prompt",
        "Against reference recordings: scripts are written by it and held against the talks, until it gets no better.",
    ),
    "publish": (
        "Publish",
        "What a run has made, as it is, for others: to the Hugging Face Hub or to a bucket. Name the run.",
    ),
}
"""Title and description of each graph by its name."""


CHECK = "check"
"""The task before all others; it has a template of its own, and the image of the first stage."""

HOOK = "hook"
"""What a workflow does when it has ended, where the chart is told so; in the same image."""


class Task(NamedTuple):
    """A node as a task of a graph. `needed` are the lines of the expression for whether it is part of a run.

    Parts of a stage are one task, done once for each part that `counted_by`, another task, finds to be worth it.
    """

    name: str
    stage: str
    variant: str | None
    depends: Sequence[str] = ()
    needed: Sequence[str] = ()
    counted_by: str = ""

    @property
    def words(self) -> str:
        """What the program of the container is told."""
        if self.stage == CHECK:
            return "check"
        if self.counted_by:
            return 'run, "--part={{inputs.parameters.part}}"'
        return ", --variant, ".join(filter(None, ("run", self.variant)))


def workflows(stages: Mapping[str, AnyStage]) -> dict[str, str]:
    """Return the files of argo/ by name."""
    nodes = in_order(steps_of(stages), {})
    made = {f"{name}.yaml": stage_template(stages[name], nodes) for name in dict.fromkeys(n.stage.name for n in nodes)}
    graphs = {f"{name}.yaml": graph(name, *words, nodes) for name, words in GRAPHS.items()}
    first = nodes[0].stage
    hook = _filled("hook.yaml", name=HOOK, image=first.name, version=_version())
    return made | graphs | {f"{CHECK}.yaml": check_template(first), f"{HOOK}.yaml": hook}


def stage_template(stage: AnyStage, nodes: Sequence[Step]) -> str:
    """Return the template of a stage and its variants. Title and description are the docstring of its module."""
    head, _, text = inspect.cleandoc(inspect.getmodule(stage.params).__doc__ or "").partition("\n\n")
    title = head.removeprefix(f"{stage.name}: ").rstrip(".")
    tasks = [_task(node) for node in nodes if node.stage is stage]
    pages = [port for port in stage.output_ports() if port.kind == "page"]
    tasks += [part for node in nodes if node.stage is stage for part in _parts(node)]
    return _filled(
        "stage.yaml", name=stage.name, title=title[:1].upper() + title[1:], text=text or head, tasks=sorted(tasks),
        counts=stage.parts, pages=pages, verdict=bool(pages), image=stage.name, program=f"tuneline-{stage.name}",
        version=_version(),
    )  # fmt: skip


def check_template(first: AnyStage) -> str:
    """Return the template of the check, which runs in the image of the `first` stage."""
    text = "All that is wrong with the run file and what it names is said at once, before anything is paid or trained."
    return _filled(
        "stage.yaml", name=CHECK, title="Check before anything expensive", text=text, tasks=[Task(CHECK, CHECK, None)],
        counts=False, pages=(), verdict=False, image=first.name, program="tuneline", version=_version(),
    )  # fmt: skip


def _version() -> str:
    found: str = tomllib.loads((ROOT / "shared" / "pyproject.toml").read_text())["project"]["version"]
    return found


def graph(name: str, title: str, text: str, nodes: Sequence[Step]) -> str:
    """Return the graph of all `nodes`, which come in dependency order, for the pipeline `name`.

    A stage that takes a run as it is has a graph of its own. Nothing is checked before it: it does that itself.
    """
    alone = [node for node in nodes if node.stage.takes_runs and node.name in PIPELINES[name]]
    nodes = alone or _waiting(_fed(PIPELINES[name], [node for node in nodes if not node.stage.takes_runs]))
    before, tasks = _before(nodes), [] if alone else [Task(CHECK, CHECK, None)]
    for node in nodes:
        last = [need for need in node.needs if not any(need in before[other] for other in node.needs)]
        depends = [_name(n) for n in last] or [one.name for one in tasks[:1] if one.stage == CHECK]
        needed = list(_needed(node, nodes, name))
        parts = [part._replace(depends=depends, needed=_counted(part, nodes, name)) for part in _parts(node)]
        depends = [part.name for part in parts] or depends
        tasks += [*parts, _task(node)._replace(depends=depends, needed=needed)]
    return _filled(
        "pipeline.yaml", name=name, title=title, text=text, tasks=tasks, alone=bool(alone),
        ends=" ".join(map(_name, PIPELINES[name])),
        goals=[name, *(node.name for node in nodes)], stages=list(dict.fromkeys(node.stage.name for node in nodes)),
    )  # fmt: skip


def _before(nodes: Sequence[Step]) -> dict[str, set[str]]:
    before: dict[str, set[str]] = {}
    for node in nodes:
        before[node.name] = {*node.needs}.union(*(before[need] for need in node.needs))
    return before


def _fed(goals: Sequence[str], nodes: Sequence[Step]) -> list[Step]:
    """Let the first pipeline wait for those outside of it that need nothing of it: inputs may name their outputs."""
    before = _before(nodes)
    core = {*goals}.union(*(before[goal] for goal in goals))
    feeders = [node for node in nodes if node.name not in core and not before[node.name] & core]
    names = tuple(node.name for node in feeders)
    if goals != next(iter(PIPELINES.values())):  # one that makes what another takes
        return [node for node in nodes if node.name in core]
    others = [node for node in nodes if node not in feeders]
    return feeders + [node._replace(needs=node.needs + names) if node.name in core else node for node in others]


def _waiting(nodes: Sequence[Step]) -> list[Step]:
    """Let each wait for the stages whose output a given input of it may be, and come behind them."""
    steps = {node.name: node._replace(needs=tuple(dict.fromkeys((*node.needs, *_after(node))))) for node in nodes}
    return [steps[name] for name in TopologicalSorter({n: step.needs for n, step in steps.items()}).static_order()]


def _after(node: Step) -> Iterator[str]:
    yield from (port.after for port in node.stage.input_ports(node.variant) if port.after)


def _task(node: Step) -> Task:
    return Task(_name(node.name), node.stage.name, node.variant)


def _parts(node: Step) -> Iterator[Task]:
    """Yield the parts of a node whose work is shared: a variant of its stage, which it needs, says how many."""
    counted_by = [need for need in node.needs if need.startswith(f"{node.stage.name}@")]
    if node.stage.parts and counted_by:
        yield Task(f"{_name(node.name)}-part", node.stage.name, None, counted_by=_name(counted_by[0]))


def _counted(part: Task, nodes: Sequence[Step], pipeline: str) -> list[str]:
    """Say when parts are part of a run: when what counts them is. One that is given leaves no list behind."""
    return [line for node in nodes if _name(node.name) == part.counted_by for line in _needed(node, nodes, pipeline)]


def _name(node: str) -> str:
    return node.replace("@", "-")


def _needed(node: Step, nodes: Sequence[Step], pipeline: str) -> Iterator[str]:
    """Say when `node` is part of a run, from the last stage backwards: `plan` in Argo's language."""
    wanted = [node]
    for other in nodes:  # in dependency order: a reader comes behind what it reads
        if any(_reads(other, maker.name) for maker in wanted):
            wanted.append(other)
    for one in reversed(wanted):
        terms = [f"{_variable(reader.name)} && {reads}" for reader in wanted if (reads := _reads(reader, one.name))]
        ends = one.name in PIPELINES[pipeline]
        asked = f'goal in ["{pipeline}", "{one.name}"]' if ends else f'goal == "{one.name}"'
        expression = " || ".join([asked, *terms])
        yield f"{expression}}}}}" if one is node else f"let {_variable(one.name)} = {expression};"


def _reads(reader: Step, maker: str) -> str:
    """Say when `reader` cannot do without what `maker` makes; empty: never."""
    ports = [port for port in reader.stage.input_ports(reader.variant) if not port.found]
    terms = [f"inputs.{port.name} == nil" for port in ports if port.stage == maker and not port.optional]
    asked = ports if maker in reader.needs else []
    if asked:
        names = ", ".join(f"inputs.{port.name}" for port in asked)
        terms.append(f'any([{names}], string(#) startsWith "output:{maker}/")')
    return f"({' || '.join(terms)})" if len(terms) > 1 else "".join(terms)


def _variable(node: str) -> str:
    return node.replace("@", "_").replace("-", "_")


def _filled(template: str, **words: object) -> str:
    environment = jinja2.Environment(  # noqa: S701  (YAML, of our own words)
        block_start_string="[%", block_end_string="%]", variable_start_string="[[", variable_end_string="]]",
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("workflows")), undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(**words)


def main() -> int:
    """Write the files, or compare them; a file of no stage goes."""
    made, there = workflows(installed_stages()), {path.name: path.read_text() for path in PLACE.glob("*.yaml")}
    stale = [name for name in {*made, *there} if made.get(name) != there.get(name)]
    for name in stale:
        if "--check" in sys.argv:
            print(f"argo/{name} is not up to date: run `make format`")
        elif name in made:
            (PLACE / name).write_text(made[name])
        else:
            (PLACE / name).unlink()
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
