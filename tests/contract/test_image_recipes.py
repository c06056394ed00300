"""What can be known of the images without building them, of those that `make images` leaves out above all."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest

from kit.places import ROOT

RECIPES = {file.parent.name: re.sub(r"\\\n\s*", "", file.read_text()) for file in ROOT.glob("images/*/Dockerfile")}
IGNORED = (ROOT / ".dockerignore").read_text().split()


def goes_in(path: str) -> bool:
    """Whether a file of the project is part of what Docker is given: the last line that fits decides."""
    given = True
    for line in IGNORED:
        pattern = line.lstrip("!")
        if fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(path, f"{pattern}/*"):
            given = line.startswith("!")
    return given


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", RECIPES)
def test_what_an_image_is_made_of_is_there(name: str) -> None:
    recipe = RECIPES[name]
    copied = [word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", recipe, re.MULTILINE) for word in line.split()]
    mounted = [path for path in re.findall(r"type=bind,(\S+)", recipe) if "from=" not in path]
    sources = copied + [re.sub(r".*source=([^,]+).*", r"\1", path) for path in mounted]
    for source in sources:
        assert (ROOT / source).exists(), source
        files = [source] if (ROOT / source).is_file() else [f"{source}/pyproject.toml", f"{source}/src"]
        assert any(map(goes_in, files)), source
    stages = dict(re.findall(r"^FROM (\S+) AS (\S+)$", recipe, re.MULTILINE))
    for base in re.findall(r"^FROM localhost/tuneline/([\w-]+):\$VERSION", recipe, re.MULTILINE):
        assert base in RECIPES
    assert set(re.findall(r"(?:--from|from)=([\w-]+)", recipe)) <= set(stages.values())


def test_the_evaluator_for_gpus_is_the_evaluator_with_another_server() -> None:
    """Its libraries are those of the toolkit that it is built with, and the server lies where the build leaves it."""
    recipe, built = RECIPES["evaluator-cuda"], RECIPES["llama-cpp-cuda"]
    assert re.findall(r"^FROM localhost/tuneline/([\w-]+)", recipe, re.MULTILINE) == ["llama-cpp-cuda", "evaluator"]
    for library, package in (
        ("cublas", "nvidia-cublas"),
        ("cublasLt", "nvidia-cublas"),
        ("cudart", "nvidia-cuda-runtime"),
    ):
        major = pins("cuda")[package].split(".")[0]
        assert f"/opt/cuda/lib/lib{library}.so.{major} " in recipe
    assert f"nvidia/cu{pins('cuda')['nvidia-cublas'].split('.')[0]} /opt/cuda" in built
    server = "/opt/cache/*/bin/llama-server /usr/local/bin/"
    assert server in recipe
    assert server in RECIPES["evaluator"]
    assert "USER 10001:10001" in recipe.partition("USER 0:0")[2]
    assert "ENTRYPOINT" not in recipe


def test_both_builds_of_llama_cpp_take_the_same_steps() -> None:
    plain, cuda = (RECIPES[name].splitlines() for name in ("llama-cpp", "llama-cpp-cuda"))
    shared = [line for line in plain if line and not line.startswith(("#", "RUN TUNELINE_CACHE"))]
    assert [line for line in shared if line not in cuda] == []
    assert plain[-1].removeprefix("RUN ") == cuda[-1].removeprefix("RUN TUNELINE_CUDA=/opt/cuda ")


def test_the_trainer_with_trackers_is_the_trainer_with_more() -> None:
    trainer, trackers = pins("trainer"), pins("trackers")
    assert trainer.items() <= trackers.items()
    assert {"mlflow-skinny", "tensorboard", "trackio", "wandb"} <= trackers.keys() - trainer.keys()
    assert not {Path(source).stem for source in re.findall(r"requirements/\S+\.txt", RECIPES["trainer"])} - {
        "trainer", "trackers", "$file"
    }  # fmt: skip
