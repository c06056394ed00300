from __future__ import annotations

import re
from pathlib import Path

import pytest

from kit.places import ROOT
from tuneline.engine import layout
from tuneline.engine.layout import Node, pinned_by, result_of, upload_of
from tuneline.stage import Part

NODES = [
    Node("slicer"), Node("gguf-converter", "base"), Node("slicer", None, Part(3, 10)), Node("a", "b-2", Part(1, 1)),
]  # fmt: skip


@pytest.mark.parametrize("node", NODES, ids=str)
def test_a_node_is_read_as_it_was_written_also_from_the_key_of_its_pin(node: Node) -> None:
    assert Node.parse(str(node)) == node
    assert pinned_by(layout.pin_key("run.1", node)) == ("run.1", node)


@pytest.mark.parametrize(
    "text", ["", "Slicer", "a@", "a/0-of-3", "a/4-of-3", "a/3", "a/b", "../a", "a/1-of-2/x", "inputs", "failed", "a\n"]
)
def test_what_is_no_node_is_none(text: str) -> None:
    assert Node.parse(text) is None


def test_keys_of_other_things_are_no_pins_results_or_uploads() -> None:
    digest = "0" * 64
    for key in ("runs/r/inputs/words.json", "runs/r/failed/a-1.json", "runs/r/logs/a.log", "runs/r/a/pages", "runs/a"):
        assert pinned_by(key) is None
    assert layout.is_input_pin("runs/r/inputs/words@12ab.json") and not layout.is_input_pin("runs/r/words.json")
    assert result_of(layout.manifest_key("a", digest)) == ("a", digest)
    assert result_of("results/a/b/c") is None
    assert upload_of("uploads/words-12.json") == upload_of("uploads/words-12/deep/x.json") == "words-12"
    assert upload_of("uploads") is None


def test_a_part_is_written_in_two_ways() -> None:
    assert Part.parse("3/10") == Part.parse("3-of-10") == Part(3, 10)
    assert [Part.parse(text) for text in ("0/3", "4/3", "1", "a/b", "1/2/3", "-1/2", "1/9999999")] == [None] * 7


def test_no_other_module_spells_a_key_of_the_store() -> None:
    rooms = re.compile(r"""["'](runs|results|journals|inputs|uploads)/""")
    for path in sorted((ROOT / "shared" / "src").rglob("*.py")):
        if path != Path(layout.__file__):
            spelt = [line for line in path.read_text().splitlines() if rooms.search(line)]
            assert [line for line in spelt if "store.list(" not in line] == [], path
