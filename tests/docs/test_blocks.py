"""Every block of every page is typed into a shell, run, read, or stands for a test that is named here."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from kit.comparing import make_run
from kit.page_blocks import Block, blocks, desk, type_all
from kit.places import EXAMPLES, ROOT
from tuneline.commands.tuneline import app
from tuneline.store.base import open_store

BLOCKS = blocks()
SHELL = [block for block in BLOCKS if block.language in ("console", "sh")]
OF_A_CLUSTER = ("kubectl", "helm", "argo", "docker", "kind", "make push")
"""Programs that need a cluster or Docker: `make test-cluster` and `make test-images` run what they are told."""
ELSEWHERE = {
    ("README.md", "make run"): "tests/e2e/test_chain.py::test_a_second_run_finds_nothing_to_do_in_seconds",
    ("docs/calibrate.md", "make run-calibrate"): "tests/calibrator/test_calibrate.py::"
    "test_recordings_are_heard_before_a_prompt_is_held_against_them",
    ("docs/calibrate.md", "tuneline run examples/calibrate.yaml"): "tests/calibrator/test_calibrate.py::"
    "test_recordings_are_heard_before_a_prompt_is_held_against_them",
    ("docs/generate.md", "make run-synthesize"): "tests/examples/test_example_run_files.py::"
    "test_what_a_model_writes_goes_past_the_assessor_to_the_comparison",
    ("docs/models.md", "llama-server"): "tests/gguf_converter/merging/test_adapter_file.py::",
    ("docs/operate.md", "tuneline gc"): "tests/shared/commands/removal/test_gc.py::",
    ("docs/operate.md", "tuneline ls"): "tests/shared/commands/test_status.py::",
    ("docs/plan-and-ledger.md", "python tools/priced_server.py"): "tests/shared/commands/test_plan.py::"
    "test_a_plan_has_simulator_and_judge_of_the_evaluator_and_weighs_the_limit",
    ("docs/plan-and-ledger.md", "tuneline run"): "tests/shared/commands/test_plan.py::"
    "test_a_plan_is_within_a_fifth_of_what_the_ledger_says_after_the_run",
    ("docs/publish.md", "make run"): "tests/publisher/test_publisher_release.py::"
    "test_a_release_in_a_folder_is_whole_and_says_of_every_file_what_it_is",
    ("docs/publish.md", "export HF_TOKEN"): "tests/publisher/test_publisher_hub.py::"
    "test_each_package_is_one_commit_with_a_tag_and_its_hashes",
    ("docs/transcribe.md", "tuneline pairs"): "tests/transcriber/test_transcribe.py::"
    "test_made_speech_is_heard_with_its_sentences_and_few_errors",
    ("docs/personal-data.md", "tuneline trace"): "tests/shared/commands/removal/test_forget.py::",
}
"""What takes minutes, a key or somebody's model: by page and how the block begins, the test that does the same."""


def of_the_judge(folder: Path, base: Path) -> Path:
    """Lay down the run file that the page shows with `cat`."""
    shown = next(block for block in SHELL if block.page == "docs/judge.md").typed[0][1]
    (desk(folder, base) / "examples" / "judged.yaml").write_text("\n".join(shown) + "\n")
    return folder / "examples"


def of_two_runs(folder: Path, _base: Path) -> Path:
    store = open_store(str(folder / "tuneline-store"))
    for n, name in enumerate(("support-2026-10", "support-2026-11")):
        make_run(folder, store, name, adapter=str(n))
    return folder


def of_a_faulty_file(folder: Path, base: Path) -> Path:
    """Lay down the run file that the page shows with `cat`, and personas with the fault that it shows."""
    shown = next(b for b in SHELL if b.page == "docs/your-own-data.md" and "cat" in first(b)).typed[0][1]
    (desk(folder, base) / "support.yaml").write_text("\n".join(shown) + "\n")
    (folder / "team").mkdir()
    text = (EXAMPLES / "personas.yaml").read_text()
    (folder / "team" / "personas.yaml").write_text(re.sub(r"^(\s+)name:", r"\1nam:", text, count=1, flags=re.M))
    return folder


TYPED: dict[str, Callable[[Path, Path], Path]] = {
    "docs/compare.md": of_two_runs,
    "docs/judge.md": of_the_judge,
    "docs/tutorial.md": desk,
    "docs/your-own-data.md": of_a_faulty_file,
}
"""Pages whose commands a reader types one after the other, and the folder that they are typed in."""


def first(block: Block) -> str:
    return block.typed[0][0] if block.typed else ""


def of_a_cluster(block: Block) -> bool:
    return any(command.startswith(OF_A_CLUSTER) for command, _ in block.typed)


def named(block: Block) -> list[str]:
    return [test for (page, begin), test in ELSEWHERE.items() if page == block.page and first(block).startswith(begin)]


def test_every_block_says_what_it_holds() -> None:
    assert {block.language for block in BLOCKS} == {"console", "sh", "yaml", "json", "python", "text"}
    assert len(BLOCKS) >= 60 and len({block.page for block in BLOCKS}) >= 15


def test_every_shell_block_is_typed_here_or_named_with_its_test() -> None:
    left = [b for b in SHELL if b.page not in TYPED and not of_a_cluster(b) and not named(b)]
    assert [f"{b.page}:{b.line}: {first(b)}" for b in left] == []
    assert [b for b in SHELL if not b.typed] == [], "nothing is typed in it"


def test_every_test_that_is_named_is_there() -> None:
    for (page, begin), test in ELSEWHERE.items():
        file, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / file).read_text(), test
        assert any(b.page == page and first(b).startswith(begin) for b in SHELL), f"{page} has no such block"


def parse(group: TyperGroup, words: list[str]) -> None:
    """Parse what would be typed after the program's name, and run nothing."""
    command = group.commands[words[0]]
    if isinstance(command, TyperGroup):
        parse(command, words[1:])
    else:
        command.make_context(words[0], words[1:])


def test_what_is_typed_at_a_cluster_is_parsed_as_the_program_does() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    typed = [command for block in SHELL for command, _ in block.typed if not command.startswith(OF_A_CLUSTER)]
    ours = [words[1:] for words in (shlex.split(c, comments=True) for c in typed) if Path(words[0]).name == "tuneline"]
    for words in ours:
        parse(group, words[: words.index(">")] if ">" in words else words)
    assert len(ours) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("page", TYPED)
def test_what_a_page_has_typed_works_and_says_what_stands_there(
    page: str, tmp_path: Path, tiny_base: Path, s3: str
) -> None:
    folder = TYPED[page](tmp_path, tiny_base)
    for block in SHELL:
        if block.page == page and not of_a_cluster(block):
            type_all(block._replace(text=block.text.replace("s3://team/tuneline", s3)), folder)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=lambda b: f"{b.page}:{b.line}")
def test_a_block_of_python_runs(block: Block, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    for n, name in enumerate(dict.fromkeys(re.findall(r'open_run\("([^"]+)"', block.text))):
        make_run(tmp_path, store, name, adapter=str(n))
    script = re.sub(r'"s3://[^"]*"', repr(store.uri), block.text)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
