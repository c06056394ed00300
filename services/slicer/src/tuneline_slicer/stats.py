"""The way from transcripts to slices in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from tuneline.data.transcripts import Transcript
from tuneline.stage import Json, Metrics
from tuneline_slicer.cut import Cut, Rejection, Slice
from tuneline_slicer.split import Split


def describe(
    read: Sequence[Transcript],
    cuts: Sequence[Cut],
    splits: Mapping[str, Split],
    groups: Sequence[Sequence[str]],
    rejected: Sequence[Rejection],
    limit: int,
) -> dict[str, Json]:
    """Return the content of slices.stats.json. It depends on the data and parameters alone, never on time or place.

    `transcripts` were read, `passed` the rubric and are `sliced`. Tokens: `total` is what one epoch reads, `unique`
    what it would read if every message were read once.
    """
    sliced = [cut for cut in cuts if cut.slices]
    slices = [part for cut in sliced for part in cut.slices]
    sides = {side: _side(sliced, splits, side) for side in ("train", "validation")}
    return {
        "transcripts": len(read),
        "passed": len(cuts),
        "sliced": len(sliced),
        "slices": len(slices),
        "train": sides["train"]["slices"],
        "validation": sides["validation"]["slices"],
        "rejected": _kinds(r for r in rejected if r.point is not None),
        "rejected_transcripts": _kinds(r for r in rejected if r.point is None),
        "splits": cast(Json, sides),
        "slices_per_transcript": _spread([len(cut.slices) for cut in sliced]),
        "max_tokens": limit,
        "tokens": _spread([part.tokens for part in slices], unique=sum(cut.tokens for cut in sliced)),
        "planning_tokens": _spread(
            [part.planning_tokens for part in slices], unique=sum(cut.planning_tokens for cut in sliced)
        ),
        "planning_tokens_per_transcript": _spread([cut.planning_tokens for cut in sliced]),
        "truncated": _truncated(slices),
        "near_duplicates": [list(group) for group in groups if len(group) > 1],
        "personas": _personas(read, sliced),
    }


def measure(cuts: Sequence[Cut], stats: Mapping[str, Json]) -> Metrics:
    """Return the stage's metrics; `bytes_encoded_per_unique_byte` is 1 when no message is encoded twice."""
    encoded, unique = sum(cut.bytes_encoded for cut in cuts), sum(cut.unique_bytes for cut in cuts)
    keys = ("transcripts", "passed", "sliced", "slices", "train", "validation", "rejected", "tokens", "truncated")
    counts = {key: stats[key] for key in keys} | {"bytes_encoded_per_unique_byte": round(encoded / unique, 4)}
    sides = f"{stats['train']} for training, {stats['validation']} for validation"
    return Metrics(headline=f"{stats['slices']} slices of {stats['sliced']} transcripts ({sides})", counts=counts)


def _side(cuts: Sequence[Cut], splits: Mapping[str, Split], side: str) -> dict[str, int]:
    chosen = [cut for cut in cuts if splits[cut.transcript.id] == side]
    slices = [part for cut in chosen for part in cut.slices]
    return {"transcripts": len(chosen), "slices": len(slices), "tokens": sum(part.tokens for part in slices)}


def _kinds(rejected: Iterable[Rejection]) -> Json:
    return dict(sorted(Counter(rejection.kind for rejection in rejected).items()))


def _spread(values: Sequence[int], **more: int) -> dict[str, Json]:
    total = sum(values)
    return {"total": total, **more, "min": min(values), "mean": round(total / len(values), 1), "max": max(values)}


def _truncated(slices: Sequence[Slice]) -> Json:
    dropped = [part.dropped for part in slices if part.dropped]
    return {"slices": len(dropped), "exchanges": sum(dropped), "most": max(dropped, default=0)}


def _personas(read: Sequence[Transcript], sliced: Sequence[Cut]) -> Json:
    before = {transcript.persona for transcript in read if transcript.persona}
    after = {cut.transcript.persona for cut in sliced if cut.transcript.persona}
    return {"read": len(before), "kept": len(after), "lost": [*sorted(before - after)]}
