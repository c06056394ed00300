from __future__ import annotations

from typing import Any

import pytest

from tuneline_generator.critic.critic import CriticTest
from tuneline_generator.report.bounds import rate
from tuneline_generator.report.gates import Aside, Gate, Kind, Side, count_rows, gates_of, refused, share_gate
from tuneline_generator.stage import GateParams
from tuneline_generator.writing.rows import STATUSES, Row, Status

TEST = CriticTest(
    pairs=24, auc=0.8, low=0.7, high=0.9, mass=0.9, accepted_own=20, accepted_moved=3, min_margin=1.0
)  # fmt: skip


@pytest.mark.parametrize(
    ("events", "of", "side", "limit", "state"),
    [
        (0, 30, "below", 0.05, "not shown"), (0, 39, "below", 0.05, "not shown"), (0, 58, "below", 0.05, "not shown"),
        (0, 59, "below", 0.05, "passed"), (1, 100, "below", 0.05, "passed"), (2, 100, "below", 0.05, "not shown"),
        (5, 100, "below", 0.05, "failed"), (3, 39, "below", 0.10, "not shown"), (4, 100, "below", 0.10, "passed"),
        (5, 100, "below", 0.10, "not shown"), (30, 39, "at least", 0.5, "passed"),
        (20, 39, "at least", 0.5, "not shown"),
        (19, 39, "at least", 0.5, "failed"), (59, 100, "at least", 0.5, "passed"),
        (58, 100, "at least", 0.5, "not shown"), (5, 100, "at most", 0.05, "not shown"),
        (6, 100, "at most", 0.05, "failed"),
        (0, 0, "below", 0.05, "not shown"), (0, 0, "at most", 0.05, "not shown"), (0, 0, "at least", 0.5, "not shown"),
    ],
)  # fmt: skip
def test_a_gate_fails_by_its_share_and_passes_by_its_bound(
    events: int, of: int, side: Side, limit: float, state: str
) -> None:
    assert share_gate("it", rate(events, of), side, limit).state == state


@pytest.mark.parametrize(
    ("events", "of", "side", "limit", "needed"),
    [(0, 30, "below", 0.05, 59), (0, 59, "below", 0.05, None), (5, 100, "at most", 0.05, None)],
)
def test_how_many_items_would_show_it(events: int, of: int, side: Side, limit: float, needed: int | None) -> None:
    assert share_gate("it", rate(events, of), side, limit).needed == needed


def test_what_is_not_shown_holds_unless_the_bound_is_required() -> None:
    gates = [share_gate(name, rate(events, 39), "below", 0.05) for name, events in (("a", 0), ("b", 30))]
    assert [gate.name for gate in refused(gates, "share")] == ["b"]
    assert [gate.name for gate in refused(gates, "bound")] == ["a", "b"]


def rows(**counts: int) -> list[Row]:
    """So many rows of each status, with ten tokens of response each."""
    asked = {"rejected": False} | dict.fromkeys(("kept", "duplicate", "near_duplicate", "spare"), True)
    found: list[Row] = []
    for status, count in counts.items():
        made: dict[str, Any] = {"status": status, "accepted": asked.get(status), "tokens": 10, "prompt": "Name it."}
        silent, finish = status in ("failed", "empty", "bad_prompt"), "length" if status == "cut" else "word"
        texts = ["" if silent else f"Pear {len(found) + n} grows on a tree." for n in range(count)]
        found += [Row(item=len(found) + n, response=text, finish=finish, **made) for n, text in enumerate(texts)]
    return found


def named(kind: Kind, found: list[Row], **changed: Any) -> dict[str, Gate]:
    how: dict[str, Any] = {"overlaps_left": 0, "critic": TEST, "aside": Aside(0, 0)} | changed
    params = how.pop("params", GateParams())
    return {gate.name: gate for gate in gates_of(kind, params, count_rows(found), **how)}


def test_thirty_of_thirty_nine_pairs_pass_what_can_be_shown_with_so_few() -> None:
    gates = named("instructions", rows(kept=30, rejected=6, cut=3))
    assert gates["acceptance"].value == pytest.approx(30 / 36) and gates["acceptance"].state == "passed"
    assert (gates["token_limit"].events, gates["token_limit"].of, gates["token_limit"].state) == (3, 39, "not shown")
    assert gates["runaway"].state == "not shown" and gates["runaway"].needed == 59
    assert gates["shortest_median"].value == 10 and gates["longest_median"].state == "passed"
    assert {gate.state for gate in gates.values()} == {"passed", "not shown"}


