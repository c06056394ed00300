"""What the gguf-converter leaves behind about its files: `gguf.json`."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from tuneline.data.io import Closed
from tuneline.stage import Json

CheckName = Literal["header", "template", "loads", "rendering", "token_ids", "end_of_turn", "top1_agreement"]

CHECKS: tuple[CheckName, ...] = get_args(CheckName)
"""In the order in which they are made."""


class Check(Closed):
    """One comparison of a file with the merged model."""

    name: CheckName
    file: str
    passed: bool
    detail: str
    value: float | None = None
    threshold: float | None = None


class Estimate(Closed):
    """A figure with its interval of 95 %, clustered by conversation."""

    value: float
    low: float
    high: float


class Fidelity(Closed):
    """How closely one file says what the merged model says, both told the true text."""

    file: str
    file_type: str
    bytes: int
    bits_per_weight: float
    conversations: int
    positions: int
    """Tokens that were compared."""
    source: Literal["held-out", "training", "probe"]
    """Where they are from."""
    top1: Estimate
    """Share of tokens of which both say that they are the likeliest."""
    kl: Estimate | None
    """Divergence from the merged model in nats, over its likeliest tokens with all others as one."""
    perplexity: float | None
    merged_perplexity: float | None
    """The merged model's, on the same tokens."""


class ImportanceMatrix(Closed):
    """What told the quantisation which inputs of a layer matter most; it is the same for both arms of a comparison."""

    sha256: str
    """Hash of the text that it was made of, or of the matrix that was given."""
    conversations: int | None = None
    """Of training, that it was made of; None if it was given."""
    tokens: int | None = None


class AdapterFile(Closed):
    """The adapter as a GGUF file of its own: what the base model's file says with it, beside the merged model."""

    file: str
    bytes: int
    conversations: int
    positions: int
    source: Literal["held-out", "training", "probe"]
    top1: Estimate
    kl: Estimate | None


class ModelFacts(Closed):
    """gguf.json: about the first file, the one that is evaluated; `sizes` and `checks` are about its siblings too."""

    name: str
    file: str = Field(pattern=r"^[^/\\\x00]+$")
    """Name of the file in the output `model`."""
    file_type: str
    architecture: str
    parameters: int
    sizes: dict[str, int]
    """Bytes of each file."""
    template_sha256: str
    tokenizer_sha256: str
    converter: str
    """Hash of llama.cpp's converter."""
    llama_cpp: str
    base_model: str
    """Its public address, else `sha256:` and the hash of its content."""
    metadata: dict[str, Json]
    """What the file says about the model as a whole."""
    checks: tuple[Check, ...]
    fidelity: tuple[Fidelity, ...] = ()
    """Of each file; not in files of earlier versions."""
    imatrix: ImportanceMatrix | None = None
    """The importance matrix with which the files were quantised, if one was asked for."""
    adapter: AdapterFile | None = None
    """If one was asked for."""
