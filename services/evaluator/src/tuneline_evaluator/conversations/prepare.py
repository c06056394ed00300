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
from tuneline.judge.judging import load_judge
from tuneline.judge.panel import Judges, check_judges
from tuneline.model.chat import ChatTokenizer
from tuneline.model.llama_cpp import program, version
from tuneline.model.system_prompt import read_system_prompt
from tuneline.stage import Context
from tuneline_evaluator.conversations.arms import (
    Model,
    model_context,
    read_model,
    refuse_other_template,
    refuse_unequal,
    unequal_facts,
)
from tuneline_evaluator.conversations.simulate import ScriptedConfig, SimulatorConfig, load_simulator
from tuneline_evaluator.conversations.speakers import who_speaks
from tuneline_evaluator.conversations.talk import Completion, Plan, Speaker
from tuneline_evaluator.stage import EvaluatorInputs, EvaluatorParams


class Prepared(NamedTuple):
    """Who talks to what and how, and who judges it; the base arm comes first."""

    params: EvaluatorParams
    models: tuple[Model, Model]
    personas: Sequence[Speaker]
    rubric: Rubric
    judge: Judges
    simulator: SimulatorConfig
    tokenizer: ChatTokenizer
    plan: Plan
    chosen_by: list[JudgeCard]
    """Who judged the training set."""
    learnt: list[str]
    """Ids of the prompts that were left out because they occur in the training set."""

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
    speakers, learnt = who_speaks(inputs)
    judge, rubric = load_judge(inputs.judge, context.secret), load_rubric(inputs.rubric)
    params = settled(params, single=inputs.prompts is not None, offline=judge.offline)
    simulator = ScriptedConfig() if inputs.prompts else load_simulator(inputs.simulator)
    tokenizer = ChatTokenizer.from_folder(inputs.base_model, inputs.chat_template)
    plan = plan_of(params, inputs)
    server, tokens = version(program("llama-server")), plan.context_tokens
    base, model = context.lineage["base"].sha256, context.lineage["model"].sha256
    models = (
        read_model("base", inputs.base, inputs.base_info, base, server=server, context_tokens=tokens),
        read_model("finetuned", inputs.model, inputs.model_info, model, server=server, context_tokens=tokens),
    )
    refuse_unequal(unequal_facts(models[0].facts, models[1].facts), params.allow_unequal)
    refuse_other_template(models[0].facts, tokenizer, params.allow_unequal)
    check_judges(judge, rubric, [])
    chosen_by = read_record(inputs.assessed_by, JudgeCards).judges if inputs.assessed_by else []
    return Prepared(params, models, speakers, rubric, judge, simulator, tokenizer, plan, chosen_by, learnt)


def settled(params: EvaluatorParams, *, single: bool, offline: bool) -> EvaluatorParams:
    """Return the parameters with what their defaults come to. Raises UserError where they contradict each other."""
    if single and "turns" in params.model_fields_set and params.turns != 1:
        raise UserError(f"`turns`: `prompts` are answered once (got {params.turns}); leave it out, or give `personas`")
    preference = single if params.preference is None else params.preference
    if params.headline == "preference" and not preference:
        raise UserError("`headline`: nobody is asked for a preference; set `preference: true`")
    headline = params.headline or ("preference" if single and preference and not offline else "score")
    changed = {"preference": preference, "headline": headline, **({"turns": 1} if single else {})}
    return params.model_copy(update=changed)


def completion_of(params: EvaluatorParams, *, single: bool, system: bool) -> Completion | None:
    """Return how prompts are put to base models. Raises UserError where that cannot be."""
    if params.format == "chat":
        return None
    if not single:
        raise UserError("`format`: only `prompts` can be gone on from; personas take a chat template")
    if system:
        raise UserError("`format`: text has no system prompt; write it into `prompt_template`")
    if (count := params.prompt_template.count("{prompt}")) != 1:
        raise UserError(f"`prompt_template`: must hold {{prompt}} once (it stands there {count} times)")
    return Completion(template=params.prompt_template, stop=params.stop)


def plan_of(params: EvaluatorParams, inputs: EvaluatorInputs) -> Plan:
    """Return what all conversations have in common. Raises UserError when no answer can fit the context."""
    context_tokens = context_of(params, inputs.base_model)
    shared, system = params.model_dump(include=set(Plan.model_fields)), read_system_prompt(inputs.system_prompt)
    form = completion_of(params, single=inputs.prompts is not None, system=system is not None)
    return Plan(**{**shared, "context_tokens": context_tokens}, system_prompt=system, completion=form)


def context_of(params: EvaluatorParams, base_model: Path) -> int:
    """Return the tokens that a conversation may use. Raises UserError when no answer can fit."""
    context_tokens = params.context_tokens or model_context(base_model)
    longest = params.sampler.max_answer_tokens
    if longest >= context_tokens:
        raise UserError(
            f"`sampler.max_answer_tokens`={longest} leaves no room for a question in a context of {context_tokens} "
            f"tokens. Use at most {context_tokens // 2}."
        )
    return context_tokens
