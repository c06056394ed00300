from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kit.chat_models import CHATML, write_chat_model
from tuneline.commands.serve import sampler_options, serve_run, with_system_prompt
from tuneline.commands.tuneline import app
from tuneline.data.serving import SamplerParams, Serving
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer, fold_system
from tuneline.model.llama_server import serve
from tuneline.store.base import open_store

PROMPT = 'You help with coffee machines.\n\nSay "please", never {{ bos_token }}, {% raw %} or C:\\new. Grüße!'
SAID = [
    {"role": "user", "content": "Is the tray empty?"},
    {"role": "assistant", "content": "It is full."},
    {"role": "user", "content": "Thank you."},
]


@pytest.fixture(params=["folded", "of its own"])
def tokenizer(request: pytest.FixtureRequest, tiny_base: Path, tmp_path: Path) -> ChatTokenizer:
    """Of a model whose template takes no system message, and of one that does."""
    folder = tiny_base if request.param == "folded" else write_chat_model(tmp_path / "b", "chatml", template=CHATML)
    return ChatTokenizer.from_folder(folder)


@pytest.mark.slow
def test_the_server_says_the_system_prompt_as_the_evaluator_sent_it_unless_a_conversation_brings_one(
    tokenizer: ChatTokenizer, tiny_gguf: Path, tmp_path: Path
) -> None:
    settings = Serving(
        context_tokens=256, sampler=SamplerParams(), system_prompt=PROMPT, folded=not tokenizer.accepts_system
    )
    (tmp_path / "t.jinja").write_text(with_system_prompt(tokenizer.template, settings), encoding="utf-8")
    options = [*sampler_options(settings.sampler), "--chat-template-file", str(tmp_path / "t.jinja")]
    log = tmp_path / "log"
    with serve(tiny_gguf, context_tokens=256, slots=1, threads=1, log=log, port=0, options=options) as server:
        for said in (SAID, SAID[:1]):
            sent = fold_system([{"role": "system", "content": PROMPT}, *said], tokenizer)
            answer = server.post("/apply-template", {"messages": said})
            assert str(answer["prompt"]).removeprefix("<bos>") == tokenizer.render(sent, True).removeprefix("<bos>")
        if tokenizer.accepts_system:
            own = [{"role": "system", "content": "Be brief."}, *SAID]
            assert server.post("/apply-template", {"messages": own})["prompt"] == tokenizer.render(own, True)


@pytest.mark.slow
def test_a_request_that_says_nothing_else_is_drawn_from_as_in_the_comparison(tiny_gguf: Path, tmp_path: Path) -> None:
    sampler = SamplerParams(temperature=0.35, top_p=0.8, top_k=7, min_p=0.02, max_answer_tokens=5)
    options, log = sampler_options(sampler), tmp_path / "log"
    with serve(tiny_gguf, context_tokens=256, slots=1, threads=1, log=log, port=0, options=options) as server:
        answer = server.post("/completion", {"prompt": "Good"})
    used = answer["generation_settings"]
    assert isinstance(used, dict)
    assert used["samplers"] == ["top_k", "top_p", "min_p", "temperature"]
    drawn = [used[name] for name in ("temperature", "top_p", "top_k", "min_p", "n_predict", "repeat_penalty")]
    assert drawn == pytest.approx([0.35, 0.8, 7, 0.02, 5, 1.0])
    assert answer["tokens_predicted"] == 5


@pytest.fixture
def taken() -> Iterator[int]:
    from socket import create_server

    with create_server(("127.0.0.1", 0)) as held:
        yield int(held.getsockname()[1])


@pytest.mark.slow
def test_a_port_that_is_taken_is_told(tiny_gguf: Path, tmp_path: Path, taken: int) -> None:
    with (
        pytest.raises(UserError, match=rf"port {taken} cannot be used \(.*in use\)\. Choose another one"),
        serve(tiny_gguf, context_tokens=256, slots=1, threads=1, log=tmp_path / "log", port=taken),
    ):
        pass


def test_a_run_that_is_not_there_or_has_no_model_ends_with_2(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run nothing in"):
        serve_run(open_store(str(tmp_path / "store")), "nothing", "base", 0, print)
    done = CliRunner().invoke(app, ["serve", "nothing", "--store", str(tmp_path / "store")])
    assert done.exit_code == 2
