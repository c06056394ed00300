from __future__ import annotations

import gzip
import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.places import REAL_DATA
from tuneline.data.judged import Generated, read_judged, write_judged
from tuneline.data.transcripts import Exchange, Transcript, read_transcripts
from tuneline.errors import UserError

SECRET = "kumquat-marmalade"
"""Stands in messages; it must never stand in an error."""

GOOD = {"id": "a", "exchanges": [{"user": "Hello", "assistant": "Hi."}]}


def write(path: Path, *records: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def problems(path: Path) -> list[str]:
    """What is wrong, one problem per line; the first line of the message only counts them."""
    with pytest.raises(UserError) as refused:
        read_transcripts(path)
    assert SECRET not in str(refused.value)
    return str(refused.value).splitlines()[1:]


@pytest.mark.parametrize(
    "record",
    [
        {"id": "a", "system": "Be kind.", "exchanges": [{"user": "Hello", "assistant": "Hi.", "number": 1}]},
        {
            "transcript_id": "a",
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hi."},
            ],
        },
        {
            "id": "a",
            "conversations": [
                {"from": "system", "value": "Be kind."},
                {"from": "human", "value": "Hello"},
                {"from": "gpt", "value": "Hi."},
            ],
        },
    ],
    ids=["exchanges", "messages", "conversations"],
)
def test_the_three_shapes_become_the_same_transcript(tmp_path: Path, record: object) -> None:
    [read] = read_transcripts(write(tmp_path / "a.jsonl", record)).transcripts
    assert read == Transcript("a", (Exchange("Hello", "Hi."),), "Be kind.")


def test_files_in_a_tree_are_read_and_sorted_by_id(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "er" / "one.json", GOOD | {"id": "c"})
    write(tmp_path / "lines.jsonl", GOOD | {"id": "b"}, GOOD | {"id": "a"})
    write(tmp_path / ".hidden.json", GOOD)
    (tmp_path / "notes.txt").write_text("not a transcript")
    assert [t.id for t in read_transcripts(tmp_path).transcripts] == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.json.gz"])
def test_gzip_is_recognised_whatever_the_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    assert [t.id for t in read_transcripts(tmp_path).transcripts] == ["a"]


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
        json.dumps(GOOD).encode() + b"\r\n\r\n",
        b"\n\n  " + json.dumps(GOOD).encode(),
    ],
    ids=["byte order mark", "CRLF and a blank line", "no final newline"],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_harmless_variations_of_a_text_file_are_accepted(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert len(read_transcripts(tmp_path / name).transcripts) == 1


@pytest.mark.parametrize(
    "text",
    [
        "a\u2028b",
        "a\r\nb",
        "😀",
        "e\u0301",
        "é",
        "\u202egnitset",
        "{{ workflow.name }}",
        "<script>",
        "=1+1",
        "<end_of_turn>",
    ],
)
def test_a_message_is_kept_to_the_letter(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"id": "a", "exchanges": [{"user": text, "assistant": text}]}, ensure_ascii=False))
    [read] = read_transcripts(path).transcripts
    assert read.exchanges == (Exchange(text, text),)


def test_the_hash_is_of_what_was_said_and_of_nothing_else() -> None:
    one = Transcript("a", (Exchange("x", "y"),))
    assert one.sha256 == Transcript("b", (Exchange("x", "y"),), persona="p").sha256
    assert one.sha256 != Transcript("a", (Exchange("x", "y"),), system="s").sha256
    assert one.sha256 != Transcript("a", (Exchange("x", "z"),)).sha256


def test_a_row_that_a_model_wrote_stays_known_as_that_when_it_is_judged(tmp_path: Path) -> None:
    how = {"recipe": "instructions", "looked": "critic", "critic_auc": 0.8, "item": 3, "shots": [1]}
    [read] = read_transcripts(write(tmp_path / "a.json", GOOD | {"provenance": how})).transcripts
    assert read.generated == Generated(recipe="instructions", looked="critic", critic_auc=0.8)
    write_judged(tmp_path / "judged.jsonl", [read])
    assert [one.generated for one in read_judged(tmp_path / "judged.jsonl")] == [read.generated]


