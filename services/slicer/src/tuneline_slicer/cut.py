"""Where a transcript is cut, and which exchanges a slice keeps."""

from __future__ import annotations

import hashlib
import random
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import NamedTuple

from tuneline.data.text.likeness import shingles_of
from tuneline.data.transcripts import Rejection, Transcript
from tuneline.model.windows import encode_window
from tuneline.stage import Context
from tuneline_slicer.ruler import Ruler
from tuneline_slicer.stage import SlicerParams
from tuneline_slicer.token_counts import CleanTranscript, TokenCounts, can_count_by_parts

TOO_FEW = "fewer exchanges than min_context"
TOO_LONG = "longer than the token limit"
NOT_LEARNT = "no answer that may be learnt"


class Span(NamedTuple):
    """What a slice holds: exchanges `dropped` + 1 to `point`, the last of which holds the answer that it teaches."""

    point: int
    dropped: int
    tokens: int
    planning_tokens: int


class Ids(NamedTuple):
    """A slice as the model sees it, in four bytes per token; as `tuneline.model.windows.Encoded`."""

    ids: array[int] | None
    answers: list[tuple[int, int]]
    found_by: str


class Cut(NamedTuple):
    """What became of one transcript; `tokens` and `planning_tokens` are those of the whole of it."""

    transcript: Transcript
    conversation: CleanTranscript
    spans: list[Span]
    ids: list[Ids]
    """Of each span."""
    rejected: list[Rejection]
    shingles: array[int]
    """What tells whether another transcript says the same."""
    tokens: int
    planning_tokens: int
    bytes_encoded: int
    unique_bytes: int


def cut_all(transcripts: Sequence[Transcript], ruler: Ruler, params: SlicerParams, context: Context) -> list[Cut]:
    """Cut every transcript, `params.workers` at once; the tokenizers leave Python's lock to the others meanwhile."""
    by_parts = can_count_by_parts(CleanTranscript(transcripts[0], ruler.system, ruler.chat), ruler.chat)
    cuts: list[Cut] = []
    with ThreadPoolExecutor(params.workers) as threads:
        try:
            for cut in threads.map(lambda transcript: cut_one(transcript, ruler, params, by_parts), transcripts):
                context.progress(len(cuts), len(transcripts))
                cuts.append(cut)
        finally:
            threads.shutdown(cancel_futures=True)
    context.progress(len(cuts), len(transcripts))
    return cuts


def cut_one(transcript: Transcript, ruler: Ruler, params: SlicerParams, by_parts: bool) -> Cut:
    """Cut one transcript at its slice points and shorten each slice to the limit."""
    conversation = CleanTranscript(transcript, ruler.system, ruler.chat)
    counts = TokenCounts(conversation, ruler, by_parts)
    spans: list[Span] = []
    rejected: list[Rejection] = []
    length = len(transcript.exchanges)
    if length < params.min_context:
        reason = f"{length} exchanges, fewer than `min_context`={params.min_context}"
        rejected.append(Rejection(id=transcript.id, kind=TOO_FEW, reason=reason))
    points = learnt_points(slice_points(transcript.id, length, params), transcript.unlearnt, params.min_context)
    if length >= params.min_context and not points:
        reason = f"no answer after the first {params.min_context - 1} exchanges may be learnt"
        rejected.append(Rejection(id=transcript.id, kind=NOT_LEARNT, reason=reason))
    for point in points:
        least = least_to_drop(counts, spans, point, params, ruler.limit)
        dropped = exchanges_to_drop(counts, least, point, params.min_context, ruler.limit)
        if dropped is None:
            reason = f"more than {ruler.limit} tokens with the last {params.min_context} exchanges alone"
            rejected.append(Rejection(id=transcript.id, point=point, kind=TOO_LONG, reason=reason))
        else:
            tokens, planned = counts.tokens(dropped, point), counts.planning_tokens(dropped, point)
            spans.append(Span(point, dropped, tokens, planned))
    whole = (counts.tokens(0, length), counts.planning_tokens(0, length)) if spans else (0, 0)
    ids = list(encode_spans(conversation, spans, ruler, counts))
    encoded = (counts.bytes_encoded, counts.unique_bytes)
    shingles = shingles_of(" ".join(text for exchange in transcript.exchanges for text in exchange))
    return Cut(transcript, conversation, spans, ids, rejected, shingles, *whole, *encoded)


def slice_points(transcript_id: str, length: int, params: SlicerParams) -> Iterator[int]:
    """Yield after how many exchanges a transcript of `length` is cut: first `min_context`, then random gaps, its end.

    Gaps are random so that no turn of a conversation is preferred, and seeded by the id so that they never change.
    """
    gaps = random.Random(int(hashlib.sha256(transcript_id.encode()).hexdigest()[:8], 16))
    point = params.min_context
    while point < length:
        yield point
        point += gaps.randint(params.min_gap, params.max_gap)
    if length >= params.min_context:
        yield length


def learnt_points(points: Iterable[int], unlearnt: Collection[int], least: int) -> list[int]:
    """Move each point back to the last answer that may be learnt, since a slice teaches its last one."""
    found: list[int] = []
    for point in points:
        last = next((at for at in range(point, 0, -1) if at - 1 not in unlearnt), 0)
        if last >= least and last not in found[-1:]:
            found.append(last)
    return found


def least_to_drop(counts: TokenCounts, spans: Sequence[Span], point: int, params: SlicerParams, limit: int) -> int:
    """Return how many exchanges a slice drops at least: as many as the one before it.

    A tile that is full is followed by one that begins as late as leaves `min_context` exchanges up to its first answer.
    """
    if not spans:
        return 0
    last = spans[-1]
    if params.window == "tile" and counts.tokens(last.dropped, point) > limit:
        return max(last.dropped, last.point + 1 - params.min_context)
    return last.dropped


def exchanges_to_drop(counts: TokenCounts, least: int, point: int, min_context: int, limit: int) -> int | None:
    """Return how many of the oldest exchanges must go, `least` or more, for the rest to fit; None if too few are left.

    Every exchange adds tokens, so halving finds what fits without the system prompt; with it, hardly more must go. In
    this order a system prompt that is folded into user messages is encoded with few of them.
    """
    candidates = range(least, point - min_context + 1)
    bare = bisect_left(candidates, True, key=lambda dropped: counts.tokens(dropped, point, with_system=False) <= limit)
    return next((dropped for dropped in candidates[bare:] if counts.tokens(dropped, point) <= limit), None)


def encode_spans(
    conversation: CleanTranscript, spans: Sequence[Span], ruler: Ruler, counts: TokenCounts
) -> Iterator[Ids]:
    """Yield the token ids of each span; of spans that begin alike only the last one has them all."""
    for dropped, window in groupby(spans, key=lambda span: span.dropped):
        messages = [conversation.messages(dropped, span.point) for span in window]
        for ids, answers, found_by in encode_window(ruler.chat, messages, counts.encode):
            yield Ids(None if ids is None else array("i", ids), answers, found_by)
