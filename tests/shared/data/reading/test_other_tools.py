"""What evaluation tools export, brought into form by the commands of the manual, is read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kit.places import ROOT
from tuneline.data.transcripts import read_transcripts

ASKED, ANSWERED = "How do I clean the float?", "Rinse it under warm water."
USER, ASSISTANT = {"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}
COMMANDS = {
    name: (command.replace("\\|", "|"), file)
    for name, command, file in re.findall(
        r"^\| ([^|]*?) \| `jq -c '(.*)' ([\w.]+)` \|$", (ROOT / "docs" / "compare.md").read_text(), re.MULTILINE
    )
}
PROMPTFOO = {
    "promptIdx": 0, "testIdx": 3, "provider": {"id": "openai:a"}, "prompt": {"raw": ASKED, "label": "p"},
    "vars": {"question": ASKED}, "response": {"output": ANSWERED}, "success": True, "score": 1,
}  # fmt: skip
LM_EVAL = {"doc_id": 3, "doc": {"question": ASKED}, "target": "", "resps": [[ANSWERED]], "filtered_resps": [ANSWERED]}
EXPORTS: list[tuple[str, str, list[Any]]] = [
    ("LangSmith", "3", [{
        "id": "r1", "run_type": "llm", "reference_example_id": "3", "inputs": {"messages": [[
            {"lc": 1, "type": "constructor", "id": ["HumanMessage"], "kwargs": {"content": ASKED, "type": "human"}}]]},
        "outputs": {"generations": [[{"text": ANSWERED, "message": {
            "lc": 1, "type": "constructor", "id": ["AIMessage"], "kwargs": {"content": ANSWERED, "type": "ai"}}}]]},
    }]),
    ("promptfoo", "3", [{"evalId": "e", "results": {"version": 3, "results": [
        PROMPTFOO, {**PROMPTFOO, "provider": {"id": "openai:b"}, "response": {"output": "Buy another."}}]}}]),
    ("lm-eval", "3", [{**LM_EVAL, "arguments": {"gen_args_0": {"arg_0": ASKED, "arg_1": {"until": []}}}}]),
    ("lm-eval", "3", [{**LM_EVAL, "arguments": [[ASKED, {"until": []}]]}]),
    ("OpenAI Evals", "x.dev.3", [
        {"spec": {"eval_name": "x"}},
        {"run_id": "r", "sample_id": "x.dev.3", "type": "sampling", "data": {"prompt": [USER], "sampled": [ANSWERED]}},
        {"run_id": "r", "sample_id": "x.dev.3", "type": "match", "data": {"correct": True}},
        {"final_report": {"accuracy": 1.0}},
    ]),
    ("OpenAI’s evals API", "3", [{"object": "eval.run.output_item", "datasource_item_id": 3, "status": "pass",
                                  "sample": {"input": [USER], "output": [ASSISTANT], "finish_reason": "stop"}}]),
    ("Inspect", "3/0", [{"version": 2, "samples": [{"id": 3, "epoch": 1, "input": ASKED, "messages": [
        {**USER, "source": "input", "id": "a"}, {**ASSISTANT, "source": "generate", "id": "b"}]}]}]),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "name", "records"), EXPORTS)
def test_the_command_of_the_manual_makes_transcripts_of_an_export(
    tool: str, name: str, records: list[Any], tmp_path: Path
) -> None:
    if not shutil.which("jq"):
        pytest.skip("jq is not installed")
    [(program, file)] = [found for who, found in COMMANDS.items() if who.replace("'", "’").startswith(tool)][:1]
    (tmp_path / file).write_text("\n".join(map(json.dumps, records)))
    made = subprocess.run(["jq", "-c", program, tmp_path / file], capture_output=True, text=True, check=True).stdout
    (tmp_path / "arm.jsonl").write_text(made)
    [read] = read_transcripts(tmp_path / "arm.jsonl").transcripts
    assert (read.id.replace("%2F", "/"), [tuple(one) for one in read.exchanges]) == (name, [(ASKED, ANSWERED)])


def test_every_tool_of_the_manual_is_tried() -> None:
    names = [name.replace("'", "’") for name in COMMANDS]
    assert len(names) == 6
    assert all(any(name.startswith(tool) for tool, *_ in EXPORTS) for name in names)
