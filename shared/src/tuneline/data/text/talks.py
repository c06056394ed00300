"""The page of conversations: what was said, and what a judge found about it, one static file without a server.

Its script only filters, opens and labels what stands in the page; nothing is loaded, and no other script runs: the
page's own policy names the hashes of its script and style.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from markupsafe import Markup

from tuneline.data.judged import Exchange
from tuneline.data.text.artifacts import artifacts_in
from tuneline.data.text.checks import Language
from tuneline.data.text.language import can_tell
from tuneline.data.text.pages import page_environment, visible
from tuneline.data.text.words import is_stuck, loops
from tuneline.data.verdicts import Verdict

MOST_TALKS = 4000
"""Conversations on one page: it opens in seconds and takes some hundred MB of a browser's memory."""


class Line(NamedTuple):
    """One message."""

    who: str
    role: str
    text: str
    flags: tuple[str, ...] = ()
    """What code sees in it: `loops`, `language`, `cut`, `role`."""


class Finding(NamedTuple):
    """What the judge answered to one criterion."""

    criterion: str
    answer: str
    reason: str = ""
    others: tuple[tuple[str, str, str], ...] = ()
    """Of two judges each one's name, answer and reason."""


class Talk(NamedTuple):
    """One conversation."""

    id: str
    title: str
    group: str
    """What it is filtered by: the persona, the prompt."""
    arm: str
    status: str
    score: float | None
    passed: bool
    lines: Sequence[Line]
    findings: Sequence[Finding]
    flags: tuple[str, ...] = ()
    preferred: str = ""
    split: tuple[str, ...] = ()
    """Criteria that the models' answers differ in, for the same persona and trial."""
    notes: Sequence[tuple[str, str]] = ()
    back: str = ""
    """Where the report speaks of it."""

    @property
    def disputed(self) -> list[str]:
        """Criteria that two judges answer differently."""
        return [found.criterion for found in self.findings if len({answer for _, answer, _ in found.others}) > 1]


class Question(NamedTuple):
    """One criterion, as the page shows and filters it."""

    id: str
    text: str
    category: str
    back: str = ""


class TalkPage(NamedTuple):
    """All that the page says."""

    title: str
    intro: str
    talks: Sequence[Talk]
    questions: Sequence[Question]
    groups: Mapping[str, str]
    """Names by what conversations are filtered by."""
    unit: str = "Persona"
    back: str = ""
    fingerprint: str = ""
    """Under which labels are kept in the browser; without it nothing can be labelled."""
    hidden: int = 0
    """Conversations that are left out."""


def write_talks(path: Path, page: TalkPage) -> None:
    """Write the page, piece by piece. The same arguments give the same bytes."""
    environment = page_environment("tuneline.data.text")
    environment.globals.update({"place": place, "anchor": anchor, "facts": facts})
    own = {name: (files("tuneline.data.text") / "templates" / f"talks.{name}").read_text() for name in ("js", "css")}
    known = {name: _known(page.talks, name) for name in ("arm", "status", "flags", "preferred")}
    stream = environment.get_template("talks.html.j2").stream(
        page=page, script=Markup(own["js"]), style=Markup(own["css"]), policy=_policy(own["js"], own["css"]),
        known=known, disputed=any(talk.disputed for talk in page.talks), split=any(talk.split for talk in page.talks),
        criteria=dict.fromkeys([*(one.id for one in page.questions), *_asked(page.talks)]),
        by_id={question.id: question for question in page.questions},
        categories=Counter(question.category for question in page.questions if question.category),
    )  # fmt: skip
    stream.enable_buffering(64)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(stream)


def place(page: str = "", **filters: str) -> str:
    """Return the address of conversations: of those that fit all filters, on a page or on the one that it stands on."""
    return f"{page}#{urlencode({key: visible(value) for key, value in filters.items()}, quote_via=quote)}"


def anchor(kind: str, name: str) -> str:
    """Return the id of an element about something that people named."""
    return f"{kind}-{hashlib.sha256(str(visible(name)).encode()).hexdigest()[:12]}"


def facts(talk: Talk) -> str:
    """Return what the script filters by, as JSON."""
    shown: dict[str, Any] = {
        "open": visible(talk.id), "group": visible(talk.group), "arm": talk.arm, "status": talk.status,
        "flag": talk.flags, "preferred": talk.preferred, "passed": talk.passed,
        "answers": {found.criterion: found.answer for found in talk.findings},
        "differs": {"judges": talk.disputed, "models": talk.split},
    }  # fmt: skip
    return json.dumps(shown, ensure_ascii=True, separators=(",", ":"))


def flags_of(exchanges: Sequence[Exchange]) -> list[tuple[str, ...]]:
    """Return what code sees in the answer of each exchange; of languages nothing where they cannot be told."""
    other = set(Language(rule="language").faults(exchanges)) if can_tell() else set[int]()
    return [
        ("loops",) * (loops(said.assistant) or is_stuck(said.assistant)) + ("language",) * (n in other)
        for n, said in enumerate(exchanges, 1)
    ]


def out_of_role(message: str) -> bool:
    """Tell whether a simulated user's message is none of a user: of an AI, of a script, or the same over and over."""
    told = {"ai_talk", "speaker_labels", "generator_talk", "placeholders", "tool_boxes"}
    return bool(told & set(artifacts_in("", message))) or loops(message) or is_stuck(message)


def findings_of(verdict: Verdict | None) -> list[Finding]:
    """Return the answers of a verdict, in its order, those of a gate or a NO included."""
    if verdict is None:
        return []
    opinions = verdict.opinions.values()
    names = dict.fromkeys([*verdict.answers, *(name for opinion in opinions for name in opinion.answers)])
    return [
        Finding(
            name, verdict.answers.get(name, "–"), verdict.reasons.get(name, ""),
            tuple(
                (who, one.answers[name], one.reasons.get(name, ""))
                for who, one in verdict.opinions.items()
                if name in one.answers
            ),
        )
        for name in names
    ]  # fmt: skip


def _asked(talks: Iterable[Talk]) -> Iterator[str]:
    return (found.criterion for talk in talks for found in talk.findings)


def _known(talks: Iterable[Talk], field: str) -> list[str]:
    of = partial(_of, field=field)
    return list(dict.fromkeys(value for talk in talks for value in of(talk) if value))


def _of(talk: Talk, field: str) -> Sequence[str]:
    found = talk._asdict()[field]
    return [found] if isinstance(found, str) else list(found)


def _policy(script: str, style: str) -> str:
    """Allow this script and this style, and nothing else: no address, no frame, no form."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )
