from __future__ import annotations

import gzip
import json
import os
import time
import tracemalloc
from pathlib import Path

import pytest

from kit.places import REAL_DATA
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


@pytest.mark.parametrize("persona", ["p1", {"id": "p1", "name": "Ann"}, {"name": "p1"}])
def test_a_persona_is_known_by_its_id_or_name(tmp_path: Path, persona: object) -> None:
    [read] = read_transcripts(write(tmp_path / "a.json", GOOD | {"persona": persona})).transcripts
    assert read.persona == "p1"


@pytest.mark.skipif(not REAL_DATA.exists(), reason="needs the data set next to the repository")
def test_the_real_transcripts_are_read_as_they_are() -> None:
    read, rejected = read_transcripts(REAL_DATA / "transcripts")
    assert (len(read), len(rejected)) == (41, 0)
    assert sum(len(t.exchanges) for t in read) == sum(
        len(json.loads(path.read_text())["exchanges"]) for path in (REAL_DATA / "transcripts").rglob("*.json")
    )
    assert all(t.persona for t in read)


WHOLE = json.dumps(GOOD)
BAD_DATA = {
    "empty": (b"", "a.jsonl:1: an empty file"),
    "spaces": (b"  \n \n", "a.jsonl:1: an empty file"),
    "UTF-16": (WHOLE.encode("utf-16"), "a.jsonl:1: UTF-16 text; save it as UTF-8"),
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
    "array": (
        f"[{WHOLE}]".encode(),
        "a.jsonl:1: must be an object (got a list): one transcript per .json file or per line of a .jsonl file",
    ),
    "pretty array": (
        f"[\n{WHOLE}\n]".encode(),
        "a.jsonl:1: one value over several lines; a .jsonl file has one whole object per line",
    ),
    "a word": (b'"hello"', "a.jsonl:1: must be an object (got a string): one transcript per .json file or per line of"),
    "YAML": (b"id: a\n", "a.jsonl:1: not JSON: Expecting value at column 1"),
    "CSV": (b"id,user\na,hello\n", "a.jsonl:1: not JSON: Expecting value at column 1"),
}


