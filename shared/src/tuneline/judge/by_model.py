"""The judge that is a model of any provider, asked once per transcript for all criteria."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from tuneline.data.rubric import Rubric
from tuneline.data.transcripts import Exchange, Transcript
from tuneline.data.verdicts import Ask, Asking, Judgement, Status
from tuneline.errors import LlmRejected, OverBudget, Stopped, Temporary, Unreadable, UserError
from tuneline.judge.answer import read_answers
from tuneline.judge.card import JudgeCard, family_of
from tuneline.judge.panel import Judges, members
from tuneline.judge.prompt import (
    PROMPT_VERSION,
    answer_schema,
    delimiter,
    judge_messages,
    questions_sha256,
    shared_transcript,
)
from tuneline.llm.config import AnthropicConfig, ModelConfig, Secret
from tuneline.llm.token_counts import CUT
from tuneline.stage import Account, Context

if TYPE_CHECKING:
    from tuneline.llm.batches.run import BatchRun
    from tuneline.llm.calls import Patience
    from tuneline.llm.providers.provider import Reply, Request


Call = Callable[["Request"], "Reply | LlmRejected"]
"""Asks a model once, from any thread. Raises Temporary when it cannot be asked now."""

J = TypeVar("J", bound=Asking)

QUESTION = Transcript(
    "check", (Exchange("The lamp does not light. What can I do?", "Please check the plug first. Is it in the socket?"),)
)
"""What a judge is asked when it may be: nobody's conversation."""


class ModelCalls:
    """Calls to one model, one by one or by batches. Raises UserError at once when its key is not set."""

    def __init__(self, config: ModelConfig, secret: Secret, patience: Patience | None = None) -> None:
        config.key(secret)
        self._config, self._secret, self._patience = config, secret, patience
        self._fetched: dict[str, Reply | LlmRejected] = {}
        self._batches: BatchRun | None = None
        self._missing: set[str] = set()
        self._problem: UserError | Temporary | None = None

    def fetch(self, asked: Iterable[Request], context: Context, account: Account, total: int) -> bool:
        """In the mode `batch` get the answers to these, of `total`, before they are asked for one by one.

        Returns whether they came by batches. Raises UserError, or Temporary when it is stopped: what was handed in is
        found again. If some are here and others are not, `refuse_rest` says why.
        """
        if self._config.mode == "live":
            return False
        from tuneline.llm.batches.kept import request_id
        from tuneline.llm.batches.run import BatchRun
        from tuneline.llm.batches.servers import open_batches

        context.tell("waiting for batches of the judge")
        requests = {request_id(self._config, request): request for request in asked}
        done = total - len(requests)
        run = BatchRun(
            self._config, open_batches(self._config, self._secret),
            context.journal("batches", self._config.provider, self._config.address),
            lambda found: context.progress(done + found, total), account,
        )  # fmt: skip
        try:
            run.answers(requests)
        except (UserError, Temporary) as e:
            told_to_stop = isinstance(e, Stopped) and not isinstance(e, OverBudget)
            if told_to_stop or not run.found:
                raise
            self._problem = e  # what is here is paid, so it is read first
        self._fetched, self._batches = dict(run.found), run
        self._missing = requests.keys() - self._fetched.keys()
        return True

    def refuse_rest(self) -> None:
        """Raise what kept `fetch` from getting all answers, if anything did."""
        if self._problem:
            raise self._problem

    @contextmanager
    def open(self, *, concurrency: int, timeout_s: float, account: Account | None = None) -> Iterator[Call]:
        """Connect; at the end calls in flight get some seconds to finish, so that what is paid can be kept."""
        from tuneline.llm.batches.kept import request_id
        from tuneline.llm.client import LlmClient

        with LlmClient(
            self._config, self._secret, timeout_s, concurrency=concurrency, patience=self._patience, account=account
        ) as client:

            def call(request: Request) -> Reply | LlmRejected:
                key = request_id(self._config, request) if self._batches else ""
                if key in self._missing:
                    raise Temporary("no batch has answered it")
                reply = self._answer_of(key, request) if key else None
                try:
                    return reply or client.complete(request.messages, schema=request.schema, seed=request.seed or 0)
                except LlmRejected as e:
                    return e

            yield call

    def _answer_of(self, key: str, request: Request) -> Reply | LlmRejected | None:
        """Return what a batch answered, once."""
        from tuneline.llm.client import compared

        reply = self._fetched.pop(key, None)
        if reply is not None and self._batches is not None:
            self._batches.read(key, request.about)
        return reply if reply is None or isinstance(reply, LlmRejected) else compared(reply, request.messages)


