"""Who writes: a model that goes on with a text, behind a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tuneline.llm.completion import Completion, CompletionConfig, Sampler
from tuneline.llm.config import read_provider
from tuneline.stage import Context


class Writer(Protocol):
    """Writes texts. Safe for threads."""

    @property
    def label(self) -> str:
        """Name for people."""

    @property
    def identity(self) -> str:
        """Everything that a text depends on, apart from the arguments of a call."""

    def complete(self, prompt: str, sampler: Sampler, *, seed: int) -> Completion:
        """Go on with a text. Raises LlmRejected, UserError or Temporary."""

    def chat(self, messages: list[dict[str, str]], sampler: Sampler, *, seed: int) -> Completion:
        """Answer messages. Raises as `complete` does."""


WriterConfig = CompletionConfig


def load_writer(path: Path, form: str, model: Path | None) -> WriterConfig:
    """Read who writes. Raises UserError with file, line and field."""
    return read_provider(path, {"openai": CompletionConfig})


@contextmanager
def open_writer(
    config: CompletionConfig, model: Path | None, context: Context, *, concurrency: int, timeout_s: float
) -> Iterator[Writer]:
    """Give the writer for as long as the block lasts. Raises UserError when its key is missing."""
    from tuneline.llm.completion_client import CompletionClient

    account = context.account("generator", config.model)
    with CompletionClient(config, context.secret, timeout_s, concurrency=concurrency, account=account) as client:
        yield _Served(config, client)


class _Served:
    def __init__(self, config: CompletionConfig, client: object) -> None:
        from tuneline.llm.completion_client import CompletionClient

        assert isinstance(client, CompletionClient)
        self._client, self.label = client, config.model
        self.identity = json.dumps(config.identity, sort_keys=True)

    def complete(self, prompt: str, sampler: Sampler, *, seed: int) -> Completion:
        return self._client.complete(prompt, sampler, seed=seed)

    def chat(self, messages: list[dict[str, str]], sampler: Sampler, *, seed: int) -> Completion:
        raise NotImplementedError