@pytest.mark.parametrize("provenance", ["a phone", ["x"], {"recipe": "bread"}, {"recipe": 1, "looked": []}, None])
def test_a_provenance_of_others_is_left_alone(tmp_path: Path, provenance: object) -> None:
    [read] = read_transcripts(write(tmp_path / "a.json", GOOD | {"provenance": provenance})).transcripts
    assert read.generated is None


@pytest.mark.parametrize("persona", ["p1", {"id": "p1", "name": "Ann"}, {"name": "p1"}])
def test_a_persona_is_known_by_its_id_or_name(tmp_path: Path, persona: object) -> None:
    [read] = read_transcripts(write(tmp_path / "a.json", GOOD | {"persona": persona})).transcripts
    assert read.persona == "p1"


@pytest.mark.skipif(not REAL_DATA.exists(), reason="needs the data set next to the repository")
def test_the_real_transcripts_are_read_as_they_are() -> None:
    read, rejected, repaired, _ = read_transcripts(REAL_DATA / "transcripts")
    assert (len(read), len(rejected), len(repaired)) == (41, 0, 0)
    assert sum(len(t.exchanges) for t in read) == sum(
        len(json.loads(path.read_text())["exchanges"]) for path in (REAL_DATA / "transcripts").rglob("*.json")
    )
    assert all(t.persona for t in read)


WHOLE = json.dumps(GOOD)
BAD_DATA = {
    "empty": (b"", "a.jsonl:1: an empty file"),
    "spaces": (b"  \n \n", "a.jsonl:1: an empty file"),
    "UTF-16": (WHOLE.encode("utf-16"), "a.jsonl:1: UTF-16 text; save it as UTF-8 (in Excel: CSV UTF-8)"),
    "a spreadsheet": (b"PK\x03\x04" + bytes(40), "a.jsonl:1: a ZIP archive or an Office file: unpack it"),
    "a page": (b"<!DOCTYPE html>\n<p>", "a.jsonl:1: HTML or XML; export"),
    "UTF-16 without a mark": (
        WHOLE.encode("utf-16-le"),
        "a.jsonl:1: a NUL byte, as in UTF-16 or binary data; save it as UTF-8",
    ),
    "Latin-1": (
        f'{WHOLE}\n{{"id": "é"}}'.encode("latin-1"),
        "a.jsonl:2: not UTF-8 text (byte 0xe9); save it as UTF-8",
    ),
    "NUL": (b'{"id": "\0"}', "a.jsonl:1: a NUL byte, as in UTF-16 or binary data; save it as UTF-8"),
    "truncated gzip": (gzip.compress(WHOLE.encode())[:-9], "a.jsonl:1: the compressed file is cut off"),
    "damaged gzip": (b"\x1f\x8b" + bytes(50), "a.jsonl:1: the compressed file is damaged"),
    "a pointer of Git": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 17\n",
        "a.jsonl:1: is Git's pointer to a large file, not the file: run `git lfs pull` in its folder, or download it",
    ),
    "torn last line": (
        f'{WHOLE}\n{{"id": "b", "exchanges": [{{"user": "{SECRET}'.encode(),
        "a.jsonl:2: not JSON: it ends too early; is the file cut off?",
    ),
    "torn between two values": (
        f'{WHOLE}\n{{"id": "b",'.encode(),
        "a.jsonl:2: not JSON: it ends too early; is the file cut off?",
    ),
    "trailing comma": (
        b'{"id": "a", "exchanges": [],}',
        "a.jsonl:1: not JSON: Expecting property name enclosed in double quotes at column 29",
    ),
    "NaN": (b'{"id": "a", "score": NaN}', "a.jsonl:1: NaN is not a number in JSON"),
    "infinity": (b'{"id": "a", "score": -Infinity}', "a.jsonl:1: -Infinity is not a number in JSON"),
    "1e400": (b'{"id": "a", "score": 1e400}', "a.jsonl:1: a number is too large"),
    "endless number": (b'{"id": ' + b"1" * 9999 + b"}", "a.jsonl:1: a number has too many digits"),
    "duplicate keys": (b'{"id": "a", "id": "b"}', "a.jsonl:1: a key stands twice in one object"),
    "nesting": (b"[" * 10_000 + b"]" * 10_000, "a.jsonl:1: nested too deeply"),
    "a word": (b'"hello"', "a.jsonl:1: must be an object (got a string)"),
    "an empty list": (b"[]", "a.jsonl:1: an empty file"),
    "a list that is cut off": (
        f'[{WHOLE},\n{{"id": "b"'.encode(),
        "a.jsonl:2: not JSON: it ends too early; is the file cut off?",
    ),
    "a part that is held out": (
        f'{{"train": [{WHOLE}],\n"test": [{WHOLE}]}}'.encode(),
        "a.jsonl:2: `test` holds conversations beside `train`; write those to be read into a file of their own",
    ),
    "conversations in two places": (
        f'{{"examples": [{WHOLE}], "data": [{WHOLE}]}}'.encode(),
        "a.jsonl:1: `examples` holds conversations beside `data`; write those to be read into a file of their own",
    ),
    "a list that ends twice": (f"[{WHOLE}]]".encode(), "a.jsonl:1: not JSON: Expecting value at column 1"),
    "YAML": (b"id: a\n", "a.jsonl:1: not JSON: Expecting value at column 1"),
    "CSV": (b"id,user\na,hello\n", "a.jsonl:1: not JSON: Expecting value at column 1"),
}


