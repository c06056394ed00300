"""What can be known before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tuneline.data.io import write_lines
from tuneline.data.reading.prompts import Prompt
from tuneline.errors import LlmRejected, UserError
from tuneline.judge.by_model import ask_once as ask_judge
from tuneline.judge.by_model import models_among
from tuneline.judge.forecast import require_prices
from tuneline.judge.panel import check_judges
from tuneline.judge.simulators.played import ask_once as ask_simulator
from tuneline.llm.calls import ONE_QUESTION, QUESTION_SECONDS
from tuneline.llm.client import LlmClient
from tuneline.llm.completion import CompletionConfig, Sampler, refuse_unsayable
from tuneline.llm.completion_client import QUESTION, CompletionClient
from tuneline.llm.config import ModelConfig, Secret
from tuneline.llm.prices import Tokens, cost_usd, require_price
from tuneline.stage import Checks, dollars
from tuneline_generator.critic.by_judge import read_bench
from tuneline_generator.critic.critic import LogprobCritic
from tuneline_generator.critic.critic_client import ONE_TOKEN, JudgeCritic, load_critic
from tuneline_generator.prepare import Players, critic_server, read_held_out, read_pilot, read_players
from tuneline_generator.recipes.scripts import (
    has_profile,
    read_sources,
    refuse_all_set_aside,
    refuse_no_profile,
    with_prompt,
)
from tuneline_generator.report.wording import projected
from tuneline_generator.stage import GeneratorParams
from tuneline_generator.writing.items import id_of
from tuneline_generator.writing.recipe import (
    ConversationsRecipe,
    InstructionsRecipe,
    Recipe,
    ScriptsRecipe,
    form_in,
    load_recipe,
)
from tuneline_generator.writing.talk import said, talking, untold
from tuneline_generator.writing.writer import Form, TextServer, WriterConfig, load_writer


def check_given(params: GeneratorParams, checks: Checks) -> None:
    """Read recipe, writer, critic and what is held out."""
    recipe, critic, writer = checks.read("recipe", load_recipe), checks.read("critic", load_critic), None
    if isinstance(recipe, ScriptsRecipe):
        _check_scripts(recipe, checks)
    if form := recipe.format if recipe else checks.read("recipe", form_in):
        model, made = checks.inputs.get("writer_model"), checks.origin("writer_model") is not None
        # A model that another step makes is not there yet.
        writer = checks.read("writer", load_writer, form, model, later=made)
    if recipe:
        with checks.about("recipe"):
            _check_samplers(writer, [step.sampler for step in recipe.steps.values()], recipe.format, checks)
        stand_ins = (
            Prompt(id=id_of("test", n), prompt=f"Prompt {n}, not written yet.") for n in range(recipe.test_prompts)
        )
        write_lines(checks.preview("prompts"), stand_ins)
        _note(recipe, params, checks)
    if isinstance(writer, ModelConfig):
        _check_writer(recipe, writer, params, checks)
    if isinstance(critic, JudgeCritic):
        _check_judge(params, checks)
    elif critic and recipe and writer:
        _check_critic(critic, recipe, writer, params, checks)
    held_out = checks.read("held_out", read_held_out)
    if held_out:
        checks.note(f"{len(held_out):,} prompts are held out")
    _check_pilot(params, checks)


def _check_writer(recipe: Recipe | None, writer: ModelConfig, params: GeneratorParams, checks: Checks) -> None:
    """See that the writer can be asked and paid, and with `online` that it answers."""
    with checks.about("writer"):
        _check_server(writer, params, checks)
        if recipe and checks.online:
            samplers = [step.sampler for step in recipe.steps.values()]
            checks.note(f"the writer {_answers(writer, samplers, checks.secret, params.timeout_s)}")


def _check_critic(
    critic: LogprobCritic, recipe: Recipe, writer: WriterConfig, params: GeneratorParams, checks: Checks
) -> None:
    """See that a critic's server can be asked and paid, and with `online` that it lists probabilities."""
    model = checks.origin("critic_model") or checks.origin("writer_model")  # which another step may make
    with checks.about("critic"):
        server = critic_server(critic, recipe, writer, Path(model) if model else None)
        if isinstance(server, CompletionConfig):
            _check_server(server, params, checks)
            if checks.online:
                told = _answers(server, [ONE_TOKEN], checks.secret, params.timeout_s, critic.top)
                checks.note(f"the critic {told}")


def _check_judge(params: GeneratorParams, checks: Checks) -> None:
    with checks.about("critic"):
        bench = read_bench(checks.inputs.get("judge"), checks.inputs.get("rubric"), checks.secret)
        check_judges(bench.judge, bench.rubric, [])
        if checks.max_usd is not None:
            require_prices(bench.judge, bench.rubric)
        for judge in models_among(bench.judge, bench.rubric) if checks.online else ():
            checks.note(ask_judge(judge, checks.secret, bench.rubric, params.timeout_s))


def _check_simulator(players: Players, params: GeneratorParams, checks: Checks) -> None:
    simulator = players.simulator
    if isinstance(simulator, ModelConfig):
        with checks.about("simulator"):
            _check_server(simulator, params, checks)
            if checks.online:
                checks.note(ask_simulator(simulator, players.personas[0], checks.secret, params.timeout_s))


