"""What is learnt and what is refused, before any model is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from kit.chat_models import CHATML, Family, write_chat_model
from trainer import runs
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer
from tuneline_trainer.examples.rows import (
    Asked,
    Examples,
    Plan,
    Row,
    Supervise,
    answers_to_learn,
    learnt_answers,
    learnt_per_third,
    read_examples,
    rows_of,
)
from tuneline_trainer.examples.windows import Source, read_windows

FAMILIES: list[tuple[Family, str]] = [("gemma", "<end_of_turn>"), ("chatml", "<|im_end|>"), ("llama", "<|eot_id|>")]
CANARY = "kumquat-marmalade"


def example(folder: Path, messages: Sequence[Mapping[str, object]], answers: int = 99) -> Row:
    slices = runs.write_rows(folder / "slices.jsonl", [runs.slice_row(1, messages=messages)])
    (window,) = read_windows(slices, ChatTokenizer.from_folder(folder))
    (row,) = rows_of(window, learnt_answers([window], {"talk-1#2": answers}), 0)
    return row


def examples(
    slices: Path, folder: Path, max_length: int = 8192, supervise: Supervise = "all", batching: Asked = "slices"
) -> Examples:
    return read_examples(slices, ChatTokenizer.from_folder(folder), Plan(supervise, batching, max_length, 1))


def learnt(folder: Path, found: Row) -> list[str]:
    """What is learnt, as text."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return [tokenizer.decode(found.ids[start:end], skip_special_tokens=False) for (start, end), _ in found.learnt]


@pytest.mark.parametrize(("family", "end"), FAMILIES)
def test_labels_stand_on_the_answers_and_their_ends_alone(tmp_path: Path, family: Family, end: str) -> None:
    folder = write_chat_model(tmp_path, family)
    messages = runs.conversation(3, exchanges=3)
    answers = [message["content"] + end for message in messages[1::2]]
    assert learnt(folder, example(folder, messages)) == answers
    assert learnt(folder, example(folder, messages, 1)) == answers[-1:]


@pytest.mark.parametrize("family", ["chatml", "llama", "gemma"])
def test_an_answer_that_must_not_be_learnt_has_no_label(tmp_path: Path, family: Family) -> None:
    folder = write_chat_model(tmp_path, family)
    messages = runs.conversation(3, exchanges=3)
    marked: list[dict[str, object]] = [{**message} for message in messages]
    marked[1]["learn"] = marked[3]["learn"] = False
    found, whole = example(folder, marked), example(folder, messages)
    assert (found.ids, found.length) == (whole.ids, whole.length), "it stays as context"
    assert learnt(folder, found) == learnt(folder, whole)[2:] == learnt(folder, example(folder, marked, 1))


def test_a_slice_that_is_too_long_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "base")
    rows = [runs.slice_row(1), runs.slice_row(2, messages=runs.conversation(2, exchanges=9)), runs.slice_row(3)]
    slices = runs.write_rows(tmp_path / "slices.jsonl", rows)
    longest = examples(slices, folder, 8192).longest
    assert examples(slices, folder, longest).longest == longest
    with pytest.raises(
        UserError, match=rf"1 of 3 are longer than {longest - 1} tokens .*: talk-2#2 \({longest} tokens"
    ):
        examples(slices, folder, longest - 1)


def test_many_slices_that_are_too_long_are_counted(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "base")
    slices = runs.write_rows(tmp_path / "slices.jsonl", [runs.slice_row(n) for n in range(14)])
    with pytest.raises(UserError, match=r"14 of 14 are longer.*talk-9#2 \([0-9]+ tokens\) and 4 more"):
        examples(slices, folder, 16)


def test_a_slice_that_teaches_nothing_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "base", "chatml")
    rows = [runs.slice_row(1), runs.slice_row(2, messages=[{"role": "user", "content": "Hello?"}])]
    with pytest.raises(UserError, match=r"1 of 2 have no assistant token to learn: talk-2#2"):
        examples(runs.write_rows(tmp_path / "slices.jsonl", rows), folder, 8192)


def test_slices_without_any_to_train_on_are_refused(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "base")
    slices = runs.write_rows(tmp_path / "slices.jsonl", [runs.slice_row(1, "validation")])
    with pytest.raises(UserError, match="none of 1 has the split `train`"):
        examples(slices, folder, 8192)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f'{{"id": "{CANARY}", "split": "train"', ":2: content: json invalid"),
        (json.dumps({**runs.slice_row(1), "split": CANARY}), ":2: split: literal error"),
        (json.dumps(runs.slice_row(1, messages=[{"role": "user", "text": CANARY}])), ":2: messages.0.content: missing"),
        (json.dumps(runs.slice_row(1) | {"messages": []}), ":2: messages: too short"),
    ],
    ids=["torn", "split", "no content", "no messages"],
)
def test_a_bad_line_is_named_and_not_quoted(tmp_path: Path, line: str, problem: str) -> None:
    folder = write_chat_model(tmp_path / "base")
    slices = tmp_path / "slices.jsonl"
    slices.write_text(json.dumps(runs.slice_row(0)) + "\n" + line + "\n")
    with pytest.raises(UserError) as refused:
        examples(slices, folder, 8192)
    assert problem in str(refused.value)
    assert CANARY not in str(refused.value)


