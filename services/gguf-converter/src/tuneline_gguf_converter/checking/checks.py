"""Proves that a GGUF file is the model that was trained, through the server that people will run it with.

The most common damage of a conversion is silent: another chat template, other token ids, an answer that never ends.
Each check compares what llama-server does with what the Hugging Face files say, and fails the stage.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

from pydantic import BaseModel

from tuneline.data.model_facts import Check, Fidelity
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer
from tuneline.model.gguf_header import Header
from tuneline.model.llama_cpp import Placement, placement, program
from tuneline.model.llama_server import Server, serve
from tuneline_gguf_converter.checking.fidelity import Foreseen, Pace, compare, figures, pace
from tuneline_gguf_converter.checking.samples import MARKS, Messages, Sample, Samples


class Subject(NamedTuple):
    """A file under test, and what it must agree with."""

    file: Path
    header: Header
    tokenizer: ChatTokenizer
    samples: Samples
    threads: int | None


class Agreed(NamedTuple):
    """A file that agrees with the merged model often enough."""

    check: Check
    fidelity: Fidelity
    pace: Pace


def check_reading(subject: Subject, tick: Callable[[], None]) -> list[Check]:
    """Return the checks of how the file reads and ends a text, which cost little, all passed.

    Raises UserError naming the first that fails; `tick` is called after each.
    """
    with closing(_reading(subject)) as checks:  # the server stops at once when one fails
        return [_passed(check, tick) for check in checks]


def check_hollow(subject: Subject) -> None:
    """Raise UserError if a file that has a hole in place of its numbers does not load, or reads text otherwise."""
    with _served(subject, ("--no-warmup", "--no-repack"), Placement()) as server:
        for check in (_template(subject), _rendering(subject, server), _token_ids(subject, server)):
            _passed(check, lambda: None)


def check_agreement(
    subject: Subject,
    encoding: str,
    merged: list[list[Foreseen]],
    min_top1_agreement: float,
    tick: Callable[[], None],
    adapter: Path | None = None,
) -> Agreed:
    """Return the check of which token comes next, passed, and all that was measured. Raises UserError if it fails.

    With an `adapter` it is about that file: the subject is served with it.
    """
    with _served(subject, ("--lora", str(adapter)) if adapter else ()) as server:
        positions = compare(server, subject.samples, merged)
        measured = figures(adapter or subject.file, subject.header, encoding, subject.samples, positions)
        check = _passed(top1_agreement(measured, min_top1_agreement), tick)
        return Agreed(check, measured, pace(server, subject.samples.predicted[0].ids[:8]))


def _passed(check: Check, tick: Callable[[], None]) -> Check:
    if not check.passed:
        raise UserError(f"Check `{check.name}` failed for {check.file}: {check.detail}")
    tick()
    return check


@contextmanager
def _served(subject: Subject, options: Sequence[str] = (), placed: Placement | None = None) -> Iterator[Server]:
    longest = max(len(sample.ids) for sample in subject.samples.predicted)  # rendering and encoding need no context
    with TemporaryDirectory(prefix="tuneline-check-") as scratch:
        log = Path(scratch, "llama-server.log")
        placed, tokens = placed or placement(program("llama-server")), longest + 80
        with serve(
            subject.file,
            context_tokens=tokens,
            slots=1,
            threads=subject.threads,
            log=log,
            placed=placed,
            options=options,
        ) as server:
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


def top1_agreement(measured: Fidelity, threshold: float) -> Check:
    """Judge by the lower end: what is not shown to be good enough is not. Probes are no sample: none is theirs."""
    found = measured.top1
    at_worst = found.value if measured.source == "probe" else found.low
    detail = f"on {measured.positions} tokens of {measured.conversations} {measured.source} conversations"
    if at_worst < threshold:
        detail += (
            f": top-1 agreement with the merged model is {found.value:.3f} ({found.low:.3f} to {found.high:.3f}), so "
            f"it may be below {threshold:g}; choose a quantisation with more bits, raise `check_conversations` or "
            "`check_positions`, or lower `min_top1_agreement` if that is good enough"
        )
    return Check(
        name="top1_agreement", file=measured.file, passed=at_worst >= threshold, detail=detail, value=found.value,
        threshold=threshold,
    )  # fmt: skip


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
