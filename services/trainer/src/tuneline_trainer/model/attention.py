"""Which attention kernel computes the model: what was asked for, and what it is settled to."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Literal, NamedTuple

from tuneline.errors import UserError

Kernel = Literal["eager", "sdpa", "flash_attention_2", "flex_attention"]
CAPPING_FLASH = (2, 6)
"""First version of flash-attn that soft-caps scores; one before it ignores the cap, and trains another model."""

FORMS = 64
"""Forms of its arguments (kind of mask, with a gradient or without, number of rows …) that flex is compiled for, at
most. Gemma-2 has 8 of them when batches have one row, which is all that torch compiles unless told."""


class Machine(NamedTuple):
    """What a kernel needs of the machine; `flash` is the version of flash-attn, None where it is not installed."""

    device: Literal["cpu", "cuda"]
    dtype: Literal["bf16", "fp32"]
    flash: tuple[int, int] | None = None


def this_machine(device: Literal["cpu", "cuda"], dtype: Literal["bf16", "fp32"]) -> Machine:
    """Return what is installed here."""
    try:
        major, minor, *_ = version("flash-attn").split(".")
        flash = (int(major), int(minor)) if find_spec("flash_attn") else None
    except (PackageNotFoundError, ValueError):
        flash = None
    return Machine(device, dtype, flash)


def attention_of(wanted: Kernel | Literal["auto"], machine: Machine, *, capped: bool) -> Kernel:
    """Return the kernel for a model, whose scores are soft-capped or not. Raises UserError for one that cannot be.

    Scores are tokens² for each head: eager attention of Gemma-2-9B keeps 137 GB of them for one layer at 32,768 tokens,
    so that on a GPU it is taken only when asked for. A CPU has no other kernel that caps and has a backward pass.
    """
    if wanted == "auto":
        if not capped:
            return "sdpa"
        if machine.device == "cpu":
            return "eager"
        return "flash_attention_2" if _flash(machine, capped) is None else "flex_attention"
    refuse_attention(wanted, capped=capped)
    if wanted in ("flash_attention_2", "flex_attention") and machine.device == "cpu":
        raise UserError(f"`attention`={wanted}: it has no backward pass on a CPU. Use auto, or a GPU")
    if wanted == "flash_attention_2" and (missing := _flash(machine, capped)):
        raise UserError(f"`attention`=flash_attention_2 needs {missing}. Use auto")
    return wanted


def compile_every_form() -> None:
    """Let torch compile flex attention for every form that comes, and raise rather than compute one without.

    Not compiled it computes the same, but holds the scores of all pairs of tokens.
    """
    from torch._dynamo import config

    config.recompile_limit = FORMS
    config.fail_on_recompile_limit_hit = True


def refuse_attention(wanted: str, *, capped: bool) -> None:
    """Raise UserError for a kernel that cannot compute this model on any machine."""
    if wanted == "sdpa" and capped:
        raise UserError("`attention`=sdpa: it cannot compute the soft-capped scores of this model. Use auto")


def _flash(machine: Machine, capped: bool) -> str | None:
    """Return what flash attention lacks here; None if it can be used."""
    least = CAPPING_FLASH if capped else (2, 0)
    if machine.flash is None or machine.flash < least:
        return f"the package flash-attn, {least[0]}.{least[1]} or newer"
    return None if machine.dtype == "bf16" else "`dtype`=bf16"
