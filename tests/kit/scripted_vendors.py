"""What the servers of Anthropic and Google answer, for scripts of `serve_openai`, and one table of all protocols."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from kit.scripted_openai import Answer, Call, completion, error
from tuneline.llm.config import MODELS, ModelConfig

JSON = {"content-type": "application/json"}


def json_answer(body: object, status: int = 200, **headers: str) -> Answer:
    """An answer with a JSON body; a header's name is written with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(body).encode(), {**JSON, **named})


def message(text: str | None, stop_reason: str | None = "end_turn", *, thinking: str = "", **changed: Any) -> Answer:
    """A message of Claude; `usage` and other fields may be exchanged."""
    thought = [{"type": "thinking", "thinking": thinking, "signature": "c2ln"}] if thinking else []
    content = thought + ([] if text is None else [{"type": "text", "text": text}])
    usage = {
        "input_tokens": 100, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 20,
        "service_tier": "standard",
    }  # fmt: skip
    body = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": content,
        "stop_reason": stop_reason, "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    return json_answer({**body, **changed})


def anthropic_error(
    status: int, kind: str | None = "api_error", said: str = "no", code: str = "", **headers: str
) -> Answer:
    """An error in Anthropic's form."""
    details = {"details": {"error_code": code}} if code else {}
    return json_answer({"type": "error", "error": {"type": kind, "message": said, **details}}, status, **headers)


def generated(text: str | None, finish: str | None = "STOP", *, thought: str = "", **changed: Any) -> Answer:
    """A generated content of Gemini; `usageMetadata` and other fields may be exchanged."""
    parts = ([{"text": thought, "thought": True}] if thought else []) + ([] if text is None else [{"text": text}])
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 15, "thoughtsTokenCount": 5, "totalTokenCount": 120}
    candidate = {"content": {"parts": parts, "role": "model"}, "finishReason": finish, "index": 0}
    body = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini", "responseId": "r"}
    return json_answer({**body, **changed})


def google_error(status: int, code: str | None = "INTERNAL", said: str = "no", *details: Any, **headers: str) -> Answer:
    """An error in Google's form."""
    body = {"error": {"code": status, "message": said, "status": code, "details": list(details)}}
    return json_answer(body, status, **headers)


class Protocol(NamedTuple):
    """How one provider is asked and answers."""

    provider: str
    reply: Callable[[str], Answer]
    """A good answer with a text."""
    fails: Callable[..., Answer]
    """An error, of a status and perhaps with headers."""
    prompt: Callable[[Call], str]
    schema: Callable[[Call], dict[str, Any]]
    key_header: str
    key: str
    """What stands in the header for the key `value of NAME`."""

    def config(self, url: str, **settings: Any) -> ModelConfig:
        """A configuration for a server at `url`, which ends in `/v1`."""
        base_url = url if self.provider == "openai" else url.removesuffix("/v1")
        return MODELS[self.provider].model_validate(
            {"provider": self.provider, "model": "m", "base_url": base_url, **settings}
        )


def _parts(content: Any) -> str:
    return content if isinstance(content, str) else "\n\n".join(part["text"] for part in content)


PROTOCOLS = [
    Protocol(
        "openai", completion, error, lambda call: call.prompt,
        lambda call: call.schema, "authorization", "Bearer {}",
    ),
    Protocol(
        "anthropic", message, anthropic_error,
        lambda call: "\n".join([call.body.get("system", ""), *(_parts(m["content"]) for m in call.body["messages"])]),
        lambda call: call.body["output_config"]["format"]["schema"], "x-api-key", "{}",
    ),
    Protocol(
        "google", generated, google_error,
        lambda call: "\n".join(_parts(content["parts"]) for content in call.body["contents"]),
        lambda call: call.body["generationConfig"]["responseJsonSchema"], "x-goog-api-key", "{}",
    ),
]  # fmt: skip
