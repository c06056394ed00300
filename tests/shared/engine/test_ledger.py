from __future__ import annotations

import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tuneline.engine.layout import Node, claim_key
from tuneline.engine.ledger import Claim, Ledger, spendings
from tuneline.errors import Capped, OverBudget, UserError
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


def test_attempts_that_work_at_once_never_spend_more_than_the_limit_together_and_leave_little(store: Store) -> None:
    def work(number: int) -> None:
        account = ledger(store, f"a{number}", max_usd=1.0).account("judge", "m")
        rng = random.Random(number)
        try:
            while True:
                while not account.reserve(0.02):
                    account.ledger.flush()
                    time.sleep(0.01)
                if rng.random() < 0.2:
                    account.ledger.flush()
                account.settle(0.02, CENT)
        except OverBudget as e:
            assert re.search(r"has spent \$(0\.9[89]|1\.00) of \$1\.00", str(e))  # the last cent may be a rounding away
        finally:
            account.ledger.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert (
        0.98 - 1e-9 <= sum(paid.most_usd for spending in spendings(store, "r") for paid in spending.paid) <= 1.0 + 1e-9
    )
    assert not list(store.list(claim_key("r")))


def test_what_another_attempt_has_claimed_is_waited_for_until_it_ends_or_nobody_renews_it(store: Store) -> None:
    store.put(claim_key("r", "other"), Claim(usd=0.9, until=time.time() + 60).to_bytes())
    account = ledger(store, max_usd=1.0).account("judge", "m")
    assert account.reserve(0.05)
    account.settle(0.05, CENT)
    assert not account.reserve(0.2)
    store.put(claim_key("r", "other"), Claim(usd=0.9, until=time.time() - 60).to_bytes())
    deadline = time.monotonic() + 30
    while not account.reserve(0.2):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert store.get(claim_key("r", "other")) is None


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


def test_a_call_whose_server_does_not_say_what_it_took_counts_with_the_most_against_the_limit() -> None:
    account = Ledger(None, "r", Node("assessor"), "a", max_usd=0.25).account("judge", "m")
    for _ in range(2):
        assert account.reserve(0.1)
        account.settle(0.1, Usage(calls=1, unpriced=1))
    with pytest.raises(OverBudget, match=r"has spent \$0.20 of \$0.25"):
        account.reserve(0.1)


def test_a_limit_on_a_model_whose_price_nobody_knows_is_refused(store: Store) -> None:
    with pytest.raises(UserError, match=r"max_usd: the price of m is not known.*`input_usd`"):
        ledger(store, max_usd=1).account("judge", "m").reserve(None)
    ledger(store).account("judge", "m").reserve(None)


def test_what_a_stage_may_spend_is_not_passed_by_calls_in_flight_and_counts_what_was_found(store: Store) -> None:
    one = ledger(store)
    one.limit(0.5)
    one.account("judge", "m").found(Usage(calls=1, cost_usd=0.2))

    def work(role: str) -> Capped:
        account = one.account(role, "m")
        try:
            while True:
                while not account.reserve(0.05):
                    time.sleep(0.001)
                time.sleep(0.001)
                account.settle(0.05, CENT)
        except Capped as e:
            return e

    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(work, ["judge", "writer"] * 4))
    assert 0.25 < one.paid_usd <= 0.3 + 1e-9
    assert all(end.limit_usd == 0.5 and end.spent_usd == pytest.approx(0.2 + one.paid_usd) for end in ends)
    one.limit(None)
    assert one.account("judge", "m").reserve(0.05)


def test_a_call_without_a_price_or_for_nothing_is_within_what_a_stage_may_spend(store: Store) -> None:
    one = ledger(store)
    one.limit(0.0)
    assert one.account("judge", "m").reserve(None) and one.account("judge", "m").reserve(0.0)
    one.account("judge", "m").settle(None, Usage(calls=1, unpriced=1))
    one.account("judge", "m").settle(0.0, Usage(calls=1))
    with pytest.raises(Capped, match=r"^max_usd: "):
        one.account("judge", "m").reserve(0.001)
