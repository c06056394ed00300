"""Proves that a GGUF file is the model that was trained, through the server that people will run it with.

The most common damage of a conversion is silent: another chat template, other token ids, an answer that never ends.
Each check compares what llama-server does with what the Hugging Face files say, and fails the stage.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

from pydantic import BaseModel

from tuneline.data.model_facts import Check
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer
from tuneline.model.gguf_header import Header
from tuneline.model.llama_server import Server, serve
from tuneline_gguf_converter.samples import MARKS, Messages, Sample, Samples


class Subject(NamedTuple):
    """A file under test, and what it must agree with."""

    file: Path
    header: Header
    tokenizer: ChatTokenizer
    samples: Samples
    threads: int | None


def check_reading(subject: Subject, tick: Callable[[], None]) -> list[Check]:
    """Return the checks of how the file reads and ends a text, which cost little, all passed.

    Raises UserError naming the first that fails; `tick` is called after each.
    """
    with closing(_reading(subject)) as checks:  # the server stops at once when one fails
        return [_passed(check, tick) for check in checks]


def check_agreement(
    subject: Subject, likeliest: list[list[int]], min_top1_agreement: float, tick: Callable[[], None]
) -> Check:
    """Return the check of which token comes next, passed. Raises UserError when it fails."""
    with _served(subject) as server:
        return _passed(_top1_agreement(subject, server, likeliest, min_top1_agreement), tick)


def _passed(check: Check, tick: Callable[[], None]) -> Check:
    if not check.passed:
        raise UserError(f"Check `{check.name}` failed for {check.file}: {check.detail}")
    tick()
    return check


@contextmanager
def _served(subject: Subject) -> Iterator[Server]:
    longest = max(len(sample.ids) for sample in subject.samples.predicted)  # rendering and encoding need no context
    with TemporaryDirectory(prefix="tuneline-check-") as scratch:
        log = Path(scratch, "llama-server.log")
        with serve(subject.file, context_tokens=longest + 8, slots=1, threads=subject.threads, log=log) as server:
            yield server


def end_of_turn(tokenizer: ChatTokenizer, samples: Samples) -> int:
    """Return the id of the token with which the template ends an assistant's answer."""
    encoded = tokenizer.encode_conversation(samples.texts[0].messages)
    return [token for token, mask in zip(encoded.input_ids, encoded.assistant_mask, strict=True) if mask][-1]


def _reading(subject: Subject) -> Generator[Check]:
    header, name = subject.header, subject.file.name
    yield Check(name="header", file=name, passed=True, detail=f"{header.tensors} tensors within the file's bounds")
    yield _template(subject)
    with _served(subject) as server:
        yield Check(name="loads", file=name, passed=True, detail="llama-server serves it")
        for check in (_rendering, _token_ids, _end_of_turn):
            yield check(subject, server)


def _template(subject: Subject) -> Check:
    same = subject.header.template_sha256 == subject.tokenizer.template_sha256
    detail = "the file has " + ("the base model's chat template" if same else "another template than the base model")
    return Check(name="template", file=subject.file.name, passed=same, detail=detail)


def _rendering(subject: Subject, server: Server) -> Check:
    def same(sample: Sample) -> bool:
        # Both as it is learnt and as it is asked: with the last answer, and up to the generation prompt.
        messages = sample.messages
        return all(
            _rendered(server, part, prompt) == _without_special_ends(subject, part, prompt)
            for part, prompt in ((messages, False), (messages[:-1], True))
        )

    problem = "llama.cpp renders the chat template differently: simplify the template, or the text it is given"
    return _compare_all("rendering", subject, same, "the rendered text is equal", problem)


def _token_ids(subject: Subject, server: Server) -> Check:
    def same(sample: Sample) -> bool:
        body = {"content": _rendered(server, sample.messages, False), "add_special": True, "parse_special": True}
        ids = _Tokens.model_validate(server.post("/tokenize", body)).tokens
        return ids == subject.tokenizer.encode(subject.tokenizer.render(sample.messages))

    problem = "llama.cpp makes other token ids: check the tokenizer files of the base model, tokenizer.model above all"
    return _compare_all("token_ids", subject, same, "the token ids are equal", problem)