@pytest.mark.slow
@pytest.mark.xdist_group("trainer")
@pytest.mark.parametrize("family", [family for family, _ in FAMILIES])
def test_the_ids_are_those_of_transformers(tmp_path: Path, family: Family) -> None:
    runs.check("ids_are_those_of_transformers", tmp_path, family)


def cut(transcript: str, point: int, dropped: int = 0) -> Source:
    return Source(f"{transcript}#{point}", transcript, point, dropped, "train", (True,) * (point - dropped))


OVERLAPPING = [cut("a", 3), cut("b", 3), cut("a", 7), cut("a", 9, dropped=8)]


@pytest.mark.parametrize(
    ("supervise", "answers"),
    [
        ("new", {"a#3": 3, "b#3": 3, "a#7": 4, "a#9": 1}),
        ("all", {"a#3": 3, "b#3": 3, "a#7": 7, "a#9": 1}),
        ("last", {"a#3": 1, "b#3": 1, "a#7": 1, "a#9": 1}),
    ],
)
def test_a_slice_teaches_the_answers_that_no_slice_before_it_has(supervise: Supervise, answers: dict[str, int]) -> None:
    assert dict(answers_to_learn(OVERLAPPING, supervise)) == answers
    assert dict(answers_to_learn(OVERLAPPING[::-1], supervise)) == answers


@pytest.mark.parametrize(("supervise", "thirds"), [("new", (1, 1, 1)), ("all", (3, 2, 1)), ("last", (0.5, 0.5, 0.5))])
def test_how_often_each_third_is_learnt_is_counted(supervise: Supervise, thirds: tuple[float, ...]) -> None:
    slices = [cut("a", 2), cut("a", 4), cut("a", 6)]
    learnt = [(source, dict(answers_to_learn(slices, supervise))[source.id]) for source in slices]
    assert learnt_per_third(learnt) == thirds


def test_the_last_answers_are_learnt_as_many_as_are_asked_for(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path)
    messages = runs.conversation(3, exchanges=4)
    answers = [message["content"] + "<end_of_turn>" for message in messages[1::2]]
    for wanted in (1, 2, 3, 4, 9):
        assert learnt(folder, example(folder, messages, wanted)) == answers[-wanted:]


@pytest.mark.parametrize(
    ("supervise", "weights"),
    [("new", [1, 1, 1, 1, 1, 1]), ("all", [3, 3, 2, 1, 1, 1]), ("last", [1, 1, 1])],
)
def test_a_row_of_slices_that_begin_alike_weighs_an_answer_as_often_as_they_teach_it(
    tmp_path: Path, supervise: Supervise, weights: list[int]
) -> None:
    folder = write_chat_model(tmp_path / "base", "chatml")
    slices = runs.write_rows(tmp_path / "slices.jsonl", runs.overlapping_rows(1, [2, 4, 7], [0, 0, 0]))
    chat = ChatTokenizer.from_folder(folder)
    shared = read_examples(slices, chat, Plan(supervise, "auto", 8192, 9))
    alone = read_examples(slices, chat, Plan(supervise, "slices", 8192, 9))
    (row,) = shared.train
    assert [weight for _, weight in row.learnt] == weights  # the third answer of the transcript is context only
    assert (shared.batching, alone.batching) == ("shared_prefix", "slices")
    assert (row.slices, row.supervised) == (3, sum(one.supervised for one in alone.train))
    assert row.length == max(one.length for one in alone.train) < sum(one.length for one in alone.train)


def test_a_window_that_teaches_more_than_a_step_is_several_rows(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "base", "chatml")
    slices = runs.write_rows(tmp_path / "slices.jsonl", runs.overlapping_rows(1, range(1, 13), [0] * 12))
    with pytest.raises(UserError, match="no assistant token to learn: talk-1#3"):
        examples(slices, folder, supervise="new")
    read = [read_examples(slices, ChatTokenizer.from_folder(folder), Plan("all", "auto", 8192, n)) for n in (2, 4, 12)]
    assert [len(found.train) for found in read] == sorted((len(found.train) for found in read), reverse=True)
    assert len(read[-1].train) == 1 < len(read[0].train)
    assert len({sum(row.supervised for row in found.train) for found in read}) == 1


THOUGHT = CHATML.replace(
    "message.role + '\\n' + ",
    "message.role + '\\n' + ('<think>\\n\\n</think>\\n\\n' if loop.last and message.role == 'assistant' else '') + ",
)


def test_a_template_that_writes_the_last_answer_otherwise_shares_nothing_and_says_why(tmp_path: Path) -> None:
    prompt = "{{ '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}"
    template = THOUGHT.replace("{{ '<|im_start|>assistant\\n' }}", prompt)
    folder = write_chat_model(tmp_path / "base", "chatml", template=template)
    slices = runs.write_rows(tmp_path / "slices.jsonl", runs.overlapping_rows(1, [2, 4, 7], [0, 0, 0]))
    found = examples(slices, folder, batching="auto")
    assert (found.batching, len(found.train), found.found_by) == ("slices", 3, "last answer")
    assert "as the chat template writes them" in found.batching_reason
    with pytest.raises(UserError, match=r"`batching`=shared_prefix: 3 slices .*Use auto, or slices"):
        examples(slices, folder, batching="shared_prefix")
