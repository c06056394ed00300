"""Each image as it is: small, without rights, without secrets, and the same programs as on a laptop."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from kit.containers import STAGES, VERSION, docker, image
from kit.places import ROOT

LOCKED_DOWN = ("--rm", "--read-only", "--network", "none", "--user", "54321:54321", "--cap-drop", "ALL")
PUBLIC_AUTHORITIES = {"certifi/cacert.pem", "botocore/cacert.pem"}
PERSONAL = re.compile(
    r"(^|/)(\.netrc|\.aws/|\.ssh/|\.docker/|id_rsa|pip\.conf|\.git-credentials)|^root/\.cache/.|^var/cache/uv/."
)
COMPILED = re.compile(r"\.pyc$|\.so(\.\d+)*$")  # programs hold the words between which keys stand
PEM = rb"-----BEGIN [A-Z ]*(?:PRIVATE KEY|CERTIFICATE)-----\n"
SECRET = re.compile(PEM + rb"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bhf_[A-Za-z]{34}\b|\bsk-[A-Za-z0-9-]{32,}")
DOCUMENTED = b"EXAMPLE"  # how the SDK's own examples end


def in_image(stage: str, program: str, *words: str) -> str:
    return docker("run", *LOCKED_DOWN, "--entrypoint", program, image(stage), *words).stdout


@pytest.mark.parametrize("stage", STAGES)
def test_the_schema_is_the_laptops(stage: str) -> None:
    program = Path(sys.executable).parent / f"tuneline-{stage}"
    here = subprocess.run([program, "schema"], check=True, capture_output=True, text=True).stdout
    assert json.loads(docker("run", *LOCKED_DOWN, image(stage), "schema").stdout) == json.loads(here)


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_installed_is_what_the_requirements_pin(stage: str) -> None:
    code = (
        "import importlib.metadata as m; print(*sorted({f'{d.name.lower()}=={d.version}' for d in m.distributions()}))"
    )
    found = in_image(stage, "python", "-c", code).replace("_", "-").split()
    pinned = re.findall(r"^([\w.-]+==\S+)", (ROOT / f"requirements/{stage}.txt").read_text().lower(), re.MULTILINE)
    ours = [f"tuneline{name}=={VERSION}" for name in ("", *(f"-{stage}" for stage in STAGES))]
    surplus = set(found) - {pin.replace("_", "-") for pin in pinned} - set(ours)
    assert not surplus
    assert set(ours) <= set(found)
    assert ("torch" in {name.split("==")[0] for name in found}) == (stage in ("trainer", "gguf-converter"))


@pytest.mark.parametrize("stage", ["evaluator", "gguf-converter"])
def test_llama_server_has_the_one_version(stage: str) -> None:
    (pin,) = re.findall(r"llama-cpp-python==([\d.]+)", (ROOT / "requirements/llama-cpp.txt").read_text())
    done = docker("run", *LOCKED_DOWN, "--entrypoint", "llama-server", image(stage), "--version")
    assert f"llama-cpp-python-{pin}" in done.stdout + done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_the_image_runs_as_nobody_under_an_init_process_and_is_labelled(stage: str) -> None:
    (found,) = json.loads(docker("image", "inspect", image(stage)).stdout)
    config = found["Config"]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", config["User"])
    assert config["Entrypoint"] == ["tini", "--", f"tuneline-{stage}"]
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert labels["version"] == VERSION
    assert re.match(r"[0-9a-f]{40}", labels["revision"])
    assert labels["licenses"] == "Apache-2.0"
    assert not [name for name in config["Env"] if re.search("KEY|SECRET|TOKEN|PASSWORD", name.split("=")[0])]


def test_the_images_are_within_their_budgets() -> None:
    rows = re.findall(
        r"^\| ([a-z-]+) \|.*\| ([\d.]+) (MB|GB) \|$", (ROOT / "images/README.md").read_text(), re.MULTILINE
    )
    budgets = {stage: float(size) * {"MB": 1e6, "GB": 1e9}[unit] for stage, size, unit in rows}
    assert set(budgets) == set(STAGES)
    sizes = {stage: int(docker("image", "inspect", "--format", "{{.Size}}", image(stage)).stdout) for stage in STAGES}
    print(
        "\n"
        + "\n".join(f"{stage}: {size / 1e6:.0f} MB of {budgets[stage] / 1e6:.0f} MB" for stage, size in sizes.items())
    )
    assert not {stage: size for stage, size in sizes.items() if size > budgets[stage]}


def test_trainer_and_gguf_converter_share_the_layer_with_torch() -> None:
    layers = {}
    for stage in ("torch", "trainer", "gguf-converter"):
        layers[stage] = json.loads(
            docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image(stage)).stdout
        )
    count = len(layers["torch"])
    assert layers["trainer"][:count] == layers["gguf-converter"][:count] == layers["torch"]


@pytest.mark.timeout(900)
def test_no_layer_of_ours_holds_a_secret_or_a_certificate() -> None:
    """Every layer is opened, so that what a later one removes is seen too; the first is Debian's own."""
    found: dict[str, list[str]] = {}
    layers: set[str] = set()
    with subprocess.Popen(["docker", "save", *map(image, STAGES)], stdout=subprocess.PIPE) as save:
        assert save.stdout is not None
        with tarfile.open(fileobj=save.stdout, mode="r|") as outer:
            for member in outer:
                content = outer.extractfile(member) if member.isfile() else None
                if content is not None and member.name == "manifest.json":
                    layers = {layer for entry in json.load(content) for layer in entry["Layers"][1:]}
                elif content is not None and member.size > 10_000:  # smaller ones are records of the image
                    found[member.name] = suspects(content)
    assert save.returncode == 0
    assert len(layers & set(found)) > 2 * len(STAGES)
    assert [what for layer in layers for what in found.get(layer, [])] == []


def suspects(layer: object) -> list[str]:
    """Names of the files in a layer's archive that look like somebody's own."""
    names = []
    with tarfile.open(fileobj=layer, mode="r|*") as archive:  # type: ignore[call-overload]
        for member in archive:
            name = member.name.removeprefix("./")
            if PERSONAL.search(name):
                names.append(name)
            if not member.isfile() or member.size > 4_000_000 or COMPILED.search(name):
                continue
            file = archive.extractfile(member)
            data = file.read() if file else b""
            hits = [hit for hit in SECRET.findall(data) if not hit.endswith(DOCUMENTED)]
            if hits and "/".join(name.split("/")[-2:]) not in PUBLIC_AUTHORITIES:
                names.append(name)
    return names
