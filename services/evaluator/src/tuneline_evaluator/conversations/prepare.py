"""Everything that is read and found good before the first token is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tuneline.data.io import read_record
from tuneline.data.reading.prompts import Prompt
from tuneline.data.rubric import Rubric, load_rubric
from tuneline.errors import UserError
from tuneline.judge.card import JudgeCard, JudgeCards
from tuneline.judge.panel import Judges, check_judges
from tuneline.judge.recorded.judge import RecordedConfig
from tuneline.judge.simulators.simulator import ScriptedConfig, SimulatorConfig, load_simulator
from tuneline.model.chat import ChatTokenizer
from tuneline.model.chat_template import read_chat_settings
from tuneline.model.llama_cpp import Placement, placement, program, version
from tuneline.model.system_prompt import read_system_prompt
from tuneline.stage import Context
from tuneline_evaluator.conversations.arms import (
    Model,
    Terms,
    is_file,
    model_context,
    read_arm,
    refuse_other_template,
    refuse_unequal,
    unequal_facts,
)
from tuneline_evaluator.conversations.endpoint import EndpointConfig
from tuneline_evaluator.conversations.further import named, quantised, refuse_names, sources
from tuneline_evaluator.conversations.recorded import Recorded, refuse_strangers, trials_in
from tuneline_evaluator.conversations.recorded_answers import PORTS, judge_given, recorded_judge
from tuneline_evaluator.conversations.speakers import who_speaks
from tuneline_evaluator.conversations.talk import Plan, Speaker, TextForm
from tuneline_evaluator.stage import EvaluatorInputs, EvaluatorParams


class Prepared(NamedTuple):
    """Who talks to what and how, and who judges it; the base arm comes first."""

    params: EvaluatorParams
    models: tuple[Model, ...]
    personas: Sequence[Speaker]
    rubric: Rubric
    judge: Judges
    simulator: SimulatorConfig
    tokenizer: ChatTokenizer | None
    """The base model's; None where every arm is an endpoint and nobody has given it."""
    plan: Plan
    placed: Placement
    """Where our server computes the arms that are files."""
    chosen_by: list[JudgeCard]
    """Who judged the training set."""
    learnt: list[str]
    """Ids of the prompts or personas that were left out because what they say is in the training set."""

    @property
    def single(self) -> bool:
        """Whether single prompts are compared, and no personas."""
        return isinstance(self.personas[0], Prompt)

    @property
    def unit(self) -> Literal["persona", "prompt"]:
        """What gives one difference each."""
        return "prompt" if self.single else "persona"


def prepare(params: EvaluatorParams, inputs: EvaluatorInputs, context: Context) -> Prepared:
    """Read and check every input. Raises UserError before anything is started or paid for."""
    simulator = ScriptedConfig() if inputs.prompts else load_simulator(inputs.simulator)
    speakers, learnt = who_speaks(inputs, simulator)
    answers = {port: path for port in PORTS.values() if (path := inputs.model_dump()[port])}
    judge, rubric = judge_given(inputs.judge, context.secret, answers), load_rubric(inputs.rubric)
    params = settled(params, single=inputs.prompts is not None, judge=judge)
    tokenizer, plan = tokenizer_of(inputs), plan_of(params, inputs)
    models, placed = arms_of(params, inputs, context, plan)
    params = with_trials(params, [one.source for one in models[:2] if isinstance(one.source, Recorded)])
    refuse_text(plan, models)
    for model in models:
        if isinstance(model.source, Recorded):
            refuse_strangers(model.arm, model.source, speakers, params.trials)
    if isinstance(judge, RecordedConfig):
        judge = recorded_judge(judge, answers, models, speakers, params.trials, params.seed)
    refuse_unequal(unequal_facts(models[0].facts, models[1].facts), params.allow_unequal)
    if tokenizer is not None:
        refuse_other_template(models[0].facts, tokenizer, params.allow_unequal)
    check_judges(judge, rubric, [])
    chosen_by = read_record(inputs.assessed_by, JudgeCards).judges if inputs.assessed_by else []
    return Prepared(params, models, speakers, rubric, judge, simulator, tokenizer, plan, placed, chosen_by, learnt)


