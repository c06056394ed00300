from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.places import ROOT
from tuneline.errors import Temporary, UserError
from tuneline.model import llama_cpp

REAL = llama_cpp.program("llama-server")


def test_a_missing_program_is_named_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"`llama-quantize` is neither next to .* nor on PATH.*make setup"):
        llama_cpp.program("llama-quantize")


def test_the_program_beside_python_goes_before_path(
    pretend: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = pretend("exit 0")
    other = tmp_path / "other"
    other.mkdir()
    (other / "llama-server").symlink_to(REAL)
    monkeypatch.setenv("PATH", str(other))
    assert llama_cpp.program("llama-server") == beside
    beside.unlink()
    assert llama_cpp.program("llama-server") == other / "llama-server"


def test_a_missing_converter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(UserError, match=r"convert_hf_to_gguf\.py does not exist.*make setup"):
        llama_cpp.converter()


def test_the_version_is_the_pinned_one() -> None:
    pins = (ROOT / "requirements" / "llama-cpp.txt").read_text()
    assert pins.split()[0].replace("==", "-") in llama_cpp.version(REAL)


def test_a_program_without_a_version_is_refused(pretend: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match="names no version"):
        llama_cpp.version(pretend("echo hello"))


DEVICES = """echo 'Available devices:'
echo '  CUDA0: NVIDIA L4 (22563 MiB, 22345 MiB free)'
echo '  CUDA1: NVIDIA L4 (22563 MiB, 22345 MiB free)'"""


def test_all_layers_are_on_the_gpus_that_a_build_finds_and_it_is_said(pretend: Callable[[str], Path]) -> None:
    server = pretend(DEVICES)
    placed = llama_cpp.placement(server)
    assert str(placed) == "NVIDIA L4 and NVIDIA L4, all layers"
    assert placed.flags == ["--n-gpu-layers", "all", "--fit", "off"]
    assert (str(llama_cpp.placement(server, 20)), llama_cpp.placement(server, 20).flags[1]) == (
        "NVIDIA L4 and NVIDIA L4, 20 layers", "20",
    )  # fmt: skip
    assert str(llama_cpp.placement(server, 0)) == "processor"


def test_without_a_gpu_the_processor_computes_and_layers_for_one_are_refused() -> None:
    assert str(llama_cpp.placement(REAL)) == "processor"
    assert llama_cpp.placement(REAL, 0).flags == ["--device", "none", "--n-gpu-layers", "0"]
    with pytest.raises(UserError, match=r"`gpu_layers`: .* finds no GPU"):
        llama_cpp.placement(REAL, 10)


def test_a_program_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"llama-quantize ended with status 1: .*missing\.gguf"):
        llama_cpp.run_program([llama_cpp.program("llama-quantize"), tmp_path / "missing.gguf", tmp_path / "x", "Q4_0"])


def test_a_program_that_is_killed_is_temporary(pretend: Callable[[str], Path]) -> None:
    with pytest.raises(Temporary, match="llama-server was ended by SIGKILL"):
        llama_cpp.run_program([pretend("kill -9 $$")])


def test_a_program_that_crashes_is_not_tried_again_and_says_at_what(pretend: Callable[[str], Path]) -> None:
    failed = "echo 'ops.cpp:9: GGML_ASSERT(ne % 32 == 0) failed'; echo a; echo b; echo c; kill -6 $$"
    with pytest.raises(UserError, match=r"ended with SIGABRT: ops\.cpp:9: GGML_ASSERT\(ne % 32 == 0\) failed$"):
        llama_cpp.run_program([pretend(failed)])
    with pytest.raises(Temporary, match="SIGABRT; it may need more memory"):
        llama_cpp.run_program([pretend("echo 'what(): std::bad_alloc'; kill -6 $$")])


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "HF_TOKEN",
        "OPENAI_API_KEY",
        "KUBERNETES_SERVICE_HOST",
        "PYTHONPATH",
        "LLAMA_ARG_CTX_SIZE",
    ],
)
def test_a_program_gets_no_secret_and_no_setting_from_the_environment(
    pretend: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with pytest.raises(UserError, match=r"status 3: threads 3 offline 1$"):
        llama_cpp.run_program(
            [pretend(f'echo "threads $OMP_NUM_THREADS offline $HF_HUB_OFFLINE ${name}" | tr -s " "; exit 3')]
        )
