"""Which layers of the loaded model get an adapter: those that write text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from torch.nn import Linear
from transformers import PreTrainedModel

from tuneline.errors import UserError
from tuneline_trainer.model.base_model import EXPERTS


def target_modules(model: PreTrainedModel, wanted: Sequence[str] | Literal["all-linear"]) -> list[str] | str:
    """Return what PEFT takes as `target_modules`: a list of last names, or an expression that whole names match.

    Of a model that also sees or hears, only the layers of its text part count. Raises UserError when it has none.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, Linear)]
    blocks = any(".experts." in name for name, _ in model.named_parameters())
    bearing = [name for name in names if _bears_one(name, model, blocks)]
    decoder = model.get_decoder()  # type: ignore[no-untyped-call]
    place = next(name for name, module in model.named_modules() if module is decoder)
    text = [name for name in bearing if name.startswith(f"{place}.")]
    last = sorted({name.rpartition(".")[2] for name in text} if wanted == "all-linear" else set(wanted))
    if missing := [target for target in last if not any(name.endswith(f".{target}") for name in text)]:
        raise UserError(
            f"`lora.targets`: the text part of this model has no linear layer {', '.join(missing)} once it is loaded "
            "(experts lie there as one block). Leave the name out"
        )
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if not blocks and all(name in text or model.get_submodule(name) is head for name in names):
        return wanted if isinstance(wanted, str) else list(wanted)
    return rf"{re.escape(place)}\.(?:.+\.)?(?:{'|'.join(map(re.escape, last))})"


def _bears_one(name: str, model: PreTrainedModel, blocks: bool) -> bool:
    """As `text_layers` of the files has it; `blocks` tells that experts lie in some."""
    block, _, last = name.rpartition(".")
    return not (blocks and last in EXPERTS) and not (last == "out_proj" and hasattr(model.get_submodule(block), "D"))
