"""Made-up logs of a help desk as people have them: every shape that is read, with the faults that real ones have."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

THINGS = ["kettle", "toaster", "grinder", "boiler", "filter", "pump", "scale", "lamp", "fan", "heater"]
Turns = list[tuple[str, str]]
"""Sides (user, assistant) and what they say, by turns."""
Record = dict[str, Any]


class Logs(NamedTuple):
    """What was written: how many conversations, those that nobody could use, and what there is to mend, by kind."""

    conversations: int
    unusable: int
    repairs: Counter[str]


def talk(number: int, rng: random.Random) -> Turns:
    """A conversation that is like no other."""
    thing, turns = rng.choice(THINGS), []
    for turn in range(rng.randint(2, 6)):
        turns += [
            ("user", f"Case {number}.{turn}: my {thing} shows code {rng.randint(100, 999)}. What now?"),
            ("assistant", f"Please open the lid of the {thing} and count to {rng.randint(3, 60)}. Does it help?"),
        ]
    return turns


def listed(turns: Turns, by: str, said: str, user: str, assistant: str) -> list[Record]:
    """The turns as messages with these keys and names of the sides."""
    return [{by: user if side == "user" else assistant, said: text} for side, text in turns]


def openai(name: str, turns: Turns) -> Record:
    return {"id": name, "messages": listed(turns, "role", "content", "user", "assistant")}


def developer(name: str, turns: Turns) -> Record:
    first = [{"role": "developer", "content": "Be brief."}]
    return {"id": name, "messages": [*first, *listed(turns, "role", "content", "user", "assistant")], "tools": []}


def parts(name: str, turns: Turns) -> Record:
    rows = listed(turns, "role", "content", "user", "assistant")
    return {"id": name, "messages": [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in rows]}


def sharegpt(name: str, turns: Turns) -> Record:
    return {"id": name, "conversations": listed(turns, "from", "value", "human", "gpt")}


def exchanges(name: str, turns: Turns) -> Record:
    pairs = zip(turns[::2], turns[1::2], strict=False)
    return {"transcript_id": name, "exchanges": [{"user": u[1], "assistant": a[1]} for u, a in pairs]}


def claude(name: str, turns: Turns) -> Record:
    said = [
        {"uuid": f"{name}-{place}", "sender": "human" if side == "user" else "assistant", "text": text,
         "content": [{"type": "text", "text": text}], "attachments": [], "files": []}
        for place, (side, text) in enumerate(turns)
    ]  # fmt: skip
    return {"uuid": name, "name": "A talk", "account": {"uuid": "x"}, "chat_messages": said}


def chatgpt(name: str, turns: Turns) -> Record:
    """A tree: each answer was made twice, and the first one given up."""
    nodes: Record = {"root": {"id": "root", "message": None, "parent": None, "children": ["0"]}}
    for place, (side, text) in enumerate(turns):
        above = str(place - 1) if place else "root"
        message = {
            "id": str(place), "author": {"role": side, "name": None, "metadata": {}}, "recipient": "all",
            "content": {"content_type": "text", "parts": [text]}, "weight": 1.0, "metadata": {},
        }  # fmt: skip
        below = [str(place + 1)] if place + 1 < len(turns) else []
        nodes[str(place)] = {"id": str(place), "message": message, "parent": above, "children": below}
        gone = {**message, "content": {"content_type": "text", "parts": ["GIVEN UP"]}}
        nodes[f"old-{place}"] = {"id": f"old-{place}", "message": gone, "parent": above, "children": []}
    return {"id": name, "title": "A talk", "mapping": nodes, "current_node": str(len(turns) - 1)}


def gemini(name: str, turns: Turns) -> Record:
    said = [{"role": "user" if side == "user" else "model", "parts": [{"text": text}]} for side, text in turns]
    return {"session_id": name, "systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": said}


def anthropic_log(name: str, turns: Turns) -> Record:
    *asked, (_, answer) = turns
    request = {"model": "m", "system": "Be brief.", "messages": listed(asked, "role", "content", "user", "assistant")}
    response = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": answer}]}
    return {"request_id": name, "request": request, "response": response}


def openai_log(name: str, turns: Turns) -> Record:
    *asked, (_, answer) = turns
    message = {"role": "assistant", "content": answer, "refusal": None}
    body = {"model": "m", "messages": listed(asked, "role", "content", "user", "assistant")}
    return {
        "id": name,
        "request_body": json.dumps(body),
        "response_body": json.dumps({"choices": [{"message": message}]}),
    }


def langfuse(name: str, turns: Turns) -> Record:
    *asked, (_, answer) = turns
    said = listed(asked, "role", "content", "user", "assistant")
    return {"id": name, "name": "chat", "input": said, "output": {"role": "assistant", "content": answer}}


def langsmith(name: str, turns: Turns) -> Record:
    *asked, (_, answer) = turns
    said = [
        {"lc": 1, "type": "constructor", "id": ["langchain", "schema", f"{'Human' if s == 'user' else 'AI'}Message"],
         "kwargs": {"content": text}}
        for s, text in asked
    ]  # fmt: skip
    generation = {"text": answer, "message": {"lc": 1, "id": ["x", "AIMessage"], "kwargs": {"content": answer}}}
    return {"run_id": name, "inputs": {"messages": [said]}, "outputs": {"generations": [[generation]]}}


def responses(name: str, turns: Turns) -> Record:
    *asked, (_, answer) = turns
    parts = [{"type": "output_text", "text": answer}]
    output = [{"type": "reasoning", "summary": []}, {"type": "message", "role": "assistant", "content": parts}]
    said = listed(asked, "role", "content", "user", "assistant")
    return {"id": name, "instructions": "Be brief.", "input": said, "output": output}


def alpaca(name: str, turns: Turns) -> Record:
    history = [[u[1], a[1]] for u, a in zip(turns[:-2:2], turns[1:-2:2], strict=True)]
    return {"id": name, "instruction": turns[-2][1], "input": "", "output": turns[-1][1], "history": history}


def support(name: str, turns: Turns) -> Record:
    return {"conversation_id": name, "messages": listed(turns, "speaker", "text", "Customer", "Support Agent")}


SHAPES: dict[str, Callable[[str, Turns], Record]] = {
    shape.__name__: shape
    for shape in (
        openai, developer, parts, sharegpt, exchanges, claude, chatgpt, gemini, anthropic_log, openai_log, langfuse,
        langsmith, responses, alpaca, support,
    )
}  # fmt: skip


def as_rows(talks: dict[str, Turns]) -> list[Record]:
    """One message per row, the conversations mixed, with the time that tells their order."""
    rows = [
        {"Conversation ID": name, "created_at": f"2026-11-25 10:{place:02}:00", "Author Type": side, "Body": text}
        for name, turns in talks.items()
        for place, (side, text) in enumerate([("client" if s == "user" else "representative", t) for s, t in turns])
    ]
    random.Random(7).shuffle(rows)
    return rows


def write_csv(path: Path, rows: list[Record], separator: str = ",") -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    path.write_text("\ufeff" + text.getvalue(), newline="")


def write_parquet(path: Path, records: list[Record]) -> None:
    pq.write_table(pa.Table.from_pylist(records), path, row_group_size=7)


Fault = Callable[[Record], str]
"""Changes a record of messages and returns the repair that it asks for; empty if nobody can use it."""


def _no_id(record: Record) -> str:
    del record["id"]
    return "ids_made"


def _odd_id(record: Record) -> str:
    record["id"] = f"desk/{record['id']}"
    return "ids_mended"


def _number(record: Record) -> str:
    record["id"] = int(record["id"].removeprefix("case-"))
    return "ids_mended"


def _greeting(record: Record) -> str:
    record["messages"].insert(0, {"role": "assistant", "content": "Welcome!"})
    return "greetings_kept"


def _in_a_row(record: Record) -> str:
    record["messages"].insert(1, {"role": "user", "content": "Hello?"})
    return "turns_joined"


def _unanswered(record: Record) -> str:
    record["messages"].append({"role": "user", "content": "Bye."})
    return "unanswered_cut"


def _in_parts(record: Record) -> str:
    first = record["messages"][0]
    first["content"] = [{"type": "text", "text": first["content"]}, {"type": "text", "text": "Thanks."}]
    return "parts_joined"


def _note(record: Record) -> str:
    record["messages"].insert(2, {"role": "system", "content": "The customer is a member."})
    return "notes_joined"


def _weight(record: Record) -> str:
    record["messages"][1]["weight"] = 0
    return "answers_not_learnt"


def _tool(record: Record) -> str:
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    record["messages"][1:1] = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "on its way"},
    ]
    return "tools_dropped"


def _blank(record: Record) -> str:
    record["messages"][1]["content"] = " "
    return ""


def _picture(record: Record) -> str:
    record["messages"][0]["content"] = [{"type": "image_url", "image_url": {"url": "data:"}}]
    return ""


MENDED: tuple[Fault, ...] = (
    _no_id, _odd_id, _number, _greeting, _in_a_row, _unanswered, _in_parts, _note, _weight, _tool,
)  # fmt: skip
LOST: tuple[Fault, ...] = (_blank, _picture)


def write_mixed_logs(folder: Path, count: int = 500, seed: int = 1) -> Logs:
    """Write `count` conversations in all shapes and kinds of files; a third has something to mend, 3 % are lost."""
    rng = random.Random(seed)
    talks = {f"case-{number:04}": talk(number, rng) for number in range(count)}
    repairs: Counter[str] = Counter()
    lost = 0
    files: dict[str, list[Record]] = {"a.jsonl": [], "b.json": [], "c/d.ndjson": [], "e.parquet": []}
    rows: dict[str, Turns] = {}
    for place, (name, turns) in enumerate(talks.items()):
        shape = list(SHAPES.values())[place % len(SHAPES)]
        record = shape(name, turns)
        if place % 3 == 0:
            fault = LOST[place % 2] if place % 100 < 9 else MENDED[place // 3 % len(MENDED)]
            record = openai(name, turns)
            repair = fault(record)
            repairs[repair] += 2 if repair == "tools_dropped" else 1
            lost += not repair
        elif place % 11 == 0:
            rows[name] = turns
            continue
        files[("a.jsonl", "b.json", "c/d.ndjson")[place % 3]].append(record)
    files["a.jsonl"].append(files["b.json"][0])  # an export that was made twice
    repairs["duplicates_merged"] += 1
    files["e.parquet"] = [openai(f"column-{number}", talk(number + count, rng)) for number in range(20)]
    (folder / "c").mkdir(parents=True)
    (folder / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in files["a.jsonl"]))
    (folder / "b.json").write_text(json.dumps(files["b.json"], indent=1))
    (folder / "c" / "d.ndjson").write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in files["c/d.ndjson"]))
    write_parquet(folder / "e.parquet", files["e.parquet"])
    write_csv(folder / "f.CSV", as_rows(rows), ";")
    del repairs[""]
    return Logs(count + 20, lost, repairs)
