"""What simulator, judge and endpoints will take, before anybody has spoken.

How long messages are is taken from the transcripts: the simulated users write as long as those users, and both arms
answer as long as those answers, up to `max_answer_tokens`. A message goes into every later call of its conversation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from tuneline.data.judged import read_judged
from tuneline.data.personas import Persona, load_personas
from tuneline.data.reading.prompts import Prompt, read_prompts
from tuneline.data.rubric import Rubric, load_rubric
from tuneline.data.transcripts import Exchange, Transcript
from tuneline.judge.by_model import models_among
from tuneline.judge.forecast import answer_tokens, prompt_tokens
from tuneline.judge.panel import Judges
from tuneline.judge.preference.judging import forecast_comparing
from tuneline.judge.recorded.judge import RecordedConfig
from tuneline.judge.simulators.played import as_played
from tuneline.judge.simulators.simulator import ScriptedConfig, load_simulator
from tuneline.llm.forecast import ANSWER_TOKENS, USER_TOKENS, Expected, forecast
from tuneline.llm.token_counts import MESSAGE_TOKENS, count_in_messages, count_tokens
from tuneline.model.system_prompt import read_system_prompt
from tuneline.stage import Forecast, Plans, Usage
from tuneline_evaluator.comparison.roles import ROLE
from tuneline_evaluator.conversations.arms import endpoint_in
from tuneline_evaluator.conversations.ask import recorded_arms
from tuneline_evaluator.conversations.further import endpoints_in, sources
from tuneline_evaluator.conversations.prepare import settled, with_trials
from tuneline_evaluator.conversations.recorded import Recorded, is_recorded, read_recorded
from tuneline_evaluator.conversations.recorded_answers import PORTS, judge_given
from tuneline_evaluator.conversations.speakers import people_of
from tuneline_evaluator.conversations.talk import Speaker
from tuneline_evaluator.stage import EvaluatorParams

MOST_MEASURED = 1_000
"""Exchanges that are measured, of those of all transcripts in order."""

ARMS = 2


class Lengths(NamedTuple):
    """Tokens of a simulated user's message and of a model's answer."""

    user: int
    answer: int


class Arms(NamedTuple):
    """Who has yet to answer, and what was said already."""

    live: int
    """How many arms have yet to talk."""
    main: Sequence[Recorded]
    """Those of base and fine-tuned whose conversations exist."""
    further: Sequence[Recorded]

    def talks(self, speakers: Sequence[Speaker], trials: int) -> list[Transcript]:
        """Return the conversations of `speakers` that exist and will be judged."""
        ours = {speaker.id for speaker in speakers}
        rows = (row for arm in (*self.main, *self.further) for row in arm.talks.items())
        return [Transcript("t", said) for (who, trial), said in rows if who in ours and trial < trials]


def plan_talks(params: EvaluatorParams, plans: Plans) -> Iterator[Forecast]:
    """Count what the simulator and the judge will be sent."""
    personas, prompts = plans.read("personas", load_personas), plans.read("prompts", read_prompts)
    rubric, arms = plans.read("rubric", load_rubric), _arms(params, plans)
    simulator = plans.read("simulator", load_simulator)
    answers = {port: plans.inputs[port] for port in PORTS.values() if port in plans.inputs}
    judge = plans.read("judge", judge_given, plans.secret, answers)
    speakers: Sequence[Speaker] = prompts.prompts if prompts else personas or []
    if not speakers and len(arms.main) == ARMS:
        speakers = plans.read("model", lambda _: people_of(*arms.main)) or []
    if not speakers:
        return
    params = with_trials(settled(params, single=bool(prompts), judge=judge), arms.main)
    lengths = _lengths(params, plans) if arms.live or params.preference else Lengths(0, 0)
    if prompts:
        lengths = lengths._replace(user=round(fmean(count_tokens(prompt.prompt) for prompt in prompts.prompts)))
    if personas and simulator and arms.live and not isinstance(simulator, ScriptedConfig):
        at_once = ARMS * (1 if params.exact else params.slots)
        inputs = [size for persona in personas for size in _asked(params, persona, lengths, arms.live)] * params.trials
        yield forecast(simulator, "simulator", simulator.model, Expected(inputs, lengths.user), Usage(), at_once)
    yield from _answers(params, plans, lengths, len(speakers) * params.trials)
    if rubric and judge and not isinstance(judge, RecordedConfig):
        yield from _judged(params, judge, rubric, lengths, arms, speakers)


def _arms(params: EvaluatorParams, plans: Plans) -> Arms:
    main, beside = recorded_arms(plans), plans.read("arms", sources) or {}
    places = [(name, one) for name, one in beside.items() if isinstance(one, Path)]
    further = [read_recorded(name, place) for name, place in places if is_recorded(place)]
    live = ARMS + len(params.evaluate) + len(beside) - len(main) - len(further)
    return Arms(live, main, further)


def _judged(
    params: EvaluatorParams, judge: Judges, rubric: Rubric, lengths: Lengths, arms: Arms, speakers: Sequence[Speaker]
) -> Iterator[Forecast]:
    """Count what judges will be sent: what is said already as it is, the rest as long as it will be."""
    talks, said = len(speakers) * params.trials, params.turns * (lengths.user + lengths.answer)
    blank, there = Transcript("t", (Exchange("", ""),) * params.turns), arms.talks(speakers, params.trials)
    for criteria in (rubric.asked(), ROLE) if params.grade_simulator else (rubric.asked(),):
        inputs = [prompt_tokens(criteria, blank) + said] * (talks * arms.live)
        inputs += [prompt_tokens(criteria, one) for one in there]
        for model in models_among(judge, rubric):
            expected = Expected(inputs, answer_tokens(criteria))
            yield forecast(model.config, "judge", model.label, expected, Usage(), params.judge_concurrency)
    single = isinstance(speakers[0], Prompt)
    asked = params.turns * (ARMS * lengths.answer + (1 if single else ARMS) * lengths.user)
    for model in models_among(judge, rubric) if params.preference else ():
        yield forecast_comparing(model, params.question, [asked] * talks, params.judge_concurrency)


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
    card = count_in_messages(as_played(persona, []))
    exchange = lengths.user + lengths.answer + 2 * MESSAGE_TOKENS
    return [card] + [card + turn * exchange for turn in range(1, params.turns) for _ in range(arms)]