@pytest.mark.parametrize(("data", "expected"), BAD_DATA.values(), ids=BAD_DATA.keys())
def test_bad_data_is_refused_with_its_line(tmp_path: Path, data: bytes, expected: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(data)
    assert problems(tmp_path)[0].startswith(expected)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a.JSON"])
@pytest.mark.parametrize(
    "layout",
    [
        lambda rows: "".join(json.dumps(row) + "\n" for row in rows),
        json.dumps,
        lambda rows: json.dumps(rows, indent=2),
        lambda rows: "\n".join(json.dumps(row, indent=1) for row in rows),
        lambda rows: json.dumps({"exported_at": 1, "conversations": rows}, indent=1),
        lambda rows: "\n".join(json.dumps([row]) for row in rows),
    ],
    ids=["lines", "a list", "a pretty list", "pretty objects", "an object with them", "lists"],
)
def test_a_file_is_read_whatever_its_name_and_layout(
    tmp_path: Path, name: str, layout: Callable[[list[object]], str]
) -> None:
    (tmp_path / name).write_text(layout([GOOD, chat("user", "assistant") | {"id": "b"}, GOOD | {"id": "c"}]))
    assert [t.id for t in read_transcripts(tmp_path).transcripts] == ["a", "b", "c"]


def test_a_bad_item_of_a_list_has_its_own_line_and_leaves_the_others(tmp_path: Path) -> None:
    bad: list[object] = [GOOD, {"id": "bad", "messages": 1}, 7, GOOD | {"id": "c"}]
    (tmp_path / "a.json").write_text(json.dumps(bad, indent=1))
    (tmp_path / "b.json").write_text(json.dumps({"conversations": [{**GOOD, "id": "d"}, *bad[1:3]]}, indent=1))
    assert problems(tmp_path) == [
        "a.json:13: messages: must be a list (got a number)",
        "a.json:15: must be an object (got a number)",
        "b.json:12: messages: must be a list (got a number)",
        "b.json:16: must be an object (got a number)",
    ]


@pytest.mark.parametrize(
    ("value", "line"),
    [("NaN", 4), ("1e400", 4), ('"x", "n": 2', 4), ('"x",', 5)],
    ids=["NaN", "1e400", "twice", "comma"],
)
def test_a_problem_in_pretty_printed_json_has_its_own_line(tmp_path: Path, value: str, line: int) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'{{\n  "id": "a",\n  "text": "a \\" b ]}}",\n  "n": {value}\n}}\n')
    assert problems(path)[0].startswith(f"a.json:{line}: ")


