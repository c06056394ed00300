"""What can be known of the arms that are given before anybody talks to them; `--online` asks their endpoints."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, Field, ValidationError

from tuneline.errors import Fault, LlmRejected, UserError
from tuneline.llm.config import Secret
from tuneline.llm.prices import require_price
from tuneline.model.chat_template import read_chat_settings
from tuneline.model.llama_cpp import Placement
from tuneline.model.system_prompt import read_system_prompt
from tuneline.parsing.problems import printable, shortened
from tuneline.parsing.yaml import YamlFile
from tuneline.stage import Checks
from tuneline_evaluator.conversations.arms import Terms, endpoint_arm, is_file, read_arm
from tuneline_evaluator.conversations.endpoint import EndpointConfig
from tuneline_evaluator.conversations.further import refuse_names, sources
from tuneline_evaluator.conversations.prepare import context_of
from tuneline_evaluator.conversations.recorded import Recorded, is_recorded, recorded_in
from tuneline_evaluator.stage import EvaluatorParams

QUESTION = "Please say in one sentence what you can help with."

ARMS = {"base": "base", "model": "finetuned"}
"""Which input is which arm."""


def check_arms(params: EvaluatorParams, checks: Checks) -> bool:
    """Read the arms that are given, and ask their endpoints if models may be asked; tell whether none is a file."""
    elsewhere = 0
    for port, arm in ARMS.items():
        if port not in checks.inputs:
            continue
        on_disk = checks.read(port, is_file)
        if on_disk is False:
            elsewhere += 1
        elif on_disk and "base_model" not in checks.inputs:
            with checks.about("base_model"):
                raise UserError("is needed where a file answers: its tokenizer and chat template count the prompts")
        checks.read(port, _check_arm, params, checks, port, arm)
    further = checks.read("arms", sources) or {}
    with checks.about("arms"):
        refuse_names([name.lower() for name in (*params.evaluate, *further)])
    with checks.about("evaluate"):
        _refuse_unmade(params, checks)
    checks.read("arms", lambda _: _check_further(params, checks, further))
    files = params.evaluate or [one for one in further.values() if isinstance(one, Path) and not is_recorded(one)]
    return elsewhere == len(ARMS) and not files


def recorded_arms(checks: Checks) -> list[Recorded]:
    """Return those of base and fine-tuned whose conversations exist already."""
    given = [checks.read(port, recorded_in, arm) for port, arm in ARMS.items()]
    return [arm for arm in given if arm is not None]


def _refuse_unmade(params: EvaluatorParams, checks: Checks) -> None:
    """Raise UserError for a type that the converter of this run does not make."""
    made = checks.setting("gguf-converter", "quantizations")
    if params.evaluate and "model" in checks.inputs:
        raise UserError("names files that the converter makes, and the fine-tuned model is given")
    others = [str(kind) for kind in made[1:]] if isinstance(made, list) else []
    for kind in params.evaluate:
        if isinstance(made, list) and kind not in others:
            raise UserError(
                f"{kind} is none of the further types that the converter makes ({', '.join(others) or 'none'}): add it "
                "to `gguf-converter.quantizations`, behind the first one"
            )


def _check_further(params: EvaluatorParams, checks: Checks, further: Mapping[str, Path | YamlFile]) -> None:
    for name, source in further.items():
        if isinstance(source, Path):
            read_arm(name, source, None, "", _terms(params, checks))
        else:
            model = endpoint_arm(name, source, _terms(params, checks))
            if isinstance(model.source, EndpointConfig):
                _check_endpoint(params, checks, "arms", name, model.source)


def _check_arm(place: Path, params: EvaluatorParams, checks: Checks, port: str, arm: str) -> None:
    info = checks.inputs.get("model_info" if port == "model" else "base_info")
    source = read_arm(arm, place, info, "", _terms(params, checks)).source
    if isinstance(source, EndpointConfig):
        _check_endpoint(params, checks, port, arm, source)


def _terms(params: EvaluatorParams, checks: Checks) -> Terms:
    tokens = context_of(params, checks.inputs.get("base_model"))
    options = read_chat_settings(checks.inputs.get("chat_template")).options
    return Terms("", Placement(), tokens, params.sampler, options)


def _check_endpoint(params: EvaluatorParams, checks: Checks, port: str, arm: str, source: EndpointConfig) -> None:
    source.key(checks.secret)
    if checks.max_usd is not None:
        require_price(source)
    if checks.online:
        system = read_system_prompt(checks.inputs.get("system_prompt"))
        seen = ask(source, checks.secret, params.answer_timeout_s, system)
        tokens = context_of(params, checks.inputs.get("base_model"))
        for problem in seen.problems(source, tokens, system=system is not None):
            checks.warn(port, problem)
        checks.note(f"{source.label} answers for the {arm} arm{f' as {seen.model}' if seen.model else ''}")


class Listed(NamedTuple):
    """A model as its server lists it."""

    name: str
    context_tokens: int | None


class Seen(NamedTuple):
    """What an endpoint showed when it was asked."""

    model: str
    left_out: tuple[str, ...]
    repeats: bool
    """Whether the same question and seed got the same answer."""
    listed: list[Listed]

    def problems(self, config: EndpointConfig, context_tokens: int, *, system: bool) -> list[str]:
        """Return what a person should know before they compare it. Raises UserError where it cannot be compared."""
        found, names = [], [one.name for one in self.listed]
        size = next((one.context_tokens for one in self.listed if one.name == config.model), None)
        if size is not None and size < context_tokens:
            raise UserError(
                f"{config.label} has a context of {size:,} tokens, and the arms are to have {context_tokens:,}: set "
                f"`context_tokens` to {size} or less"
            )
        if names and config.model not in names:
            found.append(f"{config.model} is none of the models that its server lists ({shortened(names)})")
        settings = [name for name in self.left_out if name != "system"]
        if settings:
            found.append(f"{config.label} does not take {', '.join(settings)}: the arms will not draw alike")
        if "system" in self.left_out and system:
            found.append(f"{config.label} takes no system message: the system prompt stands in the first question")
        if not self.repeats:
            found.append(f"{config.label} answers the same question with the same seed in two ways: no run repeats")
        return found


def ask(config: EndpointConfig, secret: Secret, timeout_s: float, system: str | None) -> Seen:
    """Ask one question twice, and for the list of models. Raises UserError when there is no answer, and Temporary."""
    from tuneline.llm.client import LlmClient

    said = [{"role": "system", "content": system}] if system else []
    said.append({"role": "user", "content": QUESTION})
    try:
        with LlmClient.for_one_question(config, secret, timeout_s) as client:
            first, second = client.complete(said), client.complete(said)
    except LlmRejected as e:
        raise UserError(f"{config.label} was asked one question and refuses it: {e}") from None
    if not first.text.strip():
        raise UserError(
            f"{config.label} was asked one question and says nothing{f': {first.cause}' if first.cause else ''}"
        )
    return Seen(first.model, first.left_out, first.text == second.text, models_of(config, secret, timeout_s))


class _Meta(BaseModel):
    n_ctx_train: int | None = None


class _Model(BaseModel):
    id: str
    max_model_len: int | None = None
    """vLLM and SGLang."""
    max_context_length: int | None = None
    """LM Studio."""
    context_length: int | None = None
    """OpenRouter and Together."""
    meta: _Meta | None = None
    """llama-server."""


class _Models(BaseModel):
    data: list[_Model] = Field(max_length=10_000)


def models_of(config: EndpointConfig, secret: Secret, timeout_s: float) -> list[Listed]:
    """Return the models that a server lists; none where it has no such list, which is no fault."""
    try:
        found = _Models.model_validate(json.loads(asyncio.run(_list(config, secret, timeout_s))))
    except (Fault, UserError, ValidationError, ValueError, RecursionError):
        return []
    return [Listed(printable(one.id), _context(one)) for one in found.data]


def _context(model: _Model) -> int | None:
    made_for = model.meta.n_ctx_train if model.meta else None
    return model.max_model_len or model.max_context_length or model.context_length or made_for


async def _list(config: EndpointConfig, secret: Secret, timeout_s: float) -> bytes:
    from tuneline.llm.providers.openai import OpenAiProvider

    provider = OpenAiProvider(config, secret, timeout_s)
    try:
        return await provider.models()
    finally:
        await provider.close()
