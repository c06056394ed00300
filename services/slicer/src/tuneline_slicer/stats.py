"""The way from transcripts to slices in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tuneline.data.slices import GeneratedCount, PersonaCount, Side, SliceStats, Split, Spread, TokenSpread, Truncated
from tuneline.data.transcripts import Rejection, Transcript
from tuneline.stage import Metrics
from tuneline_slicer.cut import Cut


def describe(
    judged: Sequence[Transcript],
    cuts: Sequence[Cut],
    splits: Mapping[str, Split],
    groups: Sequence[Sequence[str]],
    rejected: Sequence[Rejection],
    limit: int,
) -> SliceStats:
    """Return the content of slices.stats.json."""
    sliced = [cut for cut in cuts if cut.spans]
    spans = [span for cut in sliced for span in cut.spans]
    train, validation = _side(sliced, splits, "train"), _side(sliced, splits, "validation")
    tokens, planned = _spread([span.tokens for span in spans]), _spread([span.planning_tokens for span in spans])
    dropped = [span.dropped for span in spans if span.dropped]
    before = {transcript.persona for transcript in judged if transcript.persona}
    after = {cut.transcript.persona for cut in sliced if cut.transcript.persona}
    return SliceStats(
        transcripts=len(judged),
        passed=len(cuts),
        sliced=len(sliced),
        slices=len(spans),
        train=train.slices,
        validation=validation.slices,
        rejected=_kinds(r for r in rejected if r.point is not None),
        rejected_transcripts=_kinds(r for r in rejected if r.point is None),
        splits={"train": train, "validation": validation},
        slices_per_transcript=_spread([len(cut.spans) for cut in sliced]),
        max_tokens=limit,
        tokens=TokenSpread(**dict(tokens), unique=sum(cut.tokens for cut in sliced)),
        planning_tokens=TokenSpread(**dict(planned), unique=sum(cut.planning_tokens for cut in sliced)),
        planning_tokens_per_transcript=_spread([cut.planning_tokens for cut in sliced]),
        truncated=Truncated(slices=len(dropped), exchanges=sum(dropped), most=max(dropped, default=0)),
        near_duplicates=[list(group) for group in groups if len(group) > 1],
        personas=PersonaCount(read=len(before), kept=len(after), lost=sorted(before - after)),
        generated=_generated(cut.transcript for cut in sliced),
    )


def measure(cuts: Sequence[Cut], stats: SliceStats) -> Metrics:
    """Return the stage's metrics; `bytes_encoded_per_unique_byte` is 1 when no message is encoded twice."""
    encoded, unique = sum(cut.bytes_encoded for cut in cuts), sum(cut.unique_bytes for cut in cuts)
    keys = {"transcripts", "passed", "sliced", "slices", "train", "validation", "rejected", "tokens", "truncated",
            "generated"}  # fmt: skip
    counts = stats.model_dump(include=keys) | {"bytes_encoded_per_unique_byte": round(encoded / unique, 4)}
    sides = f"{stats.train} for training, {stats.validation} for validation"
    head = [f"{stats.slices} slices of {stats.sliced} transcripts ({sides})"]
    head += [f"{one.transcripts} of these written by a model ({one.how.words})" for one in stats.generated]
    return Metrics(headline="; ".join(head), counts=counts)


def _generated(transcripts: Iterable[Transcript]) -> list[GeneratedCount]:
    found = Counter(transcript.generated for transcript in transcripts if transcript.generated)
    return [GeneratedCount(how=how, transcripts=count) for how, count in found.most_common()]


def _side(cuts: Sequence[Cut], splits: Mapping[str, Split], side: Split) -> Side:
    chosen = [cut for cut in cuts if splits[cut.transcript.id] == side]
    tokens = [span.tokens for cut in chosen for span in cut.spans]
    return Side(transcripts=len(chosen), slices=len(tokens), tokens=sum(tokens))


def _kinds(rejected: Iterable[Rejection]) -> dict[str, int]:
    return dict(sorted(Counter(rejection.kind for rejection in rejected).items()))


def _spread(values: Sequence[int]) -> Spread:
    total = sum(values)
    return Spread(total=total, min=min(values), mean=round(total / len(values), 1), max=max(values))
