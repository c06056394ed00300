"""Everything that is read and found good before the first token is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tuneline.data.io import read_record
from tuneline.data.personas import Persona, load_personas
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
from tuneline_evaluator.conversations.simulate import SimulatorConfig, load_simulator
from tuneline_evaluator.conversations.talk import Plan
from tuneline_evaluator.stage import EvaluatorInputs, EvaluatorParams


class Prepared(NamedTuple):
    """Who talks to what and how, and who judges it; the base arm comes first."""

    params: EvaluatorParams
    models: tuple[Model, Model]
    personas: list[Persona]
    rubric: Rubric
    judge: Judges
    simulator: SimulatorConfig
    tokenizer: ChatTokenizer
    plan: Plan
    chosen_by: list[JudgeCard]
    """Who judged the training set."""


def prepare(params: EvaluatorParams, inputs: EvaluatorInputs, context: Context) -> Prepared:
    """Read and check every input. Raises UserError before anything is started or paid for."""
    personas, rubric = load_personas(inputs.personas), load_rubric(inputs.rubric)
    judge, simulator = load_judge(inputs.judge, context.secret), load_simulator(inputs.simulator)
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
    return Prepared(params, models, personas, rubric, judge, simulator, tokenizer, plan, chosen_by)


def plan_of(params: EvaluatorParams, inputs: EvaluatorInputs) -> Plan:
    """Return what all conversations have in common. Raises UserError when no answer can fit the context."""
    context_tokens = context_of(params, inputs.base_model)
    shared = params.model_dump(include=set(Plan.model_fields) - {"context_tokens"})
    return Plan(context_tokens=context_tokens, system_prompt=read_system_prompt(inputs.system_prompt), **shared)


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
