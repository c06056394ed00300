"""What a run has, and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from tuneline.data.io import read_record
from tuneline.data.model_facts import ModelFacts
from tuneline.data.slices import SliceStats
from tuneline.data.text.audit import Audit
from tuneline.data.training import TrainingRecord
from tuneline.errors import UserError
from tuneline.judge.card import JudgeCard, JudgeCards
from tuneline.model.base_model import hub_name
from tuneline.model.gguf_header import read_header
from tuneline.stage import Context, Maker
from tuneline_publisher.stage import PublisherInputs, PublisherParams
from tuneline_publisher.target import refuse_nothing


class Outcome(BaseModel):
    """What a card says of comparison.json; the report has the rest."""

    headline: str
    notes: list[str]
    judges: list[JudgeCard]


class Base(NamedTuple):
    """The base model."""

    name: str | None
    """In the Hub, as organisation/name; None if it came from elsewhere."""
    commit: str | None
    sha256: str


class Facts(NamedTuple):
    """What the cards are written from."""

    makers: Mapping[str, Maker]
    """The results that are published or described, by stage."""
    base: Base | None
    gguf: ModelFacts | None
    training: TrainingRecord | None
    outcome: Outcome | None
    summary: str
    judges: tuple[JudgeCard, ...]
    audit: Audit | None
    slices: SliceStats | None = None

    @property
    def licence(self) -> dict[str, str]:
        """The base model's licence as its file says it, as keys of a card."""
        keys = {
            "general.license": "license",
            "general.license.name": "license_name",
            "general.license.link": "license_link",
        }
        said = self.gguf.metadata if self.gguf else {}
        return {key: str(said[name]) for name, key in keys.items() if isinstance(said.get(name), str)}


def read_facts(inputs: PublisherInputs, context: Context) -> Facts:
    """Read everything that is small. Raises UserError for a file that is not as its stage writes it."""
    found = {port: context.maker(port) for port in PublisherInputs.model_fields}
    makers = {maker.stage: maker for maker in found.values() if maker}
    return Facts(
        makers=makers,
        base=_base(makers),
        gguf=read_record(inputs.gguf, ModelFacts) if inputs.gguf else None,
        slices=read_record(inputs.slices_stats, SliceStats) if inputs.slices_stats else None,
        training=read_record(inputs.training, TrainingRecord) if inputs.training else None,
        outcome=read_record(inputs.comparison, Outcome) if inputs.comparison else None,
        summary=inputs.summary.read_text(encoding="utf-8") if inputs.summary else "",
        judges=tuple(read_record(inputs.judges, JudgeCards).judges) if inputs.judges else (),
        audit=read_record(inputs.findings, Audit) if inputs.findings else None,
    )


def refuse_unfit(params: PublisherParams, inputs: PublisherInputs, context: Context) -> None:
    """Refuse to publish what the run lacks, what was made with forgotten transcripts, and files of another result."""
    asked = {"gguf": params.gguf, "adapter": params.adapter, "dataset": params.dataset}
    paths = {"gguf": inputs.model, "adapter": inputs.adapter, "dataset": inputs.judged and inputs.verdicts}
    refuse_nothing(params)
    for name in filter(asked.__getitem__, asked):
        if paths[name] is None:
            raise UserError(
                f"`{name}`: this run has no such thing to publish. Finish the run first, or set `{name}: false`."
            )
        maker = context.maker({"gguf": "model", "adapter": "adapter", "dataset": "judged"}[name])
        if maker and maker.forgotten:
            raise UserError(
                f"`{name}`: {maker.stage} made it with transcripts that were forgotten since ({maker.forgotten}). "
                f"Make it again before you publish it, or set `{name}: false`."
            )
    chain = (("adapter", "slices", "slices"), ("model", "adapter", "adapter"), ("comparison", "model", "model"))
    for later, made_of, port in chain if params.gguf or params.adapter else ():  # transcripts alone need no model
        _refuse_apart(context.maker(later), context.maker(made_of), port)
    if params.gguf and inputs.model:
        _refuse_strangers(inputs.model, context.maker("model"))


def _refuse_apart(later: Maker | None, now: Maker | None, port: str) -> None:
    """Raise UserError where a result was made of another one than the run has now: a card would tell of both as one."""
    record = later.inputs.get(port) if later else None
    if later and now and record and record.producer not in (None, f"{now.stage}/{now.fingerprint}"):
        raise UserError(
            f"{later.stage}: was made of another result of {now.stage} than this run has now. Run the run's own file "
            f"again, up to {later.stage}, before you publish it."
        )


def _refuse_strangers(folder: Path, maker: Maker | None) -> None:
    """Raise UserError for a GGUF file that says it belongs to another result than the one it comes from."""
    for path in sorted(folder.rglob("*.gguf")):
        said = read_header(path).text("tuneline.fingerprint")
        if maker and said not in ("", maker.fingerprint):
            raise UserError(
                f"{path.name}: says that it belongs to another result. Let the gguf-converter make it again."
            )


def _base(makers: Mapping[str, Maker]) -> Base | None:
    for stage in ("gguf-converter", "trainer"):
        record = makers[stage].inputs.get("base_model") if stage in makers else None
        if record:
            name = hub_name(record.uri)
            commit = str(record.uri).partition("@")[2] if name else ""
            return Base(name, commit or None, record.sha256)
    return None
