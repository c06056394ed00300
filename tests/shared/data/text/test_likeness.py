from __future__ import annotations

import random
import time
import unicodedata
from itertools import chain, combinations
from typing import Literal

import pytest

from kit.slicing import talk
from tuneline.data.text.likeness import firsts, jaccard, near_duplicates, shingles_of


def test_near_duplicates_are_found_through_each_other_and_other_texts_are_not() -> None:
    talks = {name: talk(name, 30).exchanges for name in ("a", "x", "y")}
    linked = {"a": talks["a"], "b": (*talks["a"][2:], *talks["x"][:2]), "c": (*talks["a"][4:], *talks["x"][:4])}
    texts = {**linked, "x": talks["x"][4:], "y": talks["y"]}
    shingles = [shingles_of(" ".join(chain.from_iterable(said))) for said in texts.values()]
    assert near_duplicates([*texts], shingles, 0.8) == [["a", "b", "c"], ["x"], ["y"]]
    assert jaccard(shingles[0], shingles[2]) < 0.8, "found through b alone"


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKD"])
def test_twins_that_only_a_program_can_tell_apart_are_alike(form: Literal["NFC", "NFD", "NFKD"]) -> None:
    text = "Tôi muốn hỏi về máy pha cà phê của tôi, nó không hoạt động nữa và nước chảy ra từ phía trước mỗi buổi sáng"
    texts = (text, unicodedata.normalize(form, text).upper())
    one, other = (shingles_of(f"{said} Ừ.") for said in texts)
    assert jaccard(one, other) == 1.0


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
    whole, near, other = (shingles_of(said) for said in (text, text.replace(now, then), another * 2))
    assert jaccard(whole, near) > 0.6 and jaccard(whole, other) < 0.1
    assert near_duplicates(["a", "b", "c"], [whole, near, other], 0.6) == [["a", "b"], ["c"]]


def drawn(rng: random.Random) -> list[list[int]]:
    """Sets of any sizes, many of which are copies of another with a few changes."""
    texts = [rng.sample(range(40), rng.randint(1, 30)) for _ in range(12)]
    for _ in range(30):
        copy = set(rng.choice(texts))
        copy ^= set(rng.sample(range(40), rng.randint(0, 5)))
        texts.append([*(copy or {0})])
    return texts


@pytest.mark.parametrize("similarity", [0.1, 0.5, 0.7, 0.8, 1.0])
def test_every_pair_is_found_that_comparing_every_two_finds(similarity: float) -> None:
    rng = random.Random(similarity)
    for _ in range(40):
        texts = drawn(rng)
        first: list[int] = []
        for number, text in enumerate(texts):
            if all(jaccard(text, texts[other]) < similarity for other in first):
                first.append(number)
        assert firsts(texts, similarity) == [number in first for number in range(len(texts))]
        together = {number: {number} for number in range(len(texts))}
        for one, other in combinations(range(len(texts)), 2):
            if jaccard(texts[one], texts[other]) >= similarity and together[one] is not together[other]:
                together[one] |= together[other]
                together |= dict.fromkeys(together[one], together[one])
        names = [f"{number:02}" for number in range(len(texts))]
        expected = sorted({tuple(sorted(names[number] for number in group)) for group in together.values()})
        assert near_duplicates(names, texts, similarity) == [[*group] for group in expected]


def test_texts_of_few_words_are_alike_if_all_of_these_are() -> None:
    texts = [shingles_of(said) for said in ("Yes.", "yes!", "no", "", "?!", "No, yes.")]
    assert firsts(texts, 0.8) == [True, False, True, True, False, True]


@pytest.mark.parametrize("kind", ["beginning", "copies"])
def test_thousands_of_texts_with_much_in_common_take_no_time_that_grows_with_their_pairs(kind: str) -> None:
    """Ten times the texts have a hundred times the pairs."""

    def seconds(count: int) -> float:
        rng = random.Random(0)
        long = [f"w{rng.randrange(500)}" for _ in range(60)]
        said = [
            f"Write a short story about a w{rng.randrange(10**9)}."
            if kind == "beginning"
            else " ".join([*long[: (at := rng.randrange(60))], f"x{rng.randrange(10**9)}", *long[at:]])
            for _ in range(count)
        ]
        texts = [shingles_of(text, 3) for text in said]
        began = time.process_time()
        groups = near_duplicates([*said], texts, 0.7)
        assert len(groups) == (count if kind == "beginning" else 1)
        return time.process_time() - began

    assert seconds(5000) < 40 * max(0.005, min(seconds(500) for _ in range(3)))
