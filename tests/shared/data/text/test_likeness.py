from __future__ import annotations

import unicodedata
from itertools import chain
from typing import Literal

import pytest
from datasketch import MinHash

from kit.slicing import talk
from tuneline.data.text.likeness import near_duplicates, signature_of
from tuneline.data.text.words import compared


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


@pytest.mark.parametrize(
    ("text", "now", "then", "another"),
    [
        ("咖啡机今天早上不工作了水从前面流出来而且指示灯一直在闪请问我应该先检查什么地方", "今天早上", "今天晚上",
         "请给我写一首关于月亮和海的短诗不要太长"),
        ("เครื่องชงกาแฟเสียเมื่อเช้านี้น้ำไหลออกมาจากด้านหน้าและไฟกะพริบตลอดเวลา", "เช้า", "คืน",
         "ช่วยเขียนกลอนสั้นเรื่องพระจันทร์กับทะเลให้หน่อย"),
    ],
    ids=["Chinese", "Thai"],
)  # fmt: skip
def test_texts_without_spaces_between_words_are_compared_by_characters(
    text: str, now: str, then: str, another: str
) -> None:
    whole, near, other = (signature_of(said) for said in (text, text.replace(now, then), another * 2))
    assert whole.jaccard(near) > 0.6 and whole.jaccard(other) < 0.1
    assert near_duplicates({"a": whole, "b": near, "c": other}, 0.6) == [["a", "b"], ["c"]]


def test_signatures_are_those_that_datasketch_draws_for_each_text_alone() -> None:
    for text in ("Stir the soup slowly until it is thick and warm.", "Bees", "Stir the soup slowly until it is thin."):
        alone, said = MinHash(num_perm=128, seed=1), compared(text)
        alone.update_batch({" ".join(said[at : at + 5]).encode() for at in range(max(1, len(said) - 4))})
        assert signature_of(text).hashvalues.tolist() == alone.hashvalues.tolist()
