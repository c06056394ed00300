from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from tuneline.llm.announced import Gates, read_announced
from tuneline.stage import Usage

OPENAI = {
    "x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m0s",
    "x-ratelimit-limit-tokens": "150000", "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-tokens": "6ms",
}  # fmt: skip
MISTRAL = {"x-ratelimit-limit-req-minute": "60", "x-ratelimit-remaining-req-minute": "59"}
DRAFT = {"ratelimit-limit": "100", "ratelimit-remaining": "40", "ratelimit-reset": "30"}


def anthropic(input_left: int, output_left: int) -> dict[str, str]:
    soon = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    left = {"requests": (50, 49), "input-tokens": (30_000, input_left), "output-tokens": (8_000, output_left)}
    return {
        f"anthropic-ratelimit-{of}-{field}": value
        for of, (limit, remaining) in left.items()
        for field, value in (("limit", str(limit)), ("remaining", str(remaining)), ("reset", soon))
    }


def test_what_openai_announces_is_read() -> None:
    requests, tokens = read_announced(OPENAI)
    assert (requests.tokens, requests.remaining, requests.per_s) == (False, 0, 10)
    assert (tokens.tokens, tokens.remaining, tokens.per_s) == (True, 149_984, 2500)


def test_what_anthropic_announces_is_read() -> None:
    found = {it.name: it for it in read_announced(anthropic(15_000, 8_000))}
    assert found["requests"].per_s == pytest.approx(50 / 60)
    assert found["input-tokens"].per_s == pytest.approx(500, rel=0.1), "half of it is back in half a minute"


def test_windows_and_the_drafts_names_are_read() -> None:
    assert [it.per_s for it in read_announced(MISTRAL)] == [1]
    assert [round(it.per_s, 3) for it in read_announced(DRAFT)] == [2]


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-limit-requests": "many", "x-ratelimit-remaining-requests": "1"},
        {"x-ratelimit-limit-requests": "0", "x-ratelimit-remaining-requests": "0"},
        {"x-ratelimit-limit-images": "5", "x-ratelimit-remaining-images": "0"},
        {"anthropic-ratelimit-unified-5h-reset": "1700000000"},
        {"x-ratelimit-remaining-requests": "1"},
    ],
)
def test_what_is_no_limit_of_calls_or_tokens_is_passed_over(headers: dict[str, str]) -> None:
    assert read_announced(headers) == []


def test_a_limit_of_answers_tokens_is_not_charged_for_prompts_nor_one_of_prompts_for_its_cache() -> None:
    gates, now = Gates(600), time.monotonic()
    usage = Usage(calls=1, input_tokens=3000, cached_tokens=2500, output_tokens=200)
    gates.hear(0, now, read_announced(anthropic(0, 8000)), usage)
    assert gates.next(1, now) - now == pytest.approx(500 / 1000, rel=0.1)
    gates.hear(1, now, read_announced(anthropic(30_000, 400)), usage)
    assert gates.next(3, now) <= now, "two answers are left"
    assert gates.next(4, now) > now


def test_where_no_call_was_answered_yet_a_limit_of_tokens_says_nothing() -> None:
    gates = Gates(30)
    gates.hear(0, 0.0, read_announced(OPENAI | {"x-ratelimit-remaining-requests": "600"}), Usage())
    assert gates.next(1, 0.0) <= 0
