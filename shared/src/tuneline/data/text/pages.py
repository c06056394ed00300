"""Foreign text on its way into a page: names, transcripts and rubrics may hold anything."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, which can also command a terminal, and lone surrogates, which no file can hold."""


def visible(value: object) -> object:
    """Replace what no page may hold by the replacement character; for Jinja's `finalize`, so for values of any kind."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", value)


def page_environment(package: str) -> Environment:
    """Return the templates of a package with autoescape for every one of them, whatever its name ends with."""
    return Environment(
        loader=PackageLoader(package), autoescape=True, undefined=StrictUndefined, finalize=visible,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
