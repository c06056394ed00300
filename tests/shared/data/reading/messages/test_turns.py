"""Marks by which logs say that an answer is not to be learnt."""

from __future__ import annotations

import pytest

from tuneline.data.reading.messages.marks import is_learnt


@pytest.mark.parametrize(
    "key",
    [
        "weight", "Weight", "train", "trainable", "train_on_turn", "compute_loss", "learn", "loss", "loss_mask",
        "loss_weight",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("no", "yes"), [(0, 1), (False, True), ("0", "1"), ("false", "True"), ("no", "yes"), (0.0, 1.0)]
)
def test_a_no_is_heard_however_it_is_written(key: str, no: object, yes: object) -> None:
    for mark, learnt in ((no, False), (yes, True)):
        problems: list[object] = []
        assert is_learnt({"content": "a", key: mark}, "assistant", (), problems) is learnt  # type: ignore[arg-type]
        assert not problems
    assert is_learnt({"content": "a", key: no}, "user", (), [])


@pytest.mark.parametrize(("mark", "learnt"), [(1, False), (True, False), ("true", False), (0, True), (False, True)])
def test_what_is_masked_is_not_learnt(mark: object, learnt: bool) -> None:
    assert is_learnt({"content": "a", "masked": mark}, "assistant", (), []) is learnt
    assert is_learnt({"content": "a", "masked": mark, "weight": 0}, "assistant", (), []) is False


@pytest.mark.parametrize("mark", ["split a", None, {"of": 1}])
def test_what_is_no_mark_is_passed_over(mark: object) -> None:
    assert is_learnt({"content": "a", "train": mark}, "assistant", (), [])
