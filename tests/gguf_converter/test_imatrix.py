from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.gguf_parts import SETTINGS
from kit.slicing import slice_of
from kit.support import Done, run_stage
from tuneline.data.io import write_lines
from tuneline.errors import UserError
from tuneline.model import llama_cpp
from tuneline.model.chat import ChatTokenizer
from tuneline.model.gguf_header import read_header
from tuneline_gguf_converter.check import grown
from tuneline_gguf_converter.imatrix import CHUNK, NEEDED, Calibration, matrix_of, read_calibration
from tuneline_gguf_converter.stage import STAGE

pytestmark = pytest.mark.xdist_group("gguf converter")

TURNS = [f"Part {i}: could you look up order {i * 1234} for me, please?" for i in range(16)]
COARSE = SETTINGS | {
    "quantizations": ["IQ2_M"], "min_top1_agreement": 0, "imatrix_tokens": 1024, "check_positions": 2
}  # fmt: skip


def test_files_that_will_be_larger_than_their_names_say_are_named_before_they_are_made() -> None:
    """Rows of 576 numbers, as those of SmolLM2-135M, have no whole blocks of 256."""
    shapes = {"model.embed_tokens.weight": (100, 576), "layers.0.down_proj.weight": (576, 1536), "norm.weight": (576,)}
    said = grown(["IQ2_XS", "Q8_0", "Q4_K_M"], shapes)
    assert said and said.startswith("IQ2_XS, Q4_K_M: 6% of the weights lie in rows that are no multiple of 256 long")
    assert grown(["Q8_0", "Q4_0", "F16"], shapes) is None
    assert grown(["IQ2_XS"], {"layers.0.down_proj.weight": (576, 1536)}) is None


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices of nine transcripts, one of them held out, whose words stand in no other."""
    file = tmp_path_factory.mktemp("talks") / "slices.jsonl"
    rows = [slice_of(f"t{t}", TURNS[: 2 * point], "train") for t in range(8) for point in (2, 8)]
    write_lines(file, [*rows, slice_of("held", ["What of the canary?", "The canary sings."] * 2, "validation")])
    return file


@pytest.fixture(scope="module")
def both(given: dict[str, Path], talks: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, Done]:
    """Both arms, made with a matrix of the same text."""
    inputs, folder = given | {"imatrix": talks}, tmp_path_factory.mktemp("both")
    return {
        variant: run_stage(STAGE, folder / str(variant), inputs=inputs, params=COARSE, variant=variant)
        for variant in (None, "base")
    }


def facts(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.paths["gguf"].read_text())
    return found


def test_training_conversations_are_read_from_their_beginnings_and_held_out_ones_never(
    tiny_base: Path, talks: Path
) -> None:
    tokenizer = ChatTokenizer.from_folder(tiny_base)
    found = read_calibration(talks, tokenizer, 1024)
    assert found.conversations == 3
    assert found.tokens == 1024
    assert found.text.count("Part 0") == 3
    assert "canary" not in found.text
    assert len(tokenizer.encode(found.text)) == pytest.approx(1024, abs=4)
    all_of_it = read_calibration(talks, tokenizer, 65_536)
    assert all_of_it.conversations == 8
    assert "canary" not in all_of_it.text
    assert all_of_it.tokens == len(tokenizer.encode(all_of_it.text))


def test_short_conversations_leave_their_share_to_longer_ones(tiny_base: Path, tmp_path: Path) -> None:
    rows = [slice_of("t0", TURNS[:2]), slice_of("t1", TURNS * 4), slice_of("t2", TURNS * 4)]
    write_lines(tmp_path / "slices.jsonl", rows)
    assert read_calibration(tmp_path / "slices.jsonl", ChatTokenizer.from_folder(tiny_base), 2048).tokens == 2048


def test_too_little_text_is_refused_with_its_size(tiny_base: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "slices.jsonl", [slice_of("t", TURNS[:4]), slice_of("v", TURNS * 9, "validation")])
    with pytest.raises(UserError, match=r"imatrix: the training conversations have \d+ tokens, and .* 1,024 or more"):
        read_calibration(tmp_path / "slices.jsonl", ChatTokenizer.from_folder(tiny_base), 4096)


def test_another_kind_of_file_is_refused_by_name(tiny_base: Path, tmp_path: Path, finetuned_file: Path) -> None:
    tokenizer = ChatTokenizer.from_folder(tiny_base)
    with pytest.raises(UserError, match=r"imatrix: gemma2.*\.gguf is another kind of GGUF file"):
        read_calibration(finetuned_file, tokenizer, 1024)
    with pytest.raises(UserError, match=r"imatrix: is a folder"):
        read_calibration(tmp_path, tokenizer, 1024)
    (tmp_path / "imatrix.dat").write_bytes(b"\x05\0\0\0\x10\0\0\0blk.0.attn_k.weight")
    with pytest.raises(UserError, match=r"imatrix\.dat"):
        read_calibration(tmp_path / "imatrix.dat", tokenizer, 1024)


@pytest.mark.slow
def test_the_types_that_are_refused_without_a_matrix_are_those_of_llama_quantize(tiny_gguf: Path) -> None:
    assert {name for name in quantizations() if "imatrix" in dry_run(tiny_gguf, name)} == NEEDED


def quantizations() -> list[str]:
    schema = STAGE.params.model_json_schema()["properties"]["quantizations"]["items"]
    names: list[str] = schema["enum"]
    return names


def dry_run(file: Path, name: str) -> str:
    command = [str(llama_cpp.program("llama-quantize")), "--dry-run", str(file), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if "require" in line)


@pytest.mark.slow
@pytest.mark.parametrize("imatrix", [None, "output:slicer/slices"])
def test_a_type_that_needs_a_matrix_is_refused_by_the_check_if_none_is_asked_for(
    given: dict[str, Path], tmp_path: Path, imatrix: str | None
) -> None:
    inputs = {"base_model": str(given["base_model"]), "imatrix": imatrix}
    run = {"goal": "gguf-converter@base", "inputs": inputs, "gguf-converter": {"quantizations": ["Q8_0", "IQ2_M"]}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    command: list[str | Path] = [Path(sys.executable).parent / "tuneline", "check", tmp_path / "run.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    told = "run.yaml:2: gguf-converter.quantizations: IQ2_M cannot be made without an importance matrix" in done.stderr
    assert told == (imatrix is None), done.stderr


@pytest.mark.slow
def test_both_arms_are_quantised_with_a_matrix_of_the_same_text_and_say_so(both: dict[str | None, Done]) -> None:
    tuned, base = (facts(both[variant]) for variant in (None, "base"))
    assert tuned["file_type"] == base["file_type"] == "IQ2_M"
    assert tuned["imatrix"] == base["imatrix"]
    assert (tuned["imatrix"]["conversations"], tuned["imatrix"]["tokens"]) == (3, 1024)
    about = read_header(both[None].paths["model"] / tuned["file"]).metadata
    assert about["quantize.imatrix.file"] == "imatrix.gguf"
    assert about["quantize.imatrix.dataset"] == "conversations.txt"


@pytest.mark.slow
def test_the_same_text_gives_the_same_bytes_with_more_threads(
    tiny_gguf: Path, tiny_base: Path, talks: Path, tmp_path: Path
) -> None:
    calibration = read_calibration(talks, ChatTokenizer.from_folder(tiny_base), 2048)
    found = []
    for threads in (1, 2):
        (tmp_path / str(threads)).mkdir()
        (tmp_path / str(threads) / "model.gguf").symlink_to(tiny_gguf)
        found.append(matrix_of(calibration, tmp_path / str(threads) / "model.gguf", threads).read_bytes())
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_text_of_just_two_chunks_keeps_its_last_line_end(tiny_gguf: Path, tiny_base: Path, tmp_path: Path) -> None:
    text = "\n" + "x\n" * (CHUNK - 1)
    assert len(ChatTokenizer.from_folder(tiny_base).encode(text)) == 2 * CHUNK - 1  # llama-imatrix begins the text
    (tmp_path / "model.gguf").symlink_to(tiny_gguf)
    assert matrix_of(Calibration(text), tmp_path / "model.gguf", 1).is_file()


@pytest.mark.slow
def test_a_matrix_that_was_made_before_is_taken_as_it_is(
    both: dict[str | None, Done], tiny_gguf: Path, given: dict[str, Path], tmp_path: Path
) -> None:
    text, matrix = tmp_path / "text.txt", tmp_path / "own.gguf"
    text.write_text("Could you look up order 1234 for me, please? " * 200)
    program = llama_cpp.program("llama-imatrix")
    llama_cpp.run_program([program, "-m", tiny_gguf, "-f", text, "-o", matrix, "--no-ppl", "--threads", "1"])
    done = run_stage(STAGE, tmp_path, inputs=given | {"imatrix": matrix}, params=COARSE, variant="base")
    assert facts(done)["imatrix"] == {
        "sha256": sha256(matrix.read_bytes()).hexdigest(), "conversations": None, "tokens": None
    }  # fmt: skip
    ours, theirs = (one.manifest.outputs["model"].sha256 for one in (done, both["base"]))
    assert ours != theirs
