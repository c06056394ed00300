from __future__ import annotations

import unicodedata
from itertools import chain
from typing import Literal

import pytest

from kit.slicing import talk
from tuneline.data.text.likeness import near_duplicates, signature_of


def test_near_duplicates_are_found_through_each_other_and_other_texts_are_not() -> None:
    talks = {name: talk(name, 30).exchanges for name in ("a", "x", "y")}
    linked = {"a": talks["a"], "b": (*talks["a"][2:], *talks["x"][:2]), "c": (*talks["a"][4:], *talks["x"][:4])}
    texts = {**linked, "x": talks["x"][4:], "y": talks["y"]}
    signatures = {name: signature_of(" ".join(chain.from_iterable(said))) for name, said in texts.items()}
    assert near_duplicates(signatures, 0.7) == [["a", "b", "c"], ["x"], ["y"]]
    assert signatures["a"].jaccard(signatures["c"]) < 0.8


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKD"])
def test_twins_that_only_a_program_can_tell_apart_are_alike(form: Literal["NFC", "NFD", "NFKD"]) -> None:
    text = "Tôi muốn hỏi về máy pha cà phê của tôi, nó không hoạt động nữa và nước chảy ra từ phía trước mỗi buổi sáng"
    texts = (text, unicodedata.normalize(form, text).upper())
    one, other = (signature_of(f"{said} Ừ.") for said in texts)
    assert one.jaccard(other) == 1.0
