"""What the models of a run are, as far as their records say how they were made."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Literal, NamedTuple

from tuneline.commands.results.rows import ArmVerdict, Compared, Rows, read_compared, read_rows, result_in
from tuneline.commands.show import results_of
from tuneline.engine.layout import result_key, result_of
from tuneline.engine.records import Manifest, read_manifest
from tuneline.errors import UserError
from tuneline.stage import Closed, InputRecord
from tuneline.store.base import Store

Kind = Literal["fine-tune", "base model", "not known"]
PORTS = {"base": "base", "finetuned": "model"}
"""Input of the evaluator by arm."""


class Arm(Closed):
    """One model of a run."""

    run: str
    arm: str
    name: str
    """The file or endpoint that was compared."""
    sha256: str | None
    """Of its input."""
    kind: Kind
    base_uri: str | None = None
    """What it was made of, where that is known."""
    base_sha256: str | None = None

    @property
    def label(self) -> str:
        """Name for people, with what it is."""
        of = self.base_uri or "an inline base model"
        made = {"fine-tune": f"a fine-tune of {of}", "base model": f"{of}, not fine-tuned here"}
        return f"{self.name} ({made.get(self.kind, 'how it was made is not known')})"


class Side(NamedTuple):
    """The evaluation of a run."""

    run: str
    manifest: Manifest
    compared: Compared
    verdicts: Rows[ArmVerdict]
    arms: dict[str, Arm]
    """By name, base and finetuned."""

    @property
    def unit(self) -> str:
        return "prompt" if "prompts" in self.manifest.inputs else "persona"

    def scored(self, arm: str) -> list[ArmVerdict]:
        """Return what was found about those conversations of an arm that have a score."""
        return [row for row in self.verdicts if row.arm == arm and row.status == "scored"]


def read_side(store: Store, run: str) -> Side:
    """Read a run's evaluation, to compute with it.

    Raises UserError where there is no such run, it was not evaluated yet, or what computes is not installed.
    """
    if find_spec("scipy") is None:
        raise UserError("comparing needs statistics: pip install 'tuneline[statistics]'")
    manifest = result_in(run, results_of(store, run), "evaluator")
    compared = read_compared(store, manifest)
    arms = {
        arm: arm_of(store, run, arm, compared.served(arm), manifest.inputs.get(port)) for arm, port in PORTS.items()
    }
    return Side(run, manifest, compared, read_rows(store, manifest, "verdicts", ArmVerdict), arms)


def arm_of(store: Store, run: str, arm: str, name: str, record: InputRecord | None) -> Arm:
    """Say what a model is, by the conversion that made it, here or before it was given by its address."""
    made = next(iter(_makers(store, record)), None) if record else None
    base = made.inputs.get("base_model") if made else None
    kind: Kind = "not known" if made is None else "fine-tune" if "adapter" in made.inputs else "base model"
    return Arm(
        run=run, arm=arm, name=name, sha256=record.sha256 if record else None, kind=kind,
        base_uri=base.uri if base else None, base_sha256=base.sha256 if base else None,
    )  # fmt: skip


def _makers(store: Store, record: InputRecord) -> Iterator[Manifest]:
    """Yield the results that an input is an output of: the one that its record names, or any with the same bytes."""
    stage, _, digest = (record.producer or "").partition("/")
    if digest and (manifest := read_manifest(store, stage, digest)):
        yield manifest
        return
    listed = (result_of(entry.key) for entry in store.list(result_key("gguf-converter", "")))
    for stage, digest in dict.fromkeys(filter(None, listed)):
        manifest = read_manifest(store, stage, digest)
        if manifest and any(output.sha256 == record.sha256 for output in manifest.outputs.values()):
            yield manifest


def relation(first: Arm, second: Arm) -> str:
    """Say how two models belong together."""
    if first.sha256 is not None and first.sha256 == second.sha256:
        return "the same model twice"
    if "not known" in (first.kind, second.kind):
        return "two models, of which at least one comes from elsewhere"
    one_base = first.base_sha256 == second.base_sha256
    if first.kind == second.kind == "fine-tune":
        return "two fine-tunes of one base" if one_base else "fine-tunes of different bases"
    if first.kind == second.kind:
        return "two files of one base model" if one_base else "two base models"
    return "a fine-tune and its base model" if one_base else "a fine-tune and another base model"