def test_a_line_longer_than_the_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuneline.data.reading.records.MAX_RECORD_BYTES", 2**20)
    long = GOOD | {"id": "long", "exchanges": [{"user": SECRET * 100_000, "assistant": "Hi."}]}
    path = write(tmp_path / "a.jsonl", long, GOOD, GOOD | {"messages": []})
    assert problems(path) == ["a.jsonl:1: longer than 1 MiB", f"a.jsonl:3: {TWO}"]
    assert problems(write(tmp_path / "b.json", long)) == ["b.json:1: longer than 1 MiB"]
    (tmp_path / "c.json").write_text(json.dumps([GOOD, long, GOOD | {"id": 1}, {}], indent=0))
    assert problems(tmp_path / "c.json") == ["c.json:11: longer than 1 MiB", f"c.json:29: {NO_SHAPE}"]


def test_pipes_and_links_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "good.json", GOOD)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "loop.json").symlink_to("loop.json")
    (tmp_path / "gone.json").symlink_to("nowhere.json")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert problems(tmp_path) == [
        "gone.json:1: a link that leads nowhere, or back to itself",
        "loop.json:1: a link that leads nowhere, or back to itself",
        "pipe.json:1: not a regular file",
        "sub/up:1: a link to a folder that contains it",
    ]


def test_files_that_are_passed_over_are_counted_and_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a.json", GOOD)
    for name in ("b.docx", "c.zip", "deep/d.db", "e\nlevel=error.txt", "f.avro", "g.xlsx", ".hidden"):
        write(tmp_path / name, GOOD)
    read_transcripts(tmp_path)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "ignored because" in said and "count=7" in said and "deep/d.db" in said and ".hidden" in said


def test_links_to_files_and_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "a.json", GOOD)
    write(tmp_path / "other.json", GOOD | {"id": "b"})
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "folder").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "input" / "b.json").symlink_to(tmp_path / "other.json")
    assert len(read_transcripts(tmp_path / "input").transcripts) == 2


@pytest.mark.parametrize("name", ["nothing", "folder"])
def test_an_input_without_transcripts_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("id,user")
    with pytest.raises(UserError, match=r"neither a file nor a folder|No transcripts in folder: it has no file"):
        read_transcripts(tmp_path / name)


def exchange(user: object = "Hello", assistant: object = "Hi.") -> dict[str, object]:
    return {"id": "a", "exchanges": [{"user": "u", "assistant": "a"}, {"user": user, "assistant": assistant}]}


def chat(*roles: object, key: str = "role") -> dict[str, object]:
    return {"id": "a", "messages": [{key: role, "content": SECRET} for role in roles]}


