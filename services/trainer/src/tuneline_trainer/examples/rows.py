"""From windows to rows: what goes through the model at once, with how often each token of it is learnt.

A row of `shared_prefix` stands for all slices of its window: a token that several of them teach weighs as many times as
much, so the gradient is that of the slices, and what they have in common is computed once. A row of `slices` is one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer
from tuneline_trainer.examples.windows import Range, Source, Window, read_windows

Supervise = Literal["new", "all", "last"]
Batching = Literal["shared_prefix", "slices"]
Asked = Literal["auto", Batching]

MOST_STEPS = 1.5
"""What a row may teach, in steps; a window that teaches more is several rows, lest a step grow with its window."""


class Row(NamedTuple):
    """The first `length` of `ids`; `learnt` are ranges of them, in order, each with its tokens' weight in the loss."""

    ids: array[int]
    length: int
    learnt: list[tuple[Range, float]]
    slices: int
    supervised: int
    """Tokens that its slices teach, as often as they do."""


class Examples(NamedTuple):
    """The rows of a run, in the order of their file, and what is learnt of their transcripts."""

    train: list[Row]
    validation: list[Row]
    batching: Batching
    batching_reason: str
    found_by: str
    learnt_per_third: tuple[float, float, float]
    """How often an answer of the first, second and last third of a transcript is learnt in one pass, on average."""

    @property
    def longest(self) -> int:
        return max(row.length for row in (*self.train, *self.validation))

    @property
    def train_slices(self) -> int:
        return sum(row.slices for row in self.train)


class Plan(NamedTuple):
    """What the parameters say about rows; `slices_per_step` is how much a step learns, counted in slices."""

    supervise: Supervise
    batching: Asked
    max_length: int
    slices_per_step: int


def read_examples(path: Path, tokenizer: ChatTokenizer, plan: Plan) -> Examples:
    """Encode and label every slice. Raises UserError if one is unreadable, too long or teaches nothing."""
    windows = list(read_windows(path, tokenizer))
    sources = [source for window in windows for source in window.slices]
    wanted = dict(answers_to_learn(sources, plan.supervise))
    learnt = learnt_answers(windows, wanted)
    refuse_unusable(windows, learnt, plan.max_length)
    batching, reason = settle_batching(windows, plan.batching)
    train = [window for window in windows if window.slices[0].split == "train"]
    held_out = [window for window in windows if window.slices[0].split == "validation"]
    if not train:
        raise UserError(f"slices: none of {len(sources)} has the split `train`: give more transcripts to the slicer")
    counts = [(s, 1 if w.found_by == "last answer" else wanted[s.id]) for w in train for s in w.slices]
    tokens = sum(tokens_learnt(window, learnt[s.id]) for window in train for s in window.slices)
    most = MOST_STEPS * plan.slices_per_step * tokens / len(counts) if batching == "shared_prefix" else 0.0
    return Examples(
        train=[row for window in train for row in rows_of(window, learnt, most)],
        validation=validation_rows(held_out, learnt, batching),
        batching=batching,
        batching_reason=reason,
        found_by=windows[-1].found_by,
        learnt_per_third=learnt_per_third(counts),
    )


def settle_batching(windows: Sequence[Window], asked: Asked) -> tuple[Batching, str]:
    """Return how slices become rows, and why. Raises UserError if they are to be shared and nothing is shared."""
    if asked == "slices":
        return "slices", "as asked for"
    alone = sum(not window.exact for window in windows)
    why = f"{alone} slices are not how the next one begins, as the chat template writes them"
    if not alone:
        return "shared_prefix", "every slice is exactly how the longest one of its window begins"
    if any(len(window.slices) > 1 for window in windows):
        return "shared_prefix", f"exact, and {why}: these have rows of their own"
    if asked == "shared_prefix":
        raise UserError(f"`batching`=shared_prefix: {why}. Use auto, or slices")
    return "slices", why


def learnt_answers(windows: Sequence[Window], wanted: Mapping[str, int]) -> dict[str, list[int]]:
    """Return which of its window's answers each slice teaches: its last ones, less those that are context only."""
    learnt = {}
    for window in windows:
        for source in window.slices:
            held = window.answers_of(source)
            places = range(1, min(wanted[source.id], held) + 1)  # counted from the slice's last answer
            learnt[source.id] = sorted(held - place for place in places if source.learn[-place])
    return learnt


def rows_of(window: Window, learnt: Mapping[str, Sequence[int]], most: float) -> Iterator[Row]:
    """Yield the rows of a window, each of as many slices as teach no more than `most` tokens, or of one."""
    held: list[Source] = []
    tokens = 0
    for source in window.slices:
        added = tokens_learnt(window, learnt[source.id])
        if held and tokens + added > most:
            yield _row(window, held, learnt, [1.0] * len(held))
            held, tokens = [], 0
        held.append(source)
        tokens += added
    yield _row(window, held, learnt, [1.0] * len(held))


