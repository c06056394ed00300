"""The command `tuneline view`: what was said in a run, with what the judge found, as a page to read and to label."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tuneline.commands.monitor import RunArgument
from tuneline.commands.stage import DEFAULT_STORE, StoreOption, exit_codes
from tuneline.errors import UserError
from tuneline.parsing.problems import printable

if TYPE_CHECKING:
    from tuneline.data.judged import Transcript
    from tuneline.data.rubric import Rubric
    from tuneline.data.text.talks import Question, Talk, TalkPage
    from tuneline.data.verdicts import Verdict
    from tuneline.stage import InputRecord
    from tuneline.store.base import Store

NO_LANGUAGES = " Answers in another language are not flagged: that takes `pip install py3langid`."


def view(
    run: RunArgument,
    stage: Annotated[Literal["assessor", "evaluator"], typer.Argument(help="Whose conversations.")] = "evaluator",
    rubric: Annotated[Path | None, typer.Option(help="The rubric, where the run's own is not at hand.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Page to write; without it the evaluator's is shown where it lies.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show a run's conversations with the judge's answers; those of the assessor can be labelled for `judge-check`."""
    import webbrowser

    from tuneline.store.base import open_store

    with exit_codes():
        opened = open_store(store)
        if stage == "evaluator" and rubric:
            raise UserError(
                "--rubric is for the page of the assessor; that of the evaluator was made with the run's own"
            )
        place = _held(opened, run, out) if stage == "evaluator" else _judged(opened, run, rubric, out)
        typer.echo(printable(place))
        if sys.stdout.isatty() and "://" not in place:
            webbrowser.open(Path(place).absolute().as_uri())


def _held(store: Store, run: str, out: Path | None) -> str:
    """Return where the evaluator's page lies, a copy of it at `out`. Raises UserError when the run has none."""
    import shutil
    import tempfile

    from tuneline.commands.show import pages_of, results_of
    from tuneline.store.verify import plain_errors

    made = results_of(store, run).get("evaluator")
    place = pages_of(store, run, "evaluator", made).get("view") if made else None
    if place is None:
        raise UserError(f"run {run} has no page of conversations; tuneline view {run} assessor shows its transcripts")
    if out is None or made is None:
        return place
    with tempfile.TemporaryDirectory(prefix="tuneline-") as folder, plain_errors(out):
        page = Path(folder, "page")
        store.download(next(iter(made.outputs["view"].files.values())), page)
        shutil.copyfile(page, out)
    return str(out)


def _judged(store: Store, run: str, rubric: Path | None, out: Path | None) -> str:
    """Write the page of the assessor's transcripts and return where it lies."""
    from tuneline.data.text.talks import write_talks

    place = out or Path(f"{run}.assessor.html")
    page = assessor_page(store, run, rubric)
    try:
        write_talks(place, page)
    except OSError as e:
        raise UserError(f"--out: {place} cannot be written: {e.strerror}") from None
    return str(place)


def assessor_page(store: Store, run: str, rubric: Path | None) -> TalkPage:
    """Return the transcripts of a run, those nearest to the pass threshold first.

    Raises UserError when the run has none, or the rubric cannot be read.
    """
    from tuneline.commands.results.rows import read_output, read_rows, result_in
    from tuneline.commands.show import results_of
    from tuneline.data.io import read_record
    from tuneline.data.judged import read_judged
    from tuneline.data.text.language import can_tell
    from tuneline.data.text.talks import MOST_TALKS, TalkPage
    from tuneline.data.verdicts import Passing, Verdict

    made = result_in(run, results_of(store, run), "assessor")
    passing = read_output(store, made, "passing", lambda path: read_record(path, Passing))
    said = read_output(store, made, "transcripts", lambda path: {one.id: one for one in read_judged(path)})
    verdicts = sorted(
        read_rows(store, made, "verdicts", Verdict),
        key=lambda one: (one.score is None, abs((one.score or 0.0) - passing.threshold), one.id),
    )
    asked = _rubric(rubric, made.inputs)
    talks = [_talk(verdict, said[verdict.id]) for verdict in verdicts[:MOST_TALKS] if verdict.id in said]
    return TalkPage(
        title=f"Transcripts of {run}",
        intro=f"Those nearest to the threshold of {passing.threshold * 100:g} points come first: there a judge’s "
        f"mistake decides what is learnt. {passing.count} of {len(verdicts)} passed."
        + ("" if can_tell() else NO_LANGUAGES),
        talks=talks, questions=_questions(asked), groups=_groups(talks), unit="Persona",
        fingerprint=made.fingerprint, hidden=len(verdicts) - len(talks),
    )  # fmt: skip


def _rubric(given: Path | None, inputs: Mapping[str, InputRecord]) -> Rubric | None:
    """Read the rubric: the one that is given, or the run's where its file is still what it was."""
    import hashlib

    from tuneline.data.rubric import load_rubric
    from tuneline.store.base import is_local, local_path

    if given is not None:
        return load_rubric(given)
    record = inputs.get("rubric")
    if record is None or record.uri is None or not is_local(record.uri):
        return None
    path = local_path(record.uri)
    try:
        same = hashlib.sha256(path.read_bytes()).hexdigest() == record.sha256
    except OSError:  # it was moved: the page does without the questions
        return None
    return load_rubric(path) if same else None


def _questions(rubric: Rubric | None) -> list[Question]:
    from tuneline.data.text.talks import Question

    if rubric is None:
        return []
    groups = rubric.groups
    return [Question(one.id, one.question, groups[one.id]) for one in rubric.criteria]


def _groups(talks: list[Talk]) -> dict[str, str]:
    return {talk.group: talk.group for talk in sorted(talks, key=lambda talk: talk.group) if talk.group}


def _talk(verdict: Verdict, transcript: Transcript) -> Talk:
    from tuneline.data.text.talks import Line, Talk, findings_of, flags_of

    lines = [Line("System prompt", "system", transcript.system)] if transcript.system else []
    if transcript.greeting:
        lines.append(Line("Assistant", "assistant", transcript.greeting))
    for said, seen in zip(transcript.exchanges, flags_of(transcript.exchanges), strict=True):
        lines += [Line("User", "user", said.user), Line("Assistant", "assistant", said.assistant, seen)]
    refused = ["refused"] * (verdict.status in ("refused", "blocked"))
    notes = [("Not scored", verdict.detail or verdict.status.replace("_", " "))] if verdict.status != "scored" else []
    notes += [("Held back by the audit", ", ".join(verdict.audit).replace("_", " "))] if verdict.audit else []
    return Talk(
        id=verdict.id, title=verdict.id, group=transcript.persona or "", arm="", status=verdict.status,
        score=verdict.score, passed=verdict.passed, lines=lines, findings=findings_of(verdict),
        flags=(*dict.fromkeys(flag for line in lines for flag in line.flags), *refused), notes=notes,
    )  # fmt: skip
