"""Makes the slices: measure, join with the verdicts, cut, split, write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tuneline.data.io import read_lines, write_lines, write_record
from tuneline.data.judged import read_judged
from tuneline.data.slices import Encoding, Message, Slice, Split
from tuneline.data.text.likeness import near_duplicates
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Verdict
from tuneline.errors import UserError
from tuneline.parsing.problems import shortened
from tuneline.stage import Context, Metrics
from tuneline_slicer.cut import Cut, Ids, cut_all
from tuneline_slicer.ruler import Ruler, load_ruler
from tuneline_slicer.split import split_groups
from tuneline_slicer.stage import SlicerInputs, SlicerOutputs, SlicerParams
from tuneline_slicer.stats import describe, measure


class Prepared(NamedTuple):
    """What is measured with, and what there is: all that was judged, and those of it that passed."""

    ruler: Ruler
    judged: list[Transcript]
    passing: list[Transcript]


def slice_transcripts(params: SlicerParams, inputs: SlicerInputs, outputs: SlicerOutputs, context: Context) -> Metrics:
    """Cut the passing transcripts into slices and write them, the counts and what was rejected."""
    ruler, judged, passing = prepare(params, inputs)
    cuts = cut_all(passing, ruler, params, context)
    sliced = keep_sliced(cuts)
    names, texts = [cut.transcript.id for cut in sliced], [cut.shingles for cut in sliced]
    groups = near_duplicates(names, texts, params.duplicate_similarity)
    splits = split_groups(groups, params.validation_fraction)
    rejected = [rejection for cut in cuts for rejection in cut.rejected]
    write_lines(outputs.slices, slice_rows(sliced, splits, ruler.chat.fingerprint))
    write_lines(outputs.rejected, rejected)
    stats = describe(judged, cuts, splits, groups, rejected, ruler.limit)
    write_record(outputs.stats, stats)
    return measure(cuts, stats)


def prepare(params: SlicerParams, inputs: SlicerInputs) -> Prepared:
    """Read everything. Raises UserError for whatever is wrong with it."""
    ruler = load_ruler(params, inputs)
    judged = list(read_judged(inputs.judged))
    return Prepared(ruler, judged, select_passing(judged, inputs.verdicts))


def select_passing(transcripts: Sequence[Transcript], verdicts: Path) -> list[Transcript]:
    """Return the transcripts that passed. Raises UserError unless the verdicts are on these, with this content."""
    found, there = {v.id: v for v in read_lines(verdicts, Verdict)}, {t.id: t for t in transcripts}
    _refuse([name for name in found if name not in there], "judged, and now missing")
    _refuse([name for name in there if name not in found], "without a verdict")
    _refuse([t.id for t in transcripts if found[t.id].sha256 != t.sha256], "changed since the verdict was given")
    passing = [t for t in transcripts if found[t.id].passed]
    if not passing:
        raise UserError(
            f"None of {len(transcripts)} transcripts passed the rubric, so there is nothing to learn from. "
            "Read the reasons in verdicts.jsonl; then lower the rubric's pass_threshold, or use better transcripts."
        )
    return passing


def _refuse(ids: Sequence[str], problem: str) -> None:
    if ids:
        head = f"{len(ids)} transcript{'s' * (len(ids) > 1)} ({shortened(ids)}) {problem}"
        raise UserError(f"{head}. Give `judged` and `verdicts` of one assessor, or neither.")


def keep_sliced(cuts: Sequence[Cut]) -> list[Cut]:
    """Return the transcripts that gave slices. Raises UserError with the reasons if there is none."""
    sliced = [cut for cut in cuts if cut.spans]
    if not sliced:
        first = cuts[0].rejected[0]
        raise UserError(
            f"No slice can be made of {len(cuts)} passing transcripts ({first.id}: {first.reason}). "
            "Use a smaller `min_context`, a larger `max_tokens`, or a model with more context."
        )
    return sliced


def slice_rows(cuts: Iterable[Cut], splits: Mapping[str, Split], encoded_by: str) -> Iterator[Slice]:
    """Yield the rows of slices.jsonl, by transcript and slice point."""
    for cut in cuts:
        for span, ids in zip(cut.spans, cut.ids, strict=True):
            messages = cut.conversation.messages(span.dropped, span.point)
            # The answer that a slice is there to teach is the one thing that must never be lost.
            answer = cut.conversation.exchanges[span.point - 1].assistant
            assert messages[-1] == {"role": "assistant", "content": answer}
            answers = [place not in cut.transcript.unlearnt for place in range(span.dropped, span.point)]
            yield Slice(
                id=f"{cut.transcript.id}#{span.point}",
                transcript=cut.transcript.id,
                **span._asdict(),
                split=splits[cut.transcript.id],
                messages=marked(messages, answers),
                encoding=encoding_of(ids, encoded_by),
            )


def encoding_of(ids: Ids, encoded_by: str) -> Encoding:
    """Return the token ids as they are written."""
    encoding = Encoding(by=encoded_by, found_by=ids.found_by, answers=ids.answers)
    return encoding if ids.ids is None else encoding.model_copy(update={"ids": ids.ids.tolist()})


def marked(messages: Sequence[Mapping[str, str]], learnt: Sequence[bool]) -> list[Message]:
    """Mark the answers that are context only: those of `learnt`, the last ones, and a greeting before them."""
    greetings = sum(message["role"] == "assistant" for message in messages) - len(learnt)
    marks = iter([*[False] * greetings, *learnt])
    rows = ((m, m["role"] != "assistant" or next(marks)) for m in messages)
    return [Message.model_validate(m if mark else {**m, "learn": False}) for m, mark in rows]
