"""Foreign text on its way into the report: names, transcripts and rubrics may hold anything."""

from __future__ import annotations

import html
import re

from markupsafe import Markup, escape

from tuneline.data.text.pages import visible

_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that change the direction of what follows; in HTML every foreign text is isolated instead."""


def with_code(text: str) -> Markup:
    """Return a sentence as HTML in which names between backticks stand in <code>; everything is escaped."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(visible(text))
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(visible(p)) if i % 2 else escape(visible(p)) for i, p in enumerate(parts))


def markdown(text: str) -> str:
    """Return text on one line that Markdown and a terminal show as it is."""
    line = html.escape(_TURNING.sub("", str(visible(" ".join(text.split())))), quote=False)
    return re.sub(r"([\\`*_{}\[\]|#~@!])", r"\\\1", line)
