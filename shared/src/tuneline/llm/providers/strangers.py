"""Answers that are not what a protocol has: another kind of server, an error inside an answer, another form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated

from pydantic import BeforeValidator

from tuneline.errors import Fault, LlmRejected
from tuneline.llm.config import ModelConfig
from tuneline.llm.providers.provider import not_taken

STATUS_OF = {
    "invalid_request_error": 400, "authentication_error": 401, "invalid_api_key": 401, "billing_error": 402,
    "insufficient_quota": 402, "permission_error": 403, "not_found_error": 404, "request_too_large": 413,
    "rate_limit_error": 429, "rate_limit_exceeded": 429, "api_error": 500, "server_error": 500,
    "internal_server_error": 500, "InternalServerError": 500, "unavailable_error": 503, "timeout_error": 504,
    "overloaded_error": 529,
}  # fmt: skip
"""What an error means whose status says that there is none, by its type."""

MOST_STRANGERS = 3
"""Different requests that were answered with something else, and none with an answer: then it is no such server."""


MOST_REFUSED = 5
"""Different requests that were refused for no reason that is known, and none answered: then it is not about them."""


class Stranger(Fault):
    """The answer is something else than the protocol has."""

    def __init__(self, what: str) -> None:
        super().__init__(what, paid=True)


class Strangers:
    """Tells a server of another kind, which time does not mend, from one that falters."""

    def __init__(self, config: ModelConfig, kind: str) -> None:
        self._config, self._kind, self._asked, self._refused = config, kind, set[int](), set[int]()
        self.answered = False

    @contextmanager
    def watch(self, messages: Sequence[Mapping[str, str]]) -> Iterator[None]:
        """Read an answer within. Raises UserError where different requests only got something else."""
        try:
            yield
        except Stranger as stranger:
            self._asked.add(_hash(messages))
            if self.answered or len(self._asked) < MOST_STRANGERS:
                raise
            way_out = f"it is no server of {self._kind}; check `base_url` and `provider`"
            raise not_taken(self._config, str(stranger).replace("the answer", "what", 1), way_out) from None
        self.answered = True

    def blamed(self, messages: Sequence[Mapping[str, str]], error: Exception) -> Exception:
        """Return the error of a request, or that of all where different ones were refused alike and none answered."""
        if self.answered or not isinstance(error, LlmRejected) or error.kind != "failed":
            return error
        self._refused.add(_hash(messages))
        if len(self._refused) < MOST_REFUSED:
            return error
        way_out = f"it took none of {len(self._refused)} different requests; check `model`, its settings and `base_url`"
        return not_taken(self._config, str(error), way_out)


def _hash(messages: Sequence[Mapping[str, str]]) -> int:
    return hash(json.dumps([dict(message) for message in messages]))


def error_of(body: bytes) -> dict[str, object]:
    """Return the object `error` of an error's body, empty if it has none."""
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):  # a page of somebody in between
        return {}
    found = read[0] if isinstance(read, list) and read else read
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) else {}


def _objects(value: object) -> object:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else value


OnlyObjects = BeforeValidator(_objects)
"""Leaves out of a list what is no object."""

Text = Annotated[str | None, BeforeValidator(lambda value: value if isinstance(value, str) else None)]
"""A text; what is none is None."""
