"""The work of the stage: check that the comparison is fair, talk, judge blind, compare, report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from tuneline.data.conversations import Conversation
from tuneline.data.io import write_lines, write_record
from tuneline.data.personas import Persona
from tuneline.data.rubric import Rubric
from tuneline.data.text.talks import write_talks
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Verdict
from tuneline.judge.card import JudgeCard
from tuneline.judge.judging import Judged, judge_all
from tuneline.judge.panel import disagreement
from tuneline.judge.simulators.simulator import open_simulator
from tuneline.stage import Context, Cost, Json, Metrics
from tuneline_evaluator.comparison.compare import Evidence, compare
from tuneline_evaluator.comparison.figures import Comparison
from tuneline_evaluator.comparison.memorised import learnt_in, memorised
from tuneline_evaluator.comparison.preferred import prefer, preference_rows
from tuneline_evaluator.comparison.roles import ROLE
from tuneline_evaluator.comparison.scores import JudgedConversation
from tuneline_evaluator.conversations.converse import Held, hold_conversations
from tuneline_evaluator.conversations.prepare import Prepared, prepare
from tuneline_evaluator.report.page import write_report
from tuneline_evaluator.report.talks import talk_page
from tuneline_evaluator.serving import modelfile, serving_of
from tuneline_evaluator.stage import EvaluatorInputs, EvaluatorOutputs, EvaluatorParams


class JudgedBlind(NamedTuple):
    """Every conversation with its verdict, and what was done just now to get them."""

    items: list[JudgedConversation]
    judges: list[JudgeCard]
    judged_now: int
    """Conversations that no earlier attempt or run had judged."""
    cost: Cost
    graded: dict[str, bool] | None = None
    """By blind id whether the simulated user kept its role; None where the judge was not asked."""


def evaluate(params: EvaluatorParams, inputs: EvaluatorInputs, outputs: EvaluatorOutputs, context: Context) -> Metrics:
    """Compare the two arms; write conversations, verdicts, comparison, report, and how to serve what was compared."""
    prepared = prepare(params, inputs, context)
    timeout_s, slots = params.answer_timeout_s, 1 if params.exact else params.slots
    with open_simulator(prepared.simulator, context, timeout_s=timeout_s, concurrency=2 * slots) as simulator:
        held = hold_conversations(prepared, simulator, context)
    judged = judge_blind(prepared, held.conversations, context)
    preferred = prefer(prepared, held.conversations, context)
    memory = inputs.slices and memorised(held.conversations, learnt_in(inputs.slices), params.significance)
    evidence = Evidence(judged.items, judged.judges, preferred.met, judged.graded, memory or None)
    comparison = compare(evidence, prepared, simulator, context)
    write_lines(outputs.conversations, held.conversations)
    rows = (_verdict_row(item.conversation, item.verdict) for item in judged.items if item.verdict)
    outputs.verdicts.write_text("".join(rows), encoding="utf-8")
    write_lines(outputs.preferences, preference_rows(preferred.met or []))
    write_record(outputs.comparison, comparison)
    serving = serving_of(prepared)
    write_record(outputs.serving, serving)
    outputs.modelfile.write_text(modelfile(prepared, inputs.modelfile, serving), encoding="utf-8")
    played = {persona.id: persona for persona in prepared.personas if isinstance(persona, Persona)}
    talks = (c for c in held.conversations if c.persona in played)
    asked = ((played[c.persona], seed, said) for c in talks for seed, said in c.asked)
    cost = judged.cost + preferred.cost + simulator.cost(asked) + held.cost
    write_talks(outputs.view, talk_page(comparison, judged.items, preferred.met, prepared.rubric))
    write_report(outputs, inputs, comparison, held.conversations, cost)
    return summarise(comparison, held, judged, preferred.asked_now, cost)


def judge_blind(prepared: Prepared, conversations: Sequence[Conversation], context: Context) -> JudgedBlind:
    """Judge the complete conversations of both arms with the assessor's judge; the others keep their own status.

    It sees the exchanges, and neither arm, persona nor system prompt; ids and order say nothing about them.
    """
    complete = (c for c in conversations if c.status == "complete")
    blind = sorted((Transcript(c.judged_id, c.exchanges) for c in complete), key=lambda t: t.id)
    verdicts = _judged(prepared, prepared.rubric, blind, context)
    by_id, cost, graded = {verdict.id: verdict for verdict in verdicts}, verdicts.cost, None
    if prepared.params.grade_simulator:
        roles = _judged(prepared, ROLE.model_copy(update={"judges": prepared.rubric.judges}), blind, context)
        graded, cost = {one.id: one.passed for one in roles if one.status == "scored"}, cost + roles.cost
    items = [JudgedConversation(conversation, by_id.get(conversation.judged_id)) for conversation in conversations]
    return JudgedBlind(items, verdicts.cards, verdicts.judged_now, cost, graded)


def _judged(prepared: Prepared, rubric: Rubric, blind: Sequence[Transcript], context: Context) -> Judged:
    params = prepared.params
    return judge_all(
        prepared.judge, rubric, blind, context,
        concurrency=params.judge_concurrency, timeout_s=params.judge_timeout_s, max_unreadable=params.max_unparsed,
        canaries=params.canaries, canary_noise=params.canary_noise,
    )  # fmt: skip


def summarise(comparison: Comparison, held: Held, judged: JudgedBlind, asked_now: int, cost: Cost) -> Metrics:
    """Return the stage's metrics; `prompt_tokens_ratio` is 1 when no prompt token was evaluated twice by our servers.

    What a model wrote itself is in its cache and no prompt token, although the next prompt repeats it.
    """
    talks = [c.answers for c in held.conversations if c.answers and not c.answers[0].paid]
    evaluated = sum(answer.evaluated_tokens for answers in talks for answer in answers)
    unique = sum(answers[-1].prompt_tokens - sum(a.answer_tokens for a in answers[:-1]) for answers in talks)
    counts: dict[str, Json] = {
        "verdict": comparison.outcome,
        "mean_difference": comparison.deciding.mean_difference,
        "p_value": comparison.deciding.sign_flip_p,
        "personas": comparison.deciding.personas,
        "conversations": len(held.conversations),
        "conversations_from_journal": held.from_journal,
        "judged_now": judged.judged_now,
        "judged_from_journal": sum(item.verdict is not None for item in judged.items) - judged.judged_now,
        "judges_disagree": disagreement(item.verdict for item in judged.items if item.verdict),
        "judges": [card.model_dump(mode="json") for card in judged.judges],
        "prompt_tokens_ratio": round(evaluated / unique, 3) if unique else None,
    }
    if found := comparison.preference:
        counts |= {
            "win_rate": found.win_rate, "wins": found.wins, "losses": found.losses, "ties": found.ties,
            "flips": found.flips, "unjudged": found.unjudged, "preferences_now": asked_now,
        }  # fmt: skip
    return Metrics(headline=comparison.headline, counts=counts, cost=cost)


def _verdict_row(talk: Conversation, verdict: Verdict) -> str:
    names = {"conversation": talk.id, "arm": talk.arm, "persona": talk.persona, "trial": talk.trial}
    return json.dumps({**names, **verdict.model_dump(mode="json")}, ensure_ascii=False) + "\n"
