"""Where a release goes: a name in the Hugging Face Hub, or a place that holds files."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from tuneline.data.published import PackageName
from tuneline.errors import UserError
from tuneline_publisher.stage import PublisherParams

_HUB = re.compile(r"hf://([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)", re.ASCII)
ENDINGS: dict[PackageName, str] = {"gguf": "-GGUF", "adapter": "-LoRA", "dataset": ""}


class Repository(NamedTuple):
    """A repository of the Hub."""

    kind: Literal["model", "dataset"]
    name: str
    """As organisation/name."""

    @property
    def address(self) -> str:
        return f"hf://{'datasets/' * (self.kind == 'dataset')}{self.name}"


class HubTarget(NamedTuple):
    """A name in the Hub, from which those of the repositories follow."""

    organisation: str
    name: str

    def repository(self, package: PackageName) -> Repository:
        return Repository(
            "dataset" if package == "dataset" else "model", f"{self.organisation}/{self.name}{ENDINGS[package]}"
        )


def read_target(target: str | None) -> HubTarget | str:
    """Return a name in the Hub, or the address of a place. Raises UserError that names the parameter."""
    if not target:
        raise UserError("`target`: is missing. Name hf://organisation/name, s3://bucket/prefix or an absolute folder.")
    if not target.startswith("hf:"):
        return target
    found = _HUB.fullmatch(target)
    if not found or "--" in target or ".." in target or len(found[2]) > 80 or found[2].endswith((".git", "-", ".")):
        raise UserError(
            "`target`: a name in the Hub is hf://organisation/name, of letters, digits, `.`, `_` and `-`, without "
            "`--`, `..` and `.git`, and at most 80 characters after the organisation."
        )
    return HubTarget(found[1], found[2])


def refuse_nothing(params: PublisherParams) -> None:
    """Raise UserError if nothing is to be published."""
    if not (params.gguf or params.adapter or params.dataset):
        raise UserError("`gguf`, `adapter` and `dataset` are all false: there is nothing to publish.")
