"""What the batches of all vendors share: a bounded answer, and no exception of an SDK."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import anthropic
import openai

from tuneline.errors import Fault, LlmRejected, UserError
from tuneline.llm.batches.bodies import NoBatch
from tuneline.llm.batches.protocol import Gone
from tuneline.llm.config import ModelConfig
from tuneline.llm.providers.provider import AsError, BareHttp, NoSchema, Reply, Schemas, not_taken

MOST_RESULTS = 256 * 2**20
"""Bytes of the results of one batch."""

TIMEOUT_S = 300.0
"""Of one request about a batch; it may hold megabytes."""

LISTED = 100
"""Batches among which one is looked for by its name."""


def without_schema(found: Mapping[str, Reply | Exception], schemas: Schemas) -> dict[str, Reply | Exception]:
    """Return what became of requests; where the model took no JSON schema, they are asked again without one."""
    read = dict(found)
    for key, result in found.items():
        if isinstance(result, NoSchema):
            schemas.refused(result)
            read[key] = Fault("it takes no JSON schema")
    return read


def prepare(http: BareHttp, fails: AsError) -> None:
    """Let a provider's HTTP client read results, and tell a batch that is gone from another refusal."""
    http.most_bytes = MOST_RESULTS
    http.refusal = lambda status, headers, body: Gone() if status == 404 else fails(status, headers, body)


@contextmanager
def plain(config: ModelConfig) -> Iterator[None]:
    """Let only our own exceptions out: Fault, UserError, Gone."""
    try:
        try:
            yield
        except (anthropic.APIError, openai.APIError) as e:
            raise (
                e.__cause__ if isinstance(e.__cause__, Fault | LlmRejected | UserError | Gone) else NoBatch()
            ) from None
        except (ValueError, TypeError, KeyError, AttributeError):  # from the SDK's reading of what it was sent
            raise NoBatch() from None
    except LlmRejected as e:  # of the batch as a whole, so it says nothing about a transcript
        raise not_taken(config, str(e), "it does not take the batch; use `mode: live`") from None
