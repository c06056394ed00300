"""Text that is data stays text: control tokens of the common model families are spelt so that no server sees one.

llama-server, vLLM and Ollama parse control tokens in what a message says: a transcript that spells `<end_of_turn>`
would end the turn and speak for the model. The policy is that of `tuneline.model.tokenizer`, here for models whose
tokenizer we do not have: a space goes behind the first character (`< end_of_turn>`), people can still read it, and
doing it twice changes nothing. What looks like a token of no known family (`<|…|>`) counts too, and so does some HTML
(`<s>`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_ANGLED = (
    r"s|bos|eos|pad|unk|mask|cls|sep|bot|eot|eod|eop|sop|sys|inst|AI|用户|(?:bos|eos|pad)_token|endoftext|role"
    r"|(?:start|begin|end)_of_\w{1,20}|image_soft_token|audio_soft_token|fake_token_around_image|image|video|audio|img"
    r"|think|thinking|thoughts?|reason|reasoning|reflection|answer|response|observation|available_tools"
    r"|tools?|tool_(?:calls?|responses?|output|result)|functions?|function_calls?|arg_key|arg_value|parameter|invoke"
    r"|(?:unused|reserved|special|extra|extra_id)_?\d{1,5}|fim[_-](?:prefix|middle|suffix|pad)|repo_name|file_sep"
)
_SQUARED = (
    r"/?(?:inst|system_prompt|tool_(?:calls|results|content)|available_tools|model_settings|args|call_id|think"
    r"|img|img_break|img_end|audio|begin_audio|prefix|middle|suffix|bos|eos|pad|unk|mask|cls|sep|gmask|smask"
    r"|unused_token_\d{1,5}|control_\d{1,5}|begin final response)\]"
)
_BAR, _NO_BAR = "[|｜]", "[^|｜<>"

_TOKEN = re.compile(
    rf"<(?={_BAR}{_NO_BAR}\n]{{1,80}}{_BAR}>"  # <|im_start|> and <｜end▁of▁sentence｜>
    rf"|{_BAR}{_NO_BAR}\s]{{1,80}}>|{_NO_BAR}\s]{{1,80}}{_BAR}>"  # <|turn> and <turn|>
    rf"|<?/?(?:\w{{1,20}}:)?(?:{_ANGLED})>)"  # <start_of_turn>, </s>, <seed:think>, <<SYS>>
    rf"|\[(?={_SQUARED}|\|[^|\[\]\n]{{1,80}}\|\]|e~\[)"  # [/INST], [|user|]
    r"|◁(?=/?\w{1,20}▷)|\](?=~!?b[\[\]])",
    re.IGNORECASE,
)


def neutralise(text: str) -> str:
    """Return `text` in which no control token is spelt any more. Idempotent."""
    return _TOKEN.sub(r"\g<0> ", text)


def neutralised(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return the messages of a request as they are sent."""
    return [{name: neutralise(text) for name, text in message.items()} for message in messages]