def validation_rows(windows: Sequence[Window], learnt: Mapping[str, Sequence[int]], batching: Batching) -> list[Row]:
    """Return rows whose mean loss is the mean over the slices of each one's mean, however they are batched."""
    groups = [
        (window, group)
        for window in windows
        for group in ([window.slices] if batching == "shared_prefix" else [[source] for source in window.slices])
    ]
    each = len(groups) / max(1, sum(len(group) for _, group in groups))
    return [
        _row(window, group, learnt, [each / tokens_learnt(window, learnt[source.id]) for source in group])
        for window, group in groups
    ]


def _row(
    window: Window, slices: Sequence[Source], learnt: Mapping[str, Sequence[int]], weights: Sequence[float]
) -> Row:
    """Return the row of some slices of a window; a token of each weighs what `weights` says of it."""
    of_answer: dict[int, float] = {}
    supervised = 0
    for source, weight in zip(slices, weights, strict=True):
        supervised += tokens_learnt(window, learnt[source.id])
        for answer in learnt[source.id]:
            of_answer[answer] = of_answer.get(answer, 0.0) + weight
    ranges = [(_predicted(window.answers[answer]), weight) for answer, weight in sorted(of_answer.items())]
    return Row(window.ids, ranges[-1][0][1], ranges, len(slices), supervised)


def tokens_learnt(window: Window, answers: Iterable[int]) -> int:
    """Return how many tokens of these answers can be learnt."""
    ranges = (_predicted(window.answers[answer]) for answer in answers)
    return sum(end - start for start, end in ranges)


def _predicted(answer: Range) -> Range:
    """Leave out the first token of all: it has nothing before it to be predicted from."""
    return max(1, answer[0]), max(1, answer[1])


def answers_to_learn(slices: Sequence[Source], supervise: Supervise) -> Iterator[tuple[str, int]]:
    """Yield each slice's id and how many of its last answers it teaches.

    `new` are those since the slice before it of the same transcript, so that every answer is learnt once.
    """
    before: dict[str, int] = {}
    for source in sorted(slices, key=lambda s: s.point):
        since = {"all": 0, "last": source.point - 1, "new": before.get(source.transcript, 0)}[supervise]
        yield source.id, source.point - max(since, source.dropped)
        before[source.transcript] = source.point


def learnt_per_third(learnt: Sequence[tuple[Source, int]]) -> tuple[float, float, float]:
    """Return how often an answer is learnt in one pass, for each third of the transcripts up to their last slice."""
    lengths: dict[str, int] = {}
    for source, _ in learnt:
        lengths[source.transcript] = max(source.point, lengths.get(source.transcript, 0))
    times = [Fraction(0)] * 3
    for source, answers in learnt:
        whole = Fraction(lengths[source.transcript], 3)
        since, until = Fraction(source.point - answers), Fraction(source.point)
        for third in range(3):
            times[third] += max(Fraction(0), min((third + 1) * whole, until) - max(third * whole, since))
    total = Fraction(sum(lengths.values()), 3)
    first, second, last = (round(float(of_third / total), 2) for of_third in times)
    return first, second, last


def refuse_unusable(windows: Sequence[Window], learnt: Mapping[str, Sequence[int]], max_length: int) -> None:
    """Raise UserError if a slice is longer than `max_length` tokens or has no token to learn."""
    slices = [(window, source) for window in windows for source in window.slices]
    if long := [f"{s.id} ({w.tokens_of(s):,} tokens)" for w, s in slices if w.tokens_of(s) > max_length]:
        raise UserError(
            f"slices: {len(long)} of {len(slices)} are longer than {max_length:,} tokens "
            f"(the smaller of `max_length` and the model's context): {_listed(long)}. "
            "Raise trainer `max_length` if the model allows it, or lower slicer `max_tokens`"
        )
    if empty := [s.id for w, s in slices if not tokens_learnt(w, learnt[s.id])]:
        raise UserError(
            f"slices: {len(empty)} of {len(slices)} have no assistant token to learn: {_listed(empty)}. "
            "Check that every slice has an answer, and that the chat template writes it"
        )


def refuse_token(highest: int, rows: int) -> None:
    """Raise UserError if a token is beyond the rows of the model's embeddings."""
    if highest >= rows:
        raise UserError(
            f"base_model: its tokenizer makes token {highest} and config.json has a vocab_size of {rows}: resize the "
            "model's embeddings (resize_token_embeddings in transformers), or take the added token out"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
