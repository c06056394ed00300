from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.gguf_parts import SETTINGS, with_config
from kit.slicing import slice_of
from kit.support import Done, run_stage
from tuneline.data.io import write_lines
from tuneline.data.model_facts import CHECKS
from tuneline.errors import UserError
from tuneline.model.gguf_header import read_header
from tuneline_gguf_converter.stage import STAGE

pytestmark = pytest.mark.xdist_group("gguf converter")


def facts(done: Done) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(done.paths["gguf"].read_text())
    return content


def hashes(done: Done) -> dict[str, str]:
    return {file: record.sha256 for file, record in done.manifest.outputs["model"].files.items()}


def test_importing_the_stage_imports_nothing_heavy() -> None:
    script = (
        "import sys, tuneline_gguf_converter.stage; print({'torch', 'transformers', 'gguf', 'peft'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.slow
def test_the_result_says_what_it_is_and_that_it_was_checked(finetuned: Done, finetuned_file: Path) -> None:
    found = facts(finetuned)
    assert found["file"] == "gemma2-3.7M-tuned-v1-Q4_K_M.gguf"
    assert found["name"] == found["file"].removesuffix(".gguf")
    assert (found["file_type"], found["architecture"]) == ("Q4_K_M", "gemma2")
    assert found["sizes"] == {found["file"]: finetuned_file.stat().st_size}
    assert [check["name"] for check in found["checks"]] == list(CHECKS)
    assert all(check["passed"] and check["file"] == found["file"] for check in found["checks"])
    assert found["checks"][-1]["detail"] == "on 84 tokens of 1 held-out conversations"
    (row,) = found["fidelity"]
    assert (row["file"], row["file_type"], row["bytes"]) == (found["file"], "Q4_K_M", found["sizes"][found["file"]])
    assert row["bits_per_weight"] == pytest.approx(8 * row["bytes"] / found["parameters"], abs=0.01)
    assert (row["positions"], row["conversations"], row["source"]) == (84, 1, "held-out")
    assert row["top1"]["low"] < row["top1"]["value"] == found["checks"][-1]["value"] <= row["top1"]["high"]
    assert 0 < row["kl"]["low"] <= row["kl"]["value"] <= row["kl"]["high"]
    assert row["perplexity"] == pytest.approx(row["merged_perplexity"], rel=0.2)
    measured: dict[str, Any] = finetuned.manifest.metrics.counts
    assert measured["tokens_per_second"]["Q4_K_M"] > 0 and measured["memory_bytes"]["Q4_K_M"] > 1e6
    assert "llama-cpp-python" in found["llama_cpp"]
    assert re.fullmatch("[0-9a-f]{64}", found["converter"])


@pytest.mark.slow
def test_the_file_names_its_result_and_its_sources(
    finetuned: Done, finetuned_file: Path, given: dict[str, Path]
) -> None:
    about = read_header(finetuned_file).about()
    assert about == facts(finetuned)["metadata"]
    assert about["tuneline.fingerprint"] == finetuned.manifest.fingerprint
    assert about["general.license"] == "apache-2.0"
    inputs = finetuned.manifest.inputs
    assert about["general.base_model.0.description"] == f"sha256:{inputs['base_model'].sha256}"
    assert about["general.dataset.0.description"] == f"sha256:{inputs['slices'].sha256}"
    assert not any(str(path.parent) in json.dumps(about) for path in given.values())


@pytest.mark.slow
def test_the_modelfile_is_about_the_file_and_stops_at_the_end_of_a_turn(finetuned: Done) -> None:
    lines = finetuned.paths["modelfile"].read_text().splitlines()
    assert f"FROM ./model/{facts(finetuned)['file']}" in lines
    assert 'PARAMETER stop "<end_of_turn>"' in lines


@pytest.mark.slow
def test_both_arms_differ_in_nothing_but_weights_and_names(finetuned: Done, base_arm: Done) -> None:
    equal = ("architecture", "parameters", "file_type", "template_sha256", "tokenizer_sha256", "converter", "llama_cpp")
    tuned, base = facts(finetuned), facts(base_arm)
    assert [tuned[key] for key in equal] == [base[key] for key in equal]
    assert tuned["sizes"][tuned["file"]] == pytest.approx(base["sizes"][base["file"]], abs=2000)
    assert base["file"] == "gemma2-3.7M-v1-Q4_K_M.gguf"
    assert tuned["base_model"] == base["base_model"]
    assert base["checks"][-1]["detail"] == "on 324 tokens of 5 probe conversations"
    assert hashes(finetuned) != hashes(base_arm)
    settings = {key for key in tuned["metadata"].keys() ^ base["metadata"].keys() if not key.startswith("general.")}
    assert settings == set()


@pytest.mark.slow
def test_a_run_killed_after_the_conversion_ends_in_the_same_bytes(
    finetuned: Done, given: dict[str, Path], tmp_path: Path
) -> None:
    file, store = tmp_path / "run.yaml", tmp_path / "store"
    inputs = {name: str(path) for name, path in given.items()}
    file.write_text(yaml.safe_dump({"run": "killed", "inputs": inputs, "gguf-converter": SETTINGS}))
    program = Path(sys.executable).parent / "tuneline-gguf-converter"
    with subprocess.Popen([program, "run", "--file", file, "--store", store], stderr=subprocess.DEVNULL) as process:
        wait_for_conversion(store, process)
        process.kill()
    again = run_stage(STAGE, tmp_path, inputs=given, params=SETTINGS, store=str(store), run="killed")
    assert not again.reused
    assert again.manifest.fingerprint == finetuned.manifest.fingerprint
    assert again.manifest.outputs["model"].sha256 == finetuned.manifest.outputs["model"].sha256
    assert again.manifest.outputs["modelfile"].sha256 == finetuned.manifest.outputs["modelfile"].sha256


def wait_for_conversion(store: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not list(store.glob("scratch/*/state/merging.part/unquantised.gguf")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_several_types_are_made_and_one_that_is_too_coarse_is_refused(given: dict[str, Path], tmp_path: Path) -> None:
    both = SETTINGS | {"quantizations": ["Q8_0", "Q2_K"], "min_top1_agreement": 0.75, "name": "Toy"}
    with pytest.raises(
        UserError, match=r"Check `top1_agreement` failed for Toy-3\.7M-tuned-v1-Q2_K\.gguf: .*fewer|more bits"
    ):
        run_stage(STAGE, tmp_path, inputs=given, params=both)
    assert not list(tmp_path.glob("store/results/*/*/manifest.json"))


@pytest.mark.slow
def test_an_adapter_for_another_base_model_is_refused_before_any_work(
    given: dict[str, Path], adapter: Path, tmp_path: Path
) -> None:
    other = with_config(adapter, tmp_path / "other", base_model_name_or_path="base_model@sha256:ffff00001111")
    with pytest.raises(
        UserError, match="it was trained on the base model sha256:ffff00001111, and this one is sha256:"
    ):
        run_stage(STAGE, tmp_path / "run", inputs=given | {"adapter": other}, params=SETTINGS)
    assert not list((tmp_path / "run" / "store").rglob("failed/*"))


@pytest.mark.slow
def test_an_architecture_without_a_converter_is_refused(given: dict[str, Path], tmp_path: Path) -> None:
    base = Path(shutil.copytree(given["base_model"], tmp_path / "base"))
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"architectures": ["NobodyKnowsForCausalLM"]}))
    with pytest.raises(UserError, match=r"convert_hf_to_gguf\.py ended with status 1: .*NobodyKnowsForCausalLM"):
        run_stage(STAGE, tmp_path / "run", inputs=given | {"base_model": base}, params=SETTINGS)


