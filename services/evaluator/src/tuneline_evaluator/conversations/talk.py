"""One conversation of a persona with one arm."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from threading import Event
from typing import Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, Field, ValidationError

from tuneline.data.conversations import AnswerFacts, Arm, Conversation, Said
from tuneline.data.io import Closed
from tuneline.data.personas import Persona
from tuneline.data.reading.prompts import Prompt
from tuneline.data.serving import SamplerParams
from tuneline.errors import LlmRejected, NothingSaid, Temporary, UserError
from tuneline.judge.simulators.simulator import Simulator
from tuneline.llm.thoughts import storable
from tuneline.llm.token_counts import count_in_messages
from tuneline.model.chat import ChatTokenizer, fold_system
from tuneline.model.llama_server import Server
from tuneline.stage import Json
from tuneline_evaluator.conversations.endpoint import Endpoint

TRIES = 3
"""How often one answer is asked for while its server keeps failing."""


Speaker: TypeAlias = Persona | Prompt
"""Who talks to both arms: a prompt is a persona that says one thing."""


class TextForm(Closed):
    """Text that a base model goes on from; it holds {prompt} once. `stop` ends an answer."""

    template: str
    stop: tuple[str, ...]


class Plan(Closed):
    """What all conversations of both arms have in common."""

    turns: int
    seed: int
    sampler: SamplerParams
    exact: bool
    context_tokens: int
    system_prompt: str | None
    completion: TextForm | None = None
    """How prompts are put to base models; None: by the chat template."""

    @property
    def scope(self) -> str:
        """Everything of it that shapes a conversation."""
        return self.model_dump_json(exclude=set() if self.completion else {"completion"})


class Broken(Exception):  # noqa: N818  (a state of the conversation, not a fault of this program)
    """The server gave no answer although it was asked TRIES times, or refused."""


class TalkStopped(Exception):  # noqa: N818
    """The run is being stopped, so nobody waits for this conversation any more."""


class Seat(NamedTuple):
    """One slot of a server, which one conversation has to itself: its tokens stay in the slot's cache."""

    server: Server
    slot: int
    timeout_s: float
    stop: Event


class Line(NamedTuple):
    """The way to an endpoint, which one conversation has to itself."""

    endpoint: Endpoint
    stop: Event


class _Text(BaseModel):
    content: str | None


class _Choice(BaseModel):
    message: _Text
    finish_reason: str


