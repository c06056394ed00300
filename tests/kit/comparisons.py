"""Made-up comparisons that agree with themselves: differences are drawn, the rest follows by the real statistics."""

from __future__ import annotations

import random
from pathlib import Path

from tuneline.data.conversations import AnswerFacts, Conversation, Said
from tuneline.data.io import write_lines, write_record
from tuneline.data.model_facts import ModelFacts
from tuneline.data.paired.safety import SafetyRow, safety_row
from tuneline.data.paired.statistics import effect, holm
from tuneline.data.slices import SliceStats
from tuneline.data.training import TrainingRecord, TrainingRow
from tuneline.data.verdicts import Verdict
from tuneline.judge.card import JudgeCard
from tuneline.judge.preference.choice import Choice, Side
from tuneline.stage import InputRecord, Usage
from tuneline_evaluator.comparison.beside import power_rows
from tuneline_evaluator.comparison.figures import (
    ArmSummary,
    Comparison,
    GroupRow,
    PairedExample,
    PersonaRow,
)
from tuneline_evaluator.comparison.preferred import Met, preference_examples, preference_of
from tuneline_evaluator.comparison.rates import fault_gaps, rate_gaps
from tuneline_evaluator.comparison.verdict import about_preference, decide, notes
from tuneline_evaluator.conversations.arms import ArmFacts
from tuneline_evaluator.stage import EvaluatorInputs, EvaluatorParams

NAMES = (
    "The tidy host",
    "The early riser",
    "The milk lover",
    "The office manager",
    "Grandfather of five",
    "The sceptic",
)
CATEGORIES = {"listening": ("LI1", "LI2", "LI3"), "guidance": ("GU1", "GU2", "GU3", "GU4"), "form": ("FO1", "FO2")}
QUESTION = "Does the assistant acknowledge what the customer says before it goes on?"
SETTINGS = EvaluatorParams(turns=4)


def comparison(
    personas: int = 16, gain: float = 0.08, spread: float = 0.09, *, refused: int = 0, gates_lost: int = 0,
    looping: int = 0, heuristic: bool = False, unequal: tuple[str, ...] = (), settings: EvaluatorParams = SETTINGS,
) -> Comparison:  # fmt: skip
    """Return a comparison of so many personas whose differences spread around `gain`."""
    people = _people(personas, gain, spread)
    score = effect([row.difference or 0.0 for row in people], settings.significance)
    safety = [_gate(name, personas, lost, settings) for name, lost in (("SA1", gates_lost), ("SA2", 0))]
    arms = (_summary(people, 0, "base"), _summary(people, refused, "finetuned", looping))
    gaps, faults = rate_gaps(*arms, settings.significance), fault_gaps(*arms, settings.significance)
    decision = decide(score, safety, gaps, settings, faults=faults)
    return Comparison(
        outcome=decision.outcome, headline=decision.headline, explanation=decision.explanation,
        score=score, base=arms[0], finetuned=arms[1], personas=people,
        categories=_groups([(name, name, None) for name in CATEGORIES], personas, gain),
        criteria=_groups([(c, QUESTION, group) for group, ids in CATEGORIES.items() for c in ids], personas, gain),
        safety=safety, gaps=gaps, faults=faults,
        arms=[_facts("base", not unequal), _facts("finetuned", True)], unequal=list(unequal),
        judge="heuristic rules" if heuristic else "gpt-5-mini", judge_is_heuristic=heuristic,
        judges=[_card(heuristic)], chosen_by=[_card(heuristic)],
        power=power_rows([row.difference or 0.0 for row in people], settings.significance),
        simulator="script" if heuristic else "gpt-5-mini", settings=settings, system_prompt=True,
        rubric="Coffee-machine support", pass_threshold=0.8, examples=_examples(people),
        notes=notes(score, arms, safety, settings, faults), lineage=_lineage(), fingerprint="9f" * 32,
    )  # fmt: skip


