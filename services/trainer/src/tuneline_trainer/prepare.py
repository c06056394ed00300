"""Everything that is read and found good before the model is loaded."""

from __future__ import annotations

from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from tuneline.data.training import TrainingSetup
from tuneline.errors import UserError
from tuneline.stage import Context
from tuneline_trainer.base_model import BaseModelFacts, load_tokenizer, read_base_model
from tuneline_trainer.memory import Estimate, capacity, estimate, require_memory
from tuneline_trainer.rows import Examples, read_examples
from tuneline_trainer.setup import settle
from tuneline_trainer.stage import TrainerInputs, TrainerParams


class Prepared(NamedTuple):
    """What is trained, on what and how; `memory` is the least that the largest step takes."""

    params: TrainerParams
    setup: TrainingSetup
    base: BaseModelFacts
    base_sha256: str
    tokenizer: PreTrainedTokenizerBase
    examples: Examples
    memory: Estimate


def prepare(params: TrainerParams, inputs: TrainerInputs, context: Context) -> Prepared:
    """Read and check every input. Raises UserError for what cannot work, too little memory included."""
    base = read_base_model(inputs.base_model)
    setup = settle(params, base.architecture)
    examples = read_examples(inputs.slices, inputs.base_model, params.supervise, setup.max_length)
    refuse_other_vocabulary(examples, base)
    memory = estimate(params, setup, base, examples.longest, min(params.batch_size, len(examples.train)))
    require_memory(memory, capacity(setup), setup, examples.longest)
    sha256, tokenizer = context.lineage["base_model"].sha256, load_tokenizer(inputs.base_model)
    return Prepared(params, setup, base, sha256, tokenizer, examples, memory)


def refuse_other_vocabulary(examples: Examples, base: BaseModelFacts) -> None:
    """Raise UserError if the tokenizer makes a token that the model has no row for, as when one was added later."""
    highest, rows = max(max(e.input_ids) for e in (*examples.train, *examples.validation)), base.architecture.vocab_size
    if highest >= rows:
        raise UserError(
            f"base_model: its tokenizer makes token {highest} and config.json has a vocab_size of {rows}: resize the "
            "model's embeddings (resize_token_embeddings in transformers), or take the added token out"
        )
