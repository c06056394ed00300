from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kit.support import Done
from tuneline.data.model_facts import CHECKS
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer
from tuneline.model.gguf_header import read_header
from tuneline_gguf_converter.checking.checks import Subject, check_agreement, check_reading
from tuneline_gguf_converter.checking.fidelity import Foreseen
from tuneline_gguf_converter.checking.samples import Sample, Samples, choose_samples

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("gguf converter")]


@pytest.fixture(scope="session")
def subject(tiny_base: Path, finetuned_file: Path) -> Subject:
    """A sound file with what it must agree with; any token is likely enough."""
    tokenizer = ChatTokenizer.from_folder(tiny_base)
    samples = choose_samples(tokenizer, None, 1, 4, 64)
    return Subject(finetuned_file, read_header(finetuned_file), tokenizer, samples, 1)


def unlikely(subject: Subject) -> list[list[Foreseen]]:
    return [[Foreseen(0, {0: 0.0})] * len(sample.positions) for sample in subject.samples.predicted]


def changed_base(base: Path, folder: Path, file: str, old: str, new: str) -> ChatTokenizer:
    shutil.copytree(base, folder)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    return ChatTokenizer.from_folder(folder)


def with_template(subject: Subject, template: str, folder: Path) -> Subject:
    """Copy the file with another chat template, by the tool of gguf-py."""
    file = folder / "other.gguf"
    tool = [sys.executable, "-m", "gguf.scripts.gguf_new_metadata"]
    subprocess.run([*tool, "--chat-template", template, str(subject.file), str(file)], check=True, capture_output=True)
    return subject._replace(file=file, header=read_header(file))


def with_base_template(subject: Subject, base: Path, old: str, new: str, folder: Path) -> Subject:
    """Change the chat template alike in the file and in the base model."""
    tokenizer = changed_base(base, folder / "base", "chat_template.jinja", old, new)
    template = (folder / "base" / "chat_template.jinja").read_text()
    return with_template(subject, template, folder)._replace(tokenizer=tokenizer)


def with_conversation(subject: Subject, *turns: str) -> Subject:
    messages = [{"role": "assistant" if i % 2 else "user", "content": turn} for i, turn in enumerate(turns)]
    extra = Sample("t1#2", messages, subject.samples.texts[0].ids, [1])
    samples = Samples([*subject.samples.texts, extra], subject.samples.predicted, "probe")
    return subject._replace(samples=samples)


def test_a_sound_file_passes_every_check_in_order(subject: Subject) -> None:
    ticks: list[int] = []
    checks = check_reading(subject, lambda: ticks.append(1))
    checks.append(check_agreement(subject, "Q4_K_M", unlikely(subject), 0.0, lambda: ticks.append(1)).check)
    assert tuple(check.name for check in checks) == CHECKS
    assert all(check.passed for check in checks)
    assert len(ticks) == len(CHECKS)


def test_another_template_in_the_file_fails(subject: Subject, tmp_path: Path) -> None:
    template = subject.header.text("tokenizer.chat_template").replace("<start_of_turn>", "<start>")
    with pytest.raises(UserError, match=r"^Check `template` failed for other\.gguf: the file has another template"):
        check_reading(with_template(subject, template, tmp_path), lambda: None)


def test_a_template_that_llama_cpp_cannot_read_fails_with_its_words(
    subject: Subject, tiny_base: Path, tmp_path: Path
) -> None:
    end = "{%- if add_generation_prompt %}"
    broken = with_base_template(subject, tiny_base, end, "{% autoescape false %}{% endautoescape %}" + end, tmp_path)
    with pytest.raises(UserError, match=r"while it loaded other\.gguf: .*Unknown statement: autoescape"):
        check_reading(broken, lambda: None)


def test_a_template_that_llama_cpp_reads_differently_fails(subject: Subject, tiny_base: Path, tmp_path: Path) -> None:
    end = "{%- if add_generation_prompt %}"
    other = with_base_template(subject, tiny_base, end, "{{ '%d'|format(messages|length) }}" + end, tmp_path)
    message = (
        r"Check `rendering` failed for other\.gguf: in 6 of 6 conversations \(probe: plain, .*renders .* differently"
    )
    with pytest.raises(UserError, match=message):
        check_reading(other, lambda: None)


def test_a_conversation_that_llama_cpp_renders_differently_fails(subject: Subject) -> None:
    # Python takes a no-break space off the ends, llama.cpp does not.
    odd = with_conversation(subject, "Hello", "\u00a0Good morning")
    message = r"Check `rendering` failed for .*: in 1 of 7 conversations \(t1#2\) llama\.cpp renders"
    with pytest.raises(UserError, match=message) as failed:
        check_reading(odd, lambda: None)
    assert "morning" not in str(failed.value)


def test_other_token_ids_fail(subject: Subject, tiny_base: Path, tmp_path: Path) -> None:
    vocabulary = json.loads((tiny_base / "tokenizer.json").read_text())["model"]["vocab"]
    first, second = f'"e": {vocabulary["e"]}', f'"a": {vocabulary["a"]}'
    tokenizer = changed_base(tiny_base, tmp_path / "once", "tokenizer.json", first, f'"e": {vocabulary["a"]}')
    tokenizer = changed_base(tmp_path / "once", tmp_path / "base", "tokenizer.json", second, f'"a": {vocabulary["e"]}')
    with pytest.raises(
        UserError, match=r"Check `token_ids` failed for .*: in \d of [56] conversations .*tokenizer\.model"
    ):
        check_reading(subject._replace(tokenizer=tokenizer), lambda: None)


def test_an_answer_that_never_ends_fails(subject: Subject, tiny_base: Path, tmp_path: Path) -> None:
    old, new = "{{ '<end_of_turn>' }}{% endgeneration %}", "{{ '###' }}{% endgeneration %}"
    endless = with_base_template(subject, tiny_base, old, new, tmp_path)
    with pytest.raises(UserError, match=r"Check `end_of_turn` failed for .*does not stop at token \d+.*eos_token"):
        check_reading(endless, lambda: None)


def test_a_file_that_disagrees_too_often_fails_with_the_figure(subject: Subject) -> None:
    figures = r"is 0\.\d{3} \(0\.\d{3} to 0\.\d{3}\), so it may be below 0\.9;"
    message = rf"Check `top1_agreement` failed for .*: on 5 tokens of 5 probe .* {figures}"
    with pytest.raises(UserError, match=message):
        check_agreement(subject, "Q4_K_M", unlikely(subject), 0.9, lambda: None)


def test_real_conversations_get_the_ids_of_transformers(
    finetuned: Done, tiny_base: Path, slices: Path, subject: Subject, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    from tuneline.model import llama_server

    theirs = AutoTokenizer.from_pretrained(tiny_base, local_files_only=True)
    conversations = [json.loads(line)["messages"] for line in slices.read_text().splitlines()]
    conversations += [sample.messages for sample in subject.samples.texts]
    with llama_server.serve(subject.file, context_tokens=256, slots=1, threads=1, log=tmp_path / "log") as server:
        for messages in conversations:
            prompt = server.post("/apply-template", {"messages": messages, "add_generation_prompt": False})["prompt"]
            ids = server.post("/tokenize", {"content": prompt, "add_special": True, "parse_special": True})
            assert ids == {"tokens": theirs.apply_chat_template(messages, return_dict=False)}