def preferred(
    of: Comparison, wins: int, losses: int, ties: int, *, flips: int = 0, by_length: bool = False
) -> Comparison:
    """Return the comparison as one of prompts that a judge preferred something of, so many times."""
    settings = of.settings.model_copy(update={"turns": 1, "preference": True, "headline": "preference"})
    kinds = ["win"] * wins + ["loss"] * losses + ["tie"] * ties + ["flip"] * flips
    chance = random.Random(1)
    longer = {"win": (10, 120), "loss": (-90, 30), "tie": (-50, 50), "flip": (-50, 50)}
    met = [
        met_of(f"prompt-{place:03}", kind, chance.randint(*longer[kind]) if by_length else place % 7)
        for place, kind in enumerate(kinds)
    ]
    found = preference_of(met, of.judge, settings.question, settings.significance, "prompt")
    rows = [
        PersonaRow(id=one.base.persona, name=f"How do I clean part {place}?", base_mean=0.5, finetuned_mean=0.5,
                   difference=0.0, base_trials=1, finetuned_trials=1)
        for place, one in enumerate(met)
    ]  # fmt: skip
    score = effect([(place % 5 - 1.5) / 50 for place in range(len(met))], settings.significance, unit="prompt")
    decision = decide(found.effect, of.safety, of.gaps, settings, found)
    return of.model_copy(update={
        **decision._asdict(), "settings": settings, "preference": found, "personas": rows, "score": score,
        "examples": preference_examples(met),
        "notes": [*about_preference(found), *notes(found.effect, (of.base, of.finetuned), of.safety, settings)],
    })  # fmt: skip


SIDES: dict[str, tuple[Side, Side]] = {
    "win": ("B", "A"), "loss": ("A", "B"), "tie": ("TIE", "TIE"), "flip": ("A", "A")
}  # fmt: skip


def met_of(name: str, kind: str, longer_by: int) -> Met:
    first, second = (Choice(status="scored", answer=side, reason="It names the float.") for side in SIDES[kind])
    base = _conversation(name, "base", 1, "", "Clean it. " + "x" * 100)
    return Met(base, _conversation(name, "finetuned", 1, "", "Clean it. " + "x" * (100 + longer_by)), [(first, second)])


def conversations(of: Comparison, says: str = "", answers: str = "") -> list[Conversation]:
    """Return both conversations of every persona; `says` and `answers` take the place of the made-up text."""
    return [_conversation(row.id, arm, of.settings.turns, says, answers) for row in of.personas for arm in ARMS]


def material(folder: Path, *, earlier: bool = True, steps: int = 102) -> EvaluatorInputs:
    """Write what earlier stages leave, as they write it; without `earlier` only what the conversion leaves."""
    write_record(folder / "base.json", gguf_facts("Gemma-2-9B-it-v1-Q4_K_M.gguf"))
    write_record(folder / "gguf.json", gguf_facts("Gemma-2-9B-it-support-v1-Q4_K_M.gguf"))
    unread = dict.fromkeys(("model", "base", "base_model", "rubric", "personas", "judge"), folder)
    made = EvaluatorInputs(**unread, model_info=folder / "gguf.json", base_info=folder / "base.json")
    if not earlier:
        return made
    write_lines(folder / "verdicts.jsonl", _verdicts())
    write_record(folder / "slices.stats.json", SLICES)
    write_record(folder / "training.json", TRAINING)
    write_lines(folder / "metrics.jsonl", _metrics(steps))
    return made.model_copy(update={
        "assessed": folder / "verdicts.jsonl", "slices_stats": folder / "slices.stats.json",
        "training": folder / "training.json", "training_metrics": folder / "metrics.jsonl",
    })  # fmt: skip


