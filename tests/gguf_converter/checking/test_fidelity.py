from __future__ import annotations

import math
import random

import pytest

from tuneline.data.model_facts import Fidelity
from tuneline_gguf_converter.checking.checks import top1_agreement
from tuneline_gguf_converter.checking.fidelity import Foreseen, agreement, divergence
from tuneline_gguf_converter.stage import GgufConverterParams

DEFAULTS = GgufConverterParams()


def talks(of: random.Random, share: float, effect: float) -> list[list[bool]]:
    """Draw as many positions as are compared by default; conversations differ so much that `effect` is the design's."""
    size = DEFAULTS.check_positions
    alike = (effect - 1) / (size - 1)
    a, b = (part * (1 - alike) / alike for part in (share, 1 - share))
    own = (of.betavariate(a, b) for _ in range(DEFAULTS.check_conversations))
    return [[of.random() < chance for _ in range(size)] for chance in own]


@pytest.mark.parametrize("effect", [1.01, 2.0])
def test_so_many_positions_tell_an_agreement_of_90_per_cent_from_one_of_80(effect: float) -> None:
    of, rounds = random.Random(4), 1000
    passed = {
        share: sum(agreement(talks(of, share, effect)).low >= 0.8 for _ in range(rounds)) / rounds
        for share in (0.8, 0.9)
    }
    assert passed[0.8] <= 0.05
    assert passed[0.9] >= 0.85


def test_an_interval_has_a_width_even_where_all_agree_and_is_wider_where_conversations_differ() -> None:
    same = agreement([[True] * 40] * 8)
    assert same.value == same.high == 1.0 and 0.97 < same.low < 1.0
    alike, unlike = (
        agreement([[True] * 36 + [False] * 4] * 8),
        agreement([[True] * 40] * 7 + [[True] * 8 + [False] * 32]),
    )
    assert alike.value == unlike.value == 0.9
    assert unlike.low < alike.low - 0.1
    few = agreement([[True] * 9 + [False]])
    assert few.low < 0.6


def test_the_divergence_is_that_of_what_both_name_with_the_rest_as_one_and_never_above_the_true_one() -> None:
    p, q = (0.5, 0.3, 0.15, 0.05), (0.4, 0.3, 0.1, 0.2)
    true = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))

    def named(of: tuple[float, ...], *tokens: int) -> Foreseen:
        return Foreseen(tokens[0], {token: math.log(of[token]) for token in tokens})

    assert divergence(named(p, 0, 1, 2, 3), named(q, 0, 1, 2, 3)) == pytest.approx(true)
    assert divergence(named(p, 0, 1, 2), named(q, 0, 1, 3)) == pytest.approx(
        0.5 * math.log(0.5 / 0.4) + 0.2 * math.log(0.2 / 0.3)
    )
    assert 0 < divergence(named(p, 0, 1), named(q, 0, 1)) < true
    assert divergence(named(p, 0, 1), named(p, 0, 1)) == pytest.approx(0, abs=1e-9)
    assert math.isfinite(divergence(named((1.0, 0.0), 0), named((1e-12, 1.0), 0)))


def test_held_out_conversations_are_judged_by_the_lower_end_and_probes_by_the_figure_itself() -> None:
    row = {
        "file": "x.gguf", "file_type": "Q4_K_M", "bytes": 1, "bits_per_weight": 4.5,
        "conversations": 8, "positions": 384,
        "top1": {"value": 0.85, "low": 0.79, "high": 0.9}, "kl": None, "perplexity": None, "merged_perplexity": None,
    }  # fmt: skip
    passed = {
        source: top1_agreement(Fidelity.model_validate({**row, "source": source}), 0.8).passed
        for source in ("held-out", "training", "probe")
    }
    assert passed == {"held-out": False, "training": False, "probe": True}
