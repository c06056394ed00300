"""Makes the slices: measure, join with the verdicts, cut, split, write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tuneline.data.transcripts import Rejected, Transcript, read_transcripts
from tuneline.data.verdicts import read_verdicts
from tuneline.errors import UserError
from tuneline.stage import Context, Json, Metrics
from tuneline_slicer.cut import Cut, Rejection, cut_all
from tuneline_slicer.ruler import load_ruler
from tuneline_slicer.split import Split, near_duplicates, split_groups
from tuneline_slicer.stage import SlicerInputs, SlicerOutputs, SlicerParams
from tuneline_slicer.stats import describe, measure

UNREADABLE = "unreadable"
MAX_NAMED = 5
"""Ids that a message names; the rest is a number."""


def slice_transcripts(params: SlicerParams, inputs: SlicerInputs, outputs: SlicerOutputs, context: Context) -> Metrics:
    """Cut the passing transcripts into slices and write them, the counts and what was rejected."""
    ruler = load_ruler(params, inputs)
    read, unreadable = read_transcripts(inputs.transcripts, params.on_bad)
    passing = select_passing(read, inputs.verdicts)
    cuts = cut_all(passing, ruler, params, context)
    sliced = keep_sliced(cuts)
    groups = near_duplicates({cut.transcript.id: cut.signature for cut in sliced}, params.duplicate_similarity)
    splits = split_groups(groups, params.validation_fraction)
    rejected = [*map(_unreadable, unreadable), *(rejection for cut in cuts for rejection in cut.rejected)]
    _write_lines(outputs.slices, slice_rows(sliced, splits))
    _write_lines(outputs.rejected, map(_rejected_row, rejected))
    stats = describe(read, cuts, splits, groups, rejected, ruler.limit)
    _write(outputs.stats, json.dumps(stats, indent=1, ensure_ascii=False) + "\n")
    return measure(cuts, stats)


def select_passing(transcripts: Sequence[Transcript], verdicts: Path) -> list[Transcript]:
    """Return the transcripts that passed. Raises UserError unless each has a verdict on the very content it has."""
    found = {verdict.id: verdict for verdict in read_verdicts(verdicts)}
    missing = [t.id for t in transcripts if t.id not in found]
    if missing:
        raise UserError(f"{_some(missing)} without a verdict. Let the assessor judge the same transcripts.")
    changed = [t.id for t in transcripts if found[t.id].sha256 != t.sha256]
    if changed:
        raise UserError(f"{_some(changed)} changed since the verdict was given. Let the assessor judge them again.")
    passing = [t for t in transcripts if found[t.id].passed]
    if not passing:
        raise UserError(
            f"None of {len(transcripts)} transcripts passed the rubric, so there is nothing to learn from. "
            "Read the reasons in verdicts.jsonl; then lower the rubric's pass_threshold, or use better transcripts."
        )
    return passing


def keep_sliced(cuts: Sequence[Cut]) -> list[Cut]:
    """Return the transcripts that gave slices. Raises UserError with the reasons if there is none."""
    sliced = [cut for cut in cuts if cut.slices]
    if not sliced:
        first = cuts[0].rejected[0]
        raise UserError(
            f"No slice can be made of {len(cuts)} passing transcripts ({first.id}: {first.reason}). "
            "Use a smaller `min_context`, a larger `max_tokens`, or a model with more context."
        )
    return sliced


def slice_rows(cuts: Iterable[Cut], splits: Mapping[str, Split]) -> Iterator[dict[str, Json]]:
    """Yield the rows of slices.jsonl, by transcript and slice point."""
    for cut in cuts:
        for part in cut.slices:
            messages = cut.conversation.messages(part.dropped, part.point)
            # The answer that a slice is there to teach is the one thing that must never be lost.
            answer = cut.conversation.exchanges[part.point - 1].assistant
            assert messages[-1] == {"role": "assistant", "content": answer}
            yield {
                "id": f"{cut.transcript.id}#{part.point}",
                "transcript": cut.transcript.id,
                "point": part.point,
                "dropped": part.dropped,
                "split": splits[cut.transcript.id],
                "tokens": part.tokens,
                "planning_tokens": part.planning_tokens,
                "messages": [dict(message) for message in messages],
            }


def _unreadable(rejected: Rejected) -> Rejection:
    return Rejection(rejected.id or "", None, UNREADABLE, str(rejected))


def _rejected_row(rejection: Rejection) -> dict[str, Json]:
    point: dict[str, Json] = {} if rejection.point is None else {"point": rejection.point}
    return {"id": rejection.id or None, **point, "reason": rejection.reason}


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
    return f"{len(ids)} transcript{'s' if len(ids) > 1 else ''} ({', '.join(ids[:MAX_NAMED])}{more})"


def _write_lines(path: Path, rows: Iterable[Mapping[str, Json]]) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8", newline="\n") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    part.rename(path)


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.rename(path)
