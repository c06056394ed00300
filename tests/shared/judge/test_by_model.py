"""What a judge makes of every kind of answer, by the protocol of every provider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.judge_parts import CANARY, SHORT_RUBRIC, some_transcripts
from kit.scripted_openai import Answer, completion, serve_openai
from kit.scripted_vendors import PROTOCOLS, Protocol, generated, message
from tuneline.data.verdicts import Judgement
from tuneline.judge.by_model import LlmJudge

GOOD = {name: {"reason": "Seen in exchange 1.", "answer": "YES"} for name in ("POLITE", "ASKS", "SAFE")}
TEXT = json.dumps(GOOD)


def changed(name: str, row: object) -> str:
    return json.dumps({**GOOD, name: row})


TEXTS = {
    "as it should be": (TEXT, "scored", ""),
    "fenced": (f"```json\n{TEXT}\n```", "scored", ""),
    "in prose": (f"Let me see.\n{TEXT}\nThat is all.", "scored", ""),
    "thought aloud": (f"<think>hm {{}}</think>{TEXT}", "scored", ""),
    "nothing": ("", "unparsed", "empty"),
    "a page": ("<html><body>busy</body></html>", "unparsed", "not JSON"),
    "broken off": (TEXT[:-20], "unparsed", "not JSON"),
    "another answer": (changed("SAFE", {"reason": "x", "answer": "MAYBE"}), "unparsed", "SAFE: the answer is not"),
    "no number": (changed("SAFE", {"reason": float("nan"), "answer": "YES"}), "unparsed", ""),
    "said twice": (TEXT[:-1] + ', "SAFE": {"reason": "x", "answer": "NO"}}', "unparsed", ""),
    "megabytes": (TEXT + " " * 5_000_000, "unparsed", "longer than"),
    "too deep": ("[" * 100_000, "unparsed", ""),
    "half a character": (changed("SAFE", {"reason": "\ud800", "answer": "YES"}), "scored", ""),
}


@pytest.fixture(params=PROTOCOLS, ids=lambda p: p.provider)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    found: Protocol = request.param
    return found


def judged(protocol: Protocol, answer: Answer, folder: Path) -> Judgement:
    with serve_openai(lambda _: answer) as server:
        judge = LlmJudge(protocol.config(server.url), lambda name: name)
        with judge.open(SHORT_RUBRIC, concurrency=1, timeout_s=60) as ask:
            [transcript] = some_transcripts(folder, 1)
            return ask(transcript, False)


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_is_a_judgement_or_unreadable_and_is_never_quoted(protocol: Protocol, kind: str, tmp_path: Path) -> None:
    text, status, detail = TEXTS[kind]
    found = judged(protocol, protocol.reply(text), tmp_path)
    assert (found.status, detail in found.detail) == (status, True), found
    assert found.usage.input_tokens == 100 and CANARY not in found.detail


ENDS: dict[str, dict[str, tuple[Answer, str, str]]] = {
    "openai": {
        "refusal": (completion(None, refusal="I will not."), "refused", "the model refused"),
        "filter": (completion("", finish="content_filter"), "blocked", "the server's filter"),
        "cut": (completion(TEXT[:-20], finish="length"), "unparsed", "cut at max_tokens"),
        "cut after its end": (completion(TEXT, finish="length"), "scored", ""),
    },
    "anthropic": {
        "refusal": (message("I will not.", "refusal"), "refused", "stop_reason refusal"),
        "refusal of a kind": (
            message("", "refusal", stop_details={"type": "refusal", "category": "bio"}), "refused", "refusal bio"
        ),
        "cut": (message(TEXT[:-20], "max_tokens"), "unparsed", "cut at max_tokens"),
        "no room": (message(TEXT[:-20], "model_context_window_exceeded"), "too_long", "model_context_window_exceeded"),
        "paused": (message("", "pause_turn"), "unparsed", "stop_reason pause_turn"),
    },
    "google": {
        "prompt": (
            generated(None, candidates=[], promptFeedback={"blockReason": "SAFETY"}), "blocked", "blockReason SAFETY"
        ),
        **{
            reason: (generated(None, reason), "blocked", f"finishReason {reason}")
            for reason in ("SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "BLOCKLIST", "LANGUAGE")
        },
        "cut": (generated(TEXT[:-20], "MAX_TOKENS"), "unparsed", "cut at max_tokens"),
        "other": (generated("", "OTHER"), "unparsed", "finishReason OTHER"),
    },
}  # fmt: skip


@pytest.mark.parametrize(("provider", "kind"), [(provider, kind) for provider, kinds in ENDS.items() for kind in kinds])
def test_why_there_is_no_score_is_kept_by_the_providers_own_code(provider: str, kind: str, tmp_path: Path) -> None:
    [protocol] = [p for p in PROTOCOLS if p.provider == provider]
    answer, status, detail = ENDS[provider][kind]
    found = judged(protocol, answer, tmp_path)
    assert (found.status, detail in found.detail) == (status, True), found


def rejected(provider: str) -> list[tuple[Answer, str]]:
    [fails] = [p.fails for p in PROTOCOLS if p.provider == provider]
    long: dict[str, tuple[Any, ...]] = {
        "openai": ("context_length_exceeded",), "anthropic": ("invalid_request_error", "prompt is too long"),
        "google": ("INVALID_ARGUMENT", "The input token count (9) exceeds the maximum"),
    }  # fmt: skip
    blocked: dict[str, tuple[Any, ...]] = {
        "openai": ("content_filter",),
        "anthropic": ("invalid_request_error", "Output blocked by content filtering policy"),
    }  # fmt: skip
    found = [(fails(400, *long[provider]), "too_long")]
    return found + ([(fails(400, *blocked[provider]), "blocked")] if provider in blocked else [])


def test_an_error_about_the_transcript_is_its_status_and_costs_nothing(protocol: Protocol, tmp_path: Path) -> None:
    for answer, status in rejected(protocol.provider):
        found = judged(protocol, answer, tmp_path)
        assert (found.status, found.usage.input_tokens) == (status, 0)
        assert found.detail.startswith("HTTP 400")
