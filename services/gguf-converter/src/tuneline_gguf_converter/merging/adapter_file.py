"""The adapter as a GGUF file of its own, which llama-server adds to the base model's file while it runs (`--lora`).

llama.cpp's own converter writes it: `adapter_file.py SCRIPT FINGERPRINT ARGUMENTS…`, a process of its own. It is given
the adapter's matrices under the base model's names, scaled as one factor for all of them: whoever made the adapter, and
with whatever scaling by layer.
"""

from __future__ import annotations

import runpy
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tuneline.errors import UserError
from tuneline.model import llama_cpp
from tuneline.model.base_model import write_object
from tuneline.model.weights import HEAD
from tuneline.parsing.problems import printable
from tuneline_gguf_converter.merging.adapter import Adapter

if TYPE_CHECKING:
    import torch

NUMBERS = "f16"
"""Format of the matrices: small numbers, of which it keeps more digits than bf16."""


def refuse_unfit(adapter: Adapter) -> None:
    """Raise UserError for what llama.cpp cannot add to a model while it runs: all but matrices of linear layers."""
    magnitudes = [name for name, change in adapter.changes.items() if change.magnitude]
    embeddings = [n for n in adapter.changes if "embed" in n or ".wte." in n or (adapter.unties and n == HEAD)]
    for names, what in (
        (list(adapter.replaced), "was trained as a whole"),
        (magnitudes, "has DoRA's magnitudes"),
        (embeddings, "is an embedding"),
    ):
        if names:
            raise UserError(
                f"`adapter_file`: {printable(names[0])} {what}, and a GGUF adapter holds LoRA matrices of linear "
                "layers only. Leave it out: the merged files have all of it"
            )


def write_adapter_file(adapter: Adapter, base: Path, card: str, fingerprint: str, destination: Path) -> None:
    """Write the file. `base` is the base model's folder, of which only the configuration is read; `card` a README."""
    folder = destination.with_name("adapter.part")
    folder.mkdir()
    alpha = _write_plain(adapter, folder / "adapter_model.safetensors")
    write_object(folder / "adapter_config.json", {"peft_type": "LORA", "lora_alpha": alpha})
    (folder / "README.md").write_text(card, encoding="utf-8")
    script = llama_cpp.converter().with_name("convert_lora_to_gguf.py")
    options = ["--base", str(base), "--outfile", str(destination), "--outtype", NUMBERS, str(folder)]
    command = [sys.executable, __file__, str(script), fingerprint, *options]
    llama_cpp.run_program(command, called=script.name)


def _write_plain(adapter: Adapter, place: Path) -> float:
    """Write the matrices in PEFT's layout and return the alpha that, over a layer's rank, is the scaling of all."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    found: dict[str, torch.Tensor] = {}
    alpha = 0.0
    with safe_open(adapter.file, framework="pt") as parts:
        for target, change in adapter.changes.items():
            up: torch.Tensor = parts.get_tensor(change.up).float()
            down: torch.Tensor = parts.get_tensor(change.down).float()
            rank = up.shape[1]
            alpha = alpha or change.scaling * rank
            layer = f"base_model.model.{target.removesuffix('.weight')}"
            found[f"{layer}.lora_A.weight"] = up.T if change.turned else down
            # The factor is 1 where all layers have the alpha and the rank of the first.
            found[f"{layer}.lora_B.weight"] = (down.T if change.turned else up).mul(change.scaling * rank / alpha)
    save_file({name: matrix.contiguous() for name, matrix in found.items()}, place)
    return alpha


def main(script: str, fingerprint: str, *arguments: str) -> None:
    """Run llama.cpp's script, and write the result that the file belongs to into its metadata."""
    sys.path[0] = str(Path(script).parent)  # in place of this file's folder
    import_module(Path(script).stem)  # which finds the `gguf` that belongs to it
    writer = import_module("gguf").GGUFWriter
    known = writer.add_type

    def add_type(self: object, kind: str) -> None:
        known(self, kind)
        writer.add_string(self, "tuneline.fingerprint", fingerprint)

    writer.add_type = add_type
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
