"""What simulator, judge and endpoints will take, before anybody has spoken.

How long messages are is taken from the transcripts: the simulated users write as long as those users, and both arms
answer as long as those answers, up to `max_answer_tokens`. A message goes into every later call of its conversation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import NamedTuple

from tuneline.data.conversations import Said
from tuneline.data.judged import read_judged
from tuneline.data.personas import Persona, load_personas
from tuneline.data.reading.prompts import read_prompts
from tuneline.data.rubric import load_rubric
from tuneline.data.transcripts import Exchange, Transcript
from tuneline.judge.by_model import models_among
from tuneline.judge.forecast import answer_tokens, prompt_tokens
from tuneline.judge.preference.judging import forecast_comparing
from tuneline.judge.recorded import RecordedConfig
from tuneline.judge.simulators.played import as_played
from tuneline.judge.simulators.simulator import ScriptedConfig, load_simulator
from tuneline.llm.forecast import Expected, forecast
from tuneline.llm.token_counts import count_tokens
from tuneline.model.system_prompt import read_system_prompt
from tuneline.stage import Forecast, Plans, Usage
from tuneline_evaluator.comparison.roles import ROLE
from tuneline_evaluator.conversations.arms import endpoint_in
from tuneline_evaluator.conversations.further import endpoints_in, sources
from tuneline_evaluator.conversations.prepare import settled
from tuneline_evaluator.conversations.recorded_answers import PORTS, judge_given
from tuneline_evaluator.conversations.talk import MESSAGE_TOKENS, Speaker
from tuneline_evaluator.stage import EvaluatorParams

USER_TOKENS, ANSWER_TOKENS = 40, 150
"""Without transcripts to measure."""

MOST_MEASURED = 1_000
"""Exchanges that are measured, of those of all transcripts in order."""

ARMS = 2


class Lengths(NamedTuple):
    """Tokens of a simulated user's message and of a model's answer."""

    user: int
    answer: int


def plan_talks(params: EvaluatorParams, plans: Plans) -> Iterator[Forecast]:
    """Count what the simulator and the judge will be sent."""
    personas, prompts = plans.read("personas", load_personas), plans.read("prompts", read_prompts)
    rubric = plans.read("rubric", load_rubric)
    simulator = plans.read("simulator", load_simulator)
    answers = {port: plans.inputs[port] for port in PORTS.values() if port in plans.inputs}
    judge = plans.read("judge", judge_given, plans.secret, answers)
    speakers: Sequence[Speaker] = prompts.prompts if prompts else personas or []
    if not speakers:
        return
    params, lengths = (
        settled(params, single=bool(prompts), judge=judge),
        _lengths(params, plans),
    )
    if prompts:
        lengths = lengths._replace(user=round(fmean(count_tokens(prompt.prompt) for prompt in prompts.prompts)))
    beside = plans.read("arms", sources) or {}
    arms = ARMS + len(params.evaluate) + len(beside)
    talks = len(speakers) * params.trials * arms
    if personas and simulator and not isinstance(simulator, ScriptedConfig):
        at_once = ARMS * (1 if params.exact else params.slots)
        inputs = [size for persona in personas for size in _asked(params, persona, lengths, arms)] * params.trials
        yield forecast(simulator, "simulator", simulator.model, Expected(inputs, lengths.user), Usage(), at_once)
    yield from _answers(params, plans, lengths, len(speakers) * params.trials)
    if rubric and judge and not isinstance(judge, RecordedConfig):
        said = params.turns * (lengths.user + lengths.answer)
        blank = Transcript("t", (Exchange("", ""),) * params.turns)
        for criteria in (rubric.asked(), ROLE) if params.grade_simulator else (rubric.asked(),):
            expected = Expected([prompt_tokens(criteria, blank) + said] * talks, answer_tokens(criteria))
            for model in models_among(judge, rubric):
                yield forecast(model.config, "judge", model.label, expected, Usage(), params.judge_concurrency)
        asked = params.turns * (ARMS * lengths.answer + (1 if prompts else ARMS) * lengths.user)
        for model in models_among(judge, rubric) if params.preference else ():
            pairs = [asked] * (len(speakers) * params.trials)
            yield forecast_comparing(model, params.question, pairs, params.judge_concurrency)


def _answers(params: EvaluatorParams, plans: Plans, lengths: Lengths, talks: int) -> Iterator[Forecast]:
    """Count what endpoints will be sent: each call says again all that was said before."""
    system = plans.read("system_prompt", read_system_prompt)
    before = count_tokens(system) + MESSAGE_TOKENS if system else 0
    exchange, question = lengths.user + lengths.answer + 2 * MESSAGE_TOKENS, lengths.user + MESSAGE_TOKENS
    inputs = [before + turn * exchange + question for turn in range(params.turns)] * talks
    slots = 1 if params.exact else params.slots
    given = [plans.read(port, endpoint_in, params.sampler) for port in ("base", "model")]
    further = plans.read("arms", endpoints_in, params.sampler) or []
    for endpoint in (*given, *further):
        if endpoint is not None:
            yield forecast(endpoint, "answers", endpoint.model, Expected(inputs, lengths.answer), Usage(), slots)


def _lengths(params: EvaluatorParams, plans: Plans) -> Lengths:
    path, longest = plans.made("assessor", "transcripts"), params.sampler.max_answer_tokens
    said = [exchange for talk in (read_judged(path) if path else ()) for exchange in talk.exchanges][:MOST_MEASURED]
    if said:
        user = fmean(count_tokens(exchange.user) for exchange in said)
        answer = fmean(min(count_tokens(exchange.assistant), longest) for exchange in said)
        found = Lengths(round(user), round(answer))
    else:
        found = Lengths(USER_TOKENS, min(ANSWER_TOKENS, longest))
    source = "as in the transcripts" if said else "for want of transcripts"
    plans.note(f"a user's message is taken to have {found.user} tokens, an answer {found.answer}, {source}")
    return found


def _asked(params: EvaluatorParams, persona: Persona, lengths: Lengths, arms: int) -> Sequence[int]:
    """Return the tokens of each call for one persona; the message that opens all arms is asked for once."""
    opening = as_played(persona, list[Said]())
    card = sum(count_tokens(message["content"]) + MESSAGE_TOKENS for message in opening)
    exchange = lengths.user + lengths.answer + 2 * MESSAGE_TOKENS
    return [card] + [card + turn * exchange for turn in range(1, params.turns) for _ in range(arms)]
