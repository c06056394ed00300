from __future__ import annotations

import random
from itertools import chain
from math import exp
from pathlib import Path

import pytest

from tuneline.model.base_model import read_checkpoint
from tuneline_gguf_converter.checking.samples import Sample

pytestmark = pytest.mark.slow


def sample(seed: int, tokens: int) -> Sample:
    of = random.Random(seed)
    return Sample(f"t{seed}", [], [of.randrange(8, 900) for _ in range(tokens)], sorted(of.sample(range(1, tokens), 5)))


def test_texts_of_other_lengths_beside_it_change_nothing_for_a_text(tiny_base: Path) -> None:
    from tuneline_gguf_converter.checking.reference import foresee
    from tuneline_gguf_converter.merging.merge import merged_weights

    samples, weights = (
        [sample(1, 60), sample(2, 9), sample(3, 33)],
        merged_weights(read_checkpoint(tiny_base), None, "bf16"),
    )
    ticks: list[int] = []
    together = foresee(tiny_base, weights, "bf16", samples, 1, lambda: ticks.append(1))
    alone = [foresee(tiny_base, weights, "bf16", [one], 1, lambda: None)[0] for one in samples]
    assert [[of.choice for of in talk] for talk in together] == [[of.choice for of in talk] for talk in alone]
    for ours, theirs in zip(chain(*together), chain(*alone), strict=True):
        assert max(map(exp, ours.logprobs.values())) == pytest.approx(exp(ours.logprobs[ours.choice]))
        assert ours.logprobs[ours.choice] == pytest.approx(theirs.logprobs[ours.choice], abs=0.02)
    assert [len(found) for found in together] == [5, 5, 5] and len(ticks) == 3


def test_a_batch_is_as_large_as_memory_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    from tuneline_gguf_converter.checking import reference

    samples = [sample(seed, tokens) for seed, tokens in enumerate((90, 10, 50, 12, 95))]
    assert list(reference.batches(samples, 1000)) == [[1, 3, 2, 0, 4]]
    monkeypatch.setattr(reference, "MOST_TOKENS", 200)
    assert list(reference.batches(samples, 1000)) == [[1, 3, 2], [0, 4]]
    monkeypatch.setattr(reference, "MOST_LOGITS", 1)
    assert list(reference.batches(samples, 1000)) == [[1], [3], [2], [0], [4]]
