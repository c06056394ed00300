"""The tiny base is a Gemma-2 for every program that reads it, and the same inputs make the same bytes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from jinja2.exceptions import TemplateError

from kit.places import EXAMPLES
from tuneline.data.transcripts import Exchange, read_transcripts
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer

CONVERSATIONS = [t.exchanges for t in read_transcripts(EXAMPLES / "transcripts").transcripts]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """examples/tiny_base.py as a module."""
    spec = importlib.util.spec_from_file_location("tiny_base_script", EXAMPLES / "tiny_base.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The script sets the number of torch's threads, which is the whole process's."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def messages(conversation: tuple[Exchange, ...]) -> list[dict[str, str]]:
    roles = [("user", e.user) for e in conversation], [("assistant", e.assistant) for e in conversation]
    return [{"role": role, "content": text} for pair in zip(*roles, strict=True) for role, text in pair]


def test_transformers_sentencepiece_and_our_reader_see_the_same_ids(tiny_base: Path) -> None:
    import sentencepiece
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(tiny_base), ChatTokenizer.from_folder(tiny_base)
    pieces = sentencepiece.SentencePieceProcessor(str(tiny_base / "tokenizer.model"))
    for conversation in CONVERSATIONS:
        ids = ours.encode_conversation(messages(conversation)).input_ids
        text = str(theirs.apply_chat_template(messages(conversation), tokenize=False))
        assert theirs.encode(text, add_special_tokens=False) == ids
        for text in (text for exchange in conversation for text in exchange):
            assert pieces.encode(text) == theirs.encode(text, add_special_tokens=False)


def test_the_template_marks_the_answers_and_their_ends_as_the_part_to_learn(tiny_base: Path) -> None:
    from transformers import AutoTokenizer, BatchEncoding

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    chat = [{"role": "user", "content": "It leaks."}, {"role": "assistant", "content": "Where does it leak?"}]
    found = tokenizer.apply_chat_template(chat, return_assistant_tokens_mask=True, return_dict=True)
    assert isinstance(found, BatchEncoding)
    marked = [i for i, mask in zip(found["input_ids"], found["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(marked) == "Where does it leak?<end_of_turn>"
    assert tokenizer.decode(found["input_ids"]) == (
        "<bos><start_of_turn>user\nIt leaks.<end_of_turn>\n<start_of_turn>model\nWhere does it leak?<end_of_turn>\n"
    )


@pytest.mark.parametrize("roles", [["system", "user"], ["assistant"], ["user", "user"]])
def test_the_template_refuses_what_gemma_2_refuses(tiny_base: Path, roles: list[str]) -> None:
    from transformers import AutoTokenizer

    with pytest.raises(TemplateError, match=r"not supported|must alternate"):
        AutoTokenizer.from_pretrained(tiny_base).apply_chat_template([{"role": r, "content": "Hello"} for r in roles])


def test_transformers_loads_the_weights_and_they_fit_4_bit_k_quantisation(tiny_base: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_base, attn_implementation="eager")
    assert model.config.model_type == "gemma2"
    assert model.config.max_position_embeddings == 2048
    assert {n for n, p in model.named_parameters() if p.ndim == 2 and p.shape[1] % 256} == set()


def test_the_same_inputs_make_the_same_bytes_whatever_was_made_before(script: ModuleType, tmp_path: Path) -> None:
    for name in ("first", "second"):
        script.make_tiny_base(tmp_path / name, CONVERSATIONS, 2)
    files = sorted(f.name for f in (tmp_path / "first").iterdir())
    assert {
        f for f in files if (tmp_path / "first" / f).read_bytes() != (tmp_path / "second" / f).read_bytes()
    } == set()
    assert sorted(f.name for f in tmp_path.iterdir()) == ["first", "second"]
    assert {"model.safetensors", "tokenizer.model", "chat_template.jinja", "README.md"} <= set(files)


def test_a_finished_model_is_left_alone_and_one_of_other_transcripts_is_made_anew(
    script: ModuleType, tmp_path: Path
) -> None:
    script.make_tiny_base(tmp_path / "base", CONVERSATIONS, 0)
    before = (tmp_path / "base" / "model.safetensors").stat()
    script.make_tiny_base(tmp_path / "base", CONVERSATIONS, 0)
    assert (tmp_path / "base" / "model.safetensors").stat() == before
    tokenizer = (tmp_path / "base" / "tokenizer.model").read_bytes()
    script.make_tiny_base(tmp_path / "base", CONVERSATIONS[1:], 0)
    assert (tmp_path / "base" / "tokenizer.model").read_bytes() != tokenizer
    assert [f.name for f in tmp_path.iterdir()] == ["base"]


def test_a_folder_that_is_not_ours_is_refused_and_kept(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="was not made by this script"):
        script.make_tiny_base(tmp_path, CONVERSATIONS, 0)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_command_names_an_unreadable_transcript_and_leaves_nothing(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.json").write_text('{"id": "a"}')
    monkeypatch.setattr(sys, "argv", ["tiny_base.py", str(tmp_path / "base"), "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"bad\.json:1"):
        script.main()
    assert not (tmp_path / "base").exists()