NO_SHAPE = (
    "holds no conversation: messages, conversations, prompt and response, or one of the shapes in docs/transcripts.md"
)
TWO = "must have one conversation (got exchanges and messages)"
ROLES = "must say who speaks, as in user, customer, human; assistant, agent, bot; system; tool"
BAD_RECORDS: dict[str, tuple[object, str]] = {
    "id true": (GOOD | {"id": True}, "id: must be a string or a whole number (got true or false)"),
    "id list": (GOOD | {"id": ["a"]}, "id: must be a string or a whole number (got a list)"),
    "two ids": (GOOD | {"transcript_id": "b"}, "transcript_id: differs from id; keep one of them"),
    "no shape": ({"id": "a"}, NO_SHAPE),
    "two shapes": (GOOD | {"messages": []}, TWO),
    "exchanges null": ({"id": "a", "exchanges": None}, "exchanges: must be a list (got null)"),
    "exchanges text": ({"id": "a", "exchanges": SECRET}, "exchanges: must be a list (got a string)"),
    "no messages": ({"id": "a", "messages": []}, "messages: is empty"),
    "item string": ({"id": "a", "messages": [SECRET]}, "messages[0]: must be an object (got a string)"),
    "no user": ({"id": "a", "exchanges": [{"assistant": "a"}]}, "exchanges[0].user: is missing"),
    "content null": (exchange(assistant=None), "exchanges[1].assistant: is empty"),
    "content number": (exchange(user=1.5), "exchanges[1].user: must be a string (got a number)"),
    "content empty": (exchange(assistant="\n "), "exchanges[1].assistant: is empty"),
    "content NUL": (exchange(user="a\0b"), "exchanges[1].user: contains a NUL character"),
    "lone surrogate": (
        exchange(user="\ud83d"),
        "exchanges[1].user: contains half of a surrogate pair, which is not a character",
    ),
    "a picture": (
        {"id": "a", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": SECRET}}]}]},
        "messages[0].content[0]: is no text (a picture, sound or file)",
    ),
    "a part of an unknown kind": (
        {"id": "a", "messages": [{"role": "user", "content": [{"type": SECRET, "text": SECRET}]}]},
        "messages[0].content[0]: is a part of an unknown kind",
    ),
    "one message": (chat("user"), "messages[0].content: the last message has no answer"),
    "all assistant": (chat("assistant"), "messages: has no exchange"),
    "only system": (chat("system"), "messages: has no exchange"),
    "two systems": (
        chat("system", "user", "assistant") | {"system": "Be kind."},
        "system: there is a system message too; keep one of them",
    ),
    "system number": (GOOD | {"system": 7}, "system: must be a string (got a number)"),
    "a tool": (
        chat("user", "tool", "assistant"),
        "messages[1].content: is the assistant's use of a tool: choose what becomes of it with `tools`, drop or keep",
    ),
    "role unknown": (chat(SECRET), f"messages[0].role: {ROLES} (got another word)"),
    "role list": (chat(["user"]), f"messages[0].role: {ROLES} (got a list)"),
    "no role": (chat("user", key="name"), "messages[0].role: is missing"),
    "no content": ({"id": "a", "messages": [{"role": "user"}]}, "messages[0].content: is missing"),
    "half a weight": (
        {"id": "a", "messages": [{"role": "assistant", "content": "a", "weight": 0.5}]},
        "messages[0].weight: must be 0 or 1: an answer is learnt or not",
    ),
    "parts of an answer": (
        {"id": "a", "messages": [{"role": "assistant", "content": "a", "train_detail": [{"begin_offset": 0}]}]},
        "messages[0].train_detail: cannot be followed: an answer is learnt whole or not",
    ),
    "a preference": (
        {"id": "a", "prompt": "p", "chosen": "c", "rejected": "r"},
        "chosen: a preference pair, of which the record does not say what is to be learnt: keep one as `messages`",
    ),
    "an unwanted answer": (
        {"id": "a", "prompt": "p", "completion": "c", "label": False},
        "label: marks the answer as one that nobody wants",
    ),
    "persona list": (
        GOOD | {"persona": [SECRET]},
        "persona: must be a string, or an object with id or name (got a list)",
    ),
    "persona without a name": (
        GOOD | {"persona": {"age": 3}},
        "persona: must be a string, or an object with id or name (got an object)",
    ),
}


@pytest.mark.parametrize(("record", "expected"), BAD_RECORDS.values(), ids=BAD_RECORDS.keys())
def test_a_bad_record_is_refused_with_file_line_and_field(tmp_path: Path, record: object, expected: str) -> None:
    path = write(tmp_path / "a.jsonl", record)
    assert problems(path)[0] == f"a.jsonl:1: {expected}"


def test_a_bad_field_in_pretty_printed_json_has_its_own_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    record = exchange(assistant=3) | {"note": [[], {}, 'a "quoted" ] word', -1.5, True]}
    path.write_text(json.dumps(record, indent=2))
    lines = path.read_text().splitlines()
    expected = 1 + next(n for n, line in enumerate(lines) if '"assistant": 3' in line)
    assert problems(path) == [f"a.json:{expected}: exchanges[1].assistant: must be a string (got a number)"]


def test_every_problem_of_every_file_is_listed(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"id": [], "exchanges": [{"user": 1}]}, GOOD, {"id": "x"})
    write(tmp_path / "b.json", {"id": True, "messages": []})
    assert [problem.split(": ")[0:2] for problem in problems(tmp_path)] == [
        ["a.jsonl:1", "id"],
        ["a.jsonl:1", "exchanges[0].user"],
        ["a.jsonl:1", "exchanges[0].assistant"],
        ["a.jsonl:3", NO_SHAPE.split(": ", maxsplit=1)[0]],
        ["b.json:1", "id"],
        ["b.json:1", "messages"],
    ]


