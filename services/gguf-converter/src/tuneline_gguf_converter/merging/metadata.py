"""What the file says about itself: name, base model, licence and data, and the result that it belongs to."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple

import gguf
import yaml

from tuneline.model.base_model import Checkpoint, hub_name
from tuneline.stage import InputRecord, Json
from tuneline_gguf_converter.stage import GgufConverterParams

MOST_OF_README = 1 << 16
_LICENCE = re.compile(r"""^(license(?:_name|_link)?): *(["']?)(\w[^\n"'{}[\]]*?)\2 *$""", re.MULTILINE)


class Identity(NamedTuple):
    """The names of a model, after the GGUF naming convention, and where it comes from."""

    base_name: str
    finetune: str | None
    release: str
    base_model: str
    sources: dict[str, Json]

    @property
    def title(self) -> str:
        return " ".join(filter(None, (self.base_name, self.finetune)))

    def file_name(self, size_label: str, encoding: str, kind: Literal["LoRA"] | None = None) -> str:
        """Return `<BaseName>-<SizeLabel>-<FineTune>-<Version>-<Encoding>[-LoRA].gguf`; the size is written once."""
        own_size = self.base_name.lower().endswith(f"-{size_label.lower()}")
        base_name = self.base_name[: -len(size_label) - 1] if own_size else self.base_name
        name = gguf.naming_convention(None, base_name, self.finetune, self.release, size_label, encoding, kind)
        return f"{name}.gguf"


def identify(
    params: GgufConverterParams, base: Checkpoint, lineage: Mapping[str, InputRecord], tuned: bool
) -> Identity:
    """Return the identity of the model that is being made; a fine-tune that the base model has already stays in it."""
    record, name = lineage["base_model"], hub_name(lineage["base_model"].uri)
    known = gguf.Metadata.get_model_id_components(name, base.parameters) if name else (None,) * 6
    base_name, base_finetune = known[2:4]
    return Identity(
        base_name=params.name or base_name or (name or _of_kind(base)).rpartition("/")[2],
        finetune="-".join(filter(None, (base_finetune, params.finetune if tuned else None))) or None,
        release=f"v{params.release}",
        # An address that is not public says nothing to others and may say too much: the content's hash stands for it.
        base_model=str(record.uri) if name else f"sha256:{record.sha256}",
        sources=_sources(record, name, lineage.get("slices")),
    )


def _of_kind(base: Checkpoint) -> str:
    """Return a name for a model without one: its kind.

    Phi 4 is of the kind `phi3`, but where that stands in a file's name llama.cpp looks for Phi 3's tokens, and fails.
    """
    merges_bytes = base.model_type == "phi3" and not (base.folder / "tokenizer.model").is_file()
    return "phi4" if merges_bytes else base.model_type


def card(front: Mapping[str, str]) -> str:
    """Return a README.md as the converter reads it."""
    return f"---\n{yaml.safe_dump(dict(front))}---\n" if front else ""


def write_metadata(folder: Path, base_folder: Path, identity: Identity, destination: Path) -> None:
    """Write the two files from which the converter takes metadata: a README.md beside the weights, and `destination`.

    The licence is taken from the front matter of the base model's README.md; the rest of that text is not copied.
    """
    (folder / "README.md").write_text(card(licence_of(base_folder)), encoding="utf-8")
    names: dict[str, Json] = {
        "general.name": identity.title,
        "general.basename": identity.base_name,
        "general.finetune": identity.finetune,
        "general.version": identity.release,
    }
    destination.write_text(json.dumps(names | identity.sources, indent=1), encoding="utf-8")


def _sources(record: InputRecord, name: str | None, slices: InputRecord | None) -> dict[str, Json]:
    base: dict[str, Json] = {"name": "base model", "description": f"sha256:{record.sha256}"}
    if name:
        organization, model = name.split("/")
        base |= {"name": model, "organization": organization, "repo_url": f"https://huggingface.co/{name}"}
    sources: dict[str, Json] = {"general.base_models": [base]}
    if slices:
        made_by = slices.producer or f"sha256:{slices.sha256}"
        sources["general.datasets"] = [{"name": "slices", "description": made_by}]
    return sources


def licence_of(folder: Path) -> dict[str, str]:
    """Return the licence lines in the front matter of a model's README.md. It is a text for people: only they are read.

    Their values are words: what else YAML can say there is left out.
    """
    readme = folder / "README.md"
    with readme.open("rb") if readme.is_file() else BytesIO() as file:
        head, ended, _ = file.read(MOST_OF_README).decode(errors="replace").partition("\n---")
    return {name: value for name, _, value in _LICENCE.findall(head)} if head.startswith("---\n") and ended else {}
