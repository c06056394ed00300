"""The run file as a workflow hands it on: one parameter for each of its top-level keys, all in one variable.

On a cluster RUN_FILE is base64 of what Argo Workflows calls `workflow.parameters.json`: a list of objects with `name`
and `value`. The values of `run`, `goal` and `store` are plain text, those of all other keys are JSON; an empty one, and
`null`, mean that nothing was given. Any character survives, because nothing is ever pasted into a command line or a
manifest.

A name may stand there more than once. The last one counts, as it does where Argo itself replaces
`{{workflow.parameters.run}}`. `argo submit` puts the values of `--parameter-file` behind those of `-p`, so that the
file wins where both give one; `argo retry -p` and `argo resubmit -p` replace what was there.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter

from tuneline.errors import BadJson, UserError
from tuneline.parsing.json import parse_json
from tuneline.parsing.problems import printable

VARIABLE = "RUN_FILE"

TEXT = ("run", "goal", "store")
"""Parameters whose value is plain text."""


class Parameters(NamedTuple):
    """A run file that arrived as parameters; see `tuneline.parsing.problems.Source`."""

    name: str
    content: dict[str, Any]
    data: tuple[Path, ...] = ()
    """Folders whose files an input may name: what arrives so was written on another machine, perhaps by a stranger."""

    def where(self, loc: Sequence[int | str]) -> str:
        if not loc:
            return self.name
        name, field = printable(str(loc[0])), printable(".".join(map(str, loc[1:])))
        return f"parameter {name}: {field}" if field else f"parameter {name}"


class _Row(BaseModel):
    name: str
    value: str | None = None


_ROWS = TypeAdapter(list[_Row])


def read_parameters(encoded: str, known: Collection[str], data: tuple[Path, ...] = ()) -> Parameters:
    """Decode the value of RUN_FILE; of names that are not `known` only the name is kept.

    Raises UserError that never quotes a value.
    """
    try:
        rows = _ROWS.validate_json(b64decode(encoded.strip(), validate=True))
    except ValueError:
        raise UserError(
            f"{VARIABLE}: is not base64 of a JSON list with name and value of each parameter; in a workflow of Argo it "
            "is {{=sprig.b64enc(workflow.parameters.json)}}"
        ) from None
    texts = {row.name: row.value for row in rows}
    content = {name: _value(name, text) if name in known else None for name, text in texts.items()}
    return Parameters(VARIABLE, content, data)


def _value(name: str, text: str | None) -> Any:
    if text is None or text.strip() in ("", "null"):
        return None
    if name in TEXT:
        return text
    try:
        return parse_json(text.encode())
    except BadJson as e:
        raise UserError(f"parameter {name}: {e.problem}; its value is JSON, as `argo submit` makes it") from None