@pytest.mark.parametrize(("data", "expected"), BAD_DATA.values(), ids=BAD_DATA.keys())
def test_bad_data_is_refused_with_its_line(tmp_path: Path, data: bytes, expected: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(data)
    assert problems(tmp_path)[0].startswith(expected)


def test_lines_in_a_json_file_must_be_named_jsonl(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", GOOD, GOOD)
    [problem] = problems(path)
    assert problem == (
        "a.json:2: not JSON: more than one value; with one transcript per line, the file's name must end in .jsonl"
    )


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
    monkeypatch.setattr("tuneline.data.transcript_files.MAX_RECORD_BYTES", 2**20)
    long = GOOD | {"id": "long", "exchanges": [{"user": SECRET * 100_000, "assistant": "Hi."}]}
    path = write(tmp_path / "a.jsonl", long, GOOD, GOOD | {"id": 1})
    assert problems(path) == ["a.jsonl:1: longer than 1 MiB", "a.jsonl:3: id: must be a string (got a number)"]
    assert problems(write(tmp_path / "b.json", long)) == ["b.json:1: longer than 1 MiB"]


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
    for name in ("B.JSONL", "c.csv", "deep/d.parquet", "e\nlevel=error.txt", "f.ndjson", "g.xlsx", ".hidden"):
        write(tmp_path / name, GOOD)
    read_transcripts(tmp_path)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "ignored because" in said and "count=6" in said and "deep/d.parquet" in said and ".hidden" not in said


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
    (tmp_path / "folder" / "a.csv").write_text("id,user")
    with pytest.raises(UserError, match=r"neither a file nor a folder|No transcripts in folder: it has no file"):
        read_transcripts(tmp_path / name)


def exchange(user: object = "Hello", assistant: object = "Hi.") -> dict[str, object]:
    return {"id": "a", "exchanges": [{"user": "u", "assistant": "a"}, {"user": user, "assistant": assistant}]}


def chat(*roles: object, key: str = "role") -> dict[str, object]:
    return {"id": "a", "messages": [{key: role, "content": SECRET} for role in roles]}


ROLES = "must be one of system, user, human, assistant, gpt"
BAD_RECORDS: dict[str, tuple[object, str]] = {
    "no id": ({"exchanges": GOOD["exchanges"]}, "id: is missing"),
    "id null": (GOOD | {"id": None}, "id: must be a string (got null)"),
    "id number": (GOOD | {"id": 7}, "id: must be a string (got a number)"),
    "id true": (GOOD | {"id": True}, "id: must be a string (got true or false)"),
    "id empty": (GOOD | {"id": " "}, "id: is empty"),
    "id slash": (GOOD | {"id": "a/b"}, "id: must not contain /, \\ or .., because it is used to name things"),
    "id parent": (GOOD | {"id": ".."}, "id: must not contain /, \\ or .., because it is used to name things"),
    "id 5 KB": (GOOD | {"id": SECRET * 300}, "id: is too long (got 5100 characters, at most 200)"),
    "id newline": (GOOD | {"id": "a\nb"}, "id: has invisible characters, or spaces around it"),
    "id bidi": (GOOD | {"id": "a\u202eb"}, "id: has invisible characters, or spaces around it"),
    "two ids": (GOOD | {"transcript_id": "b"}, "transcript_id: differs from id; keep one of them"),
    "no shape": ({"id": "a"}, "must have one of exchanges, messages or conversations (got none of them)"),
    "two shapes": (
        GOOD | {"messages": []},
        "must have one of exchanges, messages or conversations (got exchanges and messages)",
    ),
    "exchanges null": ({"id": "a", "exchanges": None}, "exchanges: must be a list (got null)"),
    "exchanges object": ({"id": "a", "exchanges": {}}, "exchanges: must be a list (got an object)"),
    "no messages": ({"id": "a", "messages": []}, "messages: is empty"),
    "item string": ({"id": "a", "messages": [SECRET]}, "messages[0]: must be an object (got a string)"),
    "no user": ({"id": "a", "exchanges": [{"assistant": "a"}]}, "exchanges[0].user: is missing"),
    "content null": (exchange(assistant=None), "exchanges[1].assistant: must be a string (got null)"),
    "content number": (exchange(user=1.5), "exchanges[1].user: must be a string (got a number)"),
    "content list": (
        {"id": "a", "messages": [{"role": "user", "content": [{"type": "text", "text": SECRET}]}]},
        "messages[0].content: must be a string (got a list)",
    ),
    "content empty": (exchange(assistant="\n "), "exchanges[1].assistant: is empty"),
    "content NUL": (exchange(user="a\0b"), "exchanges[1].user: contains a NUL character"),
    "lone surrogate": (
        exchange(user="\ud83d"),
        "exchanges[1].user: contains half of a surrogate pair, which is not a character",
    ),
    "one message": (chat("user"), "messages[0]: the last message has no answer"),
    "ends with user": (chat("user", "assistant", "user"), "messages[2]: the last message has no answer"),
    "two users": (chat("user", "user", "assistant"), "messages[1]: two user messages in a row"),
    "two assistants": (chat("user", "assistant", "assistant"), "messages[2]: two assistant messages in a row"),
    "assistant first": (
        chat("assistant", "user", "assistant"),
        "messages[0]: the assistant speaks first; a conversation begins with the user",
    ),
    "all assistant": (
        chat("assistant"),
        "messages[0]: the assistant speaks first; a conversation begins with the user",
    ),
    "only system": (chat("system"), "messages: has no exchange"),
    "system in the middle": (chat("user", "assistant", "system"), "messages[2]: a system message must come first"),
    "two systems": (
        chat("system", "user", "assistant") | {"system": SECRET},
        "system: there is a system message too; keep one of them",
    ),
    "system list": (GOOD | {"system": [SECRET]}, "system: must be a string (got a list)"),
    "role tool": (chat("user", "tool"), f"messages[1].role: {ROLES} (got tool)"),
    "role unknown": (chat(SECRET), f"messages[0].role: {ROLES} (got another word)"),
    "role list": (chat(["user"]), f"messages[0].role: {ROLES} (got a list)"),
    "no role": (chat("user", key="name"), "messages[0].role: is missing"),
    "ShareGPT keys in messages": (
        {"id": "a", "conversations": [{"role": "user", "content": SECRET}]},
        "conversations[0].value: is missing",
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
    write(tmp_path / "a.jsonl", {"exchanges": [{"user": 1}]}, GOOD, {"id": "x"})
    write(tmp_path / "b.json", {"id": 5, "messages": []})
    assert [problem.split(": ")[0:2] for problem in problems(tmp_path)] == [
        ["a.jsonl:1", "id"],
        ["a.jsonl:1", "exchanges[0].user"],
        ["a.jsonl:1", "exchanges[0].assistant"],
        ["a.jsonl:3", "must have one of exchanges, messages or conversations (got none of them)"],
        ["b.json:1", "id"],
        ["b.json:1", "messages"],
    ]


def test_problems_after_the_first_hundred_are_counted(tmp_path: Path) -> None:
    listed = problems(write(tmp_path / "a.jsonl", *[{"id": n, "messages": []} for n in range(600)]))
    assert len(listed) == 101
    assert listed[-1] == "and 1,100 more"


def test_a_file_may_mix_shapes(tmp_path: Path) -> None:
    other = chat("user", "assistant") | {"id": "b"}
    read = read_transcripts(write(tmp_path / "mixed.jsonl", GOOD, other, GOOD | {"id": "c"})).transcripts
    assert [t.id for t in read] == ["a", "b", "c"]


def test_an_id_that_is_taken_names_the_first_place_and_whether_the_content_differs(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", GOOD, GOOD)
    (tmp_path / "b.json").write_text(json.dumps(exchange(), indent=1).replace("{", '{\n "n": 1,', 1))
    assert problems(tmp_path) == [
        "a.jsonl:2: id: is already used by a.jsonl:1 (got the same content)",
        "b.json:3: id: is already used by a.jsonl:1 (got different content)",
    ]


def test_a_small_share_of_bad_records_may_be_left_out_and_is_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *[GOOD | {"id": f"t{n}"} for n in range(98)], {"id": "bad", "messages": []}, {})
    read, rejected = read_transcripts(path, most_bad=0.02)
    assert len(read) == 98
    assert [(r.id, r.kind, r.reason) for r in rejected] == [
        ("bad", "unreadable", "a.jsonl:99: messages: is empty"),
        (None, "unreadable", "a.jsonl:100: id: is missing (and 1 more)"),
    ]


def test_more_than_the_share_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *[GOOD | {"id": f"t{n}"} for n in range(98)], {"id": "bad", "messages": []})
    with pytest.raises(
        UserError, match=r"1 of 99 transcripts cannot be used \(at most 1%, and 10,000, may be left out"
    ):
        read_transcripts(path, most_bad=0.01)


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
    tracemalloc.start()
    listed = problems(tmp_path)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(listed) <= 101
    assert listed[0].startswith(name)
    assert time.process_time() - began < 10 * len(data) / 1e6
    assert used < 20 * len(data) + 2**26


def test_a_compressed_file_cannot_grow_without_end(tmp_path: Path) -> None:
    lines = (json.dumps(GOOD | {"id": f"t{n}", "system": "x" * 2**20}).encode() + b"\n" for n in range(200))
    with gzip.open(tmp_path / "a.jsonl.gz", "wb") as file:
        file.writelines(lines)
    assert problems(tmp_path)[0].endswith("more than 100 times as large as its file; was it made to fill the memory?")


def test_ids_that_look_the_same_are_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD | {"id": "caf\u00e9"}, GOOD | {"id": "cafe\u0301"})
    assert problems(path) == ["a.jsonl:2: id: is already used by a.jsonl:1 (got the same content)"]
