"""A conversation of Intercom, a ticket of Zendesk and a span of OpenTelemetry, as these export them."""

from __future__ import annotations

import json
from typing import Any


def part(number: int, kind: str, body: str | None, author: str) -> dict[str, Any]:
    return {"id": str(number), "part_type": kind, "body": body, "author": {"type": author, "id": str(number)}}


INTERCOM: dict[str, Any] = {
    "type": "conversation",
    "id": "123",
    "source": {
        "type": "conversation",
        "body": "<p>My lamp <b>flickers</b>&nbsp;&amp; hums</p><p>Why?</p>",
        "author": {"type": "user", "id": "u"},
    },
    "conversation_parts": {
        "type": "conversation_part.list",
        "conversation_parts": [
            part(1, "assignment", None, "bot"),
            part(2, "note", "<p>Not for the customer</p>", "admin"),
            part(3, "comment", "<p>Which bulb?</p><br><img src='x'>", "admin"),
            part(4, "comment", "<p>The old one</p>", "lead"),
            part(5, "close", "<ul><li>Change it</li><li>Tell us</li></ul>", "bot"),
        ],
    },
}
ZENDESK: dict[str, Any] = {
    "id": 35,
    "requester_id": 7,
    "comments": [
        {"id": 1, "author_id": 7, "body": "It broke", "public": True},
        {"id": 2, "author_id": 9, "body": "They call a lot", "public": False},
        {"id": 3, "author_id": 9, "plain_body": "Restart it", "body": "**Restart** it", "public": True},
    ],
}
ASKED = [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]
SAID = [{"role": "assistant", "parts": [{"type": "text", "content": "Hello"}], "finish_reason": "stop"}]
ATTRIBUTES = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": ASKED, "gen_ai.output.messages": SAID}
AS_TEXTS = {name: value if isinstance(value, str) else json.dumps(value) for name, value in ATTRIBUTES.items()}
NUMBERED = {
    "gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "Be short", "gen_ai.prompt.1.role": "user",
    "gen_ai.prompt.1.content": "Hi", "gen_ai.completion.0.content": "Hello",
}  # fmt: skip