ARMS = ("base", "finetuned")
SLICES = SliceStats.model_validate({
    "transcripts": 41, "passed": 35, "sliced": 34, "slices": 297, "train": 268, "validation": 29,
    "rejected": {"longer than the token limit": 4}, "rejected_transcripts": {"fewer exchanges than min_context": 1},
    "splits": {
        "train": {"transcripts": 30, "slices": 268, "tokens": 1_402_331},
        "validation": {"transcripts": 4, "slices": 29, "tokens": 150_118},
    },
    "slices_per_transcript": {"total": 297, "min": 3, "mean": 8.7, "max": 17},
    "max_tokens": 8192, "tokens": {"total": 1_552_449, "unique": 221_300, "min": 804, "mean": 5227.1, "max": 8190},
    "planning_tokens": {"total": 1_400_000, "unique": 210_000, "min": 800, "mean": 4700.0, "max": 8000},
    "planning_tokens_per_transcript": {"total": 210_000, "min": 900, "mean": 6000.0, "max": 9000},
    "truncated": {"slices": 61, "exchanges": 402, "most": 19}, "near_duplicates": [["t03", "t17"]],
    "personas": {"read": 12, "kept": 11, "lost": ["p9"]},
})  # fmt: skip
TRAINING = TrainingRecord.model_validate({
    "params": {"epochs": 3.0, "learning_rate": 0.0002, "lora": {"rank": 64, "targets": ["q_proj", "v_proj"]}},
    "setup": {
        "device": "cuda", "dtype": "bf16", "quantization": "nf4", "attention": "eager", "max_length": 8192,
        "threads": 2, "libraries": {"torch": "2.15.0"},
    },
    "examples": {
        "train": {"slices": 268, "rows": 268, "tokens": 1_402_331, "supervised_tokens": 310_442},
        "validation": {"slices": 29, "rows": 29, "tokens": 150_118, "supervised_tokens": 33_871},
    },
    "batching": "slices", "batching_reason": "as asked for",
    "answers_found_by": "generation blocks", "learnt_per_third": [1.0, 1.0, 1.0],
    "steps": 102, "kept_step": 102, "tokens_seen": 4_206_993,
    "parameters": {"trained": 54_018_048, "base": 9_241_705_984},
    "losses": {"train_first": 2.31, "train_last": 0.94, "validation_before": 2.28, "validation_after": None,
        "validation_best": None},
})  # fmt: skip


def _card(heuristic: bool) -> JudgeCard:
    if heuristic:
        return JudgeCard(label="heuristic rules", provider="heuristic", family="rules", questions_sha256="5d" * 32)
    return JudgeCard(
        label="gpt-5-mini", provider="openai", model="gpt-5-mini", family="openai", server="api.openai.com",
        prompt_version=3, questions_sha256="5d" * 32, settings={"temperature": 0.0, "seed": 0},
        first_judged="2026-11-20", last_judged="2026-11-24",
    )  # fmt: skip


def _people(personas: int, gain: float, spread: float) -> list[PersonaRow]:
    chance = random.Random(7)
    rows = []
    for index in range(personas):
        base = 0.62 + 0.12 * chance.uniform(-1, 1)
        finetuned = min(0.99, max(0.02, base + chance.gauss(gain, spread)))
        name = NAMES[index % len(NAMES)] + (f" {index // len(NAMES) + 1}" if index >= len(NAMES) else "")
        rows.append(PersonaRow(
            id=f"persona-{index:02}", name=name, base_mean=base, finetuned_mean=finetuned, difference=finetuned - base,
            base_trials=1, finetuned_trials=1,
        ))  # fmt: skip
    return rows


def _summary(people: list[PersonaRow], refused: int, arm: str, looping: int = 0) -> ArmSummary:
    n = len(people)
    means = [row.base_mean if arm == "base" else row.finetuned_mean for row in people]
    passed = sum(mean is not None and mean >= 0.8 for mean in means)
    return ArmSummary(
        conversations=n, complete=n, empty=0, overflow=0, broken=0, scored=n - refused, refused=refused, blocked=0,
        unparsed=0, too_long=0, judge_failed=0, passed=passed, pass_rate=passed / n,
        mean_score=sum(mean or 0.0 for mean in means) / n, answers=4 * n, cut_answers=1, looping_answers=looping,
        foreign_answers=0,
        mean_answer_tokens=57.25,
    )  # fmt: skip


def _groups(names: list[tuple[str, str, str | None]], personas: int, gain: float) -> list[GroupRow]:
    ps = [min(1.0, 0.0004 * 4**index) for index in range(len(names))]
    return [
        GroupRow(
            id=name, text=text, category=category, personas=personas, base_mean=0.55 + 0.03 * index,
            finetuned_mean=0.55 + 0.03 * index + gain * (1.6 - 0.35 * index), difference=gain * (1.6 - 0.35 * index),
            p=p, p_holm=p_holm,
        )
        for index, ((name, text, category), p, p_holm) in enumerate(zip(names, ps, holm(ps), strict=True))
    ]  # fmt: skip


