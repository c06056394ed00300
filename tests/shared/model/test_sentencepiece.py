from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.families import CACHE, of_sentencepiece, write_family
from tuneline.errors import UserError
from tuneline.model.sentencepiece import merge_scores, refuse_other_merges

MISTRAL = CACHE / "mistral_common" / "mistral_instruct_tokenizer_240323.model.v3"


def write_model(file: Path, *pieces: tuple[str, float], kind: str = "BPE", **of: Any) -> None:
    """Write a SentencePiece model with these pieces and scores; the last one is of the kind that `of` names."""
    from sentencepiece import sentencepiece_model_pb2 as proto

    model = proto.ModelProto()  # type: ignore[attr-defined]
    for name, score in pieces:
        model.pieces.add(piece=name, score=score)
    for key, value in of.items():
        setattr(model.pieces[-1], key, value)
    model.trainer_spec.model_type = model.trainer_spec.ModelType.Value(kind)
    file.write_bytes(model.SerializeToString())


def write_merges(folder: Path, *merges: object) -> None:
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "merges": merges}}))


def test_merges_in_the_order_of_their_scores_are_accepted(tmp_path: Path) -> None:
    write_model(tmp_path / "tokenizer.model", ("he", -1.0), ("ll", -1.0), ("hell", -3.0))
    write_merges(tmp_path, "h e", ["l", "l"], "he ll", "x y")
    refuse_other_merges(tmp_path)


def test_merges_in_another_order_are_refused_with_the_pieces(tmp_path: Path) -> None:
    write_model(tmp_path / "tokenizer.model", ("▁▁", -1e9), ("▁t", -2.0))
    write_merges(tmp_path, "▁ ▁", "▁ t")
    with pytest.raises(UserError, match=r"tokenizer\.json merges '▁▁' before '▁t', and tokenizer\.model the other way"):
        refuse_other_merges(tmp_path)


@pytest.mark.parametrize("of", [{"kind": "UNIGRAM"}, {"type": 4}], ids=str)
def test_pieces_that_are_not_merged_by_score_say_nothing(tmp_path: Path, of: dict[str, Any]) -> None:
    write_model(tmp_path / "tokenizer.model", ("▁▁", -1e9), ("▁t", -2.0), **of)
    write_merges(tmp_path, "▁ ▁", "▁ t")
    refuse_other_merges(tmp_path)


@pytest.mark.parametrize(
    "damage", [b"\x0a\xff\xff\xff\xff\x0f", b"\x0b", b"\x0a\x0a\x0a\x03\xff\xfe\xfd\x15\0\0\0\0", b"\xff" * 20]
)
def test_a_damaged_model_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "tokenizer.model").write_bytes(damage)
    with pytest.raises(UserError, match=r"base_model: tokenizer\.model is damaged"):
        merge_scores(tmp_path / "tokenizer.model")


def test_a_pointer_of_git_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 17\n")
    with pytest.raises(UserError, match=r"base_model: tokenizer\.model is Git's pointer .*git lfs pull"):
        merge_scores(tmp_path / "tokenizer.model")


@pytest.mark.slow
def test_mistrals_third_version_is_told_from_a_conversion_that_sorted_by_ids(tmp_path: Path) -> None:
    base = write_family(tmp_path / "base", "Mistral 0.3")
    refuse_other_merges(base)
    of_sentencepiece(MISTRAL, by_score=False).save(str(base / "tokenizer.json"))
    with pytest.raises(UserError, match=r"merges '▁+' before '▁t'"):
        refuse_other_merges(base)
