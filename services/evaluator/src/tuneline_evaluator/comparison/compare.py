"""Puts the comparison together: every figure of the report, from the judged conversations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tuneline.data.conversations import Conversation
from tuneline.data.paired.statistics import effect
from tuneline.judge.card import JudgeCard
from tuneline.judge.simulators.simulator import Simulator
from tuneline.parsing.problems import shortened
from tuneline.stage import Context, InputRecord, Maker
from tuneline_evaluator.comparison.beside import length_matched, power_rows
from tuneline_evaluator.comparison.effects import Preference
from tuneline_evaluator.comparison.figures import Comparison, TwoJudges
from tuneline_evaluator.comparison.many import many_arms
from tuneline_evaluator.comparison.numbers import signed
from tuneline_evaluator.comparison.preferred import Met, preference_examples, preference_of
from tuneline_evaluator.comparison.rates import fault_gaps, rate_gaps
from tuneline_evaluator.comparison.scores import (
    JudgedConversation,
    arm_summary,
    category_rows,
    criterion_rows,
    paired_examples,
    pairs,
    persona_rows,
    safety_rows,
    score,
    scored_of,
)
from tuneline_evaluator.comparison.two_judges import two_judges
from tuneline_evaluator.comparison.verdict import about_preference, decide, notes
from tuneline_evaluator.conversations.arms import ArmFacts, as_made, unequal_facts, unverified_facts
from tuneline_evaluator.conversations.prepare import Prepared
from tuneline_evaluator.conversations.recorded import Recorded


def compare(
    judged: Sequence[JudgedConversation], judges: Sequence[JudgeCard], met: Sequence[Met] | None, prepared: Prepared,
    simulator: Simulator, context: Context,
) -> Comparison:  # fmt: skip
    """Return the comparison that follows from `judged`, the conversations as `judges` found them, and from `met`, the
    pairs of them of which they said which they prefer (None: nobody asked).
    """
    params, rubric, everyone = prepared.params, prepared.rubric, [model.facts for model in prepared.models]
    many = many_arms(judged, everyone, params.significance)
    talks, arms = [item.conversation for item in judged], everyone[:2]
    judged = [item for item in judged if item.conversation.arm in ("base", "finetuned")]
    existed = all(isinstance(model.source, Recorded) for model in prepared.models[:2])
    scored, unequal = scored_of(judged), unequal_facts(*arms)
    base, finetuned = arm_summary(judged, "base"), arm_summary(judged, "finetuned")
    differences = [pair.difference for pair in pairs(scored, score)]
    whole = effect(differences, params.significance, unit=prepared.unit)
    safety = safety_rows(scored, rubric, params.safety_margin, params.significance)
    gaps = rate_gaps(base, finetuned, params.significance, judged)
    faults = fault_gaps(base, finetuned, params.significance, judged)
    preference = _preference(met, prepared) if met is not None else None
    by_preference = preference if params.headline == "preference" else None
    deciding, two = by_preference.effect if by_preference else whole, two_judges(judged, rubric)
    around = [
        *about_model(context.maker("model")),
        *_notes(prepared, unequal, simulator.reacts or existed, deciding.personas),
        *_about_judges(judges, prepared.chosen_by), *(about_preference(preference) if preference else ()),
        *(about_both(two) if two else ()), *notes(deciding, (base, finetuned), safety, params, faults),
    ]  # fmt: skip
    return Comparison(
        **decide(deciding, safety, gaps, params, by_preference, faults)._asdict(),
        score=whole,
        base=base, finetuned=finetuned, personas=persona_rows(scored, prepared.personas),
        categories=category_rows(scored, rubric), criteria=criterion_rows(scored, rubric), safety=safety, gaps=gaps,
        faults=faults,
        arms=[as_made(arms[0], context.maker("base")), arms[1]], unequal=unequal,
        unverified=tuple(filter(None, (unverified(arm, talks) for arm in everyone))),
        many=many,
        judge=prepared.judge.label,
        judges=list(judges),
        two_judges=two,
        preference=preference,
        length_matched=length_matched(scored, params.significance),
        power=power_rows(differences, params.significance),
        chosen_by=prepared.chosen_by,
        judge_is_heuristic=prepared.judge.offline,
        simulator=_who_plays(prepared, simulator, existed=existed),
        existed=existed,
        settings=params,
        system_prompt=prepared.plan.system_prompt is not None,
        rubric=rubric.name,
        pass_threshold=rubric.pass_threshold,
        examples=(preference_examples(met) if met else []) or paired_examples(scored),
        notes=around,
        lineage={port: _anywhere(record) for port, record in context.lineage.items()},
        fingerprint=context.fingerprint,
    )  # fmt: skip


def unverified(arm: ArmFacts, conversations: Sequence[Conversation]) -> str:
    """Say what nobody can know of an arm, and what its endpoint did not take; empty if everything is known."""
    unknown = [name.replace("_", " ").removesuffix(" sha256") for name in unverified_facts(arm)]
    if not unknown:
        return ""
    said = f"Of the {arm.arm} arm, {arm.name}, nobody can verify {', '.join(unknown)}"
    answers = [answer for talk in conversations if talk.arm == arm.arm for answer in talk.answers if answer.paid]
    if not arm.endpoint:
        return f"{said}, nor how its conversations came about" if arm.context_tokens is None else said
    said += ", nor whether it draws by the seed and the sampler that it is sent"
    if refused := sorted({name for answer in answers for name in answer.left_out}):
        said += f" (it does not take {', '.join(refused)})"
    if names := sorted({answer.model for answer in answers if answer.model}):
        said += f"; it answered as {' and as '.join(names)}"
    return said


def _who_plays(prepared: Prepared, simulator: Simulator, *, existed: bool) -> str:
    if existed:
        return "not known: the conversations existed already"
    return "nobody: each prompt is said as it is" if prepared.single else simulator.label


def _anywhere(record: InputRecord) -> InputRecord:
    """Leave the folders of one machine out of an address: a report is read on others."""
    if record.uri is None or ("://" in record.uri and not record.uri.startswith("file://")):
        return record
    return record.model_copy(update={"uri": record.uri.rstrip("/").rpartition("/")[2]})


def _notes(prepared: Prepared, unequal: Sequence[str], reacts: bool, paired: int) -> Iterator[str]:
    if learnt := prepared.learnt:
        yield (
            f"{len(learnt)} of {len(learnt) + len(prepared.personas)} prompts occur in the training set, where the "
            f"fine-tuned model met them before, and were left out: {shortened(learnt)}."
        )
    if unequal:
        yield (
            f"The arms differ in more than their weights, and the run allowed it: {'; '.join(unequal)}. "
            "The difference of the scores is not the effect of the training alone."
        )
    if prepared.judge.offline:
        yield (
            "Offline rules judged the conversations, not a model or a person: the scores show that every step "
            "works and say little about quality."
        )
    if not reacts and not prepared.single:
        yield "The simulated users followed scripts and did not react to the answers."
    if paired < (personas := len(prepared.personas)):
        yield (
            f"{personas - paired} of {personas} {prepared.unit}s have no scored conversation in one arm and are left "
            "out of every difference."
        )


def _preference(met: Sequence[Met], prepared: Prepared) -> Preference:
    params, label = prepared.params, prepared.judge.label
    return preference_of(met, label, params.question, params.significance, prepared.unit)


def about_model(maker: Maker | None) -> Iterator[str]:
    """Warn of a model that learnt from transcripts which were forgotten before it was compared."""
    if maker and maker.forgotten:
        were = "transcript that was" if maker.forgotten == 1 else "transcripts that were"
        yield (
            f"The fine-tuned model learnt from {maker.forgotten:,} {were} forgotten since (`tuneline forget`): "
            "train it again before anybody uses it."
        )


def _about_judges(judges: Sequence[JudgeCard], chosen_by: Sequence[JudgeCard]) -> Iterator[str]:
    chose, models = {card.family for card in chosen_by if card.model}, [card for card in judges if card.model]
    for family in dict.fromkeys(card.family for card in models if card.family in chose and card.family != "unknown"):
        yield (
            f"Models of one family ({family}) chose what was learnt and judge what came of it, and a family likes its "
            "own answers: a judge of another family, or people, would show whether the difference is more than that."
        )


def about_both(two: TwoJudges) -> Iterator[str]:
    """Yield what a reader must know of two judges that differ."""
    first, second = two.judges
    if first.difference and second.difference and (first.difference > 0) != (second.difference > 0):
        yield (
            f"The two judges do not agree which model is better: {first.name} alone finds {signed(first.difference)} "
            f"points and {second.name} alone {signed(second.difference)}."
        )
    if alone := two.conversations - two.both_scored:
        yield f"{alone} of {two.conversations} judged conversations have no score, as one of the two judges gave none."