class _AnswerTokens(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class _Timings(BaseModel):
    prompt_n: int


class _ChatAnswer(BaseModel):
    """What is read of llama-server's answer to messages."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _AnswerTokens
    timings: _Timings


class _TextAnswer(BaseModel):
    """What is read of its answer to a text."""

    content: str
    stop_type: str
    tokens_evaluated: int
    tokens_predicted: int
    timings: _Timings


def talk(
    seat: Seat | Line, plan: Plan, persona: Speaker, trial: int, arm: Arm, simulator: Simulator,
    tokenizer: ChatTokenizer | None,
) -> Conversation:  # fmt: skip
    """Hold one conversation. Raises Temporary if server or simulator is lost, TalkStopped when asked to stop."""
    seed = conversation_seed(plan.seed, persona.id, trial)
    messages = [Said(role="system", content=plan.system_prompt)] if plan.system_prompt else []
    answers: list[AnswerFacts] = []
    status: Literal["complete", "empty", "overflow", "broken"] = "complete"
    while status == "complete" and len(answers) < plan.turns:
        drawn = seed + len(answers)
        try:
            line = persona.prompt if isinstance(persona, Prompt) else simulator.speak(persona, drawn, messages)
            said = Said(role="user", content=line)
            prompt = for_model([*messages, said], tokenizer, plan.completion)
            if prompt.tokens + plan.sampler.max_answer_tokens > plan.context_tokens:
                status = "overflow"
                break
            text, answer = _ask(seat, plan, prompt, drawn)
        except (Broken, NothingSaid):
            status = "broken"
            break
        except LlmRejected as rejected:
            status = "overflow" if rejected.kind == "too_long" else "broken"
            break
        messages += [said, Said(role="assistant", content=text)]
        answers.append(answer)
        status = "complete" if text.strip() else "empty"
    return Conversation(
        id=f"{persona.id}/{trial}/{arm}", persona=persona.id, trial=trial, arm=arm, seed=seed, status=status,
        messages=messages, answers=answers, judged_id=blind_id(arm, persona, trial, messages),
    )  # fmt: skip


def conversation_seed(seed: int, persona: str, trial: int) -> int:
    """Return the seed of a conversation, the same for both arms; it leaves room below 2^31 for one step per turn."""
    digest = hashlib.sha256(f"{seed}/{persona}/{trial}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 2


def blind_id(arm: Arm, persona: Speaker, trial: int, messages: Sequence[Said]) -> str:
    """Return the id under which a judge sees a conversation: unique, and a hash, so it says nothing about the arm."""
    content = [message.model_dump() for message in messages]
    return hashlib.sha256(json.dumps([arm, persona.id, trial, content]).encode()).hexdigest()[:16]


class ForModel(NamedTuple):
    """Messages as they are sent, and the token ids that the template makes of them; `text` in place of messages."""

    messages: list[dict[str, str]]
    ids: list[int]
    tokens: int
    """How many they are; about so many where no tokenizer is known."""
    text: str = ""


def for_model(
    messages: Sequence[Said], tokenizer: ChatTokenizer | None, completion: TextForm | None = None
) -> ForModel:
    """Return what the model is sent: system prompt folded and control tokens neutralised, as in its training data."""
    if tokenizer is None:
        plain = [{"role": message.role, "content": message.content} for message in messages]
        return ForModel(plain, [], count_in_messages(plain))
    if completion is not None:
        text = completion.template.replace("{prompt}", tokenizer.neutralise(messages[-1].content))
        ids = tokenizer.encode(text)
        return ForModel([], ids, len(ids), text)
    safe = [{"role": message.role, "content": tokenizer.neutralise(message.content)} for message in messages]
    folded = fold_system(safe, tokenizer)
    ids = tokenizer.encode(tokenizer.render(folded, add_generation_prompt=True))
    return ForModel(folded, ids, len(ids))


def _ask(seat: Seat | Line, plan: Plan, prompt: ForModel, seed: int) -> tuple[str, AnswerFacts]:
    """Return the server's answer. Ours is asked TRIES times, and started again in between if it has died."""
    if isinstance(seat, Line):
        if seat.stop.is_set():
            raise TalkStopped
        return seat.endpoint.answer(prompt.messages, seed)
    most = "n_predict" if plan.completion else "max_tokens"
    body: dict[str, Json] = {
        "seed": seed,
        "id_slot": seat.slot,
        # What the slot holds of another conversation would decide how the first prompt is cut into batches.
        "cache_prompt": not plan.exact or len(prompt.messages) > 2,
        # `samplers` is the whole chain: what it does not name (penalties, DRY, XTC …) is off.
        "samplers": ["top_k", "top_p", "min_p", "temperature"],
        "dynatemp_range": 0.0,
        "mirostat": 0,
        most: plan.sampler.max_answer_tokens,
        **plan.sampler.model_dump(exclude={"max_answer_tokens"}),
    }
    if plan.completion is None:
        path, body["messages"], read = "/v1/chat/completions", [dict(message) for message in prompt.messages], _read
    else:
        path, body["prompt"], body["stop"] = "/completion", prompt.text, list(plan.completion.stop)
        read = _read_text
    for attempt in range(TRIES):
        if seat.stop.is_set():
            raise TalkStopped
        try:
            return read(seat.server.post(path, body, timeout_s=seat.timeout_s))
        except Temporary:
            if not seat.stop.wait(0.2 * (attempt + 1)):  # a killed process takes a moment to be seen as dead
                seat.server.ensure()
        except (UserError, ValidationError) as error:
            raise Broken from error
    raise Broken


def _read(response: dict[str, Json]) -> tuple[str, AnswerFacts]:
    found = _ChatAnswer.model_validate(response)
    choice = found.choices[0]
    return storable(choice.message.content or ""), AnswerFacts(
        finish_reason=choice.finish_reason,
        prompt_tokens=found.usage.prompt_tokens,
        evaluated_tokens=found.timings.prompt_n,
        answer_tokens=found.usage.completion_tokens,
    )


def _read_text(response: dict[str, Json]) -> tuple[str, AnswerFacts]:
    found = _TextAnswer.model_validate(response)
    return storable(found.content).strip(), AnswerFacts(
        finish_reason="length" if found.stop_type == "limit" else "stop",
        prompt_tokens=found.tokens_evaluated,
        evaluated_tokens=found.timings.prompt_n,
        answer_tokens=found.tokens_predicted,
    )
