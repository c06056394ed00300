"""Who writes: a model that goes on with a text, or one that is talked with, behind a server of ours or of others."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, TypeVar, get_args

from pydantic import Field

from tuneline.data.io import file_sha256
from tuneline.errors import Stopped, Temporary, UserError
from tuneline.llm.calls import MONEY_SECONDS, Patience
from tuneline.llm.completion import Completion, CompletionConfig, Dialect, Sampler
from tuneline.llm.config import AnthropicConfig, GoogleConfig, ModelConfig, OpenAiConfig, provider_in, refuse_batch
from tuneline.parsing.yaml import YamlFile, read_yaml
from tuneline.stage import Account, Closed, Context, Json, Usage
from tuneline_generator.writing.talk import said, talking

if TYPE_CHECKING:
    from tuneline.llm.client import LlmClient
    from tuneline.llm.completion_client import CompletionClient
    from tuneline.model.gguf_header import Header
    from tuneline.model.llama_server import Server

T = TypeVar("T")
Form = Literal["completion", "chat"]


class LocalConfig(Closed):
    """A GGUF file that is served here, by llama-server."""

    provider: Literal["llama-server"]
    file: str | None = Field(default=None, min_length=1, max_length=500)
    """Name of the file, where the input is a folder with several."""
    context_tokens: int = Field(default=2048, ge=64, le=1_000_000)
    """Tokens of context for each text."""
    slots: int = Field(default=4, ge=1, le=256)
    """Texts that are written at once; each has a context of its own."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Threads; null is what llama-server finds."""
    allow_chat_model: bool = False
    """Let a model with a chat template go on with texts; what it writes is more like a chat's answers."""
    usd_per_hour: float | None = Field(default=None, ge=0)
    """What this machine costs an hour, in US dollars; null is nothing."""


class TextServer(CompletionConfig):
    """A server that goes on with texts."""

    slots: int = Field(default=1, ge=1, le=4096)
    """Texts that it writes at once, over which `usd_per_hour` is spread."""
    usd_per_hour: float | None = Field(default=None, ge=0)
    """What the server costs an hour, in US dollars, for one that bills no tokens."""

    @property
    def identity(self) -> dict[str, Json]:
        beside = ("slots", "usd_per_hour")
        return {name: value for name, value in super().identity.items() if name not in beside}

    @property
    def usd_per_s(self) -> float | None:
        """US dollars for each second of a call; None for a server that is not billed by the hour."""
        return None if self.usd_per_hour is None else self.usd_per_hour / 3600 / self.slots


WriterConfig: TypeAlias = LocalConfig | ModelConfig
CONFIGS: Mapping[Form, Mapping[str, type[WriterConfig]]] = {
    "completion": {"llama-server": LocalConfig, "openai": TextServer},
    "chat": {"llama-server": LocalConfig, "openai": OpenAiConfig, "anthropic": AnthropicConfig, "google": GoogleConfig},
}


class Writer(Protocol):
    """Writes texts. Safe for threads."""

    label: str
    """Name for people."""
    identity: str
    """Everything that a text depends on, apart from the arguments of a call."""
    header: Header | None
    """Of the file that is served here."""
    account: Account
    """What keeps count of its calls."""

    def complete(self, prompt: str, sampler: Sampler, *, seed: int, top_logprobs: int = 0) -> Completion:
        """Go on with a text. Raises LlmRejected, UserError or Temporary."""

    def chat(
        self, messages: Sequence[Mapping[str, str]], sampler: Sampler, *, seed: int,
        schema: Mapping[str, Json] | None = None,
    ) -> Completion:  # fmt: skip
        """Answer messages; of the sampler counts what the server is told (`untold` says what is not).

        Raises as `complete` does, LlmRejected also for a refusal.
        """

    def preflight(self, samplers: Sequence[Sampler], *, top_logprobs: int = 0) -> None:
        """Raise UserError for a server that cannot do it, before anything is paid."""

    def tokens_of(self, prompt: str) -> list[int] | None:
        """Return the ids of a prompt as the server counts them; None where it does not say."""


