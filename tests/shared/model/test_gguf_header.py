from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneline.errors import UserError
from tuneline.model import gguf_header
from tuneline.model.gguf_header import read_header

KEY_COUNT, TENSOR_COUNT = 16, 8


def write(path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("toy")
    writer.add_context_length(77)
    writer.add_float32("toy.ratio", 0.5)
    writer.add_bool("toy.flag", True)
    writer.add_bool("toy.flat", False)
    writer.add_token_list(["<s>", "ü", "日本"])
    writer.add_token_scores([0.0, -1.0, -2.5])
    writer.add_chat_template("{{ messages }}")
    writer.add_tensor("weights", np.zeros((4, 32), dtype=np.float32))
    writer.add_tensor("bias", np.zeros(5, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("gguf") / "toy.gguf").read_bytes()


def test_a_sound_header_is_read(tmp_path: Path) -> None:
    header = read_header(write(tmp_path / "toy.gguf"))
    assert header.metadata["general.name"] == "toy"
    assert header.metadata["toy.ratio"] == 0.5
    assert header.metadata["toy.flag"] is True
    assert header.metadata["tokenizer.ggml.scores"] == [0.0, -1.0, -2.5]
    assert header.number("llama.context_length") == 77
    assert [header.token(number) for number in (0, 2, 3, None)] == ["<s>", "日本", "", ""]
    assert (header.tensors, header.parameters) == (2, 4 * 32 + 5)


def test_hashes_depend_on_template_and_tokenizer_alone(sound: bytes, tmp_path: Path) -> None:
    def hashes(data: bytes) -> tuple[str, str]:
        (tmp_path / "x.gguf").write_bytes(data)
        header = read_header(tmp_path / "x.gguf")
        return header.template_sha256, header.tokenizer_sha256

    template, tokenizer = hashes(sound)
    assert hashes(sound.replace(b"toy", b"yot")) == (template, tokenizer)
    assert hashes(sound.replace(b"{{ messages }}", b"{{ Messages }}")) != (template, tokenizer)
    assert hashes(sound.replace(b"{{ messages }}", b"{{ Messages }}"))[1] == tokenizer
    assert hashes(sound.replace("ü".encode(), "ä".encode()))[1] != tokenizer


def test_the_size_of_every_type_of_tensor_is_that_of_the_package_gguf() -> None:
    assert {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()} == gguf_header._BLOCKS


def put(offset: int, form: str, value: int) -> Callable[[bytes], bytes]:
    packed = struct.pack(form, value)
    return lambda data: data[:offset] + packed + data[offset + len(packed) :]


def after(marker: bytes, form: str, value: int) -> Callable[[bytes], bytes]:
    return lambda data: put(data.index(marker) + len(marker), form, value)(data)


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "an empty file": (lambda data: b"", "cut short"),
    "another format": (lambda data: b"PK\x03\x04" + data[4:], "does not begin with GGUF"),
    "an unknown version": (put(4, "<I", 99), "version is 99"),
    "the other byte order": (put(4, ">I", 3), "byte order"),
    "too many keys": (put(KEY_COUNT, "<Q", 2**63), "announces 9223372036854775808 items"),
    "too many tensors": (put(TENSOR_COUNT, "<Q", 10**9), "announces 1000000000 items"),
    "a long key": (put(24, "<Q", 2**40), "announces 1099511627776 items"),
    "a long text": (after(b"general.name" + struct.pack("<I", 8), "<Q", 2**33), "announces"),
    "a long array": (after(b"tokenizer.ggml.scores" + struct.pack("<II", 9, 6), "<Q", 2**60), "announces"),
    "a long array of texts": (after(b"tokenizer.ggml.tokens" + struct.pack("<II", 9, 8), "<Q", 2**31), "announces"),
    "an array of arrays": (after(b"tokenizer.ggml.tokens" + struct.pack("<I", 9), "<I", 9), "unknown type 9"),
    "an unknown value type": (after(b"toy.flag", "<I", 77), "unknown type 77"),
    "a text that is not UTF-8": (lambda data: data.replace("ü".encode(), b"\xff\xfe"), "not UTF-8"),
    "a key twice": (lambda data: data.replace(b"toy.flat", b"toy.flag"), "the key 'toy.flag' twice"),
    "many dimensions": (after(b"weights", "<I", 9), "'weights' has 9 dimensions"),
    "an unknown tensor type": (after(b"weights" + struct.pack("<IQQ", 2, 32, 4), "<I", 999), "unknown type 999"),
    "a huge tensor": (after(b"weights" + struct.pack("<I", 2), "<Q", 2**62), "its tensors reach to"),
    "an empty tensor": (after(b"weights" + struct.pack("<I", 2), "<Q", 0), "impossible shape"),
    "a tensor far away": (after(b"weights" + struct.pack("<IQQI", 2, 32, 4, 0), "<Q", 2**50), "its tensors reach to"),
    "a lost end": (lambda data: data[:-40], "its tensors reach to"),
    "half a header": (lambda data: data[:200], "cut short|announces"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_refused_by_name(kind: str, sound: bytes, tmp_path: Path) -> None:
    damage, message = DAMAGE[kind]
    file = tmp_path / "toy.gguf"
    file.write_bytes(damage(sound))
    assert file.read_bytes() != sound
    with pytest.raises(UserError, match=rf"toy\.gguf is not a sound GGUF file: .*({message})"):
        read_header(file)


def test_a_pointer_of_git_in_place_of_a_model_is_named(tmp_path: Path) -> None:
    file = tmp_path / "toy.gguf"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 17\n")
    with pytest.raises(UserError, match=r"toy\.gguf is Git's pointer to a large file, .*git lfs pull"):
        read_header(file)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_damage_is_refused_or_harmless(data: st.DataObject, sound: bytes, tmp_path: Path) -> None:
    damaged = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path / "toy.gguf"
    file.write_bytes(damaged[: data.draw(st.integers(len(sound) // 2, len(sound)))])
    try:
        assert read_header(file).parameters >= 0
    except UserError as error:
        assert "toy.gguf is not a sound GGUF file" in str(error)


def test_a_header_takes_ten_times_its_bytes_in_memory_at_most(tmp_path: Path) -> None:
    count = 1 << 20
    key = struct.pack("<Q", 3) + b"a.b"
    array = struct.pack("<IIQ", 9, 0, count) + bytes(count)
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key + array + bytes(32))
    tracemalloc.start()
    try:
        read_header(tmp_path / "x.gguf")
        assert tracemalloc.get_traced_memory()[1] < 11 * count
    finally:
        tracemalloc.stop()
