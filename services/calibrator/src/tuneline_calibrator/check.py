"""What can be known before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuneline.errors import UserError
from tuneline.llm.client import LlmClient
from tuneline.llm.config import GoogleConfig, ModelConfig, OpenAiConfig, Secret
from tuneline.llm.prices import require_price
from tuneline.llm.token_counts import count_tokens
from tuneline.stage import Checks, Json
from tuneline_calibrator.models.asking import Line, Lost, Told, told_by
from tuneline_calibrator.models.judge import ModelJudge, load_judge
from tuneline_calibrator.models.writer import load_writer
from tuneline_calibrator.stage import CalibratorParams
from tuneline_calibrator.talks.given import of_many_lengths, read_prompt, read_references

PASSAGES = ("Have you ever wondered why a bridge hums in the wind?", "That is all for today; thank you for listening.")
"""What a judge is asked about when it may be: nobody's talk."""


def check_given(params: CalibratorParams, checks: Checks) -> None:
    """Read the prompt, the models, and the references where they are given."""
    checks.read("prompt", read_prompt)
    writer, judge = checks.read("writer", load_writer), checks.read("judge", load_judge)
    for port, config in (("writer", writer), ("judge", judge)):
        if isinstance(config, ModelConfig):
            with checks.about(port):
                config.key(checks.secret)
                if checks.max_usd is not None:
                    require_price(config)
                if checks.online:
                    checks.note(_answer(port, config, checks.secret, params.timeout_s))
    if params.repeats > 1 and isinstance(writer, OpenAiConfig | GoogleConfig) and writer.temperature == 0:
        checks.warn("repeats", "a writer of temperature 0 writes the same each time; give it one, like 0.7")
    places = [checks.inputs[name] for name in ("pairs", "sources", "talks") if name in checks.inputs]
    if len(places) == 3:
        with checks.about("pairs"):
            references = read_references(*places)
            checks.note("1 pair is ready" if len(references) == 1 else f"{len(references):,} pairs are ready")
            if problem := of_many_lengths(references):
                checks.warn("talks", problem)
            warn_of_cuts(writer, max(count_tokens(one.text) for one in references), checks)


def warn_of_cuts(writer: object, longest: int, checks: Checks) -> None:
    """Warn of a writer whose scripts would be cut before they are as long as the longest talk, in tokens."""
    if isinstance(writer, ModelConfig) and writer.max_tokens < longest:
        checks.warn(
            "writer",
            f"the longest talk has about {longest:,} tokens, and a script that is cut at `max_tokens` "
            f"({writer.max_tokens:,}) is left out: raise it",
        )


def _answer(role: str, config: ModelConfig, secret: Secret, timeout_s: float) -> str:
    """Ask a model what it will be asked. Raises UserError unless its answer can be used."""
    with LlmClient.for_one_question(config, secret, timeout_s) as client:
        once = _Once(client)
        try:
            if role == "judge":
                ModelJudge(once).kinds(PASSAGES)
                return f"the judge {config.model} answers as its questions want it"
            status = once.ask("script", [{"role": "user", "content": f"Say this in other words: {PASSAGES[0]}"}]).status
        except Lost as lost:
            status = lost.status
    if status:
        raise UserError(f"{config.model} was asked one question, and its answer is {status}")
    return f"the writer {config.model} answers"


class _Once(Line):
    """Asks without keeping anything."""

    def __init__(self, client: LlmClient) -> None:
        self.label, self._client = client.config.model, client

    def ask(
        self, task: str, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None = None, seed: int = 0
    ) -> Told:
        return told_by(self._client, messages, schema, seed)
