from __future__ import annotations

from typing import Any

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data import providers
from pydantic import ValidationError

from tuneline.llm.config import OpenAiConfig
from tuneline.llm.prices import Tokens, cost_usd, most_usd

MILLION = 1_000_000
ELSEWHERE = "https://models.example.com/v1"


def config(model: str = "gpt-4o-mini", **settings: Any) -> OpenAiConfig:
    return OpenAiConfig(provider="openai", model=model, **settings)


def test_a_known_model_costs_what_the_price_list_says() -> None:
    listed = calc_price(Usage(input_tokens=1000, output_tokens=100), "gpt-4o-mini", provider_id="openai").total_price
    assert listed > 0
    assert cost_usd(config(), Tokens(1000, output=100)) == pytest.approx(float(listed))


def test_what_the_server_had_in_its_cache_is_cheaper_and_so_is_a_batch() -> None:
    fresh = cost_usd(config(), Tokens(MILLION))
    cached = cost_usd(config(), Tokens(MILLION, cached=MILLION))
    batch = cost_usd(config(), Tokens(MILLION), batch=True)
    assert fresh and cached and batch
    assert cached < fresh and batch == pytest.approx(fresh / 2)


@pytest.mark.parametrize(
    "unknown", [config("no-such-model"), config(base_url=ELSEWHERE), config(base_url=ELSEWHERE, output_usd=1.0)]
)
def test_a_price_that_nobody_states_is_not_known_and_never_0(unknown: OpenAiConfig) -> None:
    assert cost_usd(unknown, Tokens(1000, output=10)) is None
    assert most_usd(unknown, [{"role": "user", "content": "hello"}]) is None


def test_a_server_on_this_machine_is_free_and_a_free_one_elsewhere_is_declared() -> None:
    assert cost_usd(config(base_url="http://127.0.0.1:8080/v1"), Tokens(1000, output=10)) == 0
    assert cost_usd(config(base_url=ELSEWHERE, input_usd=0, output_usd=0), Tokens(1000, output=10)) == 0


def test_own_prices_come_before_the_list() -> None:
    own = config(input_usd=2.0, cached_input_usd=0.5, cache_write_usd=2.5, output_usd=8.0)
    assert cost_usd(own, Tokens(1000, cached=400, written=100, output=50)) == pytest.approx(
        (500 * 2.0 + 400 * 0.5 + 100 * 2.5 + 50 * 8.0) / 1e6
    )
    half_own = cost_usd(config(output_usd=0), Tokens(MILLION, output=MILLION))
    assert half_own == cost_usd(config(), Tokens(MILLION))


def test_the_price_of_cached_input_alone_is_refused() -> None:
    with pytest.raises(ValidationError, match="input_usd: is required"):
        config(cached_input_usd=1.0)


@pytest.mark.parametrize("text", ["hello", "日本語の文章", "9 8 7 6 5", "\ud83d"])
def test_the_most_that_a_call_can_cost_covers_every_tokenizer_and_a_whole_answer(text: str) -> None:
    own = config(input_usd=1.0, cache_write_usd=1.25, output_usd=2.0, max_tokens=100)
    most = most_usd(own, [{"role": "user", "content": text}])
    assert most is not None
    assert most >= (len(text.encode("utf-8", "replace")) * 1.25 + 100 * 2.0) / 1e6


def test_a_usage_that_adds_up_to_more_than_was_sent_costs_no_more_than_what_was_sent() -> None:
    odd, fresh = (cost_usd(config(), tokens) for tokens in (Tokens(100, cached=80, written=80), Tokens(100)))
    assert odd is not None and fresh is not None and 0 < odd <= fresh


def test_a_model_that_is_listed_without_a_price_for_text_has_no_known_price() -> None:
    assert cost_usd(config("tts-1"), Tokens(1000, output=10)) is None


def test_every_listed_model_has_a_price_or_none_whatever_a_server_counts() -> None:
    usages = (
        Tokens(0),
        Tokens(10, 10),
        Tokens(10, 5, 5, 5),
        Tokens(10, 9, 9),
        Tokens(300_000),
        Tokens(10**9, 1, 1, 10**9),
    )
    for provider in providers:
        for model in provider.models if provider.id == "openai" else ():
            costs = [cost_usd(config(model.id), tokens, batch=batch) for tokens in usages for batch in (False, True)]
            assert all(cost is None or cost >= 0 for cost in costs), model.id
