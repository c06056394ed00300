"""What is published together: the files of each package, its card among them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from tuneline.data.published import PackageName
from tuneline.errors import UserError
from tuneline.stage import Json, Memory
from tuneline_publisher.cards import adapter_card, gguf_card
from tuneline_publisher.dataset import dataset_card, write_dataset
from tuneline_publisher.facts import Base, Facts
from tuneline_publisher.stage import PublisherInputs, PublisherParams

CARD, MODELFILE, ADAPTER_CONFIG = "README.md", "Modelfile", "adapter_config.json"
REPORT, CONVERSATIONS = "report.html", "conversations.html"
MOST_OF_CONFIG = 1 << 20

_LINK = re.compile(rf' href="{re.escape(CONVERSATIONS)}[^"]*"')
_CUT = '<p class="note">The page of every conversation was not published: words that led to it lead nowhere.</p>'

Packages = Mapping[PackageName, Mapping[str, Path]]
"""The files of each package by name."""


def collect(
    params: PublisherParams, inputs: PublisherInputs, facts: Facts, folder: Path, memory: Memory
) -> dict[PackageName, dict[str, Path]]:
    """Return the files of each package that is asked for. What is written for it goes into `folder`."""
    found: dict[PackageName, dict[str, Path]] = {}
    for name in ("gguf", "adapter", "dataset"):
        (folder / name).mkdir()
    if params.gguf and inputs.model:
        found["gguf"] = _gguf(params, inputs, facts, folder / "gguf")
    if params.adapter and inputs.adapter:
        found["adapter"] = _adapter(params, inputs, facts, folder / "adapter")
    if params.dataset:
        rows, counts = write_dataset(inputs, folder / "dataset", memory)
        found["dataset"] = rows | _card(folder / "dataset", dataset_card(params, facts, counts))
    return found


def _gguf(params: PublisherParams, inputs: PublisherInputs, facts: Facts, folder: Path) -> dict[str, Path]:
    assert inputs.model
    files = _files_below(inputs.model)
    beside = {
        "gguf.json": inputs.gguf, REPORT: inputs.report, "comparison.json": inputs.comparison,
        "summary.md": inputs.summary, CONVERSATIONS: inputs.view if params.conversations else None,
    }  # fmt: skip
    files |= {name: path for name, path in beside.items() if path is not None}
    if REPORT in files and CONVERSATIONS not in files:
        files[REPORT] = _alone(files[REPORT], folder / REPORT)
    if modelfile := inputs.compared_modelfile or inputs.modelfile:
        files[MODELFILE] = folder / MODELFILE
        files[MODELFILE].write_text(_beside_the_files(modelfile.read_text(encoding="utf-8")), encoding="utf-8")
    return files | _card(folder, gguf_card(params, facts, files))


def _adapter(params: PublisherParams, inputs: PublisherInputs, facts: Facts, folder: Path) -> dict[str, Path]:
    assert inputs.adapter
    files = _files_below(inputs.adapter)
    if ADAPTER_CONFIG in files and facts.base and facts.base.name:
        files[ADAPTER_CONFIG] = _with_base(files[ADAPTER_CONFIG], facts.base, folder / ADAPTER_CONFIG)
    if inputs.training:
        files["training.json"] = inputs.training
    return files | _card(folder, adapter_card(params, facts))


def _files_below(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _card(folder: Path, text: str) -> dict[str, Path]:
    place = folder / CARD
    place.write_text(text, encoding="utf-8", errors="replace")
    return {CARD: place}


def _beside_the_files(modelfile: str) -> str:
    """Let the Modelfile name its file where a release has it: beside itself."""
    lines = modelfile.splitlines(keepends=True)
    first = next((place for place, line in enumerate(lines) if line.startswith("FROM ./model/")), None)
    if first is not None:
        lines[first] = lines[first].replace("./model/", "./", 1)
    return "".join(lines).replace("(beside the folder `model`)", "(beside the files)", 1)


def _alone(report: Path, dest: Path) -> Path:
    """Write the report without its links to the page of conversations, which stays where it is; one line says so."""
    text, cut = _LINK.subn("", report.read_text(encoding="utf-8"))
    dest.write_text(text.replace("<main>", f"<main>\n{_CUT}", 1) if cut else text, encoding="utf-8")
    return dest


def _with_base(path: Path, base: Base, dest: Path) -> Path:
    """Write the adapter's configuration with the base model's name in the Hub, by which PEFT finds it."""
    data = path.read_bytes() if path.stat().st_size <= MOST_OF_CONFIG else b""
    try:
        config: Json = json.loads(data)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise UserError(f"{ADAPTER_CONFIG}: is not the configuration of an adapter. Let the trainer make it again.")
    config |= {"base_model_name_or_path": base.name, "revision": base.commit}
    dest.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", errors="replace")
    return dest
