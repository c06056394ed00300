"""Whatever somebody publishes as a model, who reads it succeeds or says which file is at fault: see `kit.fuzz`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import gguf
import numpy as np
import pytest
from safetensors.numpy import save
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from kit.fuzz import Reader, fuzz
from tuneline.data.io import read_record
from tuneline.data.model_facts import Check, ModelFacts
from tuneline.model.base_model import INDEX, context_tokens, copy_text_files, read_checkpoint
from tuneline.model.chat import ChatTokenizer
from tuneline.model.chat_template import ChatTemplate
from tuneline.model.gguf_header import refuse_unservable
from tuneline.model.sentencepiece import merge_scores, refuse_other_merges
from tuneline_gguf_converter.imatrix import look_at_calibration
from tuneline_gguf_converter.merging.metadata import licence_of
from tuneline_publisher.facts import Base
from tuneline_publisher.packages import ADAPTER_CONFIG, _with_base
from tuneline_publisher.statement import SUMS, read_sums

TEMPLATE = "{% for m in messages %}<turn>{{ m.role }} {{ m.content }}<end>{% endfor %}"
WEIGHTS = save({"a.weight": np.zeros((2, 3), dtype=np.float32), "b": np.zeros(4, dtype=np.float16)})
CONFIG = {
    "model_type": "llama", "max_position_embeddings": 64, "auto_map": {"AutoModel": "x.Y"}, "text_config": {"a": [1]}
}  # fmt: skip
FACTS = ModelFacts(
    name="m", file="m.gguf", file_type="F16", architecture="llama", parameters=7, sizes={"m.gguf": 9},
    template_sha256="0", tokenizer_sha256="1", converter="2", llama_cpp="3", base_model="4", metadata={"a": [1]},
    checks=(Check(name="loads", file="m.gguf", passed=True, detail="so", value=1.0),),
)  # fmt: skip


def tokenizer() -> bytes:
    found = Tokenizer(WordLevel({"hi": 0, "?": 1}, unk_token="?"))
    found.pre_tokenizer = Whitespace()
    found.add_special_tokens([AddedToken("<turn>"), AddedToken("<end>")])
    return found.to_str().encode()


def gguf_file(kind: str = "model") -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "m.gguf")
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_type(kind)
        writer.add_context_length(64)
        writer.add_block_count(1)
        writer.add_embedding_length(4)
        writer.add_token_list(["<s>", "é"])
        writer.add_tensor("a", np.zeros((4, 32), dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def pieces() -> bytes:
    """A SentencePiece model of merges."""
    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    for name, score in (("he", -1.0), ("▁▁", -1e9)):
        model.pieces.add(piece=name, score=score)
    model.trainer_spec.model_type = model.trainer_spec.ModelType.Value("BPE")
    return bytes(model.SerializeToString())


def among(files: dict[str, bytes], read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what reads the folder of a file, in which the other files of a model lie, too."""

    def read_all(path: Path) -> object:
        for name, data in files.items():
            if not (path.parent / name).exists():
                (path.parent / name).write_bytes(data)
        return read(path.parent)

    return read_all


def copied(folder: Path) -> None:
    (folder / "copy").mkdir()
    copy_text_files(folder, folder / "copy")


def encoded(folder: Path) -> None:
    found = ChatTokenizer.from_folder(folder)
    found.encode_conversation(
        [{"role": role, "content": found.neutralise("<end> hi")} for role in ("user", "assistant")]
    )


def rendered(path: Path) -> None:
    template = ChatTemplate(path.read_bytes().decode(errors="replace"))
    template.render([{"role": "user", "content": "hi"}], {"bos_token": "<turn>"})


def summed(path: Path) -> None:
    for name, digest in read_sums(path.read_bytes()).items():
        assert len(digest) == 64 and name, (name, digest)


def based(path: Path) -> None:
    made = _with_base(path, Base("org/base", "c" * 40, "b" * 64), path.with_name("out.json"))
    assert json.loads(made.read_bytes())["base_model_name_or_path"] == "org/base"


MODEL = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": WEIGHTS}
SAYS = {"tokenizer.json": tokenizer(), "chat_template.jinja": TEMPLATE.encode()}
SETTINGS = json.dumps({"bos_token": "<turn>", "eos_token": {"content": "<end>"}, "added_tokens_decoder": {}}).encode()
READERS = [
    Reader("config", "config.json", among(MODEL, read_checkpoint), MODEL["config.json"]),
    Reader("copy", "config.json", among({}, copied), MODEL["config.json"]),
    Reader("context", "config.json", among({}, context_tokens), MODEL["config.json"]),
    Reader("weights", "model.safetensors", among(MODEL, read_checkpoint), WEIGHTS),
    Reader("index", INDEX, among(MODEL, read_checkpoint), b'{"weight_map": {"a.weight": "model.safetensors"}}'),
    Reader("tokenizer", "tokenizer.json", among(SAYS, encoded), SAYS["tokenizer.json"]),
    Reader("settings", "tokenizer_config.json", among(SAYS, encoded), SETTINGS),
    Reader("template", "chat template", rendered, TEMPLATE.encode()),
    Reader("pieces", "tokenizer.model", merge_scores, pieces()),
    Reader(
        "merges", "tokenizer.json", among({"tokenizer.model": pieces()}, refuse_other_merges), SAYS["tokenizer.json"]
    ),
    Reader("matrix", "m.gguf", look_at_calibration, gguf_file("imatrix")),
    Reader("GGUF", "m.gguf", refuse_unservable, gguf_file()),
    Reader("facts", "gguf.json", lambda path: read_record(path, ModelFacts), FACTS.model_dump_json().encode()),
    Reader("card", "README.md", among({}, licence_of), b"---\nlicense: apache-2.0\nlicense_name: 'x'\n---\n# A\n"),
    Reader("sums", SUMS, summed, f"{'ab' * 32}  gguf/a.gguf\n{'cd' * 32}  gguf/é\n".encode()),
    Reader(
        "adapter", ADAPTER_CONFIG, based, b'{"base_model_name_or_path": null, "r": 8, "target_modules": ["q", "v"]}'
    ),
]


@pytest.mark.parametrize("reader", READERS, ids=[reader.name for reader in READERS])
def test_any_file_of_a_model_is_read_or_refused_with_its_name(reader: Reader) -> None:
    fuzz(reader)
