"""What can be known of the comparison before anything is trained for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tuneline.data.personas import Persona, load_personas
from tuneline.data.rubric import Rubric, load_rubric
from tuneline.errors import LlmRejected, UserError
from tuneline.judge.forecast import require_prices
from tuneline.judge.judging import load_judge, read_judges
from tuneline.judge.panel import Judges, check_judges
from tuneline.judge.recorded import RecordedConfig
from tuneline.llm.config import ModelConfig, Secret
from tuneline.llm.prices import require_price
from tuneline.llm.thoughts import without_thoughts
from tuneline.model.chat import ChatTokenizer
from tuneline.model.llama_cpp import program
from tuneline.model.system_prompt import markdown_around, read_system_prompt
from tuneline.parsing.yaml import read_yaml
from tuneline.stage import Checks
from tuneline_evaluator.comparison.power import enough_personas, personas_to_rule_out
from tuneline_evaluator.conversations.played import as_played
from tuneline_evaluator.conversations.prepare import context_of
from tuneline_evaluator.conversations.simulate import ScriptedConfig, load_simulator
from tuneline_evaluator.stage import EvaluatorParams

ENOUGH_PERSONAS = 30
"""Below, a difference that matters is often missed."""


def check_given(params: EvaluatorParams, checks: Checks) -> None:
    """Read who talks, who judges and with what, and see whether it can decide anything."""
    personas, rubric = checks.read("personas", load_personas), checks.read("rubric", load_rubric)
    judge = checks.read("judge", _load_judge, checks.secret)
    if judge and rubric:
        with checks.about("judge"):
            check_judges(judge, rubric, [])
            if checks.max_usd is not None:
                require_prices(judge, rubric)
    _check_simulator(params, checks, personas)
    checks.read("base_model", ChatTokenizer.from_folder, checks.inputs.get("chat_template"))
    checks.read("base_model", lambda path: context_of(params, path))
    system = checks.read("system_prompt", read_system_prompt)
    if system and (problem := markdown_around(system)):
        checks.warn("system_prompt", problem)
    if personas and rubric:
        _check_power(params, checks, personas, rubric)
    if checks.work:
        with checks.about(""):
            program("llama-server")


def _load_judge(path: Path, secret: Secret) -> Judges:
    """Read the judge, which is asked about conversations that nobody has had yet."""
    if any(isinstance(config, RecordedConfig) for config in read_judges(path).values()):
        where = read_yaml(path).where(("provider",))
        raise UserError(
            f"{where}: recorded answers are about the transcripts, and the evaluator has new conversations judged. "
            "Name another judge, or end the run before it with `goal: gguf-converter`."
        )
    return load_judge(path, secret)


def _check_simulator(params: EvaluatorParams, checks: Checks, personas: Sequence[Persona] | None) -> None:
    simulator = checks.read("simulator", load_simulator)
    if simulator is None or isinstance(simulator, ScriptedConfig):
        return
    with checks.about("simulator"):
        simulator.key(checks.secret)
        if checks.max_usd is not None:
            require_price(simulator)
        if checks.online and personas:
            checks.note(_opening(simulator, personas[0], checks.secret, params.answer_timeout_s))


def _opening(simulator: ModelConfig, persona: Persona, secret: Secret, timeout_s: float) -> str:
    """Let a persona say its first message. Raises UserError if there is none."""
    from tuneline.llm.client import LlmClient, Patience

    try:
        with LlmClient(simulator, secret, timeout_s, concurrency=1, patience=Patience(attempts=2)) as client:
            reply = client.complete(as_played(persona, []))
    except LlmRejected as e:
        raise UserError(f"{simulator.model} was asked for one message and refuses it: {e}") from None
    if reply.refused or not without_thoughts(reply.text).strip():
        raise UserError(f"{simulator.model} was asked for one message and says nothing")
    return f"the simulator {simulator.model} speaks for the personas"


def _check_power(params: EvaluatorParams, checks: Checks, personas: Sequence[Persona], rubric: Rubric) -> None:
    """See what so many personas can show: a verdict at all, no loss beyond the margin, no gate broken more often."""
    count, fewest = len(personas), enough_personas(params.significance)
    if count < fewest:
        with checks.about("personas"):
            raise UserError(
                f"{count} personas can decide nothing at `significance`={params.significance:g}, however large the "
                f"effect: it takes {fewest}. Use {ENOUGH_PERSONAS} or more."
            )
        return
    checks.note(f"{count} personas, {count * params.trials * 2} conversations of {params.turns} exchanges")
    if count < ENOUGH_PERSONAS:
        checks.warn("personas", f"{count} personas miss all but large differences. Use {ENOUGH_PERSONAS} or more.")
    margins = [("margin", params.margin, "`not worse`")]
    if rubric.gates:
        margins.append(("safety_margin", params.safety_margin, "that no gate is broken more often"))
    for name, margin, what in margins:
        least = personas_to_rule_out(margin, params.significance)
        if count < least:
            checks.warn(name, f"{count} personas cannot show {what}: to rule out a loss of {margin:g} takes {least}.")
