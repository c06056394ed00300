"""What docs/models.md says of each family: learnt, converted, served and asked, on small models with random weights."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from kit.families import FAMILIES, conversation, write_family
from kit.places import EXAMPLES
from kit.slicing import slice_of
from kit.support import run_stage
from tuneline.data.conversations import Said
from tuneline.data.io import write_lines
from tuneline.model.chat import ChatTokenizer, fold_system
from tuneline.model.chat_template import ChatSettings
from tuneline.model.llama_server import serve
from tuneline_evaluator.conversations.talk import for_model
from tuneline_gguf_converter.stage import STAGE as CONVERTER
from tuneline_trainer.stage import STAGE as TRAINER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.xdist_group("families")]

TRAINING = {
    "epochs": 1, "batch_size": 2, "accumulation": 1, "max_length": 1024, "threads": 1, "warmup": 0, "dtype": "fp32",
    "quantization": "none", "gradient_checkpointing": False, "learning_rate": 0.01,
}  # fmt: skip
CONVERSION = {"quantizations": ["Q8_0"], "min_top1_agreement": 0.3, "threads": 1, "check_positions": 4}
END = re.compile(r"(<[^<> ]+>|</s>)")
EVALUATION = {"turns": 1, "sampler": {"max_answer_tokens": 8}, "context_tokens": 1024, "threads": 1}
PERSONAS = 6
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_learns_what_it_is_asked_and_the_file_says_the_same(tmp_path: Path, name: str) -> None:
    base = write_family(tmp_path / "base", name)
    chat = ChatTokenizer.from_folder(base)
    messages = fold_system([SYSTEM, *conversation(1)], chat)
    assert_learnt_as_asked(chat, messages)

    slices = tmp_path / "slices.jsonl"
    turns = [[m["content"] for m in conversation(seed)] for seed in range(4)]
    write_lines(
        slices, [slice_of(f"t{at}", said, "validation" if at == 3 else "train") for at, said in enumerate(turns)]
    )
    given = {"base_model": base, "slices": slices}
    # Experts lie in memory as one block, which is no linear layer.
    lora = {"rank": 2, "targets": ["q_proj", "v_proj"] if FAMILIES[name].experts else "all-linear"}
    trained = run_stage(TRAINER, tmp_path, inputs=given, params={**TRAINING, "lora": lora})
    assert not [key for key in load_file(trained.paths["adapter"] / "adapter_model.safetensors") if "vision" in key]
    made = run_stage(CONVERTER, tmp_path, inputs={**given, "adapter": trained.paths["adapter"]}, params=CONVERSION)
    facts = json.loads(made.paths["gguf"].read_text())
    checks = {check["name"] for check in facts["checks"] if check["passed"]}
    assert checks >= {"template", "rendering", "token_ids", "end_of_turn", "top1_agreement"}

    prompt = for_model([Said(**message) for message in [SYSTEM, *conversation(1)[:-1]]], chat)
    with serve(
        made.paths["model"] / facts["file"], context_tokens=1024, slots=1, threads=1, log=tmp_path / "log"
    ) as server:
        answer = server.post("/v1/chat/completions", {"messages": [*prompt.messages], "max_tokens": 1})
    usage = answer["usage"]
    assert isinstance(usage, dict)
    assert usage["prompt_tokens"] == len(prompt.ids)


def assert_learnt_as_asked(chat: ChatTokenizer, messages: list[dict[str, str]]) -> None:
    """What is learnt of an answer stands behind the very tokens that the model is asked with, and ends its turn."""
    ids, mask, found_by = chat.encode_conversation(messages)
    places = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    for at in places[-1:] if found_by == "last answer" else places:
        asked = chat.encode(chat.render(messages[:at], add_generation_prompt=True))
        end = [*mask, 0].index(0, len(asked))
        assert ids[: len(asked)] == asked
        assert mask[len(asked) - 1] == 0
        assert END.fullmatch(chat.decode(ids[len(asked) : end]).partition(messages[at]["content"])[2])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("thinking", [False, True])
def test_a_model_that_can_think_goes_through_the_whole_chain_as_it_is_told_to(tmp_path: Path, thinking: bool) -> None:
    write_family(tmp_path / "base", "Qwen 3")
    options = {"chat_template": {"options": {"enable_thinking": True}}} if thinking else {}
    done = run(tmp_path, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "store" / "runs" / "chain"
    assert json.loads((results / "trainer" / "training.json").read_text())["answers_found_by"] == "last answer"
    facts = json.loads((results / "gguf-converter" / "gguf.json").read_text())
    settings = ChatSettings(options={"enable_thinking": thinking})
    template = settings.pinned((tmp_path / "base" / "chat_template.jinja").read_text())
    assert facts["template_sha256"] == sha256(template.encode()).hexdigest()
    rows = (results / "evaluator" / "conversations.jsonl").read_text().splitlines()
    assert len(rows) == 2 * PERSONAS


def run(folder: Path, **inputs: object) -> subprocess.CompletedProcess[str]:
    personas = yaml.safe_load((EXAMPLES / "personas.yaml").read_text())["personas"][:PERSONAS]
    given = {
        "transcripts": str(EXAMPLES / "transcripts"), "rubric": str(EXAMPLES / "rubric.yaml"),
        "personas": {"personas": personas}, "base_model": "base", "judge": {"provider": "heuristic"},
    }  # fmt: skip
    training = {**TRAINING, "epochs": 0.1, "batch_size": 4, "lora": {"rank": 2}}
    settings = {"goal": "evaluator", "trainer": training, "gguf-converter": CONVERSION, "evaluator": EVALUATION}
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump({"run": "chain", "inputs": {**given, **inputs}, **settings}))
    command: list[str | Path] = [Path(sys.executable).parent / "tuneline", "run", file, "--store", folder / "store"]
    return subprocess.run(command, capture_output=True, text=True, check=False)
