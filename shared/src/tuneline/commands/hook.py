"""Says how a workflow ended, in one POST: what Argo knows of its end, and what the store knows of its run.

The workflow template `hook` starts it (`python -m tuneline.commands.hook`). Whatever becomes of it, the workflow has
ended as it has. No transcript's text is in what is sent: headlines, causes and figures hold none.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Mapping
from typing import IO, Literal, NamedTuple

import structlog
import typer
from pydantic import BaseModel, TypeAdapter

from tuneline.commands.show import headline_of, pages_of
from tuneline.commands.stage import COMPARES, EXIT_NO, configure_logging, exit_codes
from tuneline.commands.status import StepStatus, status_of
from tuneline.engine.parameters import VARIABLE, read_parameters
from tuneline.engine.records import pinned_manifest
from tuneline.engine.runfile import RUN_NAME, read_run_parameters
from tuneline.errors import Temporary, UserError
from tuneline.parsing.problems import printable
from tuneline.stage import Closed, installed_stages
from tuneline.store.base import Store, open_store

SECONDS = 20.0
"""How long an answer is waited for."""
MOST = 1000
"""Characters of a cause or headline that are sent."""

log = structlog.get_logger()


class Step(Closed):
    """What a step of the run came to."""

    step: str
    state: str
    """As `tuneline status` names it."""
    text: str
    """Its headline, or why it failed."""
    seconds: float | None
    cost_usd: float


class End(Closed):
    """How a workflow ended, as it is sent."""

    text: str
    """The same in a sentence, which chat programs show."""
    run: str
    pipeline: str
    workflow: str
    status: Literal["succeeded", "failed"]
    exit_code: int | None
    """That of the task that failed first; 0 where none did, null where none is known, as of a pod that was evicted."""
    failed_task: str | None
    cause: str | None
    verdict: str | None
    """The headline of the comparison, where it came to one."""
    report: str | None
    """Where its page lies."""
    seconds: float
    cost_usd: float
    """What the run has paid for its calls to models, in all attempts."""
    steps: tuple[Step, ...]


class Failure(NamedTuple):
    """The task that failed first."""

    task: str
    code: int | None
    cause: str


class _Node(BaseModel):
    displayName: str  # noqa: N815  (as Argo writes it)
    message: str = ""
    finishedAt: str | None = None  # noqa: N815


_NODES = TypeAdapter(list[_Node] | None)


def first_failure(encoded: str) -> Failure | None:
    """Return the task that failed first, of base64 of Argo's `workflow.failures`: JSON in a quoted text.

    Attempts, named `trainer(0)`, are in it too, also those that a later one made good: then there is no `trainer`.
    """
    try:
        nodes = _NODES.validate_python(json.loads(json.loads(b64decode(encoded)))) or []
    except ValueError:  # cut, because it was long
        return None
    names = {node.displayName for node in nodes}
    attempts = [(found[1], node) for node in nodes if (found := re.fullmatch(r"(.+)\(\d+\)", node.displayName))]
    last = {task: node for task, node in sorted(attempts, key=lambda row: row[1].finishedAt or "") if task in names}
    if not last:
        return None
    task, node = min(last.items(), key=lambda row: row[1].finishedAt or "")
    found = re.search(r"\(exit code (\d+)\)(?:: )?", node.message)
    cause = node.message[found.end() :] if found else node.message
    return Failure(task, int(found[1]) if found else None, _line(cause or node.message))


def end_of(variables: Mapping[str, str], store: Store) -> End:
    """Return how the workflow ended that the template's variables tell of. Raises UserError where one is missing."""
    try:
        names = ("WORKFLOW", "PIPELINE", "STATUS", "SECONDS_TAKEN", "FAILURES", VARIABLE)
        workflow, pipeline, status, seconds, failures, run_file = (variables[name] for name in names)
        taken = float(seconds)
    except (KeyError, ValueError) as e:
        raise UserError(f"{e}: the workflow template `hook` sets the variables {', '.join(names)}") from None
    run, compares = _asked_for(run_file, workflow)
    well = status == "Succeeded"
    failure = None if well else first_failure(failures)
    code = 0 if well else failure.code if failure else None
    steps, cost = _steps(store, run)
    verdict, report = _compared(store, run) if compares and code in (0, EXIT_NO) else (None, None)
    return End(
        text=_sentence(run, pipeline, failure, verdict, well=well), run=run, pipeline=pipeline, workflow=workflow,
        status="succeeded" if well else "failed", exit_code=code, failed_task=failure.task if failure else None,
        cause=failure.cause if failure else None, verdict=verdict, report=report, seconds=round(taken, 1),
        cost_usd=cost, steps=steps,
    )  # fmt: skip


