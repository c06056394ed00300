"""Single prompts, each of which is answered once: JSON, CSV or Parquet, a record per prompt.

{"id", "prompt", "category", "reference"}                our own; only `prompt` must be there
{"instruction", "input", "output"}                       Alpaca: the input belongs to the prompt
{"question", "answer"} {"question_id", "turns": [text]}  questions, MT-Bench with one turn
{"messages": [{"role": "user", …}, …]}                   one message of a user; an answer behind it is the reference
"a text"                                                 the prompt alone
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tuneline.data.io import Closed, Id
from tuneline.data.reading.files import read_records
from tuneline.data.reading.ids import as_id, find_id
from tuneline.data.reading.messages.content import SURROGATE, Problem, check_text, kind, spelt
from tuneline.data.reading.messages.turns import read_turns
from tuneline.data.reading.records import HOLDERS, Record
from tuneline.errors import UserError
from tuneline.parsing.problems import listed, printable

ASKS = (
    "prompt", "instruction", "question", "query", "input", "text", "user", "request", "problem", "message",
    "user_prompt", "prompts", "goal", "task",
)  # fmt: skip
"""Keys of the prompt; the first that is there counts."""
LISTS = ("messages", "conversation", "conversations", "turns", "chat")
ADDED = ("input", "context")
"""Keys of Alpaca and Dolly that belong to the instruction."""
REFERENCES = (
    "reference", "reference_answer", "output", "response", "answer", "completion", "expected", "expected_output",
    "ideal", "target", "ground_truth", "chosen",
)  # fmt: skip
CATEGORIES = ("category", "topic", "subject", "group", "type", "task_type", "domain")
HOLDERS_OF_PROMPTS = ("prompts", *HOLDERS)
SYSTEM = "a system prompt; give it as the input `system_prompt`"
NAME_CHARACTERS = 80

NO_PROMPT = f"holds no prompt; known keys: {', '.join(ASKS[:6])}, messages"


class Prompt(Closed):
    """What a person asks, with no word behind the answer: a row of prompts.jsonl."""

    id: Id
    """Names the prompt in every output."""
    prompt: str
    category: str | None = None
    reference: str | None = None
    """An answer that is known to be good: shown to who compares answers, never to a model that gives them."""

    @property
    def name(self) -> str:
        """The beginning of the text, on one line."""
        line = " ".join(self.prompt.split())
        return line if len(line) <= NAME_CHARACTERS else f"{line[:NAME_CHARACTERS].rstrip()}…"

    @property
    def sha256(self) -> str:
        """Hash of everything that shapes the answers: the text, and the id, which the seeds depend on."""
        return hashlib.sha256(json.dumps([self.id, self.prompt]).encode()).hexdigest()


class ReadPrompts(NamedTuple):
    """Prompts in their order, and file and line of each."""

    prompts: list[Prompt]
    places: list[str]


def read_prompts(path: Path) -> ReadPrompts:
    """Read the prompts in a file, or in all files of records below a folder.

    Raises UserError with every problem (the first hundred): no text, more than one question, an id or a text twice.
    """
    found, problems = ReadPrompts([], []), list[str]()
    seen: dict[str, str] = {}
    for record in _one_by_one(read_records(path)):
        place = f"{record.path}:{record.lines_of([()])[0]}"
        wrong = [Problem((), record.problem, "unreadable")] if record.problem else []
        prompt = None if wrong else _prompt(record.value, wrong)
        problems += _placed(record, wrong)
        for what, name in (("id", prompt.id), ("prompt", prompt.prompt.strip())) if prompt else ():
            if (key := f"{what} {name}") in seen:
                problems.append(f"{place}: {what}: the same as in {seen[key]}; each must be there once")
            seen.setdefault(key, place)
        if prompt:
            found.prompts.append(prompt)
            found.places.append(place)
    if problems:
        head = f"{printable(path.name)}: these prompts cannot be used:"
        raise UserError("\n".join([head, *listed(problems)]))
    if not found.prompts:
        raise UserError(f"No prompts in {printable(path.name)}: it has no file of JSON, CSV or Parquet.")
    return found


def _one_by_one(records: Iterable[Record]) -> Iterator[Record]:
    """Yield records, and in place of an object with nothing but a list of them each of its items."""
    for record in records:
        held = record.value if isinstance(record.value, Mapping) else {}
        keys = [] if any(key in held for key in (*LISTS, *ASKS) if key != "prompts") else HOLDERS_OF_PROMPTS
        items = next((held[key] for key in keys if isinstance(held.get(key), list)), None)
        if isinstance(items, list) and len(items) > 1:
            yield from (record._replace(value=item) for item in items)
        else:
            yield record


def _placed(record: Record, problems: Sequence[Problem]) -> Iterator[str]:
    lines = record.lines_of([problem.loc for problem in problems])
    for line, problem in zip(lines, problems, strict=True):
        field = ".".join(map(str, problem.loc))
        yield ": ".join(filter(None, (f"{record.path}:{line}", printable(field), problem.text)))


def _prompt(value: object, problems: list[Problem]) -> Prompt | None:
    """Return the prompt that a record is; None if it is none, which is a problem then."""
    record = spelt({"prompt": value} if isinstance(value, str) else value) if isinstance(value, str | Mapping) else {}
    said = _said(record, problems)
    if said is None:
        if not problems:
            problems.append(
                Problem(
                    (),
                    NO_PROMPT if isinstance(value, Mapping) else f"must be an object (got {kind(value)})",
                    "no_prompt",
                )
            )
        return None
    text, answer = said
    known = _id(record, problems)
    if problems:
        return None
    name = known or f"p-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    reference = answer or _text_at(record, REFERENCES)
    return Prompt(id=name, prompt=text, category=_text_at(record, CATEGORIES), reference=reference)


def _id(record: Mapping[str, object], problems: list[Problem]) -> str | None:
    found = find_id(record, problems)
    other = next((record[key] for key in ("question_id", "task_id") if key in record), None)
    if found is None and isinstance(other, str | int) and not isinstance(other, bool) and str(other).strip():
        found = as_id(other)
    return found.id if found else None


def _said(record: Mapping[str, object], problems: list[Problem]) -> tuple[str, str | None] | None:
    """Return what is asked, and an answer that stands behind it."""
    for key in (*LISTS, *ASKS):
        value = record.get(key)
        if isinstance(value, list) and value:
            return _of_list(key, value, problems)
        if isinstance(value, str) and key in ASKS:
            return _of_text(key, value, record, problems)
    return None


def _of_text(
    key: str, text: str, record: Mapping[str, object], problems: list[Problem]
) -> tuple[str, str | None] | None:
    added = _text_at(record, [name for name in ADDED if name != key]) if key in ("instruction", "question") else None
    return _checked(key, f"{text}\n\n{added}" if added else text, None, problems)


def _of_list(key: str, items: Sequence[object], problems: list[Problem]) -> tuple[str, str | None] | None:
    """Read messages of which one is a user's, or a list that holds one text."""
    if all(isinstance(item, str) for item in items):
        asked, answers = [str(item) for item in items], list[str]()
    else:
        turns = read_turns(items, (key,), problems)
        asked, answers = ([turn.text for turn in turns if turn.role == role] for role in ("user", "assistant"))
        problems += [Problem(turn.loc, SYSTEM, "system") for turn in turns if turn.role == "system"]
    if problems:
        return None
    if len(asked) != 1 or len(answers) > 1:
        problems.append(Problem((key,), f"has {len(asked)} turns of a user; a prompt is said in one", "turns"))
        return None
    return _checked(key, asked[0], answers[0] if answers else None, problems)


def _checked(key: str, text: str, answer: str | None, problems: list[Problem]) -> tuple[str, str | None] | None:
    if not text.strip():
        problems.append(Problem((key,), "must hold text", "empty"))
    check_text(text, (key,), problems)
    return None if problems else (text, answer)


def _text_at(record: Mapping[str, object], keys: Sequence[str]) -> str | None:
    """Return the first text under these keys; of a list its only item."""
    for key in keys:
        value = record.get(key)
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(value, str) and value.strip() and not SURROGATE.search(value):
            return value
    return None