def test_problems_after_the_first_hundred_are_counted(tmp_path: Path) -> None:
    listed = problems(write(tmp_path / "a.jsonl", *[{"id": True, "messages": []} for _ in range(600)]))
    assert len(listed) == 22
    assert listed[20:] == [
        "and 590 more: must be a string or a whole number (got true or false)", "and 590 more: is empty",
    ]  # fmt: skip


def test_of_many_different_problems_the_first_hundred_are_listed(tmp_path: Path) -> None:
    twice = [
        GOOD | {"id": f"t{n}", "exchanges": [{"user": f"{n}", "assistant": say}]} for n in range(90) for say in "ab"
    ]
    listed = problems(write(tmp_path / "a.jsonl", *twice))
    assert len(listed) == 101
    assert listed[-1] == "and 80 others"


def test_a_file_may_mix_shapes(tmp_path: Path) -> None:
    other = chat("user", "assistant") | {"id": "b"}
    read = read_transcripts(write(tmp_path / "mixed.jsonl", GOOD, other, GOOD | {"id": "c"})).transcripts
    assert [t.id for t in read] == ["a", "b", "c"]


def test_two_different_records_of_one_id_are_both_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", GOOD | {"id": "b"}, GOOD)
    (tmp_path / "b.json").write_text(json.dumps(exchange(), indent=1))
    write(tmp_path / "c.json", GOOD | {"exchanges": GOOD["exchanges"] * 2})  # type: ignore[operator]
    expected = [
        "a.jsonl:2: id: is also used by b.json:1, with different content",
        "b.json:1: id: is also used by a.jsonl:2, with different content",
        "c.json:1: id: is also used by a.jsonl:2, with different content",
    ]
    assert problems(tmp_path) == expected
    read, rejected, _, _ = read_transcripts(tmp_path, max_bad=3)
    assert [t.id for t in read] == ["b"]
    assert [(r.id, r.file, r.line, r.kind, r.reason) for r in rejected] == [
        ("a", file, line, "id_taken", reason)
        for file, line, reason in zip(("a.jsonl", "b.json", "c.json"), (2, 1, 1), expected, strict=True)
    ]