def _asked_for(run_file: str, workflow: str) -> tuple[str, bool]:
    """Return the run's name, and whether a comparison was part of it; one that is refused has compared nothing."""
    run = str(read_parameters(run_file, ["run"]).content.get("run") or workflow)
    try:
        steps = read_run_parameters(run_file, installed_stages(), workflow=workflow).steps
    except UserError:
        return run if RUN_NAME.fullmatch(run) else workflow, False
    return run, any(step.stage.name == COMPARES for step in steps)


def _steps(store: Store, run: str) -> tuple[tuple[Step, ...], float]:
    """Return what the store knows of the steps, and the run's cost. A run that was refused has left nothing there."""
    try:
        found = status_of(store, run)
    except (UserError, Temporary) as e:
        log.warning("the store tells nothing of the run", why=str(e))
        return (), 0.0
    return tuple(map(_step, found.steps)), found.cost_usd


def _step(step: StepStatus) -> Step:
    # Who has not been heard of for a minute is lost; nothing of a workflow that has ended works, so it is at once.
    state = "lost" if step.state == "running" else step.state
    return Step(step=step.step, state=state, text=_line(step.text), seconds=step.seconds, cost_usd=step.cost_usd)


def _compared(store: Store, run: str) -> tuple[str | None, str | None]:
    """Return headline and report of the run's comparison."""
    try:
        manifest = pinned_manifest(store, run, COMPARES)
        if manifest is None:
            return None, None
        return headline_of(store, manifest), pages_of(store, run, COMPARES, manifest).get("report")
    except (UserError, Temporary):
        return None, None


def _sentence(run: str, pipeline: str, failure: Failure | None, verdict: str | None, *, well: bool) -> str:
    parts = [f"{pipeline} {run} {'succeeded' if well else 'failed'}"]
    if failure:
        code = "" if failure.code is None else f" with exit code {failure.code}"
        parts = [f"{parts[0]} in {failure.task}{code}", failure.cause]
    return ": ".join(filter(None, [*parts, verdict]))


def _line(text: str) -> str:
    return printable(" ".join(text.split()))[:MOST]


def deliver(end: End, address: str, header: str) -> None:
    """POST `end` as JSON. Raises UserError that no second attempt would mend, else Temporary; neither shows a secret.

    `header` is one header, such as `Authorization: Bearer …`, or empty.
    """
    name, _, value = header.strip().partition(":")
    if not address.startswith(("https://", "http://")):
        raise UserError("HOOK_URL is no address: https://… or http://…")
    if header.strip() and not (re.fullmatch(r"[A-Za-z0-9-]+", name) and re.fullmatch(r"[ -~]+", value.strip())):
        raise UserError("HOOK_HEADER is no header: write it as `Authorization: Bearer …`")
    headers = {"Content-Type": "application/json", "User-Agent": "tuneline"} | ({name: value.strip()} if name else {})
    try:
        # The address is the operator's own, and a scheme has been asked for above.
        request = urllib.request.Request(address, end.model_dump_json().encode(), headers, method="POST")
        with urllib.request.build_opener(_Stays).open(request, timeout=SECONDS) as answer:
            log.info("told", status=answer.status)
    except urllib.error.HTTPError as e:
        if e.code >= 500 or e.code in (408, 425, 429):
            raise Temporary(f"the address of the hook answers {e.code}") from None
        raise UserError(f"the address of the hook answers {e.code}: correct it, or its header") from None
    except (OSError, ValueError) as e:  # ValueError: an address that cannot be read, and quotes itself
        raise Temporary(f"the address of the hook cannot be reached ({type(e).__name__})") from None


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows nobody: the header is for one address."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: object, newurl: str
    ) -> None:
        return None


def hook() -> None:
    """Say how the workflow of this pod ended."""
    with exit_codes():
        store = os.environ.get("TUNELINE_STORE")
        if not store:
            raise UserError("TUNELINE_STORE is not set")
        end = end_of(os.environ, open_store(store))
        deliver(end, os.environ.get("HOOK_URL", "").strip(), os.environ.get("HOOK_HEADER", ""))


if __name__ == "__main__":
    configure_logging()
    typer.run(hook)
