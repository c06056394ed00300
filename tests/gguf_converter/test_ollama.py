from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kit.chat_models import CHATML, Family, write_chat_model
from kit.family_templates import FAMILY_TEMPLATES
from tuneline.model.chat import ChatTokenizer, fold_system
from tuneline.model.gguf_header import Header, Value
from tuneline_gguf_converter.checking.samples import PROBES, Messages, Sample
from tuneline_gguf_converter.ollama import TurnForm, go_template, modelfile, turn_form

BOS = {"gemma": "<bos>", "llama": "<|begin_of_text|>", "chatml": ""}
PROMPT = 'Be kind.\n\nWrite {{ .System }}, {{ if }} and """quotes""" as they are.'
Render = Callable[[str, Sequence[Messages]], list[str]]


def header(family: Family = "chatml") -> Header:
    metadata: dict[str, Value] = {"general.architecture": "gemma2", "gemma2.context_length": 131072}
    if bos := BOS[family]:
        metadata["tokenizer.ggml.tokens"] = [bos]
        metadata |= {"tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.add_bos_token": True}
    return Header(metadata, 1, 1)


def form_of(folder: Path, template: str, family: Family = "chatml") -> tuple[ChatTokenizer, TurnForm | str]:
    tokenizer = ChatTokenizer.from_folder(write_chat_model(folder, family, template=template))
    return tokenizer, turn_form(
        tokenizer, header(family), [Sample(name, talk, [], []) for name, talk in talks().items()]
    )


def talks() -> dict[str, Messages]:
    """Return the probes, as conversations."""
    roles = ("user", "assistant") * 2
    return {
        name: [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=True)]
        for name, turns in PROBES.items()
    }


@pytest.fixture(scope="session")
def render(tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Renders with Go's own text/template, as Ollama does."""
    if not (go := shutil.which("go")):
        pytest.skip("no Go toolchain, which alone proves what a template of Ollama makes of a conversation")
    program = tmp_path_factory.mktemp("go") / "render"
    source = Path(__file__).with_name("ollama") / "render.go"
    subprocess.run([go, "build", "-o", program, source], check=True, capture_output=True, timeout=300)

    def rendered(template: str, conversations: Sequence[Messages]) -> list[str]:
        given = json.dumps({"template": template, "conversations": conversations})
        done = subprocess.run([program], input=given, capture_output=True, text=True, check=True, timeout=60)
        texts: list[str] = json.loads(done.stdout)
        return texts

    return rendered


def conversations(tokenizer: ChatTokenizer) -> list[Messages]:
    """Return every probe, up to each of its questions, with and without a system prompt."""
    found = []
    for talk in talks().values():
        said = [{**message, "content": tokenizer.neutralise(message["content"])} for message in talk]
        for end in (1, 3):
            found += [said[:end], [{"role": "system", "content": PROMPT}, *said[:end]]]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY_TEMPLATES)
def test_ollama_writes_every_conversation_as_the_template_of_the_family_does(
    name: str, render: Render, tmp_path: Path
) -> None:
    family, template = FAMILY_TEMPLATES[name]
    tokenizer, form = form_of(tmp_path / "base", template, family)
    assert isinstance(form, TurnForm), form
    held = conversations(tokenizer)
    expected = [tokenizer.render(fold_system(talk, tokenizer), True).removeprefix(BOS[family]) for talk in held]
    assert any(PROMPT in text for text in expected)
    assert render(go_template(form), held) == expected


@pytest.mark.slow
def test_messages_that_ollama_cut_off_or_that_are_to_be_continued_keep_the_form_of_the_family(
    render: Render, tmp_path: Path
) -> None:
    _, form = form_of(tmp_path / "base", CHATML)
    assert isinstance(form, TurnForm)
    answer, question = {"role": "assistant", "content": "It is full."}, {"role": "user", "content": "Is it?"}
    texts = render(go_template(form), [[answer, question], [question, answer], [question, question], []])
    asked = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    assert texts == [
        asked.format("") + "It is full.<|im_end|>\n" + asked.format("Is it?"),
        asked.format("Is it?") + "It is full.",
        asked.format("Is it?\n\nIs it?"),
        "",
    ]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("message.content", "message.content + message.content", "does not write each message once, in the order"),
        (
            "message.content",
            "message.content | replace('  ', ' ')",
            "in different ways, as in probe: white space",
        ),
        ("message.role", "message.role + (loop.index0 | string)", "turns in different ways, as in probe: plain"),
        ("message.role", "message.role + ('?' if '100%' in message.content else '')", "as in probe: code"),
        ("message.content", "raise_exception('no') if '\\t' in message.content else message.content", "refuses one of"),
    ],
)
def test_a_template_that_writes_turns_in_different_ways_is_left_to_ollama_with_the_reason(
    old: str, new: str, reason: str, tmp_path: Path
) -> None:
    template = CHATML.replace(f"{old} +", f"({new}) +")
    _, form = form_of(tmp_path / "base", template)
    assert isinstance(form, str) and reason in form
    lines = modelfile("x.gguf", header(), "<|im_end|>", form).splitlines()
    assert lines[2] == f"# No TEMPLATE, because {form}."
    assert not [line for line in lines if line.startswith("TEMPLATE")]


def test_the_modelfile_names_file_template_context_and_stop(tmp_path: Path) -> None:
    _, form = form_of(tmp_path / "base", CHATML)
    text = modelfile("x.gguf", header(), '<|"end"|>', form)
    assert text.startswith("# ollama create my-model -f Modelfile")
    assert text.splitlines()[1] == "FROM ./model/x.gguf"
    # Ollama's parser takes the outer quotation marks off and knows no escapes.
    assert text.endswith('{{ end }}"""\nPARAMETER num_ctx 8192\nPARAMETER stop "<|"end"|>"\n')


def test_an_end_of_turn_with_a_line_end_writes_no_line_of_the_modelfile(tmp_path: Path) -> None:
    _, form = form_of(tmp_path / "base", CHATML)
    text = modelfile("x.gguf", header(), '<end>"\nSYSTEM """other', form)
    assert "\nSYSTEM" not in text
    assert text.splitlines()[-1].startswith(r'# No PARAMETER stop: Ollama cannot be told <end>"\nSYSTEM """other. ')


def test_a_template_is_written_without_characters_that_ollamas_parser_drops(tmp_path: Path) -> None:
    odd = CHATML.replace("\\n' + message.content", '\\n\u200d\u00a0"""\\\\\' + message.content')
    _, form = form_of(tmp_path / "base", odd)
    assert isinstance(form, TurnForm)
    template = go_template(form)
    assert re.search(r'user\\n\\U0000200d\\U000000a0\\"\\"\\"\\\\"', template)
    assert template.replace("\n", "").isprintable()
    assert '"""' not in template
