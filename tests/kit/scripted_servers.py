"""The servers that docs/judges.md has recipes for: what each takes, and what stands beside its answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kit.scripted_openai import Answer, Call, completion
from kit.scripted_vendors import PROTOCOLS, anthropic_error, google_error, json_answer

Fields = Mapping[str, Any]


class Server(NamedTuple):
    """A server by the heading of its recipe."""

    name: str
    protocol: str
    path: str
    header: str | None
    """Where it reads the key; None takes none."""
    fields: frozenset[str]
    """Fields of a request that it takes."""
    dress: Callable[[Answer], Answer]
    """Adds what stands beside its answers."""
    too_long: Answer
    query: str = ""

    def answer(self, call: Call, text: str) -> Answer:
        """Answer as this server does, with an error for what it would not take."""
        path, _, query = call.path.partition("?")
        if (path, query) != (self.path, self.query):
            return json_answer({"error": {"message": "Resource not found"}}, 404)
        if unknown := call.body.keys() - self.fields:
            return json_answer({"error": {"message": f"{min(unknown)}: Extra inputs are not permitted"}}, 400)
        [protocol] = [p for p in PROTOCOLS if p.provider == self.protocol]
        if "Number 3" in protocol.prompt(call):
            return self.too_long
        return self.dress(protocol.reply(text))


def _beside(
    extra: Fields | None = None, choice: Fields | None = None, said: Fields | None = None, usage: Fields | None = None
) -> Callable[[Answer], Answer]:
    def dress(answer: Answer) -> Answer:
        body = json.loads(answer.body)
        body.update(extra or {})
        body["choices"][0].update(choice or {})
        body["choices"][0]["message"].update(said or {})
        body["usage"].update(usage or {})
        return json_answer(body)

    return dress


def _error(**error: Any) -> Answer:
    return json_answer({"error": error}, 400)


CHAT = frozenset({"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "seed", "response_format"})
FILTERED = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
LONG = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."

SERVERS = [
    Server(
        "OpenAI", "openai", "/v1/chat/completions", "authorization", CHAT,
        _beside(
            {"service_tier": "default", "system_fingerprint": "fp_1"}, {"logprobs": None}, {"annotations": []},
            {"completion_tokens_details": {"reasoning_tokens": 5, "accepted_prediction_tokens": 0}},
        ),
        _error(message=LONG, type="invalid_request_error", param="messages", code="context_length_exceeded"),
    ),
    Server(
        "Azure OpenAI", "openai", "/openai/deployments/judge/chat/completions", "api-key", CHAT,
        _beside(
            {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": FILTERED}]},
            {"content_filter_results": FILTERED},
        ),
        _error(message=LONG, type="invalid_request_error", param="messages", code="context_length_exceeded"),
        "api-version=2024-10-21",
    ),
    Server(
        "Anthropic", "anthropic", "/v1/messages", "x-api-key",
        frozenset({"model", "messages", "max_tokens", "system", "output_config", "thinking", "temperature"}),
        lambda answer: answer,
        anthropic_error(400, "invalid_request_error", "prompt is too long: 213462 tokens > 200000 maximum"),
    ),
    Server(
        "Gemini", "google", "/v1beta/models/gemini-2.5-flash:generateContent", "x-goog-api-key",
        frozenset({"contents", "systemInstruction", "generationConfig"}),
        lambda answer: answer,
        google_error(400, "INVALID_ARGUMENT", "The input token count (1200000) exceeds the maximum number of tokens"),
    ),
    Server(
        "OpenRouter", "openai", "/api/v1/chat/completions", "authorization", CHAT,
        _beside(
            {"provider": "Somebody", "object": "chat.completion"}, {"native_finish_reason": "stop", "logprobs": None},
            {"reasoning": None}, {"cost": 0.0001, "is_byok": False, "cost_details": {"upstream_inference_cost": None}},
        ),
        _error(message="This endpoint's maximum context length is 32768 tokens.", code=400, metadata={"raw": "x"}),
    ),
    Server(
        "vLLM", "openai", "/v1/chat/completions", None, CHAT,
        _beside(
            {"prompt_logprobs": None, "kv_transfer_params": None}, {"stop_reason": None, "token_ids": None},
            {"reasoning_content": None, "tool_calls": [], "function_call": None}, {"prompt_tokens_details": None},
        ),
        json_answer({"object": "error", "message": LONG, "type": "BadRequestError", "param": None, "code": 400}, 400),
    ),
    Server(
        "Ollama", "openai", "/v1/chat/completions", None, CHAT,
        _beside({"system_fingerprint": "fp_ollama"}, said={"reasoning": "Let me see."}), completion("cut"),
    ),
    Server(
        "LM Studio", "openai", "/v1/chat/completions", None, CHAT,
        _beside({"stats": {}, "system_fingerprint": "qwen3-32b"}, {"logprobs": None}, {"tool_calls": []}),
        completion("cut"),
    ),
    Server(
        "llama-server", "openai", "/v1/chat/completions", None, CHAT,
        _beside({"timings": {"prompt_n": 9, "prompt_ms": 1.5}, "system_fingerprint": "b1"}),
        _error(
            code=400, type="exceed_context_size_error", n_prompt_tokens=9000, n_ctx=8192,
            message="request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it",
        ),
    ),
]  # fmt: skip
