"""gguf-converter: a file that people can run, proven to be the model that was trained.

The adapter is merged into the base model, converted by llama.cpp's own converter and quantised. Each file is then
served by llama-server and compared with the merged model: chat template, token ids, where an answer ends, and which
token comes next. The variant `base` puts the untouched base model through the same steps, for a fair comparison.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tuneline.model.base_model import MODEL_FILES
from tuneline.stage import (
    Checks,
    Context,
    Inputs,
    Metrics,
    Outputs,
    Params,
    Stage,
    file_name,
    folder_name,
    given,
    output_of,
    pace,
    without,
)

Quantization = Literal[
    "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "Q2_K_S", "IQ3_XXS", "IQ3_XS",
    "Q2_K", "IQ3_S", "IQ3_M", "Q3_K_S", "Q3_K_M", "Q3_K_L", "IQ4_XS", "IQ4_NL", "Q4_0", "Q4_K_S", "Q4_K_M",
    "Q5_0", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0", "F16", "BF16",
]  # fmt: skip
"""File types of llama.cpp; those of the first line need an importance matrix."""


class GgufConverterParams(Params):
    """What is made of the merged model, and how closely it is compared with it."""

    quantizations: Annotated[tuple[Quantization, ...], Field(min_length=1)] = ("Q4_K_M",)
    """Types of file to make; the first is the one that is evaluated. Fewer bits are smaller, faster and less exact;
    those of 1 and 2, IQ3_XXS and IQ3_XS need the input `imatrix`."""
    adapter_file: bool = False
    """Write the adapter as a GGUF file of its own too, for `llama-server --lora` beside the base model's file: a
    hundredth of the size, for another conversion of the base model to check it with."""
    imatrix_tokens: int = Field(default=65_536, ge=1024)
    """Tokens of the training conversations that make the importance matrix, if one is asked for; time grows with it."""
    merge_dtype: Literal["bf16", "f16"] = "bf16"
    """Number format of the merged weights; bf16 holds any weight, f16 is more exact for models made in it."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9.]*(-[A-Za-z0-9.]+)*$", max_length=60)
    """BaseName in the file name; the default is the base model's own name on the hub, else its architecture."""
    finetune: str = Field(default="tuned", pattern=r"^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$", max_length=60)
    """FineTune in the file name: what this model is for, in a word or two."""
    release: int = Field(default=1, ge=1)
    """Version in the file name; raise it when a better model takes the place of one that people have."""
    min_top1_agreement: float = Field(default=0.8, ge=0, le=1)
    """Least share of tokens on which file and merged model agree, at the lower end of its interval; Q4_K_M has 0.85 to
    0.95, fewer bits need less."""
    check_conversations: int = Field(default=8, ge=1, le=1000)
    """Held-out conversations to compare on; more are surer and take time in proportion."""
    check_positions: int = Field(default=48, ge=1, le=10_000)
    """Tokens of each conversation to compare, evenly spread over its answers; 8 × 48 tell an agreement of 0.90 from one
    of 0.80 even where those of a conversation resemble each other so much that they are worth half."""
    check_tokens: int = Field(default=1024, ge=16)
    """Tokens from the start of each conversation that both models read; time and memory grow with it."""
    threads: int | None = pace(None, ge=1)
    """CPU threads; the default leaves the choice to torch and llama.cpp, which is wrong in a pod with a CPU limit."""


class GgufConverterInputs(Inputs):
    """The model in parts."""

    adapter: Path | None = output_of("trainer")
    """LoRA adapter in PEFT's layout; without it the base model is converted as it is."""
    base_model: Path = given(*MODEL_FILES)
    """Folder in the Hugging Face layout: config, safetensors weights, tokenizer with a chat template."""
    chat_template: Path | None = given(optional=True)
    """Chat template and its settings, in place of the base model's: a .jinja file, or `template`, `options`, `date`."""
    slices: Path | None = output_of("slicer")
    """Conversations to check with, the held-out ones first; without them only built-in probes are used."""
    imatrix: Path | None = given(optional=True, after="slicer")
    """What an importance matrix is made of, for both arms: `output:slicer/slices`, or a GGUF file of llama-imatrix."""


class GgufConverterOutputs(Outputs):
    """The model to run, and what is known about it."""

    model: Path = folder_name("model")
    """The .gguf files, named `<BaseName>-<SizeLabel>-<FineTune>-<Version>-<Encoding>.gguf`."""
    gguf: Path = file_name("gguf.json")
    """The first file's name, type, architecture and hashes; sizes, metadata and checks of all."""
    modelfile: Path = file_name("Modelfile")
    """Makes the first file a model of Ollama."""


def run(
    params: GgufConverterParams, inputs: GgufConverterInputs, outputs: GgufConverterOutputs, context: Context
) -> Metrics:
    """Merge, convert, quantise and check."""
    from tuneline_gguf_converter.convert import convert

    return convert(params, inputs, outputs, context)


def check(params: GgufConverterParams, checks: Checks) -> None:
    """Look at what is given."""
    from tuneline_gguf_converter.check import check_given

    check_given(params, checks)


VARIANTS = {"base": without("adapter", "slices")}
STAGE = Stage(
    "gguf-converter",
    7,
    GgufConverterParams,
    GgufConverterInputs,
    GgufConverterOutputs,
    run,
    variants=VARIANTS,
    check=check,
)


def main() -> None:
    """Run the stage from the command line."""
    from tuneline.commands.stage import stage_main

    stage_main(STAGE)