THINKS = """\
{{ bos_token }}{{ strftime_now('%d %b %Y') }}
{%- for message in messages %}
{%- if message['role'] == 'assistant' %}
{{- '<start_of_turn>model\\n' }}
{%- if loop.last %}{{ '(thinks)\\n\\n(done)\\n\\n' }}{% endif %}
{%- else %}
{{- '<start_of_turn>user\\n' }}
{%- endif %}
{{- message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '(thinks)\\n\\n(done)\\n\\n' }}{% endif %}
{%- endif %}"""


@pytest.mark.slow
def test_a_template_that_thinks_and_asks_for_the_date_ships_as_it_was_rendered(
    given: dict[str, Path], tmp_path: Path
) -> None:
    base = Path(shutil.copytree(given["base_model"], tmp_path / "base"))
    settings = json.loads((base / "tokenizer_config.json").read_text())
    settings["chat_template"] = (base / "chat_template.jinja").read_text()  # where most models have it
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    (base / "chat_template.jinja").unlink()
    (tmp_path / "chat.yaml").write_text(yaml.safe_dump({"template": THINKS, "date": "2026-02-01"}))
    inputs = given | {"base_model": base, "chat_template": tmp_path / "chat.yaml"}
    done = run_stage(STAGE, tmp_path / "run", inputs=inputs, params=SETTINGS, variant="base")
    shipped = read_header(done.paths["model"] / facts(done)["file"]).text("tokenizer.chat_template")
    assert shipped.startswith("{% set enable_thinking = false %}")
    assert '"01 Feb 2026"' in shipped and "strftime_now" not in shipped
    assert all(check["passed"] for check in facts(done)["checks"])


def with_token(base: Path, folder: Path, token: str) -> Path:
    """Copy a model and add a token that is no mark, with rows for it and for more, as people do for words of theirs."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    content = json.loads((folder / "tokenizer.json").read_text())
    number = len(content["model"]["vocab"])
    content["added_tokens"].append({"id": number, "content": token, **plain})
    (folder / "tokenizer.json").write_text(json.dumps(content))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    decoder = {str(row["id"]): {k: v for k, v in row.items() if k != "id"} for row in content["added_tokens"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"added_tokens_decoder": decoder}))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": number + 64}))
    weights = load_file(folder / "model.safetensors")
    rows = weights["model.embed_tokens.weight"]
    weights["model.embed_tokens.weight"] = rows.new_empty((number + 64, rows.shape[1])).normal_(0, 0.02)
    weights["model.embed_tokens.weight"][:number] = rows
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.slow
def test_a_token_that_was_added_stays_one_token_of_the_file(given: dict[str, Path], tmp_path: Path) -> None:
    """With more rows than tokens; a folder of templates for other purposes does not take the default's place."""
    base = with_token(given["base_model"], tmp_path / "base", "<order-number>")
    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates" / "rag.jinja").write_text("{{ messages }}")
    slices = tmp_path / "slices.jsonl"
    turns = ["Where is <order-number>7<order-number>?", "It is <order-number>7."] * 3
    write_lines(slices, [slice_of("t", turns, "validation")])
    done = run_stage(STAGE, tmp_path / "run", inputs=given | {"base_model": base, "slices": slices}, params=SETTINGS)
    found = facts(done)
    checked = next(check for check in found["checks"] if check["name"] == "token_ids")
    assert checked["passed"] and "in 7 conversations" in checked["detail"], checked
    about = read_header(done.paths["model"] / found["file"]).metadata
    tokens = about["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list) and tokens[2048] == "<order-number>" and len(tokens) == 2048 + 64
    assert about["tokenizer.chat_template"] == (base / "chat_template.jinja").read_text()
    assert not [key for key in about if key.startswith("tokenizer.chat_template.")]
