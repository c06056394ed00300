from __future__ import annotations

import math
import random

import pytest
from pydantic import ValidationError

from tuneline_generator.critic.critic import (
    LogprobCritic,
    Opinion,
    auc,
    auto_margin,
    judge_critic,
    moved,
    opinion_of,
)

CRITIC = LogprobCritic(provider="logprob")


def opinion(**listed: float) -> Opinion:
    """An opinion from probabilities; a token `_yes` has a space before it, `other` is what else is listed."""
    top = [(token.replace("_", " "), math.log(value)) for token, value in listed.items()]
    return opinion_of(top, CRITIC.yes, CRITIC.no)


@pytest.mark.parametrize(
    ("found", "margin", "mass", "missing", "accepted"),
    [
        (opinion(_yes=0.8, _no=0.2), 1.3863, 1.0, "", True),
        (opinion(yes=0.3, _Yes=0.2, _no=0.1, other=0.05), 1.6094, 0.6, "", True),
        (opinion(_yes=0.5, other=0.001), 6.2146, 0.5, "no", True),
        (opinion(_no=0.5, other=0.001), -6.2146, 0.5, "yes", False),
        (opinion(_yes=0.02, _no=0.005), 1.3863, 0.025, "", None),
        (opinion(other=0.9), None, 0.0, "both", None),
        (opinion(_yes=0.5, _no=0.5), 0.0, 1.0, "", False),
        (opinion(YES=0.6, _NO=0.2), 1.0986, 0.8, "", True),
    ],
)
def test_what_the_next_token_says(
    found: Opinion, margin: float | None, mass: float, missing: str, accepted: bool | None
) -> None:
    assert found.margin == (margin if margin is None else pytest.approx(margin, abs=5e-5))
    assert found.mass == pytest.approx(mass) and found.missing == missing
    assert found.accepts(1.0, CRITIC.min_mass) is accepted


def test_tokens_in_the_spelling_of_a_vocabulary_count_and_longer_words_do_not() -> None:
    top = [("\u2581yes", math.log(0.4)), ("\u0120no", math.log(0.2)), ("yesterday", math.log(0.1)), ("", math.log(0.1))]
    assert opinion_of(top, CRITIC.yes, CRITIC.no).margin == pytest.approx(math.log(2))
    assert opinion_of([("ja", -1.0), ("nein", -2.0)], ["Ja"], [" nein"]).margin == pytest.approx(1)


def test_a_bound_from_above_never_accepts() -> None:
    assert opinion(_no=0.001, other=0.0009).accepts(-5, 0.0) is False


def test_nothing_listed_is_no_opinion() -> None:
    assert opinion_of([], CRITIC.yes, CRITIC.no) == Opinion(None, 0.0, "both")


def test_what_a_row_says_is_put_in_as_it_is() -> None:
    asked = CRITIC.asked("Explain {response} and {instruction}.", "It is {response}.")
    assert asked.count("Explain {response} and {instruction}.") == 1 and asked.count("It is {response}.") == 1
    assert asked.endswith("Does the response answer the instruction?")


@pytest.mark.parametrize("wrong", [{"prompt": "{instruction} only"}, {"yes": []}, {"no": [" "]}, {"margin": 1}])
def test_a_critic_that_cannot_be_asked_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LogprobCritic.model_validate({"provider": "logprob", **wrong})


def pairs(count: int) -> list[tuple[str, str]]:
    return [(f"Instruction {n}", f"Response {n}") for n in range(count)]


@pytest.mark.parametrize(("count", "step"), [(24, 7), (14, 9), (7, 8), (64, 7), (21, 8), (2, 7), (3, 7)])
def test_each_response_is_moved_to_an_instruction_that_is_not_near(count: int, step: int) -> None:
    found = moved(pairs(count))
    assert [own for own, _ in found] == pairs(count)
    assert [other[1] for _, other in found] == [f"Response {(n + step) % count}" for n in range(count)]
    assert all(other[0] == own[0] for own, other in found)
    assert all(own[1] != other[1] for own, other in found)


def test_responses_that_are_alike_are_no_test_and_too_many_are_not_asked_about() -> None:
    same = [(f"Instruction {n}", "YES,  of course" if n % 2 else "yes, of course") for n in range(20)]
    assert moved(same) == [] and moved(pairs(1)) == [] and moved([]) == []
    assert len(moved(pairs(500))) == 64


def margins(values: list[float]) -> list[Opinion]:
    return [Opinion(value, 0.9) for value in values]


def test_a_critic_that_knows_nothing_is_found_out_although_it_accepts_most_rows() -> None:
    rng = random.Random(0)
    draws = [rng.gauss(3, 1) for _ in range(128)]
    test = judge_critic(margins(draws[:64]), margins(draws[64:]), 1.0)
    assert test.accepted_own > 0.9 * test.pairs and test.accepted_moved > 0.9 * test.pairs
    assert 0.4 < test.auc < 0.6 and test.low < 0.5 < test.high and test.high < 0.65


def test_a_critic_that_knows_is_believed_and_finds_its_threshold() -> None:
    rng = random.Random(0)
    good, bad = ([rng.gauss(mean, 1) for _ in range(64)] for mean in (3, 0))
    test = judge_critic(margins(good), margins(bad), "auto")
    assert test.auc > 0.95 and test.low > 0.9 and test.accepted_moved <= 6 < test.accepted_own
    assert test.min_margin == auto_margin(bad)


def test_the_area_counts_ties_half() -> None:
    assert auc([2, 1], [1, 0]) == 0.875 and auc([1], [1]) == 0.5 and auc([0], [1]) == 0


@pytest.mark.parametrize("count", [1, 9, 10, 11, 64])
def test_a_threshold_found_by_itself_accepts_a_tenth_of_the_moved_at_most_and_no_smaller_one_does(count: int) -> None:
    bad = [float(n) for n in range(count)]
    threshold = auto_margin(bad)
    assert sum(value >= threshold for value in bad) <= count / 10
    below = math.nextafter(threshold, -math.inf)
    assert sum(value >= below for value in bad) > count / 10


def test_one_that_names_neither_yes_nor_no_says_nothing() -> None:
    silent = [Opinion(None, 0.0, "both")] * 12
    test = judge_critic(silent, silent, 1.0)
    assert (test.auc, test.low, test.high, test.mass, test.accepted_own) == (0.5, 0.5, 0.5, 0.0, 0)
