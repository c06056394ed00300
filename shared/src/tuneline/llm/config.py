"""Configuration of a model behind an API; it needs no SDK, so that checking it is cheap. Keys: `tuneline.llm.keys`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tuneline.errors import UserError
from tuneline.llm.keys import is_plain_address, names_a_key, receivers
from tuneline.parsing.problems import did_you_mean, nearest
from tuneline.parsing.yaml import YamlFile, read_yaml
from tuneline.stage import Json

Secret = Callable[[str], str]
"""Returns the secret of a name, like `Context.secret`."""

C = TypeVar("C", bound=BaseModel)

_BESIDE = {"provider", "api_key_env", "insecure_http", "mode", "cache", "api_version"}
"""Settings that change no answer."""


class ModelConfig(BaseModel):
    """A model of any provider; `provider` says which, and with it what may be set."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    home: ClassVar[str]
    """The vendor's own address."""
    keys: ClassVar[tuple[str, ...]]
    """Names of the variable with the vendor's key, the usual one first."""

    provider: str
    model: str = Field(min_length=1, pattern=r"^[^\p{C}\p{Zl}\p{Zp}]+$")
    """Name of the model, as its server calls it."""
    base_url: str | None = None
    """Address of a server that speaks the provider's protocol; the default is the vendor's own."""
    api_key_env: str | None = None
    """Name of the variable with the key; the default is the vendor's, like OPENAI_API_KEY, or none for a `base_url`."""
    insecure_http: bool = False
    """Send the key over plain http:// to another machine, where everybody on the way can read it."""
    max_tokens: int = Field(default=8192, ge=1)
    """Tokens after which an answer is cut; a cut judgement is unreadable, a generous limit costs nothing."""
    mode: Literal["live", "batch"] = "live"
    """`batch` hands all requests of a judge to the vendor at once: half the price, and up to a day to wait."""
    input_usd: float | None = Field(default=None, ge=0)
    """US dollars per million tokens of input, 0 is free; the default is the price list, and 0 for this machine."""
    cached_input_usd: float | None = Field(default=None, ge=0)
    """US dollars per million tokens of input that the server had in its cache; the default is `input_usd`."""
    cache_write_usd: float | None = Field(default=None, ge=0)
    """US dollars per million tokens of input that the server puts into its cache; the default is `input_usd`."""
    output_usd: float | None = Field(default=None, ge=0)
    """US dollars per million tokens of output, 0 is free; the default is the price list, and 0 for this machine."""

    @field_validator("api_key_env", mode="before")
    @classmethod
    def _names_a_key(cls, value: object) -> object:
        if value is not None and not (isinstance(value, str) and names_a_key(value)):
            raise PydanticCustomError(
                "secret",
                "the NAME of a variable with the key of a model, like OPENAI_API_KEY or JUDGE_API_KEY; "
                "a key itself belongs in no file, and keys of stores, hubs, clusters and other services go to no model",
            )
        return value

    @field_validator("base_url", mode="before")
    @classmethod
    def _is_address(cls, value: object) -> object:
        if isinstance(value, str) and not is_plain_address(value):
            raise PydanticCustomError("secret", "an address like http://host:port/v1, without key or query")
        return value

    @model_validator(mode="after")
    def _has_whole_prices(self) -> Self:
        if self.input_usd is None and (self.cached_input_usd, self.cache_write_usd) != (None, None):
            raise PydanticCustomError("prices", "input_usd: is required beside the price of cached input")
        return self

    @model_validator(mode="after")
    def _keeps_its_key(self) -> Self:
        name, host = self.key_name, urlsplit(self.address).hostname or ""
        if name is None or self.is_local:
            return self
        vendors = receivers(name) or (host,)
        if not any(host == vendor or host.endswith(f".{vendor}") for vendor in vendors):
            raise PydanticCustomError(
                "secret",
                "api_key_env: {name} is sent to {vendor} only; for another server set a variable like JUDGE_API_KEY",
                {"name": name, "vendor": " or ".join(vendors)},
            )
        if urlsplit(self.address).scheme == "http" and not self.insecure_http:
            raise PydanticCustomError(
                "secret", "base_url: over http:// others can read the key; use https, or allow it with `insecure_http`"
            )
        return self

    @property
    def address(self) -> str:
        """Return the server's address; given to the SDK always, so that no variable can divert transcripts."""
        return self.base_url or self.home

    @property
    def is_local(self) -> bool:
        host = urlsplit(self.address).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:  # a name
            return host == "localhost"

    @property
    def key_name(self) -> str | None:
        return self.api_key_env or (None if self.base_url else self.keys[0])

    def key(self, secret: Secret) -> str | None:
        """Return the key, None where none is needed. Raises UserError when it is not set."""
        if self.key_name is None:
            return None
        try:
            return secret(self.key_name)
        except UserError:
            for other in () if self.api_key_env else self.keys[1:]:
                with suppress(UserError):  # what is said is that the usual one is missing
                    return secret(other)
            raise

    def drawn_seed(self, seed: int) -> int | None:
        """Return the seed of a call, None if none is sent."""
        return None

    @property
    def identity(self) -> dict[str, Json]:
        """Return what an answer depends on: everything but the way to it, the key's name and the prices."""
        prices = {name for name in type(self).model_fields if name.endswith("_usd")}
        return self.model_dump(exclude={*_BESIDE, *prices})


