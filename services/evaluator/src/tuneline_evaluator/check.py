"""What can be known of the comparison before anything is trained for it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tuneline.data.conversations import Said
from tuneline.data.judged import read_judged
from tuneline.data.paired.power import enough_personas, personas_to_rule_out
from tuneline.data.personas import Persona, load_personas
from tuneline.data.reading.prompts import Prompt, ReadPrompts, read_prompts
from tuneline.data.rubric import Rubric, load_rubric
from tuneline.errors import UserError
from tuneline.judge.forecast import require_prices
from tuneline.judge.panel import check_judges
from tuneline.judge.recorded.judge import RecordedConfig, RecordedJudge
from tuneline.judge.simulators.played import ask_once
from tuneline.judge.simulators.simulator import ScriptedConfig, load_simulator
from tuneline.llm.prices import require_price
from tuneline.model.chat import ChatTokenizer
from tuneline.model.llama_cpp import placement, program
from tuneline.model.system_prompt import markdown_around, read_system_prompt
from tuneline.parsing.problems import listed
from tuneline.stage import Checks
from tuneline.stage.policy import Gate
from tuneline_evaluator.conversations.ask import ARMS, check_arms, recorded_arms
from tuneline_evaluator.conversations.further import sources
from tuneline_evaluator.conversations.learnt import learnt_personas, learnt_prompts
from tuneline_evaluator.conversations.prepare import completion_of, context_of, settled, with_trials
from tuneline_evaluator.conversations.recorded import is_recorded, read_recorded
from tuneline_evaluator.conversations.recorded_answers import PORTS, judge_given
from tuneline_evaluator.conversations.speakers import follow_scripts, one_of, people_of
from tuneline_evaluator.conversations.talk import Speaker, TextForm, for_model
from tuneline_evaluator.stage import EvaluatorParams

ENOUGH_PERSONAS = 30
"""Below, a difference that matters is often missed."""
ENOUGH_PROMPTS = 200
"""They show a win rate of 60 % four times out of five."""
MOST_LOOKED_AT = 5_000
"""What users say is compared with scripts word by word, which takes seconds for so many; the evaluator looks at all."""


def check_given(params: EvaluatorParams, checks: Checks) -> None:
    """Read who talks, who judges and with what, and see whether it can decide anything."""
    personas, prompts = _speakers(checks)
    speakers: Sequence[Speaker] = prompts.prompts if prompts else personas or []
    rubric = checks.read("rubric", load_rubric)
    with checks.about("gate"):
        _check_gate(checks.gate, rubric)
    answers = {port: checks.inputs[port] for port in PORTS.values() if port in checks.inputs}
    judge = checks.read("judge", judge_given, checks.secret, answers)
    recorded = isinstance(judge, RecordedConfig)
    if isinstance(judge, RecordedConfig):
        for port in answers:
            checks.read(port, RecordedJudge, judge.repeated)
    elif judge and rubric:
        with checks.about("judge"):
            check_judges(judge, rubric, [])
            if checks.max_usd is not None:
                require_prices(judge, rubric)
    with checks.about(""):
        settled(params, single="prompts" in checks.inputs, judge=judge)
    _check_simulator(params, checks, personas)
    tokenizer = checks.read("base_model", ChatTokenizer.from_folder, checks.inputs.get("chat_template"))
    context = checks.read("base_model", lambda path: context_of(params, path))
    served_elsewhere = check_arms(params, checks)
    system = checks.read("system_prompt", read_system_prompt)
    if system and (problem := markdown_around(system)):
        checks.warn("system_prompt", problem)
    form = None
    with checks.about(""):
        form = completion_of(params, single="prompts" in checks.inputs, system=system is not None)
    if prompts and tokenizer and context:
        with checks.about("prompts"):
            _refuse_long(prompts, system, tokenizer, form, context - params.sampler.max_answer_tokens)
    _check_learnt(checks, personas, prompts)
    if speakers and rubric:
        _check_power(params, checks, speakers, rubric, recorded=recorded)
    if checks.work and not served_elsewhere:
        with checks.about(""):
            placement(program("llama-server"), params.gpu_layers)


def _speakers(checks: Checks) -> tuple[Sequence[Persona] | None, ReadPrompts | None]:
    """Return personas or prompts, or those whom the ids of recorded arms name."""
    personas, prompts = checks.read("personas", load_personas), checks.read("prompts", read_prompts)
    told = "personas" in checks.inputs or "prompts" in checks.inputs
    if not told and all(port in checks.inputs and is_recorded(checks.inputs[port]) for port in ARMS):
        return _people(checks), None
    with checks.about("personas"):
        one_of("personas" in checks.inputs, "prompts" in checks.inputs)
    return personas, prompts


def _people(checks: Checks) -> Sequence[Persona] | None:
    """Return those whom the ids of recorded arms name."""
    with suppress(UserError):  # what is wrong with a file itself is told where the arms are read
        arms = [read_recorded(arm, checks.inputs[port]) for port, arm in ARMS.items()]
        return checks.read("model", lambda _: people_of(*arms))
    return None


def _check_learnt(checks: Checks, personas: Sequence[Persona] | None, prompts: ReadPrompts | None) -> None:
    """See who would say what the model is to learn: they are left out of the comparison, and somebody must be left."""
    transcripts = checks.made("assessor", "transcripts")
    if transcripts is None or checks.origin("slices") is None:
        return
    if prompts:
        port, count, learnt = "prompts", len(prompts.prompts), learnt_prompts(prompts.prompts, _said_in(transcripts))
    elif personas and _follow_scripts(checks):
        said = sorted(_said_in(transcripts))
        some = said[:: len(said) // MOST_LOOKED_AT + 1]
        port, count, learnt = "personas", len(personas), learnt_personas(personas, some)
    else:
        return
    if len(learnt) == count:
        with checks.about(port):
            raise UserError(
                f"all {count} {port} say what stands in the transcripts, and who says what is learnt is left out of "
                "the comparison: give some that nobody has learnt."
            )
    if learnt:
        checks.warn(
            port, f"{len(learnt)} of {count} {port} say what stands in the transcripts: left out where that is learnt."
        )


def _said_in(transcripts: Path) -> set[str]:
    return {exchange.user for transcript in read_judged(transcripts) for exchange in transcript.exchanges}


def _follow_scripts(checks: Checks) -> bool:
    with suppress(UserError):  # what is wrong with the simulator is told elsewhere
        simulator = load_simulator(checks.inputs.get("simulator"))
        return follow_scripts(simulator, (checks.inputs[port] for port in ARMS if port in checks.inputs))
    return False


def _check_gate(gate: Gate | None, rubric: Rubric | None) -> None:
    """Raise UserError where a policy names a criterion that the rubric does not have."""
    if gate and rubric and (unknown := gate.unknown(c.id for c in rubric.criteria)):
        known = ", ".join(c.id for c in rubric.criteria)
        raise UserError(f"the rubric has no {', '.join(unknown)}; it has {known}")


def _refuse_long(
    found: ReadPrompts, system: str | None, tokenizer: ChatTokenizer, form: TextForm | None, room: int
) -> None:
    """Raise UserError with every prompt that leaves no room for its answer."""
    before, problems = [Said(role="system", content=system)] if system else [], []

    def tokens(text: str) -> int:
        return len(for_model([*before, Said(role="user", content=text)], tokenizer, form).ids)

    form_alone = tokens("?")
    for prompt, place in zip(found.prompts, found.places, strict=True):
        # No tokenizer makes more tokens of a text than it has bytes, so most need not be counted.
        if form_alone + len(prompt.prompt.encode()) > room and (count := tokens(prompt.prompt)) > room:
            problems.append(f"{place}: prompt: has {count:,} tokens, and {room:,} have room beside an answer")
    if problems:
        raise UserError("\n".join(listed(problems)))


def _check_simulator(params: EvaluatorParams, checks: Checks, personas: Sequence[Persona] | None) -> None:
    simulator = checks.read("simulator", load_simulator)
    if simulator is not None and "prompts" in checks.inputs:
        checks.warn("simulator", "nobody is played where `prompts` are given: leave it out")
        return
    if simulator is None or isinstance(simulator, ScriptedConfig):
        return
    with checks.about("simulator"):
        simulator.key(checks.secret)
        if checks.max_usd is not None:
            require_price(simulator)
        if checks.online and personas:
            checks.note(ask_once(simulator, personas[0], checks.secret, params.answer_timeout_s))


def _check_power(
    params: EvaluatorParams, checks: Checks, speakers: Sequence[Speaker], rubric: Rubric, *, recorded: bool
) -> None:
    """See what so many personas can show: a verdict at all, no loss beyond the margin, no gate broken more often."""
    count, fewest = len(speakers), enough_personas(params.significance)
    port = "prompts" if isinstance(speakers[0], Prompt) else "personas"
    if count < fewest and recorded:  # nothing is to be paid, and what was measured may be looked at
        checks.warn(port, f"{count} {port} can decide nothing, however large the effect: it takes {fewest}.")
        return
    if count < fewest:
        with checks.about(port):
            raise UserError(
                f"{count} {port} can decide nothing at `significance`={params.significance:g}, however large the "
                f"effect: it takes {fewest}. Use {ENOUGH_PERSONAS} or more."
            )
        return
    trials = with_trials(params, recorded_arms(checks)).trials
    held = count * trials * (2 + len(params.evaluate) + len(checks.read("arms", sources) or {}))
    each = f"conversations of {params.turns} exchanges" if port == "personas" else "answers"
    checks.note(f"{count} {port}, {held} {each}")
    enough = ENOUGH_PROMPTS if port == "prompts" else ENOUGH_PERSONAS
    if count < enough:
        checks.warn(port, f"{count} {port} miss all but large differences. Use {enough} or more.")
    margins = [("margin", params.margin, "`not worse`")]
    if rubric.gates:
        margins.append(("safety_margin", params.safety_margin, "that no gate is broken more often"))
    for name, margin, what in margins:
        least = personas_to_rule_out(margin, params.significance)
        if count < least:
            checks.warn(name, f"{count} {port} cannot show {what}: to rule out a loss of {margin:g} takes {least}.")
