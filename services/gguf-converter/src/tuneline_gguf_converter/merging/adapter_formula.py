"""What an adapter's configuration says of the merge, whoever wrote it: W + scaling · B·A, or why it is not that."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from typing_extensions import TypeIs

from tuneline.data.io import Closed
from tuneline.errors import UserError
from tuneline.parsing.problems import printable

# Settings of PEFT's LoraConfig under which the merge is W + scaling · B·A, or is done as they say. Any other one that
# is switched on is refused, also one that a later PEFT invents.
_KNOWN = {
    *("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_type", "peft_version", "revision"),
    *("exclude_modules", "layers_pattern", "layers_to_transform", "target_modules", "task_type"),
    *("lora_alpha", "lora_dropout", "megatron_core", "qalora_group_size", "r", "use_rslora", "use_dora"),
    *("alpha_pattern", "rank_pattern", "fan_in_fan_out", "modules_to_save", "ensure_weight_tying", "eva_config"),
    *("lora_dtype", "lorap_lr_ratio", "lorap_emb_lr"),  # of ms-swift, about the training alone
}
_PLAIN: dict[str, tuple[object, ...]] = {
    "bias": ("none", "all", "lora_only"),
    "swift_type": ("LORA",),
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),
}
# A pattern is read as PEFT does, as a regular expression; one that could take for ever is refused.
_SAFE_PATTERN = re.compile(r"(?:[\w\\^$|-]|\((?!\?)|\)(?![*+?{])|\.(?:\*(?!\*))?|\\d\+)+")
_MOST_PATTERNS, _LONGEST_PATTERN, _MOST_STARS = 10_000, 200, 2


_CHANGED_BASE = (
    "adapter: adapter_config.json: init_lora_weights {}: it began by changing the base model, which is "
    "not given here. PEFT makes a plain adapter of it: save_pretrained with path_initial_model_for_weight_conversion"
)


class Formula(Closed):
    """How the parts of an adapter are put together, and the name of the file that they are in."""

    file: str
    alpha: float
    alphas: dict[str, float]
    """Of layers that have their own, by patterns."""
    root: bool = False
    """The rank's root divides, not the rank (rsLoRA, arXiv:2312.03732)."""
    dora: bool = False
    fan_in_fan_out: bool = False
    mlx: bool = False

    def scaling(self, layer: str, rank: int) -> float:
        """Return the factor of B·A for a layer, whose own rank is that of its matrices."""
        if self.mlx:
            return self.alpha
        own = next((alpha for key, alpha in self.alphas.items() if re.match(rf"(.*\.)?({key})$", layer)), self.alpha)
        return own / (math.sqrt(rank) if self.root else rank)


def read_formula(config: Mapping[str, object]) -> Formula:
    """Raises UserError for an adapter of another kind, or with a setting that is not merged here."""
    if "peft_type" not in config and ("fine_tune_type" in config or "lora_parameters" in config):
        return _of_mlx(config)
    if config.get("peft_type") != "LORA":
        raise UserError(_not_merged("is not a LoRA adapter"))
    began = config.get("init_lora_weights")
    if isinstance(began, str) and began not in ("loftq", *_PLAIN["init_lora_weights"]):
        raise UserError(_CHANGED_BASE.format(printable(began)))
    switched_on = {name: value for name, value in sorted(config.items()) if value and name not in _KNOWN}
    other = [name for name, value in switched_on.items() if value not in _PLAIN.get(name, ())]
    if other:
        raise UserError(_not_merged(f"uses {printable(', '.join(other))}"))
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or not 0 < rank < 1 << 20 or not _is_scale(alpha):
        raise UserError("adapter: adapter_config.json has no numbers `r` and `lora_alpha` above 0")
    return Formula(
        file="adapter_model.safetensors",
        alpha=alpha,
        alphas=_alphas(config.get("alpha_pattern") or {}),
        root=bool(config.get("use_rslora")),
        dora=bool(config.get("use_dora")),
        fan_in_fan_out=bool(config.get("fan_in_fan_out")),
    )


def _of_mlx(config: Mapping[str, object]) -> Formula:
    """Read what mlx-lm wrote: before it said `fine_tune_type`, it took `alpha` into the scale, or no more so."""
    old = "fine_tune_type" not in config
    kind = config.get("fine_tune_type", "dora" if config.get("use_dora") else "lora")
    numbers = config.get("lora_parameters")
    if kind != "lora" or not isinstance(numbers, dict):
        raise UserError(_not_merged("is not a LoRA adapter"))
    if old and "alpha" in numbers:
        raise UserError(
            "adapter: adapter_config.json: lora_parameters has `alpha`, which versions of mlx-lm took otherwise, and "
            "it does not say which one wrote it: save it again with one that writes `fine_tune_type`"
        )
    rank, scale = numbers.get("rank"), numbers.get("scale")
    if type(rank) is not int or not 0 < rank < 1 << 20 or not _is_scale(scale):
        raise UserError("adapter: adapter_config.json has no numbers `rank` and `scale` above 0 in lora_parameters")
    return Formula(file="adapters.safetensors", alpha=scale, alphas={}, mlx=True)


def _alphas(found: object) -> dict[str, float]:
    if not isinstance(found, dict) or len(found) > _MOST_PATTERNS:
        raise UserError("adapter: adapter_config.json: alpha_pattern is no list of layers and numbers")
    for key, alpha in found.items():
        safe = len(key) <= _LONGEST_PATTERN and key.count("*") <= _MOST_STARS and _SAFE_PATTERN.fullmatch(key)
        if not safe or not _is_scale(alpha):
            raise UserError(f"adapter: adapter_config.json: alpha_pattern: {printable(key)} is not read here")
        try:
            re.compile(key)
        except re.error:
            raise UserError(f"adapter: adapter_config.json: alpha_pattern: {printable(key)} is no pattern") from None
    return {str(key): float(alpha) for key, alpha in found.items()}


def _is_scale(value: object) -> TypeIs[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e6


def _not_merged(what: str) -> str:
    return f"adapter: adapter_config.json: it {what}, which cannot be merged here: train a plain LoRA adapter"
