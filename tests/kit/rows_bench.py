"""How many tokens training computes for what it learns, on the real transcripts with a real tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from kit.slicing import real_bench
from tuneline.model.base_model import TOKENIZER_FILES
from tuneline.model.chat import ChatTokenizer
from tuneline_trainer.examples.rows import Asked, Examples, Plan, Supervise, read_examples


class Sliced:
    """The data set sliced for a context, each way once."""

    def __init__(self, folder: Path, data: Path, model: Path, context: int, slices_per_step: int) -> None:
        bench = real_bench(folder, data, context=context)
        self._base = folder / "real"
        self._base.mkdir()
        for name in TOKENIZER_FILES:
            if (model / name).exists():
                shutil.copy(model / name, self._base)
        config = json.loads((model / "config.json").read_text()) | {"max_position_embeddings": context}
        (self._base / "config.json").write_text(json.dumps(config))
        bench.inputs["base_model"] = self._base
        self._slices = {window: bench.slice(window=window).done.paths["slices"] for window in ("slide", "tile")}
        self._context, self._slices_per_step = context, slices_per_step

    def examples(self, window: str, supervise: Supervise, batching: Asked) -> Examples:
        plan = Plan(supervise, batching, self._context, self._slices_per_step)
        return read_examples(self._slices[window], ChatTokenizer.from_folder(self._base), plan)


def computed(examples: Examples) -> int:
    """The tokens of one pass over the training rows."""
    return sum(row.length for row in examples.train)


def per_learnt(examples: Examples) -> float:
    """Tokens computed for each that is learnt."""
    return computed(examples) / sum(row.supervised for row in examples.train)


def ratios(sliced: Sliced) -> Mapping[str, float]:
    """What `bench.py` says of one context."""
    last = per_learnt(sliced.examples("slide", "last", "slices"))
    slide = per_learnt(sliced.examples("slide", "new", "auto"))
    tile = per_learnt(sliced.examples("tile", "new", "auto"))
    same = [computed(sliced.examples("slide", "all", batching)) for batching in ("slices", "shared_prefix")]
    return {"last": last, "slide": slide, "tile": tile, "same gradient": same[0] / same[1]}
