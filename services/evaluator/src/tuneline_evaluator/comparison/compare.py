"""Puts the comparison together: every figure of the report, from the judged conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tuneline.data.conversations import Conversation
from tuneline.data.paired.effects import Effect
from tuneline.data.paired.safety import SafetyRow
from tuneline.data.paired.statistics import effect
from tuneline.judge.card import JudgeCard
from tuneline.judge.simulators.simulator import Simulator
from tuneline.parsing.problems import shortened
from tuneline.stage import Context, InputRecord, Maker
from tuneline_evaluator.comparison.beside import length_matched, power_rows
from tuneline_evaluator.comparison.effects import Memorised, Preference, RateGap
from tuneline_evaluator.comparison.figures import ArmSummary, Comparison, TwoJudges
from tuneline_evaluator.comparison.many import many_arms
from tuneline_evaluator.comparison.numbers import signed
from tuneline_evaluator.comparison.preferred import Met, preference_examples, preference_of
from tuneline_evaluator.comparison.rates import fault_gaps, rate_gaps
from tuneline_evaluator.comparison.roles import Kept, Key, kept_roles
from tuneline_evaluator.comparison.scores import (
    JudgedConversation,
    Scored,
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


class Evidence(NamedTuple):
    """What was said with all arms, and what was found about it."""

    judged: Sequence[JudgedConversation]
    judges: Sequence[JudgeCard]
    met: Sequence[Met] | None
    """The pairs of which the judge said what it prefers; None: nobody asked."""
    graded: Mapping[str, bool] | None = None
    """By blind id whether the simulated user kept its role, as the judge says; None: nobody asked."""
    memorised: Memorised | None = None


class _Counted(NamedTuple):
    """The figures of base and finetuned that others rest on."""

    scored: list[Scored]
    base: ArmSummary
    finetuned: ArmSummary
    differences: list[float]
    score: Effect
    safety: list[SafetyRow]
    gaps: list[RateGap]
    faults: list[RateGap]


def compare(evidence: Evidence, prepared: Prepared, simulator: Simulator, context: Context) -> Comparison:
    """Return the comparison that follows from the evidence."""
    params, rubric, everyone = prepared.params, prepared.rubric, [model.facts for model in prepared.models]
    existed = all(isinstance(model.source, Recorded) for model in prepared.models[:2])
    talks = [item.conversation for item in evidence.judged]
    roles = kept_roles(talks, evidence.graded) if simulator.reacts and not existed else None
    evidence = _within(evidence, roles.left_out if roles else frozenset())
    counted, two = _counted(evidence.judged, prepared), two_judges(_of_both(evidence.judged), rubric)
    preference = _preference(evidence.met, prepared) if evidence.met is not None else None
    by_preference = preference if params.headline == "preference" else None
    deciding, unequal = by_preference.effect if by_preference else counted.score, unequal_facts(*everyone[:2])
    return Comparison(
        **decide(deciding, counted.safety, counted.gaps, params, by_preference, counted.faults)._asdict(),
        score=counted.score, base=counted.base, finetuned=counted.finetuned,
        personas=persona_rows(counted.scored, prepared.personas), categories=category_rows(counted.scored, rubric),
        criteria=criterion_rows(counted.scored, rubric),
        safety=counted.safety, gaps=counted.gaps, faults=counted.faults,
        arms=[as_made(everyone[0], context.maker("base")), everyone[1]], unequal=unequal,
        unverified=tuple(filter(None, (unverified(arm, talks) for arm in everyone))),
        many=many_arms(evidence.judged, everyone, params.significance),
        judge=prepared.judge.label, judges=list(evidence.judges), two_judges=two, preference=preference,
        length_matched=length_matched(counted.scored, params.significance),
        roles=roles and roles.check, memorised=evidence.memorised,
        power=power_rows(counted.differences, params.significance),
        chosen_by=prepared.chosen_by, judge_is_heuristic=prepared.judge.offline,
        simulator=_who_plays(prepared, simulator, existed=existed), existed=existed, settings=params,
        system_prompt=prepared.plan.system_prompt is not None, rubric=rubric.name,
        pass_threshold=rubric.pass_threshold,
        examples=(preference_examples(evidence.met) if evidence.met else []) or paired_examples(counted.scored),
        notes=[
            *about_model(context.maker("model")),
            *_notes(prepared, unequal, simulator.reacts or existed, deciding.personas),
            *about_roles(roles), *about_memory(evidence.memorised), *_about_judges(evidence.judges, prepared.chosen_by),
            *(about_preference(preference) if preference else ()), *(about_both(two) if two else ()),
            *notes(deciding, (counted.base, counted.finetuned), counted.safety, params, counted.faults),
        ],
        lineage={port: _anywhere(record) for port, record in context.lineage.items()}, fingerprint=context.fingerprint,
    )  # fmt: skip


def _within(evidence: Evidence, left_out: frozenset[Key]) -> Evidence:
    """Return the evidence without the conversations of some personas and trials, whichever arm they are with."""
    judged = [one for one in evidence.judged if (one.conversation.persona, one.conversation.trial) not in left_out]
    met = evidence.met and [one for one in evidence.met if (one.base.persona, one.base.trial) not in left_out]
    return evidence._replace(judged=judged, met=met)


def _of_both(judged: Sequence[JudgedConversation]) -> list[JudgedConversation]:
    return [item for item in judged if item.conversation.arm in ("base", "finetuned")]


def _counted(judged: Sequence[JudgedConversation], prepared: Prepared) -> _Counted:
    judged, params = _of_both(judged), prepared.params
    scored, arms = scored_of(judged), (arm_summary(judged, "base"), arm_summary(judged, "finetuned"))
    differences, alpha = [pair.difference for pair in pairs(scored, score)], params.significance
    return _Counted(
        scored, *arms, differences, effect(differences, alpha, unit=prepared.unit),
        safety_rows(scored, prepared.rubric, params.safety_margin, alpha), rate_gaps(*arms, alpha, judged),
        fault_gaps(*arms, alpha, judged),
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
        who = "prompts occur in" if prepared.single else "personas follow scripts that are mostly taken from"
        yield (
            f"{len(learnt)} of {len(learnt) + len(prepared.personas)} {who} the training set, where the "
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


def about_roles(roles: Kept | None) -> Iterator[str]:
    """Yield what was left out because a simulated user left its role."""
    if roles is None or not roles.check.left_out:
        return
    check, told = roles.check, "code and the judge" if roles.check.by_judge else "code"
    yield (
        f"In {len(check.left_out)} of {check.of} personas and trials the simulated user left its role, as {told} "
        f"found (with the base {check.base}, with the fine-tuned model {check.finetuned}): their conversations are "
        f"left out with all models alike ({shortened(check.left_out)})."
    )


def about_memory(found: Memorised | None) -> Iterator[str]:
    """Yield a note where the fine-tuned model repeats what it learnt more often than chance makes the base do."""
    if found is None or not found.differs or not found.finetuned.longest:
        return
    base, tuned, most = found.base, found.finetuned, found.finetuned.longest[0]
    yield (
        f"{tuned.repeating} of {tuned.answers} answers of the fine-tuned model repeat {found.words} words or more of "
        f"the training text ({base.repeating} of {base.answers} of the base); the longest stretch has {most.words} "
        f"words ({most.conversation}, answer {most.answer}). Scores do not tell what was learnt from what was copied."
    )
