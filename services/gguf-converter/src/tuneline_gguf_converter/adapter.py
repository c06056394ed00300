"""The adapter as it lies in its folder, read from its headers and compared with the base model's; nothing is loaded."""

from __future__ import annotations

import math
import re
from pathlib import Path

from tuneline.data.io import Closed
from tuneline.errors import UserError
from tuneline.model.base_model import Checkpoint, hub_name, read_object
from tuneline.model.weights import bare_name, names_in_files, read_shapes
from tuneline.parsing.problems import printable
from tuneline.stage import InputRecord

# Settings of PEFT's LoraConfig under which the merge is W + scaling · B·A. Any other one that is switched on is
# refused, also one that a later PEFT invents.
_KNOWN = {
    *("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_type", "peft_version", "revision"),
    *("exclude_modules", "layers_pattern", "layers_to_transform", "target_modules", "task_type"),
    *("lora_alpha", "lora_dropout", "megatron_core", "qalora_group_size", "r", "use_rslora"),
}
_PLAIN: dict[str, tuple[object, ...]] = {"bias": ("none",), "init_lora_weights": (True, False, "gaussian")}
_LORA_KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


class Adapter(Closed):
    """A LoRA adapter: W becomes W + scaling · B·A for each base weight of `targets`."""

    file: Path
    scaling: float
    targets: dict[str, str]
    """Base weights by their names in the base model's files, and what the adapter calls the layer of each."""

    def key(self, target: str, half: str) -> str:
        """Return the name of matrix `half` (A or B) of the base weight `target` in the adapter's file."""
        return f"base_model.model.{self.targets[target]}.lora_{half}.weight"


def read_adapter(folder: Path, base: Checkpoint, record: InputRecord) -> Adapter:
    """Read the facts of the adapter. Raises UserError when it was not made for `base`, or is no plain LoRA adapter.

    `record` says where the base model came from and what it contains.
    """
    config = read_object(folder / "adapter_config.json", "adapter")
    _check_formula(config)
    _check_base_name(str(config.get("base_model_name_or_path") or ""), record)
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise UserError("adapter: adapter_model.safetensors is missing: give the folder that PEFT saved")
    shapes = read_shapes(file, "adapter")
    found = [_LORA_KEY.fullmatch(key) for key in shapes]
    unknown = [key for key, match in zip(shapes, found, strict=True) if match is None]
    if unknown or not found:
        names = printable(", ".join(unknown[:3])) or "nothing"
        raise UserError(f"adapter: it holds more than LoRA matrices of linear layers: {names}")
    places = names_in_files(base.shapes)
    layers = [match[1] for match in found if match]
    targets = {places.get(bare_name(f"{layer}.weight"), f"{layer}.weight"): layer for layer in layers}
    targets |= {f"{layer}.weight": layer for layer in layers if f"{layer}.weight" in base.shapes}
    adapter = Adapter(file=file, scaling=_scaling(config), targets=targets)
    _check_shapes(adapter, shapes, base)
    return adapter


def _check_formula(config: dict[str, object]) -> None:
    switched_on = {name: value for name, value in sorted(config.items()) if value and name not in _KNOWN}
    other = [name for name, value in switched_on.items() if value not in _PLAIN.get(name, ())]
    if config.get("peft_type") != "LORA" or other:
        what = f"uses {printable(', '.join(other))}" if other else "is not a LoRA adapter"
        raise UserError(
            f"adapter: adapter_config.json: it {what}, which cannot be merged here: train a plain LoRA adapter"
        )


def _check_base_name(name: str, record: InputRecord) -> None:
    """Compare the base that the adapter names, a content hash or a name on the hub, with the one that is here."""
    by_hash = re.search(r"@sha256:([0-9a-f]{8,64})$", name)
    if by_hash and not record.sha256.startswith(by_hash[1]):
        other = f"the base model sha256:{by_hash[1]}, and this one is sha256:{record.sha256[:12]}"
    elif (here := hub_name(record.uri)) and re.fullmatch(r"[\w.-]+/[\w.-]+", name) and name != here:
        other = f"the base model {name}, and this one is {here}"
    else:
        return
    raise UserError(f"adapter: it was trained on {other}. Give the base model that it was trained on.")


def _check_shapes(adapter: Adapter, shapes: dict[str, tuple[int, ...]], base: Checkpoint) -> None:
    for target in sorted(adapter.targets):
        down, up = shapes.get(adapter.key(target, "A"), ()), shapes.get(adapter.key(target, "B"), ())
        expected, name = base.shapes.get(target), printable(target)
        if len(down) != 2 or len(up) != 2 or up[1] != down[0]:
            raise UserError(f"adapter: its matrices for {name} do not belong together: copy it again")
        if expected != (up[0], down[1]):
            has = f"shape {'×'.join(map(str, expected))}" if expected else "no such weight"
            raise UserError(
                f"adapter: it changes {name} of shape {up[0]}×{down[1]}, and this base model has {has}. "
                "Give the base model that it was trained on."
            )


def _scaling(config: dict[str, object]) -> float:
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or not 0 < rank < 1 << 20 or not isinstance(alpha, int | float) or not 0 < alpha < 1e6:
        raise UserError("adapter: adapter_config.json has no numbers `r` and `lora_alpha` above 0")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