class LlmJudge:
    """Asks a model about a rubric. Raises UserError at once when its key is not set."""

    offline = False

    def __init__(self, config: ModelConfig, secret: Secret, patience: Patience | None = None) -> None:
        self._config, self._secret, self._patience = config, secret, patience
        self._calls = ModelCalls(config, secret, patience)

    @property
    def config(self) -> ModelConfig:
        return self._config

    def calls(self) -> ModelCalls:
        """Return what asks the same model other questions."""
        return ModelCalls(self._config, self._secret, self._patience)

    def with_another_seed(self) -> LlmJudge:
        """Return the same model, to be asked the same once more and not to be given the same luck."""
        seed = self._config.identity.get("seed")
        changed = {"seed": seed + 1} if isinstance(seed, int) else {}
        return LlmJudge(self._config.model_copy(update=changed), self._secret, self._patience)

    @property
    def label(self) -> str:
        where = f" at {urlsplit(self._config.address).netloc}" if self._config.base_url else ""
        return f"{self._config.model}{where}"

    def key(self, transcript: Transcript) -> str:
        return transcript.sha256

    def scope(self, rubric: Rubric) -> tuple[str, ...]:
        settings = json.dumps(self._config.identity, sort_keys=True)
        identity = hashlib.sha256(settings.encode()).hexdigest()
        return (self._config.provider, identity, str(PROMPT_VERSION), questions_sha256(rubric))

    def card(self, rubric: Rubric) -> JudgeCard:
        config = self._config
        settings = {name: value for name, value in config.identity.items() if name not in ("model", "base_url")}
        return JudgeCard(
            label=self.label, provider=config.provider, model=config.model, family=family_of(config.model),
            server=urlsplit(config.address).netloc, prompt_version=PROMPT_VERSION,
            questions_sha256=questions_sha256(rubric), settings=settings,
        )  # fmt: skip

    def check(self, rubric: Rubric, transcripts: Sequence[Transcript]) -> None:
        """Accept everything: a model can be asked anything."""

    def fetch(
        self, rubric: Rubric, wanted: Iterable[tuple[Transcript, bool]], context: Context, account: Account, total: int
    ) -> bool:
        """In the mode `batch` get the answers about these, of `total`, before they are asked for one by one.

        True asks again. Returns as `ModelCalls.fetch`.
        """
        asked = (self.request(rubric, transcript, again) for transcript, again in wanted)
        return self._calls.fetch(filter(None, asked), context, account, total)

    def refuse_rest(self) -> None:
        """Raise what kept `fetch` from getting all answers, if anything did."""
        self._calls.refuse_rest()

    @contextmanager
    def open(
        self, rubric: Rubric, *, concurrency: int, timeout_s: float, account: Account | None = None
    ) -> Iterator[Ask]:
        """Connect; at the end calls in flight get some seconds to finish, so that what is paid can be kept."""
        with self._calls.open(concurrency=concurrency, timeout_s=timeout_s, account=account) as call:

            def ask(transcript: Transcript, again: bool) -> Judgement:
                request = self.request(rubric, transcript, again)
                if request is None:
                    return Judgement(status="scored")
                asked, said = rubric.asked(len(transcript.exchanges)), said_in(request)

                def read(text: str) -> dict[str, object]:
                    return read_answers(text, asked, said)._asdict()

                return read_reply(call(request), Judgement, read)

            yield ask

    def request(self, rubric: Rubric, transcript: Transcript, again: bool) -> Request | None:
        """Return what is asked about a transcript, None if no criterion applies."""
        from tuneline.llm.providers.provider import Request

        asked = rubric.asked(len(transcript.exchanges))
        if not asked.criteria:
            return None
        messages = judge_messages(asked, transcript, again=again)
        if isinstance(self._config, AnthropicConfig) and self._config.cache:
            messages = shared_transcript(messages, delimiter(asked, transcript))
        return Request(messages, answer_schema(asked), int(again), transcript.sha256)


def models_among(judge: Judges, rubric: Rubric) -> list[LlmJudge]:
    """Return those that a rubric asks and that are models. Raises UserError as `members`."""
    return [one for one in members(judge, rubric).values() if isinstance(one, LlmJudge)]


def said_in(request: Request) -> str:
    """Return what the model is told last, as one text: nothing in it is an answer."""
    from tuneline.llm.providers.provider import joined

    return joined(request.messages[-1])


def ask_once(asked: LlmJudge, secret: Secret, rubric: Rubric, timeout_s: float) -> str:
    """Ask a judge about one conversation, and say so. Raises UserError unless it answers as the rubric wants it."""
    from tuneline.llm.calls import ONE_QUESTION, QUESTION_SECONDS

    judge = LlmJudge(asked.config, secret, ONE_QUESTION)
    with judge.open(rubric, concurrency=1, timeout_s=min(timeout_s, QUESTION_SECONDS)) as ask:
        judgement = ask(QUESTION, False)
    if judgement.status != "scored":
        raise UserError(
            f"{judge.label} was asked one question, and its answer is {judgement.status}: {judgement.detail}"
        )
    return f"the judge {judge.label} answers as the rubric wants it"


def read_reply(reply: Reply | LlmRejected, kind: type[J], read: Callable[[str], dict[str, object]]) -> J:
    """Return what a reply comes to: what `read` makes of its text, a refusal, a block, or something unreadable.

    `read` raises Unreadable.
    """
    day = datetime.now(UTC).date().isoformat()
    if isinstance(reply, LlmRejected):
        return kind(status=reply.kind, detail=str(reply))
    usage, code = reply.usage, f" ({reply.cause})" if reply.cause else ""
    if lost := _lost(reply):
        return kind(status=lost[0], usage=usage, day=day, detail=lost[1])
    cut = reply.finish_reason in ("length", "context")
    try:
        if cut and not reply.text.rstrip("` \t\r\n").endswith("}"):  # the object in it is a quotation, not the answer
            raise Unreadable("cut before its end")
        answered = read(reply.text)
    except Unreadable as e:
        if reply.finish_reason == "context":
            full = f"no room for an answer in the context{code}"
            return kind(status="too_long", usage=usage, day=day, detail=full)
        detail = "cut at max_tokens or the end of the context" if cut else f"{e}{code}"
        return kind(status="unparsed", usage=usage, day=day, detail=detail)
    return kind.model_validate({"status": "scored", "usage": usage, "day": day, **answered})


def _lost(reply: Reply) -> tuple[Status, str] | None:
    """Return why a reply holds no answer, whatever its text is."""
    code = f" ({reply.cause})" if reply.cause else ""
    if reply.prompt_cut:
        return "failed", CUT
    if reply.refused:
        return "refused", f"the model refused{code}"
    if reply.finish_reason == "content_filter":
        return "blocked", f"the server's filter blocked the answer{code}"
    return None
