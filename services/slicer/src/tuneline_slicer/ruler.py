"""What a slice is measured with: two tokenizers, a limit and a system prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tuneline.errors import UserError
from tuneline.llm.token_counts import load_planning_encoding
from tuneline.model.base_model import context_tokens
from tuneline.model.chat import ChatTokenizer
from tuneline.model.system_prompt import read_system_prompt
from tuneline_slicer.stage import SlicerInputs, SlicerParams

if TYPE_CHECKING:
    import tiktoken


class Ruler(NamedTuple):
    """`chat` counts for the limit, `planning` (cl100k_base) for figures that do not depend on the model."""

    chat: ChatTokenizer
    planning: tiktoken.Encoding
    limit: int
    system: str | None


def load_ruler(params: SlicerParams, inputs: SlicerInputs) -> Ruler:
    """Read tokenizers, limit and system prompt. Raises UserError for what is missing or makes no sense."""
    chat = ChatTokenizer.from_folder(inputs.base_model, inputs.chat_template)
    limit = limit_of(params, context_tokens(inputs.base_model))
    return Ruler(chat, load_planning_encoding(), limit, read_system_prompt(inputs.system_prompt))


def limit_of(params: SlicerParams, context: int | None) -> int:
    """Return the most tokens of a slice for a model with this context. Raises UserError when it is more, or unknown."""
    if params.max_tokens and context and params.max_tokens > context:
        raise UserError(
            f"`max_tokens`={params.max_tokens} is more than the base model's context of {context}. Use at most that."
        )
    limit = params.max_tokens or context
    if limit is None:
        raise UserError("The base model's config.json does not say its context. Set `max_tokens`.")
    return limit