def _compare_all(
    name: Literal["rendering", "token_ids"], subject: Subject, same: Callable[[Sample], bool], good: str, bad: str
) -> Check:
    texts = subject.samples.texts
    unequal = [sample.name for sample in texts if not same(sample)]
    other = [place for place in unequal if name == "rendering" or place != MARKS]
    share = 1 - len(other) / len(texts)
    of = f"{len(texts) - len(unequal) + len(other)} conversations"
    detail = f"in {len(other)} of {of} ({', '.join(other[:5])}) {bad}." if other else f"in {of} {good}"
    if MARKS in unequal and not other:
        detail += "; not in texts with combining marks, as Devanagari has, which llama.cpp splits otherwise"
    return Check(name=name, file=subject.file.name, passed=not other, detail=detail, value=share, threshold=1.0)


def _end_of_turn(subject: Subject, server: Server) -> Check:
    """Make the model say its end-of-turn token: generation must stop there, or answers never end."""
    token = end_of_turn(subject.tokenizer, subject.samples)
    prompt = subject.samples.texts[0].ids[:2]
    answer = server.post("/completion", {"prompt": prompt, "n_predict": 2, "logit_bias": [[token, 1000.0]]})
    stops = _Generated.model_validate(answer).stop_type == "eos"
    detail = (
        f"generation stops at token {token}"
        if stops
        else f"llama.cpp does not stop at token {token}, with which the template ends an answer: "
        "name it as `eos_token` in the base model's tokenizer_config.json"
    )
    return Check(name="end_of_turn", file=subject.file.name, passed=stops, detail=detail)


def _top1_agreement(subject: Subject, server: Server, likeliest: list[list[int]], threshold: float) -> Check:
    pairs = [
        (_next_token(server, sample.ids[:position]), choice)
        for sample, choices in zip(subject.samples.predicted, likeliest, strict=True)
        for position, choice in zip(sample.positions, choices, strict=True)
    ]
    agreement = sum(ours == theirs for ours, theirs in pairs) / len(pairs)
    enough = agreement >= threshold
    detail = f"on {len(pairs)} tokens of {len(subject.samples.predicted)} {subject.samples.kind} conversations"
    if not enough:
        detail += (
            f": top-1 agreement with the merged model is {agreement:.3f}, below {threshold:g}; "
            "choose a quantisation with more bits, or lower `min_top1_agreement` if that is good enough"
        )
    name, value = subject.file.name, round(agreement, 4)
    return Check(name="top1_agreement", file=name, passed=enough, detail=detail, value=value, threshold=threshold)


def _next_token(server: Server, ids: list[int]) -> int:
    # Only this sampler: others, which the file may ask for, would change what is likeliest. Not `n_probs`: the server
    # leaves it out for a token that is part of a character.
    greedy = {"samplers": ["temperature"], "temperature": 0.0}
    body = {"prompt": ids, "n_predict": 1, "return_tokens": True, "id_slot": 0, "cache_prompt": True} | greedy
    return _Generated.model_validate(server.post("/completion", body)).tokens[0]


def _rendered(server: Server, messages: Messages, prompt: bool) -> str:
    try:
        answer = server.post("/apply-template", {"messages": [*messages], "add_generation_prompt": prompt})
    except UserError:
        return ""  # llama.cpp refuses what the template takes in Hugging Face: as different as can be
    return _RenderedText.model_validate(answer).prompt


def _without_special_ends(subject: Subject, messages: Messages, prompt: bool) -> str:
    """Return what the template makes, without the BOS and EOS that llama.cpp takes off and adds again as ids."""
    text, header = subject.tokenizer.render(messages, prompt), subject.header
    if header.metadata.get("tokenizer.ggml.add_bos_token"):
        text = text.removeprefix(header.token(header.number("tokenizer.ggml.bos_token_id")))
    if header.metadata.get("tokenizer.ggml.add_eos_token"):
        text = text.removesuffix(header.token(header.number("tokenizer.ggml.eos_token_id")))
    return text


class _RenderedText(BaseModel):
    prompt: str


class _Tokens(BaseModel):
    tokens: list[int]


class _Generated(BaseModel):
    stop_type: str
    tokens: list[int]
