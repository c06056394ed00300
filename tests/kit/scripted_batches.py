"""Servers that take batches, by the protocols of OpenAI, Anthropic and Google; they answer single calls, too."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kit.scripted_openai import Answer, Call
from kit.scripted_vendors import Protocol, json_answer

Item = dict[str, Any]


@dataclass
class BatchServer:
    """`answer` gets an item as a call and returns what it is answered, None when it expires."""

    protocol: Protocol
    answer: Callable[[Call], Answer | None]
    polls: int = 1
    """Questions after which a batch has ended; large: never."""
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    live: int = 0
    """Single calls."""
    lost: int = 0
    """Answers to handing in that are lost: the batch is there."""
    fault: Callable[[Call], Answer | None] = lambda call: None
    """What a call gets instead, if anything."""
    end: Callable[[list[tuple[str, Item]]], str] = lambda items: ""
    """How a batch of such items ends: `failed …` with a code, `cancelled`, or as it should."""
    more_lines: list[Item] = field(default_factory=list)
    """Lines that stand in every file of results beside its own."""
    echoes: bool = True
    """Whether Google sends back what came along with a request, and not in its order then."""

    def __call__(self, call: Call) -> Answer:
        if (instead := self.fault(call)) is not None:
            return instead
        path = call.path.partition("?")[0]
        handlers: dict[str, list[tuple[str, str, Callable[..., Answer]]]] = {
            "openai": [
                ("POST", r"/v1/files", self._openai_file),
                ("POST", r"/v1/batches", self._openai_create),
                ("GET", r"/v1/batches", self._openai_list),
                ("GET", r"/v1/batches/(\w+)", self._openai_get),
                ("GET", r"/v1/files/(out|err)-(\w+)/content", self._openai_content),
            ],
            "anthropic": [
                ("POST", r"/v1/messages/batches", self._anthropic_create),
                ("GET", r"/v1/messages/batches", self._anthropic_list),
                ("GET", r"/v1/messages/batches/(\w+)", self._anthropic_get),
                ("GET", r"/v1/messages/batches/(\w+)/results", self._anthropic_results),
            ],
            "google": [
                ("POST", r"/v1beta/models/m:batchGenerateContent", self._google_create),
                ("GET", r"/v1beta/batches", self._google_list),
                ("GET", r"/v1beta/batches/(\w+)", self._google_get),
            ],
        }
        for method, pattern, handler in handlers[self.protocol.provider]:
            if call.method == method and (found := re.fullmatch(pattern, path)):
                return handler(call, *found.groups())
        self.live += 1
        return self.answer(call) or Answer(500)

    @property
    def items(self) -> int:
        """Requests in all batches together."""
        return sum(len(batch["items"]) for batch in self.batches.values())

    def _new(self, name: str, items: list[tuple[str, Item]]) -> tuple[str, bool]:
        key = f"batch{len(self.batches)}"
        self.batches[key] = {"name": name, "items": items, "polls": 0}
        self.lost -= 1
        return key, self.lost >= 0

    def _ended(self, key: str) -> bool:
        self.batches[key]["polls"] += 1
        return bool(self.batches[key]["polls"] >= self.polls)

    def _asked(self, body: Item) -> Answer | None:
        return self.answer(Call(-1, body, {}, 0.0))

    _files: dict[str, list[tuple[str, Item]]] = field(default_factory=dict)

    def _openai_file(self, call: Call) -> Answer:
        lines = [json.loads(line) for line in call.raw.splitlines() if line.startswith(b'{"custom_id"')]
        key = f"file{len(self._files)}"
        self._files[key] = [(line["custom_id"], line["body"]) for line in lines]
        return json_answer({"id": key, "object": "file", "purpose": "batch"})

    def _openai_create(self, call: Call) -> Answer:
        assert call.body["endpoint"] == "/v1/chat/completions" and call.body["completion_window"] == "24h"
        key, lost = self._new(call.body["metadata"]["tuneline"], self._files[call.body["input_file_id"]])
        return Answer(reset=True) if lost else json_answer(self._openai_batch(key, "validating"))

    def _openai_batch(self, key: str, status: str) -> Item:
        batch = self.batches[key]
        status, _, code = (
            (self.end(batch["items"]) or status).partition(" ") if status == "completed" else (status, "", "")
        )
        files = {"output_file_id": f"out-{key}", "error_file_id": f"err-{key}"}
        done = files if status in ("completed", "cancelled", "expired") else {}
        errors = {"object": "list", "data": [{"code": code, "message": "no", "line": None}]} if code else None
        counts = {"total": len(batch["items"]), "completed": 0, "failed": 0}
        return {
            "id": key, "object": "batch", "status": status, "metadata": {"tuneline": batch["name"]},
            "request_counts": counts, "errors": errors, **done,
        }  # fmt: skip

    def _openai_list(self, call: Call) -> Answer:
        return json_answer({"object": "list", "data": [self._openai_batch(key, "in_progress") for key in self.batches]})

    def _openai_get(self, call: Call, key: str) -> Answer:
        if key not in self.batches:
            return self.protocol.fails(404)
        return json_answer(self._openai_batch(key, "completed" if self._ended(key) else "in_progress"))

    def _openai_content(self, call: Call, kind: str, key: str) -> Answer:
        lines = []
        for custom_id, body in reversed(self.batches[key]["items"]):
            answer = self._asked(body)
            good = answer is not None and answer.status == 200
            if (kind == "out") != good:
                continue
            response = answer and {"status_code": answer.status, "request_id": "r", "body": json.loads(answer.body)}
            error = None if answer else {"code": "batch_expired", "message": "late"}
            lines.append({"id": "x", "custom_id": custom_id, "response": response, "error": error})
        return _lines([*lines, *self.more_lines])

    def _anthropic_create(self, call: Call) -> Answer:
        key, lost = self._new("", [(item["custom_id"], item["params"]) for item in call.body["requests"]])
        return Answer(reset=True) if lost else json_answer(self._anthropic_batch(key, ended=False))

    def _anthropic_batch(self, key: str, *, ended: bool) -> Item:
        count = len(self.batches[key]["items"])
        canceled = int(ended and self.end(self.batches[key]["items"]) == "cancelled")
        counts = {
            "processing": 0 if ended else count, "succeeded": count - canceled if ended else 0, "errored": 0,
            "canceled": canceled, "expired": 0,
        }  # fmt: skip
        return {
            "id": key, "type": "message_batch", "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts, "created_at": "2999-01-01T00:00:00Z",
            "expires_at": "2999-01-02T00:00:00Z", "results_url": "https://elsewhere.example/results" if ended else None,
        }  # fmt: skip

    def _anthropic_list(self, call: Call) -> Answer:
        data = [self._anthropic_batch(key, ended=False) for key in self.batches]
        return json_answer({"data": data, "has_more": False, "first_id": None, "last_id": None})

    def _anthropic_get(self, call: Call, key: str) -> Answer:
        if key not in self.batches:
            return self.protocol.fails(404)
        return json_answer(self._anthropic_batch(key, ended=self._ended(key)))

    def _anthropic_results(self, call: Call, key: str) -> Answer:
        lines = []
        for custom_id, body in reversed(self.batches[key]["items"]):
            answer, result = self._asked(body), {"type": "expired"}
            if answer is not None:
                read = json.loads(answer.body)
                result = (
                    {"type": "succeeded", "message": read}
                    if answer.status == 200
                    else {"type": "errored", "error": read}
                )
            lines.append({"custom_id": custom_id, "result": result})
        return _lines([*lines, *self.more_lines])

    def _google_create(self, call: Call) -> Answer:
        batch = call.body["batch"]
        requests = batch["inputConfig"]["requests"]["requests"]
        key, lost = self._new(
            batch["displayName"], [(item["metadata"]["tuneline"], item["request"]) for item in requests]
        )
        return Answer(reset=True) if lost else json_answer(self._google_job(key, "BATCH_STATE_PENDING"))

    def _google_job(self, key: str, state: str, **output: Any) -> Item:
        metadata = {"@type": "x", "displayName": self.batches[key]["name"], "state": state, **output}
        return {"name": f"batches/{key}", "metadata": metadata, "done": bool(output)}

    def _google_list(self, call: Call) -> Answer:
        return json_answer({"operations": [self._google_job(key, "BATCH_STATE_RUNNING") for key in self.batches]})

    def _google_get(self, call: Call, key: str) -> Answer:
        if key not in self.batches:
            return self.protocol.fails(404)
        if self.batches[key]["polls"] < self.polls and not self._ended(key):
            return json_answer(self._google_job(key, "BATCH_STATE_RUNNING"))
        ended, _, code = self.end(self.batches[key]["items"]).partition(" ")
        if ended == "failed":
            error = {"code": int(code or 13), "message": "no"}
            return json_answer({**self._google_job(key, "BATCH_STATE_FAILED"), "done": True, "error": error})
        responses = []
        for custom_id, body in self.batches[key]["items"]:
            answer, result = self._asked(body), {"error": {"code": 4, "message": "late"}}
            if answer is not None:
                read = json.loads(answer.body)
                if answer.status == 200:
                    result = {"response": read}
                else:
                    result = {"error": {"code": _RPC.get(answer.status, 13), "message": read["error"]["message"]}}
            echoed = {"metadata": {"tuneline": custom_id}} if self.echoes else {}
            responses.append({**result, **echoed})
        responses = list(reversed(responses)) if self.echoes else responses
        output = {"inlinedResponses": {"inlinedResponses": responses}}
        state = f"BATCH_STATE_{ended.upper() or 'SUCCEEDED'}"
        return json_answer(self._google_job(key, state, output=output))


_RPC = {400: 3, 401: 16, 403: 7, 429: 8, 500: 13}


def _lines(rows: list[Item]) -> Answer:
    return Answer(200, "".join(f"{json.dumps(row)}\n" for row in rows).encode(), {"content-type": "application/binary"})