def settled(params: EvaluatorParams, *, single: bool, judge: Judges | RecordedConfig | None) -> EvaluatorParams:
    """Return the parameters with what their defaults come to. Raises UserError where they contradict each other."""
    if single and "turns" in params.model_fields_set and params.turns != 1:
        raise UserError(f"`turns`: `prompts` are answered once (got {params.turns}); leave it out, or give `personas`")
    recorded = isinstance(judge, RecordedConfig)
    if recorded and params.preference:
        raise UserError("`preference`: recorded answers say of no pair which one is preferred; leave it out")
    preference = single and not recorded if params.preference is None else params.preference
    offline = judge is None or (not isinstance(judge, RecordedConfig) and judge.offline)
    if params.headline == "preference" and not preference:
        raise UserError("`headline`: nobody is asked for a preference; set `preference: true`")
    if params.grade_simulator and (single or offline or recorded):
        raise UserError("`grade_simulator`: takes personas, and a judge that is a model; leave it out")
    headline = params.headline or ("preference" if single and preference and not offline else "score")
    changed = {"preference": preference, "headline": headline, **({"turns": 1} if single else {})}
    return params.model_copy(update=changed)


def with_trials(params: EvaluatorParams, arms: Sequence[Recorded]) -> EvaluatorParams:
    """Return the parameters with the trials that are recorded in `arms`, where these are both of them."""
    return params.model_copy(update={"trials": trials_in(arms)}) if len(arms) == 2 else params


def completion_of(params: EvaluatorParams, *, single: bool, system: bool) -> TextForm | None:
    """Return how prompts are put to base models. Raises UserError where that cannot be."""
    if params.format == "chat":
        return None
    if not single:
        raise UserError("`format`: only `prompts` can be gone on from; personas take a chat template")
    if system:
        raise UserError("`format`: text has no system prompt; write it into `prompt_template`")
    if (count := params.prompt_template.count("{prompt}")) != 1:
        raise UserError(f"`prompt_template`: must hold {{prompt}} once (it stands there {count} times)")
    return TextForm(template=params.prompt_template, stop=params.stop)


def tokenizer_of(inputs: EvaluatorInputs) -> ChatTokenizer | None:
    """Return the base model's tokenizer. Raises UserError when it is not given though a file is to answer."""
    if inputs.base_model is not None:
        return ChatTokenizer.from_folder(inputs.base_model, inputs.chat_template)
    if is_file(inputs.base) or is_file(inputs.model):
        raise UserError("base_model: is needed where a file answers: its tokenizer and chat template count the prompts")
    return None


def arms_of(
    params: EvaluatorParams, inputs: EvaluatorInputs, context: Context, plan: Plan
) -> tuple[tuple[Model, ...], Placement]:
    """Return all arms, base and fine-tuned first, and where our server computes those that are files.

    Raises UserError for one that cannot be read.
    """
    given = (("base", inputs.base, inputs.base_info, "base"), ("finetuned", inputs.model, inputs.model_info, "model"))
    beside = [*params.evaluate, *(sources(inputs.arms) if inputs.arms else ())]
    refuse_names([name.lower() for name in beside])
    places = [*(place for _, place, *_ in given), *(sources(inputs.arms).values() if inputs.arms else ())]
    files = params.evaluate or [place for place in places if isinstance(place, Path) and is_file(place)]
    server, placed = "", Placement()
    if files:
        ours = program("llama-server")
        server, placed = version(ours), placement(ours, params.gpu_layers)
    options = read_chat_settings(inputs.chat_template).options
    terms = Terms(server, placed, plan.context_tokens, plan.sampler, options)
    base, finetuned = (
        read_arm(arm, place, info, context.lineage[port].sha256, terms) for arm, place, info, port in given
    )
    others = quantised(params.evaluate, inputs.model, inputs.model_info, context.lineage["model"].sha256, terms)
    return (base, finetuned, *others, *named(inputs.arms, terms)), placed


def refuse_text(plan: Plan, models: Sequence[Model]) -> None:
    """Raise UserError where an endpoint would have to go on from a text."""
    if plan.completion and (served := [model.arm for model in models if isinstance(model.source, EndpointConfig)]):
        raise UserError(f"`format`: an endpoint ({' and '.join(served)}) takes messages; use `chat`, or give a file")


def plan_of(params: EvaluatorParams, inputs: EvaluatorInputs) -> Plan:
    """Return what all conversations have in common. Raises UserError when no answer can fit the context."""
    context_tokens = context_of(params, inputs.base_model)
    shared, system = params.model_dump(include=set(Plan.model_fields)), read_system_prompt(inputs.system_prompt)
    form = completion_of(params, single=inputs.prompts is not None, system=system is not None)
    return Plan(**{**shared, "context_tokens": context_tokens}, system_prompt=system, completion=form)


def context_of(params: EvaluatorParams, base_model: Path | None) -> int:
    """Return the tokens that a conversation may use. Raises UserError when no answer can fit."""
    context_tokens = params.context_tokens or model_context(base_model)
    longest = params.sampler.max_answer_tokens
    if longest >= context_tokens:
        raise UserError(
            f"`sampler.max_answer_tokens`={longest} leaves no room for a question in a context of {context_tokens} "
            f"tokens. Use at most {context_tokens // 2}."
        )
    return context_tokens