def _check_server(server: ModelConfig, params: GeneratorParams, checks: Checks) -> None:
    """See that a server's key is there, and its price where there is a limit to keep."""
    server.key(checks.secret)
    if isinstance(server, TextServer) and server.usd_per_hour is not None:
        return
    if checks.max_usd is not None:
        require_price(server)
    elif params.max_usd is not None and cost_usd(server, Tokens(1, output=1)) is None:
        checks.warn(
            "max_usd",
            f"the price of {server.model} is not known, so {dollars(params.max_usd)} is no limit: give its `input_usd` "
            "and `output_usd` (0 is free)",
        )


def _answers(server: ModelConfig, samplers: Sequence[Sampler], secret: Secret, timeout_s: float, top: int = 0) -> str:
    """Ask a server one question. Raises UserError unless it takes the samplers, and lists `top` probabilities."""
    if isinstance(server, CompletionConfig):
        wait_s = min(timeout_s, QUESTION_SECONDS)
        with CompletionClient(server, secret, wait_s, concurrency=1, patience=ONE_QUESTION) as texts:
            texts.preflight(samplers, top_logprobs=top)
        return f"{server.model} goes on with texts"
    config = talking(server, samplers[0])
    try:
        with LlmClient.for_one_question(config, secret, timeout_s) as client:
            text = said(client.complete([{"role": "user", "content": QUESTION}]), samplers[0]).text
    except LlmRejected as e:
        raise UserError(f"{server.model} was asked one question and refuses it: {e}") from None
    if not text.strip():
        raise UserError(f"{server.model} was asked one question and says nothing")
    return f"{server.model} answers"


def _check_pilot(params: GeneratorParams, checks: Checks) -> None:
    """Look whether a pilot that is given allows the rest; only of one that a workflow makes itself, parts are pods."""
    if (checks.origin("pilot") or "output:").startswith("output:"):
        return
    if checks.origin("pilot_prompts") == "output:generator@pilot/prompts":
        with checks.about("pilot"):
            raise UserError(
                "without its test prompts the pilot would be written and paid once more; give `pilot_prompts` too, the "
                "prompts.jsonl of the same pilot, or leave `pilot` out"
            )
    pilot = checks.read("pilot", read_pilot, params)
    if pilot and pilot.projection:
        checks.note(f"as the given pilot found it: {projected(pilot.projection)}")
        if (parts := pilot.projection.parts) > 1:
            checks.warn(
                "pilot",
                f"it finds {parts} parts to be worth it, but a workflow does all in one pod where the pilot is given; "
                "leave `pilot` and `pilot_prompts` out: what it has written is found in the same store, not paid again",
            )


def _check_scripts(recipe: ScriptsRecipe, checks: Checks) -> None:
    """Read sources and prompt; what a calibration of this run will find has {profile}."""
    sources = checks.read("script_sources", read_sources)
    if sources is not None:
        checks.note(f"recipe: scripts about {len(sources):,} sources, of which {recipe.test_prompts:,} are set aside")
        with checks.about("recipe"):
            refuse_all_set_aside(recipe, len(sources))
    elif checks.origin("script_sources") is None:
        with checks.about("recipe"):
            read_sources(None)
    found = checks.read("script_prompt", lambda path: with_prompt(recipe, path))
    origin = checks.origin("script_prompt") or ""
    if (origin.startswith("output:calibrator") or has_profile(found or recipe)) and not checks.origin("script_profile"):
        with checks.about("script_profile"):
            refuse_no_profile()


def _check_samplers(writer: WriterConfig | None, samplers: Sequence[Sampler], form: Form, checks: Checks) -> None:
    """Refuse what a dialect cannot say; warn of what a server that is talked with is not told."""
    if isinstance(writer, CompletionConfig):
        for sampler in samplers:
            refuse_unsayable(writer, sampler)
    elif form == "chat" and isinstance(writer, ModelConfig) and (names := untold(writer, samplers)):
        checks.warn("recipe", f"the writer is not told {' and '.join(names)}: its protocol has no such setting")


def _note(recipe: Recipe, params: GeneratorParams, checks: Checks) -> None:
    """Say what the recipe has, and read who talks in conversations."""
    if isinstance(recipe, ConversationsRecipe):
        with checks.about("recipe"):
            players = read_players(recipe, checks.inputs.get("personas"), checks.inputs.get("simulator"))
            checks.note(f"recipe: {recipe.turns} turns with each of {len(players.personas)} personas in turn")
            _check_simulator(players, params, checks)
        if checks.setting("evaluator", "turns") is not None:
            with checks.about("personas"):
                raise UserError(
                    "conversations to learn from and comparison would have the same personas, which tests memory; "
                    "write them in a run file of their own (`goal: generator`), and give its transcripts to this one"
                )
        return
    if isinstance(recipe, ScriptsRecipe):
        return
    examples = f", {len(recipe.examples)} examples" if isinstance(recipe, InstructionsRecipe) else ""
    checks.note(f"recipe: {len(recipe.categories)} categories{examples}")
