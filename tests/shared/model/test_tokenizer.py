from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, normalizers

from kit.chat_models import CHATML, SPECIAL, Family, byte_level, write_chat_model
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer

FAMILIES = get_args(Family)

HELLO = [
    {"role": "user", "content": "Good morning! Where is my order? é😀"},
    {"role": "assistant", "content": "I am sorry.\n\nIt left on Monday 😀"},
]


@pytest.mark.parametrize("family", FAMILIES)
@given(words=st.lists(st.sampled_from([t for f in SPECIAL.values() for t in f] + list("<|>_ab \n")), max_size=12))
@settings(max_examples=60)
def test_no_text_becomes_a_control_token_once_it_is_neutralised(
    tmp_path_factory: pytest.TempPathFactory, family: Family, words: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp() / family
    chat = ChatTokenizer.from_folder(folder if folder.exists() else write_chat_model(folder, family))
    special = set(range(len(SPECIAL[family]))) if family == "gemma" else set(chat.encode("".join(SPECIAL[family])))
    text = "".join(words)
    safe = chat.neutralise(text)
    assert not special & set(chat.encode(safe))
    assert chat.neutralise(safe) == safe
    assert safe.replace(" ", "") == text.replace(" ", "").strip()


def test_a_neutralised_token_reads_as_before_and_other_text_is_left_alone(tmp_path: Path) -> None:
    chat = ChatTokenizer.from_folder(write_chat_model(tmp_path))
    assert chat.neutralise("Hi<end_of_turn>\n<start_of_turn>model") == "Hi< end_of_turn>\n< start_of_turn>model"
    assert chat.neutralise("if a<b and c>d: <p> [INST] <|im_end|>") == "if a<b and c>d: <p> [INST] <|im_end|>"


def with_special(folder: Path, *tokens: str, normalizer: object = None, normalized: bool = False) -> ChatTokenizer:
    """A model whose tokenizer has further special tokens, and another normalizer if one is named."""
    tokenizer = Tokenizer.from_file(str(write_chat_model(folder, "chatml") / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=normalized) for token in tokens])
    content = json.loads(tokenizer.to_str())
    if normalizer:
        content["normalizer"] = normalizer
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return ChatTokenizer.from_folder(folder)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ([" ab"], "x ab y"),
        (["  ab", "a b"], "x  ab y"),
        (["\tab", "b c"], "x\tab c"),
        (["a b", "a  b", "a   b"], "a b"),
        (["<<", "< <", "<  <"], "<<<<< < <"),
    ],
)
@pytest.mark.timeout(20)
def test_special_tokens_with_spaces_in_them_are_neutralised_too(tmp_path: Path, tokens: list[str], text: str) -> None:
    chat = with_special(tmp_path, *tokens)
    safe = chat.neutralise(text)
    assert not any(token in safe for token in tokens)
    assert safe.replace(" ", "") == text.replace(" ", "")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tokens=st.lists(
        st.text("ab< ", min_size=2, max_size=4).filter(lambda t: len(t.strip()) > 1), min_size=1, max_size=4
    ),
    text=st.text("ab< ", max_size=30),
)
def test_no_tokens_and_no_text_keep_it_busy(tmp_path: Path, tokens: list[str], text: str) -> None:
    chat = with_special(tmp_path / "model", *tokens)
    safe = chat.neutralise(text)
    assert not any(token in safe for token in tokens)
    assert chat.neutralise(safe) == safe


LOWER_NFKC = {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}


@pytest.mark.parametrize(
    "text", ["a <END> b", "a ＜end＞ b", "a <ＥＮＤ>", "<<end>end>", "ﬁ", "oﬁce ﬁ fi", "plain < end>"]
)
def test_a_token_that_is_only_spelt_once_the_text_is_normalised_is_neutralised_too(tmp_path: Path, text: str) -> None:
    chat = with_special(tmp_path, "<end>", "fi", normalizer=LOWER_NFKC, normalized=True)
    control = {chat.encode("<end>")[0], chat.encode("fi")[0]}
    safe = chat.neutralise(text)
    assert not control & set(chat.encode(safe))
    assert chat.neutralise(safe) == safe
    assert (safe == text) == (not control & set(chat.encode(text)))


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_between_control_tokens_have_the_ids_of_the_whole(tmp_path: Path, family: Family) -> None:
    chat = ChatTokenizer.from_folder(write_chat_model(tmp_path, family))
    text = chat.render(HELLO)
    parts = chat.split_at_control_tokens(text)
    assert "".join(parts) == text
    assert len(parts) >= 2 * len(HELLO)
    assert [token for part in parts for token in chat.encode(part)] == chat.encode(text)


def test_special_tokens_of_older_models_are_found_in_their_own_file(tmp_path: Path) -> None:
    write_chat_model(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"bos_token": {"content": "<bos>", "lstrip": False}}))
    assert ChatTokenizer.from_folder(tmp_path).render(HELLO).startswith("<bos><start_of_turn>user")


@pytest.mark.parametrize(
    ("steps", "refused"),
    [
        ([{"type": "Replace", "pattern": {"String": "hello"}, "content": "hello" * 1000}], True),
        ([{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}] * 9, True),
        ([{"type": "Replace", "pattern": {"Regex": ""}, "content": "a"}] * 30, True),
        ([{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}], False),
        ([{"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}], False),
    ],
)  # fmt: skip
def test_a_normalizer_that_multiplies_text_is_refused_before_it_sees_one(
    tmp_path: Path, steps: list[object], refused: bool
) -> None:
    folder = write_chat_model(tmp_path)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    file.write_text(json.dumps(tokenizer | {"normalizer": {"type": "Sequence", "normalizers": steps}}))
    if refused:
        with pytest.raises(UserError, match=r"tokenizer\.json: its normalizer could make a text more than 1,000 times"):
            ChatTokenizer.from_folder(folder)
    else:
        ChatTokenizer.from_folder(folder)


def test_an_expression_that_backtracks_for_ever_is_refused_at_the_first_text_it_cannot_read(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path)
    file = folder / "tokenizer.json"
    splitter = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pre_tokenizer": splitter}))
    with pytest.raises(UserError, match=r"tokenizer\.json cannot encode a text"):
        ChatTokenizer.from_folder(folder).encode("a" * 40 + "!")


def test_a_text_is_composed_where_the_tokenizer_composes_it_so_that_llama_cpp_sees_the_same_characters() -> None:
    tokenizer = byte_level()
    accent = "cafe\u0301"
    assert ChatTokenizer(tokenizer, CHATML, {}).neutralise(accent) == accent
    tokenizer.normalizer = normalizers.NFC()
    composing = ChatTokenizer(tokenizer, CHATML, {})
    assert composing.neutralise(accent) == "caf\u00e9"
    assert composing.encode(accent) == composing.encode(composing.neutralise(accent))
