"""What is learnt of a conversation, with the chat templates that popular models ship."""

from __future__ import annotations

import re
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import pytest
from tokenizers import AddedToken

from kit.chat_models import byte_level
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer, fold_system
from tuneline.model.chat_template import ChatSettings

ENDS = ("<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|end|>", "<｜end▁of▁sentence｜>", "</s>", "<|return|>")
CONTROL = re.compile(
    r"<[|｜][^|｜<>]{1,40}[|｜]>|</?s>|\[/?[A-Z_]+\]|<(?:start|end)_of_turn>|</?think>|<(?:bos|eos)>|<[a-z_]+\|>|<\|[a-z_]+>"
)
SYSTEM = {"role": "system", "content": "Answer in one sentence."}
TALK = [
    {"role": role, "content": text}
    for question, answer in (
        ("Where is it?", "It left on Monday."),
        ("Thanks.", "Have a nice day!"),
        ("Bye", "Ciao."),
    )
    for role, text in (("user", question), ("assistant", answer))
]

LAST_ANSWER_ONLY = {"gptoss", "qwen3", "qwen3_5_nothink", "qwen3_5_think", "qwen3_6"}
"""They write the last answer otherwise than the same answer later on."""
REFUSED = {
    "deepseek_r1_distill": "generation prompt is not how an answer begins",
    "deepseekv3": "generation prompt is not how an answer begins",
    "glm4moe": "no control token behind an answer",
    "idefics3": "does not write all the text of a message",
    "llava_next": "refuses a conversation",
    "smolvlm": "does not write all the text of a message",
}


def shipped_templates() -> list[Path]:
    """The original templates of models that TRL has patched ones for; its package holds both."""
    spec = find_spec("trl")
    assert spec and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0], "chat_templates")
    return [path for path in sorted(folder.glob("*.jinja")) if not path.stem.endswith("_training")]


def chat_with(source: str) -> ChatTokenizer:
    tokenizer = byte_level()
    special = sorted({*CONTROL.findall(source), "<s>", "<|endoftext|>"})
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    end = next((end for end in ENDS if end in special), "<|endoftext|>")
    chat = ChatTokenizer(tokenizer, source, {"bos_token": "<s>", "eos_token": end, "pad_token": end})
    chat.refuse_lost_text()
    return chat


def pinned(path: Path) -> str:
    return ChatSettings().pinned(path.read_text())


@pytest.mark.parametrize("path", [p for p in shipped_templates() if p.stem not in REFUSED], ids=lambda p: p.stem)
@pytest.mark.parametrize("messages", [TALK, [SYSTEM, *TALK]], ids=["plain", "with a system prompt"])
def test_what_is_learnt_follows_the_generation_prompt_and_ends_the_turn(
    path: Path, messages: list[dict[str, str]]
) -> None:
    chat = chat_with(pinned(path))
    messages = fold_system(messages, chat)
    encoded = chat.encode_conversation(messages)
    learnt = [text for text, on in runs(chat, encoded.input_ids, encoded.assistant_mask) if on]
    places = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    assert encoded.found_by == ("last answer" if path.stem in LAST_ANSWER_ONLY else encoded.found_by)
    if encoded.found_by == "last answer":
        assert path.stem in LAST_ANSWER_ONLY
        places = places[-1:]
    assert len(learnt) == len(places)
    text = chat.render(messages)
    for answer, place in zip(learnt, places, strict=True):
        prompt = chat.render(messages[:place], add_generation_prompt=True)
        assert (prompt + answer if encoded.found_by != "generation blocks" else answer) in text
        assert re.search(re.escape(messages[place]["content"]) + r"\s*<[^<>]+>\s*$", answer)


def runs(chat: ChatTokenizer, ids: list[int], mask: list[int]) -> list[tuple[str, int]]:
    """The texts of the runs of equal mask."""
    found: list[tuple[list[int], int]] = []
    for token, on in zip(ids, mask, strict=True):
        if found and found[-1][1] == on:
            found[-1][0].append(token)
        else:
            found.append(([token], on))
    return [(chat.decode(tokens), on) for tokens, on in found]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_template_whose_answers_the_model_could_not_say_is_refused_with_the_way_out(name: str) -> None:
    path = next(p for p in shipped_templates() if p.stem == name)
    with pytest.raises(UserError, match=REFUSED[name]):
        chat_with(pinned(path)).encode_conversation(TALK)


def test_a_model_that_could_think_learns_to_answer_at_once_unless_it_is_told_to_think() -> None:
    path = next(p for p in shipped_templates() if p.stem == "qwen3")
    own = path.read_text()
    for options, learnt in (
        ({}, "Ciao.<|im_end|>"),
        ({"enable_thinking": True}, "<think>\n\n</think>\n\nCiao.<|im_end|>"),
    ):
        chat = chat_with(ChatSettings(options=options).pinned(own))
        encoded = chat.encode_conversation(TALK)
        assert [text for text, on in runs(chat, encoded.input_ids, encoded.assistant_mask) if on] == [learnt]


def test_an_end_of_turn_behind_a_generation_block_is_learnt_too() -> None:
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
        "{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    chat = chat_with(source)
    encoded = chat.encode_conversation(TALK[:2])
    assert [t for t, on in runs(chat, encoded.input_ids, encoded.assistant_mask) if on] == [
        "It left on Monday.<|im_end|>"
    ]


def test_a_system_prompt_that_an_answered_conversation_lacks_goes_into_the_first_question() -> None:
    source = (
        "{% set said = messages[0].content if messages[0].role == 'system' else '' %}{% for m in messages %}"
        "{% if m.role == 'user' %}[INST]{{ said if loop.last }}{{ m.content }}[/INST]"
        "{% elif m.role == 'assistant' %}{{ m.content }}</s>{% endif %}{% endfor %}"
    )
    chat = chat_with(source)
    messages = fold_system([SYSTEM, *TALK], chat)
    assert messages[0]["content"] == f"{SYSTEM['content']}\n\n{TALK[0]['content']}"
    assert chat.encode_conversation(messages).found_by == "generation prompts"


@pytest.mark.parametrize("name", ["llama3_1", "llama3_2", "gptoss"])
def test_the_day_is_written_into_a_template_that_asks_for_it_or_is_told_it(name: str) -> None:
    path = next(p for p in shipped_templates() if p.stem == name)
    day = date(2025, 3, 9)
    source = ChatSettings(date=day).pinned(path.read_text())
    assert re.search("09 Mar 2025|2025-03-09", chat_with(source).render(TALK))
    assert "strftime_now(" not in source
    assert ("date_string is defined" in source) <= source.startswith('{% set date_string = "09 Mar 2025" %}')


def test_a_template_whose_date_is_computed_is_refused() -> None:
    with pytest.raises(UserError, match="no day can be written into it"):
        ChatSettings().pinned("{% set form = '%d %b %Y' %}{{ strftime_now(form) }}")
