"""What servers say of batches: as much of it as is read, and without trust."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, TypeVar

from pydantic import AwareDatetime, BaseModel, ValidationError

from tuneline.errors import Fault, LlmRejected, UserError
from tuneline.llm.providers.provider import AnyObject, Count, Reply

M = TypeVar("M", bound=BaseModel)


class NoBatch(Fault):
    """What came is not what servers say of batches."""

    def __init__(self) -> None:
        super().__init__("the answer is not a batch")


class Named(BaseModel):
    """Whatever has an id."""

    id: str


class _OpenAiCounts(BaseModel):
    completed: Count = 0


class _OpenAiError(BaseModel):
    code: str | None = None


class _OpenAiErrors(BaseModel):
    data: list[_OpenAiError] | None = None


class OpenAiBatch(Named):
    """A batch of OpenAI."""

    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: Annotated[_OpenAiCounts, AnyObject] = _OpenAiCounts()
    errors: Annotated[_OpenAiErrors, AnyObject] = _OpenAiErrors()


class _OpenAiListed(Named):
    metadata: Annotated[dict[str, object], AnyObject] = {}


class OpenAiList(BaseModel):
    """Batches of OpenAI, the newest first."""

    data: list[_OpenAiListed]


class _OpenAiResponse(BaseModel):
    status_code: int = 0
    body: Annotated[dict[str, object], AnyObject] = {}


class OpenAiItem(BaseModel):
    """One line of a file of answers or errors."""

    custom_id: str
    response: Annotated[_OpenAiResponse, AnyObject] = _OpenAiResponse()


class _AnthropicCounts(BaseModel):
    processing: Count = 0
    succeeded: Count = 0
    errored: Count = 0
    canceled: Count = 0
    expired: Count = 0

    @property
    def total(self) -> int:
        return self.processing + self.succeeded + self.errored + self.canceled + self.expired


class AnthropicBatch(Named):
    """A batch of Anthropic."""

    processing_status: str
    created_at: AwareDatetime
    request_counts: Annotated[_AnthropicCounts, AnyObject] = _AnthropicCounts()


class AnthropicList(BaseModel):
    """Batches of Anthropic, the newest first."""

    data: list[AnthropicBatch]


class _AnthropicResult(BaseModel):
    type: str
    message: Annotated[dict[str, object], AnyObject] = {}
    error: Annotated[dict[str, object], AnyObject] = {}


class AnthropicItem(BaseModel):
    """One line of the results."""

    custom_id: str
    result: _AnthropicResult


def read_body(body: bytes, kind: type[M]) -> M:
    """Read an answer about a batch. Raises Fault when it is none."""
    try:
        return kind.model_validate_json(body)
    except ValidationError:
        raise NoBatch() from None


def read_lines(content: bytes, kind: type[M]) -> list[M]:
    """Return the lines that are items; what another one answers is asked again. Raises Fault if none of them is one."""
    items = []
    for line in content.splitlines():
        with suppress(ValidationError):
            items.append(kind.model_validate_json(line))
    if content.strip() and not items:
        raise NoBatch()
    return items


def outcome(read: Callable[[], Reply | Exception]) -> Reply | Exception:
    """Return what reading an item gives, an exception too: it concerns this item alone."""
    try:
        return read()
    except (Fault, LlmRejected, UserError) as e:
        return e
    except ValueError:  # a number of thousands of digits, which cannot be written again
        return NoBatch()