class _SeededConfig(ModelConfig):
    seed: int | None = Field(default=0, ge=0, le=2**31 - 2)
    """Seed of the sampler, where the server has one; another seed asks everything anew, null leaves it out."""

    def drawn_seed(self, seed: int) -> int | None:
        return None if self.seed is None else self.seed + seed


class OpenAiConfig(_SeededConfig):
    """A model behind OpenAI's chat completions: OpenAI itself, or any server that speaks them."""

    home = "https://api.openai.com/v1"
    keys = ("OPENAI_API_KEY",)

    provider: Literal["openai"]
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    """Temperature of the sampler, 0 is greedy; null leaves it out, for models that refuse it."""
    response_format: Literal["json_schema", "json_object"] | None = "json_schema"
    """How the form of an answer is asked for: by its JSON schema, as any JSON, or (null) in the prompt alone."""
    api_version: str | None = Field(default=None, pattern=r"^[0-9a-z.-]{1,32}$")
    """Version of Azure's API, for a `base_url` of one of its deployments; the key then goes where Azure reads it."""

    @property
    def sampling(self) -> dict[str, Json]:
        """Return what a request says of how its answer is drawn, apart from the seed."""
        return {} if self.temperature is None else {"temperature": self.temperature}

    @property
    def query(self) -> dict[str, object]:
        """Return what stands in every address behind its `?`."""
        return {"api-version": self.api_version} if self.api_version else {}

    def headers(self, secret: Secret) -> dict[str, str]:
        """Return the header with the key, if there is one. Raises UserError when it is not set."""
        key = self.key(secret)
        if key is None:
            return {}
        return {"api-key": key} if self.api_version else {"authorization": f"Bearer {key}"}


class AnthropicConfig(ModelConfig):
    """A model behind Anthropic's messages."""

    home = "https://api.anthropic.com"
    keys = ("ANTHROPIC_API_KEY",)

    provider: Literal["anthropic"]
    temperature: float | None = Field(default=None, ge=0, le=1)
    """Temperature of the sampler, for the older models that take one, 0 is greedy; null leaves it out."""
    thinking: Literal["adaptive", "disabled"] | Annotated[int, Field(ge=1024)] | None = None
    """How the model may think first: `adaptive`, `disabled`, or at most so many tokens; null is the model's default."""
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    """How much the model puts into an answer, for models that have the setting; null is the model's default."""
    cache: bool = False
    """Put transcripts into the prompt cache: a quarter more the first time, a tenth when asked again within minutes."""

    @model_validator(mode="after")
    def _leaves_tokens_for_an_answer(self) -> Self:
        if isinstance(self.thinking, int) and self.thinking >= self.max_tokens:
            raise PydanticCustomError(
                "thinking", "thinking: must be less than `max_tokens`, which holds the answer, too"
            )
        return self


class GoogleConfig(_SeededConfig):
    """A model behind the Gemini API."""

    home = "https://generativelanguage.googleapis.com"
    keys = ("GEMINI_API_KEY", "GOOGLE_API_KEY")

    provider: Literal["google"]
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    """Temperature of the sampler, 0 is greedy; null leaves it out, as Google advises for Gemini 3."""
    thinking: Literal["minimal", "low", "medium", "high"] | Annotated[int, Field(ge=-1)] | None = None
    """How much the model may think first: a level, or at most so many tokens (0: none, -1: as it likes); null is the
    model's default."""


MODELS: Mapping[str, type[ModelConfig]] = {
    "openai": OpenAiConfig, "anthropic": AnthropicConfig, "google": GoogleConfig
}  # fmt: skip


def read_provider(path: Path, choices: Mapping[str, type[C]]) -> C:
    """Read a file whose key `provider` says which of `choices` it is. Raises UserError with file, line and field."""
    return provider_in(read_yaml(path), choices)


def read_asked_at_once(path: Path, choices: Mapping[str, type[C]], why: str) -> C:
    """The same where a model cannot be asked by batches, and why."""
    source = read_yaml(path)
    config = provider_in(source, choices)
    refuse_batch(config, source, why)
    return config


def provider_in(source: YamlFile, choices: Mapping[str, type[C]]) -> C:
    """Read content whose key `provider` says which of `choices` it is. Raises UserError with file, line and field."""
    provider = source.content.get("provider") if isinstance(source.content, dict) else None
    if provider is None:
        raise UserError(f"{source.where(())}: provider: is required, one of {', '.join(choices)}")
    model = choices.get(str(provider))
    if model is None:
        told = f"{source.where(('provider',))}: unknown{did_you_mean(str(provider), choices)}"
        others = "; Ollama, vLLM, LM Studio and others of its protocol are `openai` with a `base_url`"
        raise UserError(told + others * ("openai" in choices and nearest(str(provider), choices) is None))
    return source.as_model(model, "a model's file")


def refuse_batch(config: object, source: YamlFile, why: str) -> None:
    """Raise UserError with file and line for a model that is asked by batches where that cannot be, and why."""
    if isinstance(config, ModelConfig) and config.mode == "batch":
        raise UserError(f"{source.where(('mode',))}: {why}; only a judge can use `batch`")