def load_writer(path: Path, form: Form, model: Path | None, *, later: bool = False) -> WriterConfig:
    """Read who writes in this form; with `later` the model may still be made.

    Raises UserError with file, line and field.
    """
    source = read_yaml(path)
    where = source.where
    if form == "completion":
        _refuse_talking(source)
    config = provider_in(source, CONFIGS[form])
    if isinstance(config, LocalConfig) and model is None and not later:
        raise UserError(f"{where(('provider',))}: `llama-server` serves the input `writer_model`; give it")
    if isinstance(config, LocalConfig) and model is not None:
        gguf_in(model, config.file)
    if not isinstance(config, LocalConfig) and model is not None:
        raise UserError(f"{where(('provider',))}: only `llama-server` reads the input `writer_model`; leave it out")
    refuse_batch(config, source, "each text waits for another")
    return config


def _refuse_talking(source: YamlFile) -> None:
    """Raise UserError for a writer that is talked with where texts are gone on with, as most models today are."""
    said = source.content if isinstance(source.content, dict) else {}
    provider, way = str(said.get("provider")), "write `format: chat` in the recipe"
    if provider in CONFIGS["chat"] and provider not in CONFIGS["completion"]:
        raise UserError(f"{source.where(('provider',))}: `{provider}` is talked with and goes on with no text; {way}")
    if provider == "openai" and "dialect" not in said:
        raise UserError(
            f"{source.where(('provider',))}: a base model goes on with texts in a `dialect`, one of "
            f"{', '.join(get_args(Dialect))}; for a model that is talked with, {way}"
        )


def gguf_in(model: Path, name: str | None) -> Path:
    """Return the GGUF file of an input: the file itself, or that of the folder. Raises UserError unless it is one."""
    if model.is_file():
        return model
    files = sorted(path for path in model.rglob("*.gguf") if path.is_file())
    chosen = [path for path in files if name in (path.name, str(path.relative_to(model)))] if name else files
    if len(chosen) != 1:
        there = f"it has {len(chosen)} of {len(files)} GGUF files" + (f" by the name {name}" if name else "")
        raise UserError(f"{model.name}: {there}; give one, or its name as `file`")
    return chosen[0]


@contextmanager
def open_writer(
    config: WriterConfig, model: Path | None, context: Context, *, concurrency: int, timeout_s: float,
    role: str = "generator",
) -> Iterator[Writer]:  # fmt: skip
    """Give the writer for as long as the block lasts; a server of ours is started for it.

    Raises UserError when a key is missing, or the file cannot be served.
    """
    with ExitStack() as stack:
        if isinstance(config, ModelConfig):
            yield _Served(config, context.account(role, config.model), context, concurrency, timeout_s, stack)
            return
        assert model is not None, "whoever read the configuration has seen to that"
        yield _local(
            config, gguf_in(model, config.file), context, min(concurrency, config.slots), timeout_s, role, stack
        )


def _local(
    config: LocalConfig, file: Path, context: Context, concurrency: int, timeout_s: float, role: str, stack: ExitStack
) -> Writer:
    from tuneline.model.gguf_header import read_header
    from tuneline.model.llama_cpp import placement, program
    from tuneline.model.llama_server import serve

    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tuneline-writer-")))
    server = stack.enter_context(
        serve(file, context_tokens=config.context_tokens, slots=config.slots, threads=config.threads,
              log=scratch / "server.log", placed=placement(program("llama-server")))
    )  # fmt: skip
    account, told = context.account(role, file.name), {"slots": config.slots, "usd_per_hour": config.usd_per_hour}
    served = TextServer.model_validate(
        {"provider": "openai", "model": file.name, "base_url": server.url, "dialect": "llama-server",
         "context_tokens": config.context_tokens, **told}
    )  # fmt: skip
    writer = _Served(served, account, context, concurrency, timeout_s, stack, server)
    writer.identity = json.dumps({"file": file_sha256(file), "context_tokens": config.context_tokens}, sort_keys=True)
    writer.header = read_header(file)
    return writer