def test_equal_records_of_one_id_are_one(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", GOOD, GOOD | {"exported": "again"})
    write(tmp_path / "b.json", chat("user", "assistant") | {"id": "b"}, chat("user", "assistant") | {"id": "b"})
    read = read_transcripts(tmp_path)
    assert ([t.id for t in read.transcripts], read.rejected) == (["a", "b"], [])
    assert [(r.id, r.file, r.line, r.repairs) for r in read.repaired] == [
        ("a", "a.jsonl", 1, {"duplicates_merged": 1}),
        ("b", "b.json", 1, {"duplicates_merged": 1}),
    ]


def blank(name: str) -> dict[str, object]:
    return {"id": name, "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " "}]}


@pytest.mark.parametrize("listed", [[], ["assistant"], ["user"], ["assistant", "user"]])
def test_chats_that_nobody_began_or_answered_are_left_out_listed_and_not_bad(tmp_path: Path, listed: list[str]) -> None:
    empty = {"chat_messages": [{"sender": side, "text": "Hello"} for side in listed]}
    path = write(tmp_path / "a.jsonl", GOOD, GOOD | {"id": "b"}, empty | {"uuid": "c"}, empty | {"uuid": "d"})
    read = read_transcripts(path)
    assert ([t.id for t in read.transcripts], read.kinds) == (["a", "b"], {"no_exchange": 2})
    assert [(row.id, row.line) for row in read.rejected] == [("c", 3), ("d", 4)]
    write(path, GOOD, empty | {"uuid": "c"}, empty | {"uuid": "d"})
    with pytest.raises(
        UserError,
        match=r"^2 of 3 transcripts cannot be used \(`assessor: {on_bad: skip, max_bad: 2}` .*\):\na.jsonl:2: ",
    ):
        read_transcripts(path)


def test_some_bad_records_may_be_left_out_and_each_is_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *[GOOD | {"id": f"t{n}"} for n in range(28)], blank("bad"), {})
    read, rejected, _, _ = read_transcripts(path, max_bad=2)
    assert len(read) == 28
    assert [(r.id, r.file, r.line, r.kind, r.reason) for r in rejected] == [
        ("bad", "a.jsonl", 29, "blank", "a.jsonl:29: messages[1].content: is empty"),
        (None, "a.jsonl", 30, "shape", f"a.jsonl:30: {NO_SHAPE}"),
    ]


@pytest.mark.parametrize(("bad", "max_bad", "fits"), [(3, 2, True), (4, 2, False), (4, 4, True), (1, 0, True)])
def test_at_most_the_larger_of_a_number_and_one_percent_may_be_left_out(
    tmp_path: Path, bad: int, max_bad: int, fits: bool
) -> None:
    good = [GOOD | {"id": f"t{n}"} for n in range(300 - bad)]
    path = write(tmp_path / "a.jsonl", *good, *[blank(f"bad{n}") for n in range(bad)])
    if fits:
        assert len(read_transcripts(path, max_bad).rejected) == bad
    else:
        with pytest.raises(
            UserError, match=r"4 of 300 transcripts cannot be used \(at most 3 may be left out; .*max_bad: 4}"
        ):
            read_transcripts(path, max_bad)


def test_an_input_in_which_nothing_can_be_used_is_refused_however_many_may_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"None of 2 transcripts can be used:\na.jsonl:1: "):
        read_transcripts(write(tmp_path / "a.jsonl", {}, {}), max_bad=100)


NUMBERS = b'{"id": "a", "messages": [' + b"1,\n" * 300_000 + b"1]}"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", NUMBERS),
        ("a.jsonl", NUMBERS.replace(b"\n", b"")),
        ("a.jsonl", b"[" + b"1," * 500_000 + b"1]"),
        ("a.jsonl", b"{}\n" * 200_000),
        ("a.json", b'{"id": "a", "messages": [' + b'{"role":"user"},' * 60_000 + b"{}]}"),
        ("a.json", b'{"id": "a", "conversations": [' + b'{"from":"gpt","value":"x"},\n' * 35_000 + b"1]}"),
        ("a.json", b'{"id": "a", "n": ' + b"[" * 400 + b"1,\n" * 200_000 + b"1" + b"]" * 400 + b', "messages": [1]}'),
        ("a.json", b'{"id": "a\\n' + b"\\n" * 1_000_000 + b'"}'),
    ],
    ids=["numbers", "numbers in a line", "an array", "objects", "no content", "two in a row", "deep", "escapes"],
)
def test_any_number_of_problems_takes_bounded_time_and_memory(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    began = time.process_time()
    listed = problems(tmp_path)
    assert time.process_time() - began < 10 * len(data) / 1e6
    assert len(listed) <= 101
    assert listed[0].startswith(name)
    tracemalloc.start()
    problems(tmp_path)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 20 * len(data) + 2**26


def test_a_compressed_file_cannot_grow_without_end(tmp_path: Path) -> None:
    lines = (json.dumps(GOOD | {"id": f"t{n}", "system": "x" * 2**20}).encode() + b"\n" for n in range(200))
    with gzip.open(tmp_path / "a.jsonl.gz", "wb") as file:
        file.writelines(lines)
    assert problems(tmp_path)[0].endswith("more than 100 times as large as its file; was it made to fill the memory?")


def test_ids_that_look_the_same_are_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD | {"id": "caf\u00e9"}, GOOD | {"id": "cafe\u0301"})
    assert len(read_transcripts(path).transcripts) == 1
    path = write(tmp_path / "a.jsonl", GOOD | {"id": "caf\u00e9"}, exchange() | {"id": "cafe\u0301"})
    assert problems(path)[0] == "a.jsonl:1: id: is also used by a.jsonl:2, with different content"
