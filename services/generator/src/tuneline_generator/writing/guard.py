"""Whether a base model is written with as one: no chat template stands between the prompt and the model.

llama-server answers a chat for a file without a template too, by one that it makes up, and tells of it as if it were
the file's. So nothing is believed that a server says of itself: tokens are counted, and the file's own header is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Literal

from tuneline.errors import UserError
from tuneline.llm.completion import Sampler
from tuneline.llm.control_tokens import neutralise
from tuneline.model.gguf_header import Header
from tuneline.stage import Closed
from tuneline_generator.writing.writer import LocalConfig, TextServer, Writer, WriterConfig

MOST_ENDING = 0.02
"""Mean probability that a model ends its turn behind a complete response: base models stay below 0.003, those that
were taught to chat are above 0.1."""
MOST_BARE = 4
"""Tokens of one digit with what a tokenizer puts before it; the shortest chat templates add as many again."""
RESPONSES = 8
LISTED = 1000
QUESTION = "Instruction: Name a fruit that grows on trees.\nResponse:"
ENDS = frozenset({"", "</s>", "<|endoftext|>", "<|im_end|>"})
"""How servers list a token that ends a turn; llama-server writes it as nothing."""
CONTROL, USER_DEFINED = 3, 4
"""Types of tokens in a GGUF file."""


class GuardCheck(Closed):
    """What one check found."""

    name: Literal["address", "prompt_tokens", "control_tokens", "chat_template", "end_of_turn"]
    state: Literal["passed", "warning", "not known", "failed"]
    detail: str


def guard(
    writer: Writer, config: WriterConfig, examples: Sequence[tuple[str, str]], prompts: Iterable[str]
) -> list[GuardCheck]:
    """Check a writer of texts; `examples` are instructions with complete responses, `prompts` are as they are sent.

    Raises UserError or Temporary as the writer does.
    """
    allowed = isinstance(config, LocalConfig) and config.allow_chat_model
    return [
        _address(config),
        _prompt_tokens(writer),
        _control_tokens(writer, prompts),
        _chat_template(writer.header, allowed),
        _end_of_turn(writer, examples, certain=writer.header is not None and not allowed),
    ]


def refuse_failed(checks: Iterable[GuardCheck]) -> None:
    """Raise UserError that lists the checks that failed."""
    if failed := [f"{check.name}: {check.detail}" for check in checks if check.state == "failed"]:
        raise UserError("\n".join(["The writer is not written with as a base model:", *failed]))


def control_words(header: Header) -> frozenset[str]:
    """Return the tokens of a file that are no text: control tokens, and others in brackets that are no HTML."""
    tokens, types = (header.metadata.get(f"tokenizer.ggml.{name}") for name in ("tokens", "token_type"))
    if not isinstance(tokens, list) or not isinstance(types, list):
        return frozenset()
    found = (
        str(token)
        for token, kind in zip(tokens, types, strict=False)
        if kind == CONTROL or (kind == USER_DEFINED and neutralise(str(token)) != token)
    )
    return frozenset(token for token in found if token.strip())


def _address(config: WriterConfig) -> GuardCheck:
    where = config.url if isinstance(config, TextServer) else "/completion of our own llama-server"
    return GuardCheck(name="address", state="passed", detail=f"texts go to {where}, never to a chat")


def _prompt_tokens(writer: Writer) -> GuardCheck:
    ids = writer.tokens_of(QUESTION)
    if ids is None:
        return _bare_prompt(writer)
    counted = writer.complete(QUESTION, Sampler(temperature=0, max_tokens=1), seed=0).tokens_in
    same = counted == len(ids)
    detail = f"a prompt of {len(ids)} tokens is evaluated as {counted}"
    return GuardCheck(
        name="prompt_tokens", state="passed" if same else "failed",
        detail=detail if same else f"{detail}: something is put around it",
    )  # fmt: skip


def _bare_prompt(writer: Writer) -> GuardCheck:
    """Look at how many tokens a digit takes, at a server that does not say how it counts."""
    counted = writer.complete("1", Sampler(temperature=0, max_tokens=1), seed=0).tokens_in
    if not counted:
        return GuardCheck(name="prompt_tokens", state="not known", detail="the server does not count what it reads")
    detail = f"a prompt of one digit is evaluated as {counted} tokens"
    if counted <= MOST_BARE:
        return GuardCheck(name="prompt_tokens", state="passed", detail=detail)
    around = f"{detail}: something is put around it, as Ollama puts a chat template"
    return GuardCheck(name="prompt_tokens", state="failed", detail=around)


def _control_tokens(writer: Writer, prompts: Iterable[str]) -> GuardCheck:
    words = control_words(writer.header) if writer.header else frozenset[str]()
    for number, prompt in enumerate(prompts, 1):
        if neutralise(prompt) != prompt or any(word in prompt for word in words):
            return GuardCheck(name="control_tokens", state="failed", detail=f"prompt {number} spells a control token")
    return GuardCheck(name="control_tokens", state="passed", detail="no prompt spells one")


def _chat_template(header: Header | None, allowed: bool) -> GuardCheck:
    if header is None:
        return GuardCheck(name="chat_template", state="not known", detail="the file is elsewhere")
    if not header.text("tokenizer.chat_template"):
        return GuardCheck(name="chat_template", state="passed", detail="the file has none")
    if allowed:
        return GuardCheck(name="chat_template", state="warning", detail="the file has one, which is allowed")
    detail = "the file has one, so it was taught to chat; use a base model, or set `allow_chat_model: true`"
    return GuardCheck(name="chat_template", state="failed", detail=detail)


def _end_of_turn(writer: Writer, examples: Sequence[tuple[str, str]], *, certain: bool) -> GuardCheck:
    ends = ENDS | (control_words(writer.header) if writer.header else frozenset())
    sampler, masses = Sampler(temperature=0, max_tokens=1), list[float]()
    for instruction, response in examples[:RESPONSES]:
        said = writer.complete(
            f"Instruction: {instruction}\nResponse: {response}", sampler, seed=0, top_logprobs=LISTED
        )
        if said.top:
            masses.append(sum(math.exp(value) for token, value in said.top if token in ends))
    if not masses:
        return GuardCheck(name="end_of_turn", state="not known", detail="the server lists no probabilities")
    ending, few = mean(masses), mean(masses) < MOST_ENDING
    detail = f"behind a complete response it ends with probability {ending:.4f}; base models stay below {MOST_ENDING}"
    return GuardCheck(
        name="end_of_turn", state="passed" if few else "failed" if certain else "warning", detail=detail
    )  # fmt: skip
