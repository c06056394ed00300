from __future__ import annotations

from pathlib import Path

import pytest

from tuneline.engine.layout import Node
from tuneline.engine.ledger import Ledger, spendings
from tuneline.errors import OverBudget, UserError
from tuneline.stage import Usage
from tuneline.store.base import Store, open_store

CENT = Usage(calls=1, input_tokens=100, output_tokens=10, cost_usd=0.01)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def ledger(store: Store, attempt: str = "a", max_usd: float | None = None) -> Ledger:
    return Ledger(store, "r", Node("assessor"), attempt, max_usd)


def test_what_an_attempt_paid_is_kept_by_role_and_model_whatever_becomes_of_it(store: Store) -> None:
    one = ledger(store)
    for role in ("judge", "judge", "simulator"):
        account = one.account(role, "m")
        account.reserve(0.05)
        account.settle(0.05, CENT)
    one.flush()
    [spending] = spendings(store, "r")
    assert (spending.stage, spending.attempt) == ("assessor", "a")
    assert [(paid.role, paid.usage) for paid in spending.paid] == [("judge", CENT + CENT), ("simulator", CENT)]


def test_the_limit_counts_what_other_attempts_paid_and_no_call_is_made_that_could_exceed_it(store: Store) -> None:
    before = ledger(store, "a").account("judge", "m")
    before.reserve(None)
    before.settle(None, CENT + CENT)
    before.ledger.flush()
    account = ledger(store, "b", max_usd=0.05).account("judge", "m")
    account.reserve(0.03)
    account.settle(0.03, CENT)
    with pytest.raises(
        OverBudget, match=r"^max_usd: the run has spent \$0.03 of \$0.05, \$0.02 is left, .* to \$0.03;"
    ):
        account.reserve(0.03)
    raised = ledger(store, "c", max_usd=0.06).account("judge", "m")
    raised.reserve(0.03)


def test_a_call_waits_for_those_in_flight_that_turn_out_cheaper(store: Store) -> None:
    account = ledger(store, max_usd=0.1).account("judge", "m")
    assert account.reserve(0.09)
    assert not account.reserve(0.05)
    account.settle(0.09, CENT)
    assert account.reserve(0.05)


def test_an_answer_that_was_lost_counts_as_the_most_it_can_have_cost(store: Store) -> None:
    account = ledger(store, max_usd=0.1).account("judge", "m")
    account.reserve(0.09)
    account.settle(0.09, Usage(), lost=True)
    with pytest.raises(OverBudget):
        account.reserve(0.02)
    account.ledger.flush()
    [paid] = spendings(store, "r")[0].paid
    assert (paid.usage.calls, paid.lost, paid.lost_usd) == (0, 1, 0.09)


def test_a_limit_on_a_model_whose_price_nobody_knows_is_refused(store: Store) -> None:
    with pytest.raises(UserError, match=r"max_usd: the price of m is not known.*`input_usd`"):
        ledger(store, max_usd=1).account("judge", "m").reserve(None)
    ledger(store).account("judge", "m").reserve(None)
