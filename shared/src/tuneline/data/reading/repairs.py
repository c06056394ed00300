"""From turns as they were recorded to a transcript: user and assistant by turns, and every answer with its question.

What is mended loses nothing that could be learnt, and each kind is counted. What would change the meaning is a
problem, or by choice: what becomes of the tools that an assistant called.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from tuneline.data.judged import Exchange, Generated, Transcript, generated_in
from tuneline.data.reading.ids import CALL_KEYS, RecordId, find_id, id_of_content
from tuneline.data.reading.messages.content import EMPTY, MAX_PER_RECORD, Problem, check_text, kind
from tuneline.data.reading.messages.turns import Turn
from tuneline.data.reading.shapes import SYSTEMS, read_shape
from tuneline.parsing.problems import Loc

Tools = Literal["drop", "keep", "refuse"]
Repair = Literal[
    "ids_made", "ids_mended", "greetings_kept", "turns_joined", "parts_joined", "unanswered_cut", "notes_joined",
    "tools_dropped", "tools_kept", "duplicates_merged", "answers_not_learnt", "notes_left_out", "notices_left_out",
    "attachments_joined", "attachments_missing", "calls_joined", "texts_split", "thoughts_left_out",
]  # fmt: skip
"""What was mended, for counting."""

WRITTEN = re.compile(r"<(tool_call|tool_response)>.*?</\1>\s*", re.DOTALL)
"""How Hermes and Qwen write what a tool was asked, and what it returned."""
JOINT = "\n\n"
"""Stands between messages of one side that follow each other."""


class Normalised(NamedTuple):
    """A record as far as it could be understood: `transcript` is None if there is any problem.

    `is_call`: it is one call of a model, whose request repeats what was said before.
    """

    id: str | None
    transcript: Transcript | None
    problems: list[Problem]
    repairs: Counter[Repair]
    is_call: bool = False


def normalise(record: object, tools: Tools = "refuse") -> Normalised:
    """Turn a parsed record of any shape into a transcript, or say everything that is wrong with it."""
    if not isinstance(record, Mapping):
        text = f"must be an object (got {kind(record)})"
        return Normalised(None, None, [Problem((), text, "shape")], Counter())
    problems: list[Problem] = []
    repairs: Counter[Repair] = Counter()
    name = find_id(record, problems)
    turns, loc, is_call = read_shape(record, problems)
    if is_call and not problems:
        name = find_id(record, problems, CALL_KEYS)
    persona = _persona(record.get("persona"), problems)
    talk = _Talk(repairs, problems, tools)
    repairs["texts_split"] += any(turn.split for turn in turns)
    if not problems:
        talk.take(turns, loc)
    if problems:
        return Normalised(name.id if name else None, None, problems[:MAX_PER_RECORD], repairs)
    return _named(name, talk, persona, generated_in(record.get("provenance")))._replace(is_call=is_call)


def _named(name: RecordId | None, talk: _Talk, persona: str | None, generated: Generated | None) -> Normalised:
    parts = (tuple(talk.exchanges), talk.system, persona, talk.greeting, tuple(talk.unlearnt), generated)
    transcript = Transcript(name.id if name else "", *parts)
    if name is None:
        transcript = Transcript(id_of_content(transcript.sha256), *parts)
        talk.repairs["ids_made"] += 1
    elif name.mended:
        talk.repairs["ids_mended"] += 1
    return Normalised(transcript.id, transcript, [], talk.repairs)


class _Talk:
    """A conversation on its way to exchanges."""

    def __init__(self, repairs: Counter[Repair], problems: list[Problem], tools: Tools) -> None:
        self.repairs, self._problems, self._tools = repairs, problems, tools
        self.system: str | None = None
        self.greeting: str | None = None
        self.exchanges: list[Exchange] = []
        self.unlearnt: list[int] = []

    def take(self, turns: Sequence[Turn], loc: Loc) -> None:
        """Read the turns of a whole conversation."""
        rest = self._take_system(turns)
        sides = self._joined(self._without_asides(self._without_tools(rest)))
        if not self._problems:
            self._pair(sides, loc)

    def _take_system(self, turns: Sequence[Turn]) -> Sequence[Turn]:
        """Take the system prompts that stand first; blank ones are none."""
        count = next((place for place, turn in enumerate(turns) if turn.role != "system"), len(turns))
        first = [turn for turn in turns[:count] if turn.text.strip()]
        texts = list(dict.fromkeys(turn.text for turn in first))
        if len(texts) > 1 and first[0].loc[-1] in SYSTEMS:
            self._problems.append(Problem(first[0].loc, "there is a system message too; keep one of them", "system"))
        if len(texts) > 1:
            self.repairs["turns_joined"] += len(texts) - 1
        self.system = JOINT.join(texts) or None
        return turns[count:]

    def _without_tools(self, turns: Sequence[Turn]) -> list[Turn]:
        """Do with the tools what was chosen: leave them out, write them down as text, or refuse them."""
        kept: list[Turn] = []
        for turn in turns:
            if turn.role != "tool" and not turn.calls:
                kept += [turn] if self._tools != "drop" else self._unwritten(turn)
            elif self._tools == "refuse":
                text = "is the assistant's use of a tool: choose what becomes of it with `tools`, drop or keep"
                self._problems.append(Problem(turn.loc, text, "tools"))
                return []
            elif self._tools == "keep":
                self.repairs["tools_kept"] += 1
                kept.append(self._written(turn))
            else:
                self.repairs["tools_dropped"] += 1
                if turn.role != "tool" and turn.text.strip():
                    kept.append(turn._replace(calls=()))
        return kept

    def _unwritten(self, turn: Turn) -> list[Turn]:
        """Leave out calls and results that are written down in the text, as Hermes and Qwen do."""
        text = WRITTEN.sub("", turn.text).strip() if WRITTEN.search(turn.text) else turn.text
        self.repairs["tools_dropped"] += text != turn.text
        return [turn._replace(text=text)] if text or not turn.text.strip() else []

    def _without_asides(self, turns: Sequence[Turn]) -> list[Turn]:
        """Leave out notes, and notices beside an answer; a notice that is all there is stays as context."""
        seen = [turn for turn in turns if turn.aside != "note"]
        self.repairs["notes_left_out"] += len(turns) - len(seen)
        kept: list[Turn] = []
        for is_user, some in groupby(seen, key=lambda turn: turn.role == "user"):
            block = list(some)
            answered = any(turn.aside is None and turn.role == "assistant" and turn.text.strip() for turn in block)
            if answered and not is_user:
                self.repairs["notices_left_out"] += sum(turn.aside is not None for turn in block)
                block = [turn for turn in block if turn.aside is None]
            kept += [turn._replace(learnt=False) if turn.aside else turn for turn in block]
        return kept

    def _written(self, turn: Turn) -> Turn:
        """Write a call and its result down as Hermes and Qwen do: the result is said by the user."""
        if turn.role == "tool":
            text = f"<tool_response>\n{check_text(turn.text, turn.loc, self._problems)}\n</tool_response>"
            return turn._replace(role="user", text=text)
        calls = [f"<tool_call>\n{check_text(call, turn.loc, self._problems)}\n</tool_call>" for call in turn.calls]
        return turn._replace(text="\n".join(filter(str.strip, [turn.text, *calls])), calls=())

    def _joined(self, turns: Sequence[Turn]) -> list[Turn]:
        """Join what one side says in a row. A note of the system in between goes with the user's words next to it."""
        sides: list[Turn] = []
        notes: list[Turn] = []
        for turn in self._readable(turns):
            if turn.role == "system":
                notes.append(turn._replace(role="user"))
            elif turn.role == "user" or (sides and sides[-1].role == "user"):
                for one in (*notes, turn):
                    self._join(sides, one)
                self.repairs["notes_joined"] += len(notes)
                notes = []
            else:
                self._join(sides, turn)
        return sides

    def _readable(self, turns: Sequence[Turn]) -> Iterator[Turn]:
        """Yield the turns that say something. A blank one is a problem, but for notes and what nobody answered."""
        last = next((place for place in range(len(turns), 0, -1) if turns[place - 1].role == "assistant"), 0)
        for place, turn in enumerate(turns):
            self.repairs["parts_joined"] += turn.parts > 1
            self.repairs["attachments_joined"] += turn.attached
            self.repairs["attachments_missing"] += turn.missing
            self.repairs["thoughts_left_out"] += turn.thoughts
            if turn.text.strip():
                yield turn
            elif turn.role != "system" and place < last:
                text = "holds only a file, of which the log has no text" if turn.missing else "is empty"
                self._problems.append(Problem(turn.loc, text, "image" if turn.missing else "blank"))

    def _join(self, sides: list[Turn], turn: Turn) -> None:
        if sides and sides[-1].role == turn.role:
            before = sides.pop()
            learnt = before.learnt and turn.learnt
            turn = before._replace(text=f"{before.text}{JOINT}{turn.text}", learnt=learnt)
            self.repairs["turns_joined"] += 1
        sides.append(turn)

    def _pair(self, sides: list[Turn], loc: Loc) -> None:
        if sides and sides[0].role == "assistant":
            self.greeting = sides.pop(0).text
            self.repairs["greetings_kept"] += 1
        if sides and sides[-1].role == "user":
            unanswered = sides.pop()
            if not sides:
                self._problems.append(Problem(unanswered.loc, "the last message has no answer", EMPTY))
                return
            self.repairs["unanswered_cut"] += 1
        if not sides:
            self._problems.append(Problem(loc, "has no exchange", EMPTY))
        pairs = list(zip(sides[::2], sides[1::2], strict=True))
        self.exchanges = [Exchange(user.text, answer.text) for user, answer in pairs]
        self.unlearnt = [place for place, (_, answer) in enumerate(pairs) if not answer.learnt]
        self.repairs["answers_not_learnt"] += len(self.unlearnt)


def _persona(value: object, problems: list[Problem]) -> str | None:
    """Return whom the transcript names as its user; a description in many words is none."""
    if isinstance(value, Mapping):
        value = value.get("id", value.get("name", value))
    if value is None:
        return None
    if isinstance(value, str):
        text = check_text(value, ("persona",), problems)
        if not problems and not text.strip():
            problems.append(Problem(("persona",), "is empty", "persona"))
        return text
    text = f"must be a string, or an object with id or name (got {kind(value)})"
    problems.append(Problem(("persona",), text, "persona"))
    return None
