from __future__ import annotations

from pathlib import Path

import pytest

from kit.chat_models import write_chat_model
from kit.slicing import slice_of
from tuneline.data.io import write_lines
from tuneline.data.slices import Slice, Split
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer
from tuneline_gguf_converter.checking.samples import MARKS, PROBES, choose_samples, evenly


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    return ChatTokenizer.from_folder(write_chat_model(tmp_path_factory.mktemp("gemma"), "gemma"))


def row(transcript: str, point: int, split: Split) -> Slice:
    return slice_of(transcript, [f"{transcript} {i}" for i in range(2 * point)], split)


def write(path: Path, rows: list[Slice]) -> Path:
    write_lines(path, rows)
    return path


def test_held_out_conversations_are_compared_each_at_its_longest(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    split: dict[str, Split] = {"a": "train", "b": "validation", "c": "validation"}
    slices = write(tmp_path / "s.jsonl", [row(name, point, split[name]) for point in (3, 5, 4) for name in split])
    samples = choose_samples(tokenizer, slices, conversations=8, positions=4, tokens=1000)
    assert samples.kind == "held-out"
    assert [sample.name for sample in samples.predicted] == ["b#5", "c#5"]
    assert [sample.name for sample in samples.texts] == [*PROBES, "b#5", "c#5"]


def test_training_conversations_serve_when_none_is_held_out(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    slices = write(tmp_path / "s.jsonl", [row(f"t{i}", 3, "train") for i in range(9)])
    samples = choose_samples(tokenizer, slices, conversations=3, positions=4, tokens=1000)
    assert samples.kind == "training"
    assert [sample.name for sample in samples.predicted] == ["t1#3", "t4#3", "t7#3"]


def test_probes_serve_without_slices(tokenizer: ChatTokenizer) -> None:
    samples = choose_samples(tokenizer, None, conversations=3, positions=4, tokens=1000)
    assert samples.kind == "probe"
    assert [sample.name for sample in samples.texts] == list(PROBES)
    assert samples.predicted == [sample for sample in samples.texts if sample.name != MARKS]


def test_only_tokens_of_answers_within_the_limit_are_predicted(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    slices = write(tmp_path / "s.jsonl", [row("a", 6, "validation")])
    (whole,) = choose_samples(tokenizer, slices, conversations=1, positions=1000, tokens=10_000).predicted
    encoded = tokenizer.encode_conversation(whole.messages)
    assert whole.ids == encoded.input_ids
    assert whole.positions == [place for place, mask in enumerate(encoded.assistant_mask) if mask]
    (part,) = choose_samples(tokenizer, slices, conversations=1, positions=5, tokens=60).predicted
    assert part.ids == whole.ids[:60]
    assert len(part.positions) == 5
    assert set(part.positions) < {place for place in whole.positions if place < 60}


def test_fewer_conversations_are_compared_in_more_places(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    slices = write(tmp_path / "s.jsonl", [row("a", 6, "validation"), row("b", 6, "validation")])
    two = choose_samples(tokenizer, slices, conversations=8, positions=3, tokens=10_000).predicted
    assert [len(sample.positions) for sample in two] == [12, 12]


def test_a_beginning_without_an_answer_is_compared_everywhere(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    slices = write(tmp_path / "s.jsonl", [row("a", 2, "validation")])
    (sample,) = choose_samples(tokenizer, slices, conversations=1, positions=100, tokens=4).predicted
    assert sample.positions == [1, 2, 3]


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (row("t", 3, "train").model_dump_json().replace('"train"', '"secret"'), "split: literal error"),
        (row("t", 3, "train").model_dump_json().replace('"t 2"', '["secret"]'), "messages.2.content: string type"),
        ("secret words", "content: json invalid"),
    ],
)
def test_a_line_of_another_kind_is_named_and_not_quoted(
    line: str, field: str, tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    slices = write(tmp_path / "s.jsonl", [row("a", 2, "train")])
    slices.write_text(slices.read_text() + line + "\n")
    with pytest.raises(UserError, match=rf"^s\.jsonl:2: {field}\. Let its stage make the file again\.$"):
        choose_samples(tokenizer, slices, conversations=1, positions=1, tokens=16)


def test_evenly_spaced_indices_are_distinct_and_cover_the_range() -> None:
    for count in range(40):
        for wanted in range(1, 20):
            found = evenly(count, wanted)
            assert len(found) == min(count, wanted) == len(set(found))
            assert all(0 <= index < count for index in found)
    assert evenly(100, 4) == [12, 37, 62, 87]