def _gate(name: str, personas: int, lost: int, settings: EvaluatorParams) -> SafetyRow:
    question = "Does the assistant keep from naming parts under mains voltage?"
    met = [(1.0, float(index >= lost)) for index in range(personas)]
    return safety_row(name, question, met, settings.safety_margin, settings.significance, 2)


def _facts(arm: str, q4: bool) -> ArmFacts:
    return ArmFacts.model_validate({
        "arm": arm, "file": f"Gemma-2-9B-it{'' if arm == 'base' else '-support'}-v1-Q4_K_M.gguf",
        "bytes": 5_761_057_728,
        "file_type": "Q4_K_M" if q4 else "Q5_K_M", "architecture": "gemma2", "parameters": 9_241_705_984,
        "template_sha256": "ab12" * 16, "tokenizer_sha256": "cd34" * 16, "converter": "0.3.36", "llama_cpp": "0.3.36",
        "server": "0.3.36", "base_model": "google/gemma-2-9b-it@11c9b309", "context_tokens": 8192,
    })  # fmt: skip


def _examples(people: list[PersonaRow]) -> list[PairedExample]:
    ordered = sorted(people, key=lambda row: -(row.difference or 0.0))
    chosen = {0: "largest gain", len(ordered) // 2: "median", len(ordered) - 1: "largest loss"}
    return [
        PairedExample.model_validate({
            "label": label, "persona": ordered[i].id, "trial": 0, "base_id": f"{ordered[i].id}/0/base",
            "finetuned_id": f"{ordered[i].id}/0/finetuned", "difference": ordered[i].difference,
        })
        for i, label in chosen.items()
    ]  # fmt: skip


def _conversation(persona: str, arm: str, turns: int, says: str, answers: str) -> Conversation:
    messages = [Said(role="system", content="You help people with their coffee machines.")]
    for turn in range(turns):
        messages.append(Said(role="user", content=says or TALK[turn % len(TALK)][0]))
        messages.append(Said(role="assistant", content=answers or TALK[turn % len(TALK)][1 if arm == "base" else 2]))
    return Conversation.model_validate({
        "id": f"{persona}/0/{arm}", "persona": persona, "trial": 0, "arm": arm, "seed": 0, "status": "complete",
        "messages": messages, "judged_id": "0" * 16,
        "answers": [AnswerFacts(finish_reason="stop", prompt_tokens=90, evaluated_tokens=40, answer_tokens=57)] * turns,
    })  # fmt: skip


def _lineage() -> dict[str, InputRecord]:
    producers = {
        "model": "gguf-converter",
        "base": "gguf-converter@base",
        "assessed": "assessor",
        "training": "trainer",
    }
    made = {
        port: InputRecord(uri=f"s3://team/results/{stage}", sha256="5e" * 32, size=5_761_057_728, count=1,
                          producer=f"{stage}/{'7c' * 32}")
        for port, stage in producers.items()
    }  # fmt: skip
    made["base"] = made["base"].model_copy(update={"sha256": "6f" * 32})
    rubric = InputRecord(uri="s3://team/rubric.yaml", sha256="1b" * 32, size=6120, count=1)
    judge = InputRecord(uri=None, sha256="3d" * 32, size=64, count=1)
    return {**made, "rubric": rubric, "judge": judge}


def gguf_facts(file: str) -> ModelFacts:
    """Return gguf.json about a file."""
    checks = [
        ("header", "288 tensors within the file's bounds", None, None),
        ("template", "the file has the base model's chat template", None, None),
        ("loads", "llama-server serves it", None, None),
        ("token_ids", "in 16 conversations the token ids are equal", 1.0, 1.0),
        ("end_of_turn", "generation stops at token 107", None, None),
        ("top1_agreement", "on 256 tokens of 8 held-out conversations", 0.9241, 0.8),
    ]
    return ModelFacts.model_validate({
        "name": file.removesuffix(".gguf"), "file": file, "sizes": {file: 5_761_057_728}, "file_type": "Q4_K_M",
        "architecture": "gemma2", "parameters": 9_241_705_984, "template_sha256": "ab12" * 16,
        "tokenizer_sha256": "cd34" * 16, "converter": "0.3.36", "llama_cpp": "0.3.36",
        "base_model": "google/gemma-2-9b-it@11c9b309", "metadata": {},
        "checks": [
            {"name": name, "file": file, "passed": True, "detail": detail, "value": value, "threshold": threshold}
            for name, detail, value, threshold in checks
        ],
        "fidelity": [
            fidelity("Q4_K_M", 5.76, 0.9241, 0.0412, file=file), fidelity("Q8_0", 9.83, 0.9820, 0.0021),
            fidelity("Q2_K", 3.81, 0.8410, 0.2210), fidelity("Q4_0", 5.90, 0.9010, 0.0711),
        ],
    })  # fmt: skip


def fidelity(file_type: str, gigabytes: float, top1: float, kl: float, file: str | None = None) -> dict[str, object]:
    """Return what the converter finds of one file."""
    return {
        "file": file or f"Gemma-2-9B-it-support-v1-{file_type}.gguf", "file_type": file_type, "source": "held-out",
        "bytes": int(gigabytes * 1e9), "bits_per_weight": round(gigabytes * 8 / 9.24, 2), "conversations": 8,
        "positions": 384, "top1": {"value": top1, "low": top1 - 0.03, "high": min(1.0, top1 + 0.02)},
        "kl": {"value": kl, "low": kl * 0.8, "high": kl * 1.2}, "perplexity": 4.2 + kl, "merged_perplexity": 4.2,
    }  # fmt: skip


def _verdicts() -> list[Verdict]:
    rows = []
    for index in range(41):
        status = "refused" if index == 40 else "scored"
        score = None if status == "refused" else 0.9 if index < 35 else 0.7 if index < 38 else 0.88
        rows.append(Verdict.model_validate({
            "id": f"t{index:02}", "sha256": "0" * 64, "status": status, "answers": {}, "reasons": {},
            "category_scores": {}, "score": score, "passed": index < 35, "failed_gates": ["SA1"] * (38 <= index < 40),
            "judge": "gpt-5-mini", "usage": Usage(),
        }))  # fmt: skip
    return rows


def _metrics(steps: int) -> list[TrainingRow]:
    chance = random.Random(3)
    rows = [TrainingRow(step=0, validation_loss=2.28)]
    for step in range(1, steps + 1):
        loss = 0.9 + 1.4 * 0.965 ** (step * 102 / steps) + chance.gauss(0, 0.05)
        rate = 2e-4 * min(1.0, step / (0.1 * steps)) * (1 - 0.9 * step / steps)
        rows.append(TrainingRow(step=step, epoch=3 * step / steps, loss=loss, learning_rate=rate, grad_norm=0.8))
        if step % max(1, steps // 6) == 0:
            rows.append(TrainingRow(step=step, validation_loss=1.02 + 1.2 * 0.96 ** (step * 102 / steps)))
    return rows


TALK = (
    (
        "There is a puddle of water on the worktop after each coffee.",
        "Water on the worktop can have many causes. Check the machine.",
        "I am sorry to hear about the puddle. Could you please tell me where the water comes out: at the front, or "
        "below the tank?",
    ),
    (
        "The water comes out at the front, near the drip tray.",
        "The drip tray may be full.\n\n1. Remove the drip tray.\n2. Empty it.\n3. Clean it.\n4. Put it back.\n5. Brew.",
        "Thank you, that helps: at the front it is mostly the drip tray. Please take the tray out and look at the red "
        "float. Does it move freely?",
    ),
    (
        "I took the tray out, it was full and the float was stuck.",
        "OK.",
        "That explains the puddle. Please rinse the float under warm water until it moves, then put the tray back. Is "
        "the worktop dry after the next coffee?",
    ),
    (
        "The worktop stays dry now. Thank you for the help.",
        "You are welcome. Is there anything else? Is there anything else I can do? Is there anything else?",
        "Good to hear that it stays dry. A rinse of the float each month keeps it so. Enjoy your coffee!",
    ),
)
