"""The work of the stage: check that the comparison is fair, talk, judge blind, compare, report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tuneline.data.rubric import Rubric, load_rubric
from tuneline.data.verdicts import Verdict
from tuneline.errors import Temporary, UserError
from tuneline.judge.judging import Judge, load_judge
from tuneline.model.chat import ChatTokenizer, read_system_prompt
from tuneline.model.llama_cpp import program, version
from tuneline.stage import Context, Cost, Json, Metrics
from tuneline_evaluator.comparison.compare import Frame, compare
from tuneline_evaluator.comparison.figures import Comparison, Settings
from tuneline_evaluator.comparison.judging import JudgedBlind, judge_blind
from tuneline_evaluator.comparison.scores import Judged
from tuneline_evaluator.conversations.arms import (
    Model,
    model_context,
    read_model,
    refuse_other_template,
    refuse_unequal,
    unequal_facts,
)
from tuneline_evaluator.conversations.converse import Cast, Held, Pace, hold_conversations
from tuneline_evaluator.conversations.personas import Persona, load_personas
from tuneline_evaluator.conversations.simulate import Simulator, SimulatorConfig, load_simulator, open_simulator
from tuneline_evaluator.conversations.talk import Plan, Sampler
from tuneline_evaluator.report.material import ReportMaterial
from tuneline_evaluator.report.page import write_report
from tuneline_evaluator.stage import EvaluatorInputs, EvaluatorOutputs, EvaluatorParams


class Setup(NamedTuple):
    """Everything that was read and found good before the first token is drawn."""

    models: tuple[Model, Model]
    personas: list[Persona]
    rubric: Rubric
    judge: Judge
    simulator: SimulatorConfig
    tokenizer: ChatTokenizer
    plan: Plan
    settings: Settings


def evaluate(params: EvaluatorParams, inputs: EvaluatorInputs, outputs: EvaluatorOutputs, context: Context) -> Metrics:
    """Compare the two arms; write conversations, verdicts, comparison and report."""
    setup = prepare(params, inputs, context)
    with open_simulator(
        setup.simulator, context, timeout_s=params.answer_timeout_s, concurrency=2 * params.slots
    ) as simulator:
        held = talk_to_both(params, setup, simulator, context)
    judged = judge_blind(
        setup.judge, setup.rubric, held.conversations, context,
        concurrency=params.judge_concurrency, timeout_s=params.judge_timeout_s,
    )  # fmt: skip
    comparison = compare(judged.items, frame_of(setup, simulator, context))
    write_outputs(outputs, inputs, judged.items, comparison)
    by_id = {persona.id: persona for persona in setup.personas}
    asked = ((by_id[c.persona], seed, said) for c in held.conversations for seed, said in c.asked)
    return figures(comparison, held, judged, judged.cost + simulator.cost(asked))


def prepare(params: EvaluatorParams, inputs: EvaluatorInputs, context: Context) -> Setup:
    """Read and check every input. Raises UserError before anything is started or paid for."""
    personas, rubric = load_personas(inputs.personas), load_rubric(inputs.rubric)
    judge, simulator = load_judge(inputs.judge, context.secret), load_simulator(inputs.simulator)
    tokenizer = ChatTokenizer.from_folder(inputs.base_model)
    plan = plan_of(params, inputs)
    models = read_models(inputs, context, plan.context_tokens)
    refuse_unequal(unequal_facts(models[0].facts, models[1].facts), params.allow_unequal)
    refuse_other_template(models[0].facts, tokenizer, params.allow_unequal)
    judge.check(rubric, [])
    settings = Settings(
        turns=params.turns,
        trials=params.trials,
        seed=params.seed,
        sampler=plan.sampler,
        significance=params.significance,
        margin=params.margin,
        safety_margin=params.safety_margin,
        allow_unequal=params.allow_unequal,
        system_prompt=plan.system_prompt is not None,
        rubric=rubric.name,
        pass_threshold=rubric.pass_threshold,
    )
    return Setup(models, personas, rubric, judge, simulator, tokenizer, plan, settings)


def plan_of(params: EvaluatorParams, inputs: EvaluatorInputs) -> Plan:
    """Return what all conversations have in common. Raises UserError when no answer can fit the context."""
    context_tokens = params.context_tokens or model_context(inputs.base_model)
    if params.max_answer_tokens >= context_tokens:
        raise UserError(
            f"`max_answer_tokens`={params.max_answer_tokens} leaves no room for a question in a context of "
            f"{context_tokens} tokens. Use at most {context_tokens // 2}."
        )
    sampler = Sampler(
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        min_p=params.min_p,
        repeat_penalty=1.0,
        max_answer_tokens=params.max_answer_tokens,
    )
    return Plan(
        turns=params.turns,
        seed=params.seed,
        sampler=sampler,
        context_tokens=context_tokens,
        system_prompt=read_system_prompt(inputs.system_prompt),
    )


def read_models(inputs: EvaluatorInputs, context: Context, context_tokens: int) -> tuple[Model, Model]:
    """Return the base arm and the finetuned arm."""
    server = version(program("llama-server"))
    base, model = context.lineage["base"].sha256, context.lineage["model"].sha256
    return (
        read_model("base", inputs.base, inputs.base_info, base, server=server, context_tokens=context_tokens),
        read_model("finetuned", inputs.model, inputs.model_info, model, server=server, context_tokens=context_tokens),
    )


def talk_to_both(params: EvaluatorParams, setup: Setup, simulator: Simulator, context: Context) -> Held:
    """Hold the conversations. Raises Temporary when an arm gave no conversation at all."""
    pace = Pace(params.interleave, params.slots, params.threads, params.answer_timeout_s)
    cast = Cast(setup.personas, simulator, setup.tokenizer)
    held = hold_conversations(setup.plan, cast, params.trials, setup.models, pace, context)
    for model in setup.models:
        mine = [c for c in held.conversations if c.arm == model.arm]
        if all(c.status == "broken" for c in mine):
            raise Temporary(f"none of the {len(mine)} conversations with the {model.arm} arm got an answer")
    return held


def frame_of(setup: Setup, simulator: Simulator, context: Context) -> Frame:
    """Return what explains the figures."""
    base, finetuned = (model.facts for model in setup.models)
    return Frame(
        personas=setup.personas,
        rubric=setup.rubric,
        settings=setup.settings,
        base=base,
        finetuned=finetuned,
        judge=setup.judge.label,
        judge_is_heuristic=setup.judge.offline,
        simulator=simulator.label,
        simulator_reacts=simulator.reacts,
        lineage=context.lineage,
        fingerprint=context.fingerprint,
    )


def write_outputs(
    outputs: EvaluatorOutputs, inputs: EvaluatorInputs, judged: Sequence[Judged], comparison: Comparison
) -> None:
    """Write every output port."""
    conversations = [item.conversation for item in judged]
    _write_lines(outputs.conversations, [c.model_dump_json() for c in conversations])
    _write_lines(outputs.verdicts, [_verdict_row(item, item.verdict) for item in judged if item.verdict])
    outputs.comparison.write_text(comparison.model_dump_json(indent=1) + "\n", encoding="utf-8")
    material = ReportMaterial(
        assessed=inputs.assessed,
        slices_stats=inputs.slices_stats,
        training=inputs.training,
        training_metrics=inputs.training_metrics,
        model_info=inputs.model_info,
        base_info=inputs.base_info,
    )
    write_report(outputs.report, outputs.summary, comparison, conversations, material)


def figures(comparison: Comparison, held: Held, judged: JudgedBlind, cost: Cost) -> Metrics:
    """Return the stage's metrics; `prompt_tokens_ratio` is 1 when no prompt token was evaluated twice."""
    evaluated = sum(answer.evaluated_tokens for c in held.conversations for answer in c.answers)
    unique = sum(c.answers[-1].prompt_tokens for c in held.conversations if c.answers)
    counts: dict[str, Json] = {
        "verdict": comparison.outcome,
        "mean_difference": comparison.score.mean_difference,
        "p_value": comparison.score.sign_flip_p,
        "personas": comparison.score.personas,
        "conversations": len(held.conversations),
        "conversations_from_journal": held.from_journal,
        "judged_now": judged.judged_now,
        "judged_from_journal": sum(item.verdict is not None for item in judged.items) - judged.judged_now,
        "prompt_tokens_ratio": round(evaluated / unique, 3) if unique else None,
    }
    return Metrics(headline=comparison.headline, counts=counts, cost=cost)


def _write_lines(path: Path, rows: Iterable[str]) -> None:
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def _verdict_row(item: Judged, verdict: Verdict) -> str:
    conversation = item.conversation
    names = {
        "conversation": conversation.id,
        "arm": conversation.arm,
        "persona": conversation.persona,
        "trial": conversation.trial,
    }
    return json.dumps({**names, **verdict.model_dump(mode="json")}, ensure_ascii=False)
