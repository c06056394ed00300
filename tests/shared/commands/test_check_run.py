"""What `tuneline check` says about run files of the real stages, before anything is judged or written."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
import yaml

from kit.chat_models import write_chat_model
from kit.places import EXAMPLES
from kit.scripted_openai import Answer, Call, completion, error, judged, serve_openai
from kit.scripted_vendors import PROTOCOLS, Protocol
from tuneline.parsing.yaml import read_yaml
from tuneline_trainer.check import GPU_DRIVER

TUNELINE = Path(sys.executable).parent / "tuneline"

OPENS_A_THOUGHT = """\
{%- for message in messages %}
{{- '<start_of_turn>' + message.role + '\\n' + message.content + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>assistant\\n(thinks)' }}{% endif %}"""

CONFIG: dict[str, object] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 8,
    "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 2048, "vocab_size": 2000,
}  # fmt: skip
LAYERS = {f"model.layers.0.self_attn.{name}_proj.weight": [8, 8] for name in "qkvo"}


class Folder:
    """A run file with everything that it names: good as it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        write_chat_model(path / "base")
        self.describe(CONFIG, LAYERS)
        for name in ("rubric.yaml", "personas.yaml"):
            shutil.copy(EXAMPLES / name, path)
        self.inputs: dict[str, object] = {
            "transcripts": str(EXAMPLES / "transcripts"), "rubric": "rubric.yaml", "personas": "personas.yaml",
            "base_model": "base", "judge": {"provider": "heuristic"},
        }  # fmt: skip

    def describe(self, config: dict[str, object], shapes: dict[str, list[int]]) -> None:
        """Write what the base model is; its weights are a hole."""
        (self.path / "base" / "config.json").write_text(json.dumps(config))
        self.weights("base/model.safetensors", shapes)

    def adapter(self, shapes: dict[str, list[int]], **settings: object) -> None:
        """Give an adapter as PEFT writes it; its weights are a hole."""
        (self.path / "adapter").mkdir(exist_ok=True)
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]} | settings
        (self.path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
        self.weights("adapter/adapter_model.safetensors", shapes)
        self.inputs["adapter"] = "adapter"

    def weights(self, name: str, shapes: dict[str, list[int]]) -> None:
        sizes = [0, *accumulate(4 * math.prod(shape) for shape in shapes.values())]
        places = dict(zip(shapes, pairwise(sizes), strict=True))
        header = json.dumps(
            {n: {"dtype": "F32", "shape": shape, "data_offsets": list(places[n])} for n, shape in shapes.items()}
        ).encode()
        with (self.path / name).open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + sizes[-1])

    def replace(self, file: str, old: str, new: str) -> None:
        text = (self.path / file).read_text()
        assert old in text
        (self.path / file).write_text(text.replace(old, new, 1))

    def tuneline(self, command: str, *words: str, **content: object) -> subprocess.CompletedProcess[str]:
        content = {"run": "checked", "goal": "slicer", "inputs": self.inputs} | content
        (self.path / "run.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        done = subprocess.run(
            [TUNELINE, command, "run.yaml", *words], cwd=self.path, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.mark.parametrize("command", ["check", "run", "upload"])
def test_mistakes_of_three_stages_are_one_message_and_nothing_is_written(folder: Folder, command: str) -> None:
    folder.replace("personas.yaml", "\n  name:", "\n  nam:")
    folder.inputs["judge"] = {
        "provider": "openai",
        "model": "m",
        "api_key_env": "JUDGE_CHECK_KEY",
        "max_tokens": 0,
    }
    before = os.times()
    words = [] if command == "check" else ["--store", "store"]
    done = folder.tuneline(command, *words, goal=None, slicer={"validation_fraction": 0.001})
    after = os.times()  # of the processor, because a busy machine makes everything slow
    assert after.children_user + after.children_system - before.children_user - before.children_system < 5
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    written = (folder.path / "personas.yaml").read_text().partition("\n  nam:")[0].count("\n") + 2
    place = f"{folder.path}/personas.yaml:{written}"
    assert f"{place}: personas.0.nam: unknown key; did you mean `name`?" in lines
    assert any("run.yaml:14: slicer.validation_fraction: `validation_fraction`=0.001 of 47" in line for line in lines)
    assert any("run.yaml:12: inputs.judge.max_tokens: input should be greater than" in line for line in lines)
    assert not (folder.path / "store" / "results").exists()
    assert not (folder.path / "store" / "runs").exists()


@pytest.mark.parametrize("command", ["check", "run", "upload", "plan"])
def test_mistakes_in_the_run_file_hide_none_in_what_it_names(folder: Folder, command: str) -> None:
    folder.replace("personas.yaml", "\n  name:", "\n  nam:")
    folder.inputs |= {"transcripts": "gs://bucket/logs", "judge": {"provider": "openai", "modle": "m"}}
    words = [] if command == "check" else ["--store", "store"]
    trainer = {"epochs": -1, "lora": {"rnk": 4, "targets": ["c_attn"]}}
    done = folder.tuneline(command, *words, goal=None, max_usd=-1, trainer=trainer, evaluator={"margn": 0.1})
    assert done.returncode == 2
    for mistake in (
        "run.yaml:4: inputs.transcripts: 'gs' is no kind of address", "inputs.judge.model: is required",
        "inputs.judge.modle: unknown key", "max_usd: US dollars", "trainer.epochs: ",
        "trainer.lora.rnk: unknown key; did you mean `rank`?", "trainer.lora.targets: c_attn is no linear layer",
        "evaluator.margn: unknown key; did you mean `margin`?", "personas.0.nam: unknown key; did you mean `name`?",
    ):  # fmt: skip
        assert done.stderr.count(mistake) == 1, mistake
    assert "is missing" not in done.stderr
    assert not (folder.path / "store").exists()


def test_what_many_stages_need_and_nobody_gives_is_said_once(folder: Folder) -> None:
    folder.inputs = {name: folder.inputs[name] for name in ("transcripts", "personas", "rubric")}
    done = folder.tuneline("check", goal=None)
    said = [line.partition(" is missing. ")[0] for line in done.stderr.splitlines()]
    assert said == ["run.yaml:3: inputs.judge:", "run.yaml:3: inputs.base_model:"]


@pytest.mark.parametrize("judge", ["heuristic", "openai/gpt-4o"])
def test_a_judge_that_is_only_named_is_told_how_settings_are_written(folder: Folder, judge: str) -> None:
    folder.inputs["judge"] = judge
    done = folder.tuneline("check")
    said = "does not exist; settings stand here as {provider: …, model: …}, or in a file"
    assert done.stderr.splitlines() == [f"run.yaml:8: inputs.judge: {folder.path / judge} {said}"]


def test_what_is_refused_is_said_in_words_of_yaml(folder: Folder) -> None:
    converter = {"quantizations": ["q8_0", "Q4"]}
    said = folder.tuneline("check", goal="gguf-converter", **{"gguf-converter": converter}).stderr
    assert "quantizations.0: unknown (got 'q8_0'); did you mean `Q8_0`?" in said
    assert "quantizations.1: unknown (got 'Q4'); did you mean `Q4_0`?" in said
    assert "after validation" not in said, "the list is not short, what it holds is wrong"
    said = folder.tuneline("check", goal="gguf-converter", **{"gguf-converter": {"quantizations": "Q8_0"}}).stderr
    assert "quantizations: input should be a list, as in `[one, two]` (got 'Q8_0')" in said


def test_a_missing_key_is_a_problem_where_the_stages_run_and_a_warning_elsewhere(folder: Folder) -> None:
    folder.inputs["judge"] = {"provider": "openai", "model": "m", "api_key_env": "JUDGE_CHECK_KEY"}
    done = folder.tuneline("check")
    assert done.returncode == 2
    assert "run.yaml:8: inputs.judge: JUDGE_CHECK_KEY is not set" in done.stderr
    done = folder.tuneline("upload", "--store", "store")
    assert done.returncode == 0
    assert "warning: JUDGE_CHECK_KEY is not set" in done.stderr


def test_a_script_hears_of_what_is_wrong_only(folder: Folder) -> None:
    done = folder.tuneline("check", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    folder.inputs["judge"] = {"provider": "openai", "model": "m", "api_key_env": "JUDGE_CHECK_KEY"}
    done = folder.tuneline("upload", "--store", "store", "--quiet")
    assert (done.returncode, done.stderr) == (0, "") and "inputs:" in done.stdout
    done = folder.tuneline("check", "--quiet")
    assert done.returncode == 2 and done.stdout == "" and "JUDGE_CHECK_KEY is not set" in done.stderr


def test_a_key_in_a_file_is_a_key(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY_FILE", "key")
    folder.inputs["judge"] = {"provider": "anthropic", "model": "m"}
    done = folder.tuneline("check")
    assert "inputs.judge: ANTHROPIC_API_KEY_FILE: key cannot be read: No such file or directory" in done.stderr
    (folder.path / "key").write_text("a-key\n")
    assert folder.tuneline("check").returncode == 0


def test_a_run_that_is_good_is_said_to_be_good_with_its_figures(folder: Folder) -> None:
    done = folder.tuneline("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "assessor: 47 transcripts", "run.yaml: nothing is wrong that can be known before it runs"
    ]  # fmt: skip


def test_answers_that_are_recorded_judge_no_new_conversations(folder: Folder) -> None:
    (folder.path / "answers.jsonl").write_text("")
    folder.inputs |= {"judge": {"provider": "recorded"}, "answers": "answers.jsonl"}
    done = folder.tuneline("run", goal=None)
    assert done.returncode == 2
    assert "run.yaml:9: inputs.judge.provider: recorded" in done.stderr
    assert "goal: gguf-converter" in done.stderr


@pytest.mark.parametrize(
    ("taken", "told"),
    [(1, "warning: run.yaml:6: inputs.personas: 1 of 32"), (32, "run.yaml:6: inputs.personas: all 32")],
)
def test_personas_who_say_what_is_to_be_learnt_are_told_before_anything_is_trained(
    folder: Folder, taken: int, told: str
) -> None:
    talk = json.loads((EXAMPLES / "transcripts" / "mail.jsonl").read_text().splitlines()[0])
    personas = yaml.safe_load((folder.path / "personas.yaml").read_text())["personas"]
    for persona in personas[:taken]:
        persona["script"] = [message["content"] for message in talk["messages"] if message["role"] == "user"]
    (folder.path / "personas.yaml").write_text(yaml.safe_dump({"personas": personas}))
    done = folder.tuneline("check", goal=None)
    assert f"{told} personas say what stands in the transcripts" in done.stdout + done.stderr


def test_answers_whose_file_is_not_there_are_told_once(folder: Folder) -> None:
    folder.inputs |= {"judge": {"provider": "recorded"}, "answers": "nowhere.jsonl"}
    done = folder.tuneline("check")
    assert done.returncode == 2
    assert "nowhere.jsonl does not exist" in done.stderr
    assert "which is not given" not in done.stderr


def test_inline_content_is_named_by_its_line_in_the_run_file(folder: Folder) -> None:
    folder.inputs["simulator"] = {"provider": "openai"}
    persona = yaml.safe_load((folder.path / "personas.yaml").read_text())["personas"][0]
    folder.inputs["personas"] = {"personas": [persona, persona | {"name": ""}, *[persona] * 6]}
    rubric = read_yaml(folder.path / "rubric.yaml").content
    rubric["categories"][1]["id"] = rubric["categories"][0]["id"]
    folder.inputs["rubric"] = rubric
    transcript = {"id": "a", "messages": [{"role": "user", "content": "Hello"}, {"role": "robot", "content": "Hm"}]}
    folder.inputs["transcripts"] = {"id": "a", "messages": transcript["messages"]}
    done = folder.tuneline("check", goal=None)
    assert done.returncode == 2
    assert "inline" not in done.stderr and "tuneline-" not in done.stderr
    text = (folder.path / "run.yaml").read_text().splitlines()
    for field, written in (
        ("simulator.model: is required", "  simulator:"),
        ("personas.personas.1.name: ", "name: ''"),
        ("rubric.categories.1.id: `", "- id: listening"),
        ("transcripts.messages.1.role: ", "role: robot"),
    ):
        [line] = [line for line in done.stderr.splitlines() if f"inputs.{field}" in line]
        number = int(line.split(":")[1])
        assert line.startswith(f"run.yaml:{number}: inputs.")
        assert written.strip() in text[number - 1], line
    assert "in line 1;" not in done.stderr


def test_personas_that_can_decide_nothing_are_refused_and_few_are_warned_of(folder: Folder) -> None:
    personas = yaml.safe_load((folder.path / "personas.yaml").read_text())["personas"]
    folder.inputs["personas"] = {"personas": personas[:5]}
    done = folder.tuneline("check", goal=None)
    assert done.returncode == 2
    assert "run.yaml:6: inputs.personas: 5 personas can decide nothing" in done.stderr
    folder.inputs["personas"] = {"personas": personas[:12]}
    said = folder.tuneline("check", goal=None)
    assert "warning: run.yaml:6: inputs.personas: 12 personas miss all but large differences" in said.stdout
    assert "evaluator.margin: 12 personas cannot show `not worse`: to rule out a loss of 0.03 takes 99" in said.stdout
    assert "evaluator.safety_margin: 12 personas cannot show that no gate is broken more often" in said.stdout


def test_prompts_are_read_and_counted_before_anything_starts(folder: Folder) -> None:
    del folder.inputs["personas"]
    neither = folder.tuneline("check", goal=None)
    assert "inputs.personas: `personas` (who talk) or `prompts` (that are answered once): neither" in neither.stderr
    folder.inputs["prompts"] = str(EXAMPLES / "prompts.jsonl")
    said = folder.tuneline("check", goal=None)
    assert said.returncode == 0 and "evaluator: 40 prompts, 80 answers" in said.stdout
    assert "40 prompts miss all but large differences. Use 200 or more." in said.stdout
    (folder.path / "long.jsonl").write_text('{"id": "a", "prompt": "Why?"}\n{"prompt": "' + "word " * 9000 + '"}\n{}\n')
    folder.inputs["prompts"] = "long.jsonl"
    bad = folder.tuneline(
        "check", goal=None, evaluator={"turns": 4, "format": "completion", "prompt_template": "Go on:"}
    )
    assert bad.returncode == 2
    assert "long.jsonl:3: holds no prompt" in bad.stderr
    assert "evaluator.turns: `prompts` are answered once (got 4)" in bad.stderr
    assert "evaluator.prompt_template: must hold {prompt} once" in bad.stderr
    folder.replace("long.jsonl", "{}\n", "")
    long = folder.tuneline("check", goal=None)
    assert "long.jsonl:2: prompt: has 27,013 tokens, and 1,536 have room beside an answer" in long.stderr


def test_a_slice_that_the_trainer_would_refuse_is_known_before_anything_is_judged(folder: Folder) -> None:
    done = folder.tuneline("check", goal=None, trainer={"max_length": 128})
    assert done.returncode == 2
    assert "run.yaml:1: slicer.max_tokens: slices may have 2,048 tokens, and the trainer refuses those" in done.stderr
    done = folder.tuneline("check", slicer={"min_context": 40})
    assert "slicer.min_context: `min_context`=40 is more exchanges than any of 47 transcripts has" in done.stderr
    done = folder.tuneline("check", slicer={"max_tokens": 16})
    assert "slicer.min_context: `min_context`=3 exchanges take" in done.stderr
    done = folder.tuneline("check", slicer={"max_tokens": 4096})
    assert "slicer.max_tokens: `max_tokens`=4096 is more than the base model's context of 2048" in done.stderr


def test_a_fence_around_the_system_prompt_is_warned_of(folder: Folder) -> None:
    (folder.path / "prompt.md").write_text("# Prompt\n\n```text\nYou are calm.\nYou ask before you advise.\n```\n")
    folder.inputs["system_prompt"] = "prompt.md"
    done = folder.tuneline("check")
    assert done.returncode == 0
    assert "inputs.system_prompt: the prompt stands in a fence (```)" in done.stdout
    assert "keep lines 4 to 5 only" in done.stdout


def test_a_system_prompt_that_is_a_mapping_in_the_run_file_is_refused(folder: Folder) -> None:
    folder.inputs["system_prompt"] = {"role": "system", "content": "You are calm."}
    folder.inputs["script_prompt"] = [{"role": "user", "content": "Talk about {source}"}]
    done = folder.tuneline("check")
    assert done.returncode == 2
    assert "inputs.system_prompt: a system prompt is text; give the path of a text file" in done.stderr
    assert "inputs.script_prompt: a script prompt is text; give the path of a text file" in done.stderr


def test_an_address_that_is_none_and_a_model_without_a_template_are_known_at_once(folder: Folder) -> None:
    folder.inputs["base_model"] = "hf://not an address"
    done = folder.tuneline("run", "--store", "store")
    assert (done.returncode, done.stdout) == (2, "")
    assert "run.yaml:7: inputs.base_model: hf://not an address: an address in the Hub is hf://" in done.stderr
    folder.inputs["base_model"] = "https://huggingface.co/google/gemma-2-9b-it"
    done = folder.tuneline("run", "--store", "store")
    assert done.returncode == 2
    assert "run.yaml:7: inputs.base_model: 'https://huggingface.co/google/gemma-2-9b-it' is a page" in done.stderr
    assert "write hf://google/gemma-2-9b-it\n" in done.stderr
    (folder.path / "base" / "chat_template.jinja").unlink()
    folder.inputs["base_model"] = "base"
    done = folder.tuneline("run", "--store", "store")
    assert done.returncode == 2
    assert "run.yaml:7: inputs.base_model: it has no chat template" in done.stderr


def test_a_tokenizer_that_cannot_be_converted_is_refused_before_anything_is_judged(folder: Folder) -> None:
    write_chat_model(folder.path / "base", "chatml")
    folder.describe(CONFIG, LAYERS)
    done = folder.tuneline("run", "--store", "store", goal="gguf-converter")
    assert done.returncode == 2
    assert "inputs.base_model: tokenizer.json: llama.cpp's converter knows no BPE tokenizer that splits" in done.stderr
    assert not (folder.path / "store" / "results").exists()
    assert "knows no BPE tokenizer" not in folder.tuneline("check", goal="trainer").stderr


QUERY = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
ADAPTER = {f"{QUERY}A.weight": [2, 8], f"{QUERY}B.weight": [8, 2]}


@pytest.mark.parametrize(
    ("shapes", "settings", "message"),
    [
        ({**ADAPTER, f"{QUERY}A.weight": [2, 9]}, {}, "it changes model.layers.0.self_attn.q_proj.weight of shape 8×9"),
        ({f"{QUERY}A.weight": [2, 8]}, {}, "its matrices for model.layers.0.self_attn.q_proj.weight do not belong"),
        ({n.replace("layers.0", "layers.7"): s for n, s in ADAPTER.items()}, {}, "this base model has no such weight"),
        (ADAPTER, {"peft_type": "IA3"}, "adapter_config.json: it is not a LoRA adapter"),
        (ADAPTER, {"r": 0}, "adapter_config.json has no numbers `r` and `lora_alpha` above 0"),
    ],
)
def test_a_given_adapter_that_cannot_be_merged_is_named_by_check(
    folder: Folder, shapes: dict[str, list[int]], settings: dict[str, object], message: str
) -> None:
    folder.adapter(ADAPTER)
    good = folder.tuneline("check", goal="gguf-converter")
    assert good.returncode == 0, good.stderr
    folder.adapter(shapes, **settings)
    done = folder.tuneline("check", goal="gguf-converter")
    assert done.returncode == 2
    assert "inputs.adapter: " in done.stderr and message in done.stderr, done.stderr


def test_a_given_adapter_is_read_before_anything_is_judged_for_the_comparison_with_its_base(folder: Folder) -> None:
    folder.adapter(ADAPTER, peft_type="IA3")
    done = folder.tuneline("run", "--store", "store", goal="evaluator")
    assert done.returncode == 2
    assert "inputs.adapter: adapter_config.json: it is not a LoRA adapter" in done.stderr, done.stderr
    assert not (folder.path / "store" / "results").exists()


def test_a_folder_that_holds_no_model_is_told_with_what_is_wanted(folder: Folder) -> None:
    (folder.path / "other").mkdir()
    (folder.path / "other" / "model.nemo").touch()
    folder.inputs["base_model"] = "other"
    done = folder.tuneline("check", goal="trainer")
    assert done.returncode == 2
    assert "other: the folder has no files that match config.json, " in done.stderr
    assert "it holds model.nemo. What is wanted: Folder in the Hugging Face layout: config, safetens" in done.stderr


def test_a_given_adapter_whose_weights_can_run_code_is_refused_by_check(folder: Folder) -> None:
    folder.adapter(ADAPTER)
    (folder.path / "adapter" / "adapter_model.safetensors").rename(folder.path / "adapter" / "adapter_model.bin")
    done = folder.tuneline("check", goal="gguf-converter")
    assert done.returncode == 2
    assert "inputs.adapter: its weights are only there as adapter_model.bin" in done.stderr


def test_an_adapter_trained_with_another_chat_template_needs_it_as_input(folder: Folder) -> None:
    folder.adapter(ADAPTER)
    own = (folder.path / "base" / "chat_template.jinja").read_text()
    beside = folder.path / "adapter" / "chat_template.jinja"
    beside.write_text("{# as another program saved it #}" + own)
    assert folder.tuneline("check", goal="gguf-converter").returncode == 0
    beside.write_text(own.replace("model", "helper"))
    done = folder.tuneline("check", goal="gguf-converter")
    assert done.returncode == 2
    assert "inputs.adapter: the chat template in its folder renders conversations otherwise" in done.stderr
    folder.inputs["chat_template"] = "adapter/chat_template.jinja"
    done = folder.tuneline("check", goal="gguf-converter")
    assert done.returncode == 0, done.stderr


HUGE = {name: [200_000, 200_000] for name in LAYERS}


@pytest.mark.parametrize(
    ("config", "layers", "params", "message"),
    [
        ({"model_type": "special"}, LAYERS, {}, "inputs.base_model: config.json: model_type 'special' is no"),
        ({"architectures": ["Odd"]}, LAYERS, {}, "architectures: llama.cpp's converter does not know Odd"),
        ({"quantization_config": {"bits": 4}}, LAYERS, {}, "config.json: quantization_config: these weights are quant"),
        ({"hidden_size": -8}, LAYERS, {}, "config.json: hidden_size is missing or no number that makes sense"),
        ({"vocab_size": 7}, LAYERS, {}, "config.json has a vocab_size of 7: resize"),
        ({}, {"h.0.c_attn.weight": [8, 8]}, {}, "run.yaml:10: trainer.lora.targets: k_proj, o_proj, q_proj"),
        ({"attn_logit_softcapping": 50.0}, LAYERS, {"attention": "sdpa"}, "trainer.attention: `attention`=sdpa: it"),
        ({}, LAYERS, {"attention": "flex_attention"}, "`attention`=flex_attention: it has no backward pass"),
        ({}, HUGE, {}, "GiB of host memory and there is"),
        ({}, HUGE, {}, "store/scratch: the conversion takes 640.00 GB of disk"),
    ],
)  # fmt: skip
def test_a_base_model_that_cannot_go_all_the_way_is_refused_before_anything_is_judged(
    folder: Folder, config: dict[str, object], layers: dict[str, list[int]], params: dict[str, object], message: str
) -> None:
    if GPU_DRIVER.exists() and ("flex" in message or "memory" in message):
        pytest.skip("a machine with a GPU can do this")
    folder.describe(CONFIG | config, layers)
    (folder.path / "store").mkdir()
    done = folder.tuneline("run", "--store", "store", goal=None, trainer={"quantization": "none"} | params)
    assert done.returncode == 2
    assert message in done.stderr
    assert not list((folder.path / "store").iterdir())


def test_a_template_that_shows_no_answer_is_refused_before_anything_is_judged(folder: Folder) -> None:
    (folder.path / "base" / "chat_template.jinja").write_text(OPENS_A_THOUGHT)
    done = folder.tuneline("check", goal="trainer")
    assert done.returncode == 2
    assert "run.yaml:7: inputs.base_model: The chat template's generation prompt is not how an answer begins" in (
        done.stderr
    )


def test_online_asks_judge_and_simulator_one_question_each(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_CHECK_KEY", "a-key")

    def answer(call: Call) -> Answer:
        return completion(judged(call) if "response_format" in call.body else "Hello, my kettle is cold.")

    with serve_openai(answer) as server:
        model = {"provider": "openai", "model": "m", "base_url": server.url, "api_key_env": "JUDGE_CHECK_KEY"}
        folder.inputs |= {"judge": model, "simulator": model}
        assert folder.tuneline("check", goal=None).returncode == 0
        assert not server.calls
        done = folder.tuneline("check", "--online", goal=None)
        assert done.returncode == 0
        assert "assessor: the judge m at 127.0.0.1" in done.stdout
        assert "evaluator: the simulator m speaks for the personas" in done.stdout
        assert len(server.calls) == 2
        server.script = lambda call: completion("Certainly! Here you are.")
        done = folder.tuneline("check", "--online", goal=None)
        assert done.returncode == 2
        assert "run.yaml:8: inputs.judge: m at 127.0.0.1" in done.stderr
        assert "was asked one question, and its answer is unparsed" in done.stderr
        server.script = lambda call: error(400, "invalid_model")
        done = folder.tuneline("check", "--online", goal="assessor")
        assert done.returncode == 2 and "HTTP 400 invalid_model: check `model`" in done.stderr


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.provider)
def test_online_speaks_each_vendors_protocol(
    protocol: Protocol, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_CHECK_KEY", "a-key")

    def answer(call: Call) -> Answer:
        if "criteri" not in protocol.prompt(call).lower():
            return protocol.reply("Hello, my kettle is cold.")
        names = protocol.schema(call)["properties"]
        return protocol.reply(json.dumps({name: {"reason": f"{name}: exchange 1", "answer": "YES"} for name in names}))

    with serve_openai(answer) as server:
        settings = protocol.config(server.url, api_key_env="JUDGE_CHECK_KEY")
        model = settings.model_dump(include={"provider", "model", "base_url", "api_key_env"})
        folder.inputs |= {"judge": model, "simulator": model}
        done = folder.tuneline("check", "--online", goal=None)
        assert done.returncode == 0, done.stderr
        assert len(server.calls) == 2
        server.script = lambda call: protocol.fails(401)
        done = folder.tuneline("check", "--online", goal=None)
        assert done.returncode == 2 and "HTTP 401" in done.stderr and "the key is missing or wrong" in done.stderr


def test_a_second_run_of_what_is_done_checks_nothing(folder: Folder) -> None:
    assert folder.tuneline("run", "--store", "store", goal="assessor").returncode == 0
    done = folder.tuneline("run", "--store", "store", goal="assessor")
    assert (done.returncode, done.stderr) == (0, "assessor: found\n")
    folder.inputs["personas"] = "absent.yaml"
    done = folder.tuneline("run", "--store", "store", goal=None)
    assert done.returncode == 2
    assert "inputs.personas: " in done.stderr and "absent.yaml does not exist" in done.stderr


def test_verdicts_on_other_transcripts_are_refused_at_once(folder: Folder) -> None:
    assert folder.tuneline("run", "--store", "store", goal="assessor").returncode == 0
    made = folder.path / "store/runs/checked/assessor"
    verdicts = (made / "verdicts.jsonl").read_text().splitlines(keepends=True)
    (folder.path / "fewer.jsonl").write_text("".join(verdicts[1:]))
    del folder.inputs["transcripts"]
    folder.inputs |= {"judged": str(made / "transcripts.jsonl"), "verdicts": "fewer.jsonl"}
    done = folder.tuneline("check")
    assert done.returncode == 2
    assert "inputs.verdicts: 1 transcript (" in done.stderr and "without a verdict" in done.stderr
