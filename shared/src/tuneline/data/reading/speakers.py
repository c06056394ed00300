"""Who answers, in logs that say only who spoke: chats of Slack, Telegram, Discord or a table with names.

Whoever is named answers, everybody else asks. A message whose role is known by itself keeps it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from tuneline.data.reading.messages.content import MAX_DEPTH, key_of
from tuneline.data.reading.messages.turns import TEXT_KEYS, is_event, is_message

if TYPE_CHECKING:
    from tuneline.data.reading.records import Record

NAMES = (
    "from", "from_id", "from_name", "user", "user_id", "username", "user_name", "author", "author_id", "author_name",
    "sender", "sender_id", "sender_name", "speaker", "speaker_id", "speaker_name", "name", "bot_id", "participant",
    "participant_name", "actor", "who", "by", "email", "from_email", "author_email", "sender_email",
)  # fmt: skip
"""Keys and columns under which a name, an id or an address of who spoke stands."""
INNER = ("id", "name", "username", "user_name", "nickname", "real_name", "email", "display_name")


class Speakers:
    """Whom a person named as those who answer; `seen` are those that were found."""

    def __init__(self, answering: Collection[str]) -> None:
        self._names = {_folded(name): name for name in answering}
        self._seen: set[str] = set()

    @property
    def missing(self) -> list[str]:
        """Those who say nothing anywhere."""
        return [name for folded, name in self._names.items() if folded not in self._seen]

    def named(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield records with the role of each message in them, where only a name says who speaks."""
        for record in records:
            yield record._replace(value=self._marked(record.value, 0)) if self._names else record

    def _marked(self, value: object, depth: int) -> object:
        if depth > MAX_DEPTH or not isinstance(value, list | Mapping):
            return value
        if isinstance(value, list):
            return [self._marked(item, depth + 1) for item in value]
        found = {key: self._marked(item, depth + 1) for key, item in value.items()}
        folded = {key_of(str(key)): item for key, item in value.items()}
        names = list(_names(folded))
        if not names or is_event(folded) or not any(key in folded for key in TEXT_KEYS):
            return found
        answers = [name for name in names if name in self._names]
        self._seen.update(answers)
        return found if is_message(folded) else {**found, "role": "assistant" if answers else "user"}


def _names(folded: Mapping[str, object]) -> Iterator[str]:
    for key in NAMES:
        value = folded.get(key)
        if isinstance(value, Mapping):
            yield from (_folded(value[inner]) for inner in INNER if isinstance(value.get(inner), str | int))
        elif isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            yield _folded(value)


def _folded(name: object) -> str:
    return " ".join(str(name).split()).casefold()
