"""Configuration of a model behind an OpenAI-compatible server; it needs no SDK, so that checking it is cheap."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tuneline.stage import Json

Secret = Callable[[str], str]
"""Returns the secret of a name, like `Context.secret`."""

OPENAI_URL = "https://api.openai.com/v1"


class LlmConfig(BaseModel):
    """Which model answers, where, and what it costs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    model: str = Field(min_length=1)
    """Name of the model, as its server calls it."""
    base_url: str | None = None
    """Address of an OpenAI-compatible server, with `/v1`; the default is OpenAI."""
    api_key_env: str | None = None
    """Name of the variable with the key; the default is OPENAI_API_KEY for OpenAI and no key for a `base_url`."""
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    """Temperature of the sampler, 0 is greedy; null leaves it out, for models that refuse it."""
    max_tokens: int = Field(default=8192, ge=1)
    """Tokens after which an answer is cut; a cut judgement is unreadable, a generous limit costs nothing."""
    input_usd: float = Field(default=0.0, ge=0)
    """US dollars per million tokens of input; with 0 the cost is not known."""
    cached_input_usd: float | None = Field(default=None, ge=0)
    """US dollars per million tokens of input that the server had in its cache; the default is `input_usd`."""
    output_usd: float = Field(default=0.0, ge=0)
    """US dollars per million tokens of output."""

    @model_validator(mode="before")
    @classmethod
    def _holds_no_key(cls, content: object) -> object:
        # For the whole model and not for the field: an error about a field would repeat the key that stands there.
        name = content.get("api_key_env") if isinstance(content, dict) else None
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", str(name)):
            raise ValueError("api_key_env is the NAME of a variable, like OPENAI_API_KEY; a key belongs in no file")
        return content

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or "@" in parts.netloc:
                raise ValueError("an address like http://host:port/v1, without key or query")
        return value

    @property
    def address(self) -> str:
        """Return the server's address; given to the SDK always, so that no variable can divert transcripts."""
        return self.base_url or OPENAI_URL

    @property
    def is_local(self) -> bool:
        """Return whether the server is on this machine."""
        return urlsplit(self.address).hostname in ("127.0.0.1", "localhost", "::1")

    def key(self, secret: Secret) -> str | None:
        """Return the key, None where none is needed. Raises UserError when it is not set."""
        name = self.api_key_env or (None if self.base_url else "OPENAI_API_KEY")
        return secret(name) if name else None

    @property
    def identity(self) -> dict[str, Json]:
        """Return what an answer depends on: everything but the key's name and the prices."""
        return self.model_dump(include={"model", "base_url", "temperature", "max_tokens"})
