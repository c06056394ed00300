"""What can be known of the conversion before anything is trained for it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Concatenate, ParamSpec

from tuneline.errors import UserError
from tuneline.model import llama_cpp
from tuneline.model.base_model import Checkpoint, read_checkpoint
from tuneline.model.chat import ChatTokenizer
from tuneline.model.known_models import refuse_unconvertible, refuse_unknown_split
from tuneline.model.sentencepiece import refuse_other_merges
from tuneline.stage import Checks
from tuneline_gguf_converter.checking.rehearsal import rehearse
from tuneline_gguf_converter.imatrix import look_at_calibration, programs, refuse_without_matrix
from tuneline_gguf_converter.merging.adapter import read_adapter, refuse_other_base, refuse_other_chat
from tuneline_gguf_converter.merging.adapter_file import refuse_unfit
from tuneline_gguf_converter.stage import GgufConverterParams

P = ParamSpec("P")

BLOCK = 256
"""Weights of a row that are rounded together, in all types but these."""
SHORT_BLOCKS = ("Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "F16", "BF16")

BYTES = 2 * 2
"""Per weight: the unquantised file has 16 bits, and those that are made of it lie beside it."""


def check_given(params: GgufConverterParams, checks: Checks) -> None:
    """See whether the base model can be converted, and whether the programs and the disk are there for it."""
    sound = [checks.read("base_model", _passes, refuse) for refuse in (refuse_unconvertible, refuse_other_merges)]
    chat = checks.read("base_model", ChatTokenizer.from_folder, checks.inputs.get("chat_template"))
    if chat:
        sound.append(checks.read("base_model", _passes, refuse_unknown_split, chat))
        checks.read("adapter", refuse_other_chat, chat, checks.inputs.get("chat_template"))
    checks.read("imatrix", look_at_calibration)
    if not checks.origin("imatrix"):
        with checks.about("quantizations"):
            refuse_without_matrix(params.quantizations)
    base = checks.read("base_model", read_checkpoint)
    if base:
        if problem := grown(params.quantizations, base.shapes):
            checks.warn("quantizations", problem)
        checks.read("adapter", refuse_other_base, checks.origin("base_model"))
        adapter = checks.read("adapter", read_adapter, base)
        if adapter and params.adapter_file:
            with checks.about("adapter_file"):
                refuse_unfit(adapter)
        checks.note(f"{_gb(base.parameters * BYTES)} of disk, for {base.parameters / 1e6:,.1f} million parameters")
    if checks.work:
        _check_here(checks, checks.work, base, chat if all(sound) else None)


def _passes(folder: Path, refuse: Callable[Concatenate[Path, P], None], *args: P.args, **kwargs: P.kwargs) -> bool:
    refuse(folder, *args, **kwargs)
    return True


def _check_here(checks: Checks, work: Path, base: Checkpoint | None, chat: ChatTokenizer | None) -> None:
    """Look at the programs and the disk of this machine, and try a base model in which nothing wrong was seen."""
    for name in programs(checks.origin("imatrix") is not None):
        with checks.about(""):
            llama_cpp.program(name)
    with checks.about(""):
        llama_cpp.converter()
        if base and chat:
            with checks.about("base_model"):
                rehearse(base, chat, checks.inputs.get("chat_template"))
    if base:
        with checks.about(""):
            _require_disk(base, work)


def grown(quantizations: Iterable[str], shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Say which files will be larger than their names say, None if none will.

    llama-quantize takes another type, of 4 bits or more, where rows cannot be cut into blocks (`tensor_type_fallback`).
    """
    kinds = [kind for kind in quantizations if kind not in SHORT_BLOCKS]
    matrices = [shape for name, shape in shapes.items() if len(shape) == 2 and name.endswith(".weight")]
    weights, other = (sum(map(math.prod, some)) for some in (matrices, [m for m in matrices if m[1] % BLOCK]))
    if not kinds or not other:
        return None
    return (
        f"{', '.join(kinds)}: {other / weights:.0%} of the weights lie in rows that are no multiple of {BLOCK} long, "
        "and get a type of 4 bits or more: the file will be larger and more exact than its name says"
    )


def _require_disk(base: Checkpoint, work: Path) -> None:
    there = next(folder for folder in (work, *work.absolute().parents) if folder.exists())
    needed, free = base.parameters * BYTES, shutil.disk_usage(there).free
    if needed > free:
        raise UserError(f"{work}: the conversion takes {_gb(needed)} of disk, and there are {_gb(free)}. Make room.")


def _gb(size: int) -> str:
    return f"{size / 1e9:,.2f} GB"