@pytest.mark.parametrize(
    ("found", "gate"),
    [
        (rows(kept=90, runaway=10), "runaway"),
        (rows(kept=80, cut=20), "token_limit"),
        (rows(kept=99, leaks=1), "leakage"),
        (rows(kept=30, rejected=70), "acceptance"),
        (rows(kept=90, failed=4, unsure=6), "lost"),
        (rows(kept=80, duplicate=20), "duplicates"),
    ],
)
def test_each_gate_fails_for_its_own_status(found: list[Row], gate: str) -> None:
    assert [name for name, it in named("instructions", found).items() if it.state == "failed"] == [gate]


@pytest.mark.parametrize("status", sorted({*STATUSES} - {"kept", "spare", "overlaps"}))
def test_a_pilot_with_three_of_five_items_of_no_use_passes_whatever_is_wrong_with_them_never(status: Status) -> None:
    """What overlaps with what is held out is taken out, however much it is."""
    gates = named("instructions", rows(**{"kept": 40, status: 60}))
    assert [name for name, it in gates.items() if it.state == "failed"]


def test_an_overlap_that_is_left_a_loop_and_a_long_median_fail_too() -> None:
    assert named("instructions", rows(kept=100), overlaps_left=1)["overlap"].state == "failed"
    looping = [Row(item=n, status="kept", response="I am sorry. " * 9, accepted=True, tokens=60) for n in range(100)]
    gates = named("instructions", looping)
    assert gates["loops"].state == "failed" and gates["longest_median"].state == "failed"


def test_a_writer_that_answers_everything_alike_does_not_pass_and_a_yes_here_and_there_does() -> None:
    def answers(*said: str) -> Gate:
        found = [Row(item=n, status="kept", prompt=f"Ask {n}.", response=one, tokens=10) for n, one in enumerate(said)]
        return named("instructions", [*found, *rows(duplicate=40)], critic=None)["same_answers"]

    excuse = answers(*["I cannot help with that."] * 30, *["i cannot help, with that"] * 30)
    assert (excuse.state, excuse.events, excuse.of) == ("failed", 59, 60)
    mixed = answers(*["Yes."] * 10, *map(str, range(90)))
    assert (mixed.state, mixed.events, mixed.of) == ("passed", 9, 100)
    assert "same_answers" not in named("scripts", rows(kept=100)), "of scripts the responses are told apart themselves"


@pytest.mark.parametrize(("found", "state"), [(0, "failed"), (99, "failed"), (100, "passed"), (200, "passed")])
def test_half_of_the_test_prompts_must_be_there_before_anything_is_trained_for_them(found: int, state: str) -> None:
    gate = named("instructions", rows(kept=100), aside=Aside(found, 200))["test_prompts"]
    assert (gate.state, gate.limit) == (state, 100)
    assert "test_prompts" not in named("instructions", rows(kept=100), aside=Aside(0, 0))


def test_the_critics_own_gates_look_at_its_test() -> None:
    weak = TEST.model_copy(update={"auc": 0.51, "low": 0.4, "mass": 0.2})
    gates = named("instructions", rows(kept=100), critic=weak)
    assert (gates["critic_auc"].state, gates["critic_mass"].state) == ("failed", "failed")
    near = TEST.model_copy(update={"auc": 0.7, "low": 0.6})
    assert named("instructions", rows(kept=100), critic=near)["critic_auc"].state == "not shown"


def test_without_a_critic_nothing_is_said_of_acceptance() -> None:
    kept = [Row(item=n, status="kept", response="A pear.", tokens=4) for n in range(100)]
    gates = named("instructions", kept, critic=None)
    assert "acceptance" not in gates and "critic_auc" not in gates and gates["duplicates"].of == 100


def test_recipes_have_gates_of_their_own_and_limits_can_be_changed() -> None:
    assert "runaway" not in named("documents", rows(kept=100), critic=None)
    assert "shortest_median" not in named("conversations", rows(kept=100), critic=None)
    assert named("documents", rows(kept=100))["shortest_median"].state == "failed", "ten tokens are no essay"
    changed = GateParams(shortest_median=5, lost=0.2)
    gates = named("documents", rows(kept=85, failed=15), params=changed)
    assert gates["shortest_median"].state == "passed" and gates["lost"].limit == 0.2


def test_the_median_of_two_is_between_them() -> None:
    two = [Row(item=n, status="kept", response="A pear.", tokens=tokens) for n, tokens in enumerate((29, 30))]
    assert count_rows(two).median_tokens == 29.5


def test_nothing_at_all_is_not_shown_rather_than_divided_by() -> None:
    statuses: list[Status] = []
    assert count_rows(Row(item=0, status=status) for status in statuses).median_tokens is None
    assert named("instructions", [], critic=None)["runaway"].state == "not shown"