class _Served:
    """A writer behind a server."""

    def __init__(
        self, config: ModelConfig, account: Account, context: Context, concurrency: int, timeout_s: float,
        stack: ExitStack, server: Server | None = None,
    ) -> None:  # fmt: skip
        self.label, self.identity = config.model, json.dumps(config.identity, sort_keys=True)
        self.header: Header | None = None
        self._config, self.account, self._context = config, account, context
        self._usd_per_s = config.usd_per_s if isinstance(config, TextServer) else None
        self._by_tokens = account if self._usd_per_s is None else None
        self._concurrency, self._timeout_s, self._stack, self._server = concurrency, timeout_s, stack, server
        # A server of ours that does not answer has died, and is started again.
        self._patience = Patience(attempts=3) if server else None
        self._lock = Lock()
        self._texts: CompletionClient | None = None
        self._chats: dict[Sampler, LlmClient] = {}

    def complete(self, prompt: str, sampler: Sampler, *, seed: int, top_logprobs: int = 0) -> Completion:
        client = self._client()
        return self._paid(lambda: client.complete(prompt, sampler, seed=seed, top_logprobs=top_logprobs))

    def preflight(self, samplers: Sequence[Sampler], *, top_logprobs: int = 0) -> None:
        if isinstance(self._config, CompletionConfig):
            self._client().preflight(samplers, top_logprobs=top_logprobs)

    def tokens_of(self, prompt: str) -> list[int] | None:
        return self._client().tokens_of(prompt)

    def chat(
        self, messages: Sequence[Mapping[str, str]], sampler: Sampler, *, seed: int,
        schema: Mapping[str, Json] | None = None,
    ) -> Completion:  # fmt: skip
        if self.header and not self.header.text("tokenizer.chat_template"):
            raise UserError(f"writer: {self.label} has no chat template; use a recipe with `format: completion`")
        client = self._talker(sampler)
        return self._paid(lambda: said(client.complete(messages, schema=schema, seed=seed), sampler))

    def _client(self) -> CompletionClient:
        from tuneline.llm.completion_client import CompletionClient

        config = self._config
        if not isinstance(config, CompletionConfig):
            raise UserError(f"writer: {config.provider} answers chats only; use a recipe with `format: chat`")
        with self._lock:
            if self._texts is None:
                client = CompletionClient(
                    config, self._context.secret, self._timeout_s, concurrency=self._concurrency,
                    account=self._by_tokens, patience=self._patience,
                )  # fmt: skip
                self._texts = self._stack.enter_context(client)
            return self._texts

    def _talker(self, sampler: Sampler) -> LlmClient:
        """Return the client for a sampler: its settings are those of a configuration."""
        from tuneline.llm.client import LlmClient

        with self._lock:
            if sampler not in self._chats:
                client = LlmClient(
                    talking(self._config, sampler), self._context.secret, self._timeout_s,
                    concurrency=self._concurrency, account=self._by_tokens, patience=self._patience,
                )  # fmt: skip
                self._chats[sampler] = self._stack.enter_context(client)
            return self._chats[sampler]

    def _paid(self, call: Callable[[], Completion]) -> Completion:
        """Make a call, priced by the time it took where the hour is what is billed: also one that brings nothing."""
        if self._usd_per_s is None:
            return self._made(call)
        most = self._usd_per_s * self._timeout_s
        while not self.account.reserve(most):
            time.sleep(MONEY_SECONDS)
        began, usage = time.monotonic(), Usage()
        try:
            answer = self._made(call)
            answer = answer._replace(cost_usd=round(self._usd_per_s * (time.monotonic() - began), 9))
            usage = answer.usage
            return answer
        except Exception:
            usage = Usage(cost_usd=round(self._usd_per_s * (time.monotonic() - began), 9))
            raise
        finally:
            self.account.settle(most, usage)

    def _made(self, call: Callable[[], Completion]) -> Completion:
        """Make a call, at a server of ours once more if it had died."""
        if self._server is None:
            return call()
        self._server.ensure()
        try:
            return call()
        except Stopped:
            raise
        except Temporary:
            self._server.ensure()
            return call()
