"""Answers to the rubric that exist already, about conversations that exist already: one file of answers for each arm.

A row's id is that of the conversation in its arm's file, or the one under which a judge of ours saw it, so that rows
of an earlier `verdicts.jsonl` are such a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tuneline.errors import UserError
from tuneline.judge.judging import load_judge, read_judges
from tuneline.judge.panel import Judges
from tuneline.judge.recorded.judge import RecordedConfig, RecordedJudge
from tuneline.llm.config import Secret
from tuneline.parsing.problems import shortened
from tuneline.parsing.yaml import read_yaml
from tuneline_evaluator.conversations.arms import Model
from tuneline_evaluator.conversations.recorded import Recorded, conversation_of, key_of
from tuneline_evaluator.conversations.talk import Speaker

PORTS = {"base": "base_answers", "finetuned": "model_answers"}
"""Which input holds the answers about which arm."""


def judge_given(path: Path, secret: Secret, answers: Mapping[str, Path]) -> Judges | RecordedConfig:
    """Return the judge, or how recorded answers (by port) are read.

    Raises UserError where a judge is to judge anew and answers are given, or the other way round.
    """
    configs = read_judges(path)
    recorded = [config for config in configs.values() if isinstance(config, RecordedConfig)]
    where = read_yaml(path).where(("provider",))
    if not recorded:
        if answers:
            raise UserError(f"{where}: only `recorded` reads the inputs {' and '.join(answers)}; leave them out")
        return load_judge(path, secret)
    if len(configs) > 1:
        raise UserError(f"{where}: recorded answers cannot be one of several judges")
    if missing := [port for port in PORTS.values() if port not in answers]:
        raise UserError(
            f"{where}: recorded answers are about conversations that exist already, and the evaluator has new ones "
            f"judged unless both arms are given as conversations with their answers: {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not given. Give them, name another judge, or end the run before "
            "it with `goal: gguf-converter`."
        )
    return recorded[0]


def recorded_judge(
    config: RecordedConfig, answers: Mapping[str, Path], models: Sequence[Model], speakers: Iterable[Speaker],
    trials: int, seed: int,
) -> RecordedJudge:  # fmt: skip
    """Return a judge that gives each conversation the answers that are recorded about it.

    Raises UserError for an arm that is not recorded, or has a conversation without answers.
    """
    everyone = list(speakers)
    parts: list[tuple[RecordedJudge, dict[str, str]]] = []
    for model in models:
        port = PORTS.get(model.arm)
        if port is None or not isinstance(model.source, Recorded):
            raise UserError(
                f"{model.arm} arm: recorded answers are about conversations that exist already, so it must be a .jsonl "
                "file of conversations, base or fine-tuned"
            )
        judge = RecordedJudge(answers[port], config.repeated)
        names = dict(_names(judge, model, model.source, everyone, trials, seed))
        if missing := [talk for talk, row in names.values() if row is None]:
            raise UserError(
                f"{port}: {len(missing)} of {len(names)} conversations of {model.source.name} have no answers: "
                f"{shortened(missing)}; there are answers for {shortened(list(judge.rows))}"
            )
        parts.append((judge, {judged_id: row for judged_id, (_, row) in names.items() if row is not None}))
    return RecordedJudge.joined(parts)


def _names(
    judge: RecordedJudge, model: Model, source: Recorded, speakers: Iterable[Speaker], trials: int, seed: int
) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """Yield the id under which each conversation is judged, its name for people, and the id of its answers."""
    rows = {key_of(row): row for row in judge.rows}
    for speaker in speakers:
        for trial in range(trials):
            talk = conversation_of(source, model.arm, speaker, trial, seed)
            if talk is not None:
                ours = talk.judged_id if talk.judged_id in judge.rows else rows.get((speaker.id, trial))
                yield talk.judged_id, (f"{speaker.id}/{trial}", ours)
