from __future__ import annotations

import asyncio

import pytest

from kit.scripted_openai import completion, serve_openai
from tuneline.errors import UserError
from tuneline.llm.config import OpenAiConfig
from tuneline.llm.providers.provider import BareHttp


@pytest.mark.parametrize("also", ["127.0.0.1:1", "localhost:{port}"])
def test_a_request_that_is_led_to_another_server_does_not_leave(also: str) -> None:
    with serve_openai(lambda _: completion("hello")) as server:
        config = OpenAiConfig(provider="openai", model="m", base_url=server.url)
        other = also.format(port=server.url.split(":")[2].split("/")[0])

        async def ask() -> None:
            async with BareHttp(config, 5, {"authorization": "Bearer secret"}) as http:
                assert (await http.post(f"{server.url}/chat/completions", json={})).status_code == 200
                await http.post(f"http://{other}/v1/chat/completions", json={})

        with pytest.raises(UserError, match="leads requests away"):
            asyncio.run(ask())
    assert len(server.calls) == 1
