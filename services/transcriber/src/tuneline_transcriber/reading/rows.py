"""What the stage writes, row by row."""

from __future__ import annotations

from typing import Literal

from tuneline.data.io import Closed, Id
from tuneline.data.text.recordings import PairRow as PairRow  # noqa: PLC0414  (what it writes, for its own files)
from tuneline.data.text.recordings import Segment as Segment  # noqa: PLC0414
from tuneline.data.text.recordings import Status as Status  # noqa: PLC0414
from tuneline.data.text.recordings import TalkRow as TalkRow  # noqa: PLC0414


class Message(Closed):
    """One turn of a call."""

    role: Literal["user", "assistant"]
    content: str


class CallRow(Closed):
    """A recording as a conversation: a line of transcripts.jsonl."""

    id: Id
    messages: list[Message]
