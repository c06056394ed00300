"""The batches of a configuration's vendor."""

from __future__ import annotations

from tuneline.llm.batches.protocol import Batches
from tuneline.llm.config import AnthropicConfig, GoogleConfig, ModelConfig, OpenAiConfig, Secret


def open_batches(config: ModelConfig, secret: Secret) -> Batches:
    """Return the batches of a configuration's vendor; only its own SDK is imported. Raises UserError when its key is
    not set."""
    if isinstance(config, AnthropicConfig):
        from tuneline.llm.batches.anthropic import AnthropicBatches

        return AnthropicBatches(config, secret)
    if isinstance(config, GoogleConfig):
        from tuneline.llm.batches.google import GoogleBatches

        return GoogleBatches(config, secret)
    if isinstance(config, OpenAiConfig):
        from tuneline.llm.batches.openai import OpenAiBatches

        return OpenAiBatches(config, secret)
    raise NotImplementedError(config.provider)
