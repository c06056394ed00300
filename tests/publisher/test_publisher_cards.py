from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from sigstore.dsse import Statement

from kit.comparisons import SLICES, TRAINING, gguf_facts
from tuneline.data.judged import Generated
from tuneline.data.model_facts import AdapterFile, Estimate
from tuneline.data.slices import GeneratedCount
from tuneline.judge.card import JudgeCard
from tuneline.stage import Maker
from tuneline_publisher.cards import adapter_card, gguf_card
from tuneline_publisher.facts import Base, Facts, Outcome
from tuneline_publisher.packages import _beside_the_files, _with_base
from tuneline_publisher.stage import PublisherParams
from tuneline_publisher.statement import file_of, read_sums, seal

EVIL = "x\n---\nlicense: stolen\n---\n# <script>alert(1)</script> ![a](b) | `c` \x1b[31m \u202e {{x}}: [y]"


def facts(text: str = "toy", *, name: str | None = "org/base", licence: str = "gemma") -> Facts:
    alone = AdapterFile(
        file=text, bytes=1, conversations=1, positions=1, source="probe", kl=None,
        top1=Estimate(value=1, low=1, high=1),
    )  # fmt: skip
    about = {"name": text, "metadata": {"general.license": licence}, "adapter": alone}
    made = gguf_facts("toy.gguf").model_copy(update=about)
    judge = JudgeCard(label=text, provider=text, model=text, family="unknown", questions_sha256="0" * 64)
    maker = Maker(
        stage="trainer", version=1, fingerprint="f" * 64, manifest_sha256="e" * 64, params={"name": text}, inputs={},
        headline=text, counts={}, commit=None, finished_at="2026-11-25T00:00:00+00:00", forgotten=0,
    )  # fmt: skip
    outcome = Outcome(headline=text, notes=[text], judges=[judge])
    return Facts({"trainer": maker}, Base(name, "c" * 40, "b" * 64), made, None, outcome, "", (judge,), None)


@pytest.mark.parametrize("text", [EVIL, "", "a" * 10_000, "null", "- [", "\ud800"])
def test_foreign_names_break_neither_front_matter_nor_text(text: str) -> None:
    made = facts(text, licence=text)
    for written in (gguf_card(PublisherParams(), made, {}), adapter_card(PublisherParams(), made)):
        front = yaml.safe_load(written.split("---\n")[1])
        assert front.get("license") == text and front["base_model"] == "org/base"
        shown = ModelCard(written.encode("utf-8", "replace").decode()).text
        body = re.sub(r"`[^`\n]*`|\\.", "", shown)  # without code, and without what is escaped
        assert "<script>" not in body and "\x1b" not in body and "\u202e" not in body and "](b)" not in body


def test_a_card_has_the_validation_loss_of_the_adapter_that_ships() -> None:
    losses = TRAINING.losses.model_copy(update={"validation_after": 1.04, "validation_best": 0.987})
    training = TRAINING.model_copy(update={"kept_step": 60, "losses": losses})
    text = adapter_card(PublisherParams(), facts()._replace(training=training))
    assert "60 of 102" in text and "2.2800 before, 0.9870 of this adapter" in text and "1.04" not in text


def test_a_card_names_the_relation_to_the_base_model_and_the_licence_that_is_given() -> None:
    made = facts()
    of_files = ModelCard(gguf_card(PublisherParams(), made, {})).data
    of_adapter = ModelCard(adapter_card(PublisherParams(licence="mit"), made)).data
    assert (of_files.get("base_model_relation"), of_adapter.get("base_model_relation")) == ("quantized", "adapter")
    assert (of_files.get("license"), of_adapter.get("license")) == ("gemma", "mit")
    private = ModelCard(adapter_card(PublisherParams(), facts(name=None))).data
    assert private.get("base_model") is None


def test_a_card_tells_how_to_use_the_adapter_that_is_a_file_of_its_own() -> None:
    assert "`toy` is the adapter alone, for `llama-server -m BASE.gguf --lora`" in gguf_card(
        PublisherParams(), facts(), {}
    )


def test_an_adapter_of_a_public_model_names_it_with_its_commit(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"base_model_name_or_path": "base_model@sha256:01", "r": 8}')
    made = _with_base(tmp_path / "in.json", Base("org/base", "c" * 40, "b" * 64), tmp_path / "out.json")
    assert json.loads(made.read_text()) == {"base_model_name_or_path": "org/base", "revision": "c" * 40, "r": 8}


def test_only_the_line_that_names_the_file_changes_in_a_modelfile() -> None:
    text = 'FROM ./model/a.gguf\nTEMPLATE """\nFROM ./model/a.gguf\n"""\n'
    assert _beside_the_files(text) == text.replace("./model/", "./", 1)


def test_the_statement_is_one_that_sigstore_signs_and_does_not_change(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"1" * 3_000_000)
    one, two = (seal({"x/a.bin": file}, facts(EVIL), "v1", tmp_path / name) for name in "ab")
    assert one.files == two.files and file_of(file).sha256 == hashlib.sha256(b"1" * 3_000_000).hexdigest()
    data = one.paths["provenance.intoto.json"].read_bytes()
    assert Statement(data)
    assert read_sums(one.paths["SHA256SUMS"].read_bytes())["x/a.bin"] == one.files["x/a.bin"].sha256


def test_cards_say_that_a_model_wrote_what_was_learnt() -> None:
    found = facts()
    assert "Generated data" not in adapter_card(PublisherParams(), found)
    said_of: dict[str, Generated] = {
        "recipe instructions, a critic chose them with AUC 0.81": Generated(
            recipe="instructions", looked="critic", critic_auc=0.81
        ),
        "recipe documents, a judge chose them": Generated(recipe="documents", looked="judge"),
        "recipe conversations, nobody looked at them": Generated(recipe="conversations", looked="nobody"),
    }
    for said, how in said_of.items():
        count = GeneratedCount(how=how, transcripts=1200)
        told = found._replace(slices=SLICES.model_copy(update={"sliced": 1500, "generated": [count]}))
        line = f"1,200 of the 1,500 transcripts that were learnt from were written by a model ({said})."
        assert line in adapter_card(PublisherParams(), told)
        assert line in gguf_card(PublisherParams(), told, {})
