"""A Whisper of transformers becomes the weights that CTranslate2's own converter makes of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tuneline.errors import UserError
from tuneline_transcriber.hearing.audio import Chunk
from tuneline_transcriber.hearing.conversion import converted, is_foreign
from tuneline_transcriber.hearing.decoding import RATE
from tuneline_transcriber.hearing.recogniser import WhisperConfig, find_weights
from tuneline_transcriber.hearing.whisper import Whisper


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper of random numbers, as a repository of the Hub has it."""
    import torch
    import transformers as hf

    folder = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(0)
    size = 51_864
    config = hf.WhisperConfig(
        vocab_size=size, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, num_mel_bins=80,
    )  # fmt: skip
    model = hf.WhisperForConditionalGeneration(config)
    model.generation_config.suppress_tokens = [1, 2, 7]
    model.generation_config.begin_suppress_tokens = [220, 50_256]
    model.save_pretrained(folder)
    tokens = str(find_weights(None) / "tokenizer.json")
    hf.PreTrainedTokenizerFast(tokenizer_file=tokens).save_pretrained(folder)  # type: ignore[no-untyped-call]
    return folder


@pytest.mark.slow
def test_the_bytes_are_those_of_the_official_converter(whisper: Path, tmp_path: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    assert is_foreign(whisper) and not is_foreign(find_weights(None))
    made = converted(whisper, tmp_path / "made")
    TransformersConverter(str(whisper)).convert(str(tmp_path / "official"), quantization="int8")
    for name in ("model.bin", "config.json", "vocabulary.json"):
        assert (made / name).read_bytes() == (tmp_path / "official" / name).read_bytes(), name
    with pytest.raises(UserError, match="is not there"):
        find_weights(tmp_path / "official")  # a tokenizer is missing
    assert find_weights(made) == made


@pytest.mark.slow
def test_weights_of_half_precision_in_several_files_are_heard_with(whisper: Path, tmp_path: Path) -> None:
    whole = {name: value.astype(np.float16) for name, value in load_file(whisper / "model.safetensors").items()}
    one, several = (shutil.copytree(whisper, tmp_path / name) for name in ("one", "several"))
    save_file(whole, one / "model.safetensors")
    (several / "model.safetensors").unlink()
    for number, names in ((1, [*whole][::2]), (2, [*whole][1::2])):
        save_file({name: whole[name] for name in names}, several / f"model-{number:05}-of-00002.safetensors")
    assert is_foreign(several)
    made = converted(several, tmp_path / "made")
    assert (made / "model.bin").read_bytes() == (converted(one, tmp_path / "of-one") / "model.bin").read_bytes()
    config = WhisperConfig(provider="faster-whisper", language="en", beam=1)
    noise = np.random.default_rng(0).integers(-9000, 9000, RATE * 3).astype(np.int16)
    assert Whisper(config, made, 1, 1, vad=False).hear(Chunk(0, 0, 0.0, noise), None).language in ("en", None)


@pytest.mark.slow
def test_weights_in_bfloat16_are_the_same_numbers(whisper: Path, tmp_path: Path) -> None:
    import torch
    from ctranslate2.converters import TransformersConverter
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    short = {name: value.bfloat16() for name, value in load_torch(whisper / "model.safetensors").items()}
    made = []
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        folder = shutil.copytree(whisper, tmp_path / name)
        save_torch(
            {key: value.to(dtype) for key, value in short.items()}, folder / "model.safetensors", {"format": "pt"}
        )
        made.append((converted(folder, tmp_path / f"{name}-made") / "model.bin").read_bytes())
    TransformersConverter(str(tmp_path / "bf16")).convert(str(tmp_path / "official"), quantization="int8")
    assert made[0] == made[1] == (tmp_path / "official" / "model.bin").read_bytes()


def test_pickled_weights_are_refused_with_the_way_out(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "vocab.json", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(b"{}")
    assert not is_foreign(tmp_path)
    with pytest.raises(UserError, match=r"model\.bin.*pytorch_model\.bin is not read: save_pretrained"):
        find_weights(tmp_path)


@pytest.mark.slow
def test_what_is_no_whole_whisper_is_refused(whisper: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        folder = shutil.copytree(whisper, tmp_path / name)
        (folder / name).write_bytes(b"{}")
        with pytest.raises(UserError, match=r"no whole Whisper|is damaged"):
            converted(folder, tmp_path / f"{name}-made")
