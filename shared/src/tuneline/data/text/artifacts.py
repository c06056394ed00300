"""Traces of the tools that conversations were made, written or exported with: patterns by kind.

A pattern is tried where its cue stands in the text, in lower case; both take time in proportion to the text, as no
repetition stands in another and every gap has a limit. Code between fences is left out: anything may stand there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

Artifact = Literal[
    "stage_directions", "ai_talk", "footers", "tool_boxes", "speaker_labels", "generator_talk", "placeholders",
    "broken_text",
]  # fmt: skip


class _Trace(NamedTuple):
    cue: str
    pattern: re.Pattern[str]
    by_user_too: bool


def _traces(*rows: tuple[str, str], by_user_too: bool = False) -> list[_Trace]:
    return [_Trace(cue, re.compile(pattern, re.MULTILINE), by_user_too) for cue, pattern in rows]


_FACES = r"(?:smiles|nods|sighs|laughs|chuckles|shrugs|grins|winks|giggles|gasps|blushes|frowns|groans|yawns|smirks)"
_ACTS = (
    r"(?:smiling|nodding|sighing|laughing|chuckling|shrugging|grinning|thinking|sigh|pauses?|whispers|gestures|waves|hugs"
    r"|leans|looks|takes|sits|stands|turns|tilts|raises|shakes|breathes|glances|stares|hesitates|exhales|inhales|listens"
    r"|typing|silence|clears throat|clears (?:his|her|their|my) throat)"
)
_MANNER = r"(?:(?:[a-z]{2,12}ly|long|short|brief|deep|warm|soft)[ ,]{1,2}){0,2}"
_PRODUCT = r"(?:iphone|ipad|android|samsung|galaxy|mobile|phone|blackberry|huawei|handy)"
_DATA = r"(?:data|examples?|conversations?|dialogues?|transcripts?)"
_CALLS = (
    r"(?:tool_calls?|tool_use|tool_result|tool_response|function_calls?|function_results|invoke|think|thinking|scratchpad"
    r"|system-reminder)"
)

_TRACES: Mapping[Artifact, list[_Trace]] = {
    "stage_directions": _traces(
        ("*", rf"(?<![\w*])\*{_MANNER}{_FACES}(?:,? [^*\n]{{1,60}})?\*(?!\*)"),
        ("*", rf"(?:\A|\n|[.!?…][\"”*)]? )\*{_MANNER}{_ACTS}(?:,? [^*\n]{{1,60}})?\*(?!\*)"),
        ("[", rf"\[{_MANNER}(?:{_FACES}|{_ACTS}|inaudible|crosstalk|music)(?:,? [a-z]{{2,12}}){{0,4}}\](?![(:])"),
        ("(", rf"\({_MANNER}(?:{_FACES}|long pause|pauses|sighing|laughing|smiling)(?:,? [a-z]{{2,12}}){{0,3}}\)"),
    ),
    "ai_talk": _traces(
        ("as a", r"\bas an? (?:\w{1,12} )?(?:ai|artificial intelligence|(?:large )?language model|chat ?bot)\b"),
        ("i", r"\bi(?:['’]m| am) (?:just |only |merely )?an? (?:\w{1,12} )?(?:ai|language model)\b"),
        ("my ", r"\bmy (?:knowledge cut-?off|training data|programming)\b"),
        ("request", r"\b(?:can(?:no|['’])t|unable to) (?:assist|comply|fulfil?l)(?: with)? (?:that|this|your) request"),
        ("als ", r"\bals (?:eine? |een )?(?:ki\b|künstliche intelligenz|ai\b|ki-)"),
        ("ich bin", r"\bich bin (?:nur |bloß )?eine? (?:ki|sprachmodell)\b"),
        ("en tant", r"\ben tant qu(?:e |['’])(?:ia|modèle de langage|intelligence artificielle|assistant ia)\b"),
        ("como ", r"\bcomo (?:una? |um )?(?:ia|modelo de (?:lenguaje|linguagem)|intelig[eê]ncia artificial)\b"),
        ("in quanto", r"\bin quanto (?:ia|modello linguistico|intelligenza artificiale)\b"),
        ("как ", r"\bкак (?:ии|языковая модель|искусственный интеллект)\b"),
        ("作为", r"作为(?:一个|一名|一款)?(?:ai|人工智能|大?语言模型)"),
        ("として", r"(?:ai|人工知能|言語モデル)(?:アシスタント|言語モデル)?として"),
        ("로", r"(?:ai|인공지능|언어 모델)(?: 언어 모델)?(?:로서|로써)"),
    ),
    "footers": _traces(
        ("generated", r"\bgenerated with \[|🤖 ?generated\b|^generated (?:by|with|using) \w"),
        ("co-authored-by:", r"^co-authored-by:"),
        ("sent from", rf"\bsent from my {_PRODUCT}"),
        ("gesendet", rf"\bvon meinem {_PRODUCT} gesendet"),
        ("envoyé", rf"\benvoyé de mon {_PRODUCT}"),
        ("enviado", rf"\benviado (?:desde mi|do meu) {_PRODUCT}"),
        ("outlook", r"\bget outlook for (?:ios|android)\b"),
        ("powered by", r"^\W{0,3}powered by \w"),
        ("this ", r"\bthis (?:message|response|text|reply) (?:was|is) (?:generated|written) (?:by|with|using)\b"),
        ("helpful", r"\bwas this (?:response|answer|article|reply) helpful\?"),
        ("unsubscribe", r"\bunsubscribe\b[^\n]{0,40}\bhere\b"),
        ("mail", r"\bthis e-?mail (?:and any (?:files|attachments)|is confidential)"),
        ("word count", r"^\W{0,4}word count: ?\d"),
        by_user_too=True,
    ),
    "tool_boxes": _traces(
        ("──", r"[─-╿]{10}|★ \w{3,12} ─"),
        ("══", r"[═]{10}"),
        ("<", rf"</?(?:[a-z]{{2,8}}:)?{_CALLS}\b[^>\n]{{0,100}}>|<function=|<\|python_tag\|>"),
        ("tool", r"\[/?tool_calls?\]|```tool_(?:code|call|outputs?)|\"tool_calls\" ?: ?\["),
        ("action input:", r"^action: ?\w[^\n]{0,60}\n{1,3}action input:"),
        by_user_too=True,
    ),
    "speaker_labels": [
        *_traces(
            ("<|", r"<\|[a-z0-9_ ]{2,30}\|>"),
            ("inst]", r"\[/?inst\]"),
            ("<", r"<</?sys>>|<(?:start|end)_of_turn>|<(?:bos|eos|pad)>|</s>$|^<s>"),
            by_user_too=True,
        ),
        *_traces((":", r"^(?:\*\*|### ?)?(?:user|human|assistant|ai|chatgpt|bot|system)(?: \d{1,3})?:(?:\*\*)?[ \n]")),
        *_traces(("###", r"^### ?(?:instruction|response|input|output):?$")),
    ],
    "generator_talk": _traces(
        ("exchange", r"\b(?:for|in|at|this is) exchange (?:\d{1,3}|number|one|two)\b|\bexchange \d{1,3} of \d"),
        ("_", r"\b(?:my|the|this) [a-z]{2,20}_[a-z_]{2,30} (?:pattern|flaw|trait|style|persona|behaviou?r)\b"),
        (" words", r"\b(?:stay|staying|keep it) (?:within|between|to) \d{1,4}(?: ?[-–] ?| to | and )\d{1,4} words\b"),
        ("i ", r"\bi (?:should|need to|must|have to) (?:show|portray|play)\b[^.\n]{0,60}\b(?:pattern|persona)\b"),
        ("character", r"\b(?:stay|staying|remain|remaining) in character\b|\bbreak(?:ing)? character\b"),
        ("simulation", r"\b(?:end|stop|continue|leave)(?:ing|ping)? (?:the|this) simulation\b|\bas a simulated\b"),
        ("participate", r"\bi (?:cannot|can['’]t|won['’]t) participate in (?:this|the) (?:simulation|role-?play)"),
        ("role", r"\b(?:end|stop|continue|leave)(?:ing|ping)? (?:the|this) role-?play\b"),
        ("training data", r"\b(?:this|(?:produc|generat|creat)(?:e|ing))(?: this)? training data\b"),
        ("synthetic", rf"\b(?:this|is|generating|creating)(?: this)? synthetic {_DATA}\b"),
        ("generated", rf"\b(?:this is|this) (?:ai-)?generated {_DATA}\b"),
        ("simulated", rf"\bsimulated (?:user|persona|client|customer|{_DATA})\b"),
        ("persona", r"\b(?:the|my|this) (?:user )?persona(?:['’]s)? (?:would|should|pattern|traits?|profile|card)"),
        ("here", r"\A\W{0,3}(?:sure)?\W{0,3}here(?:['’]s| is) (?:the|a) (?:\w{2,12} ){0,2}user(?:['’]s)? [^\n]{0,40}:"),
        ("end of", r"^\W{0,3}\[?end of (?:the )?(?:conversation|session|transcript|dialogue|exchange)\W{0,3}$"),
        by_user_too=True,
    ),
    "placeholders": _traces(
        ("[", r"\b(?:dear|hi|hello|hey|regards|sincerely),?\s\[[a-z][a-z' ]{1,30}\]|\[insert [^\]\n]{1,40}\]"),
        ("{{", r"\{\{ ?\w[\w .]{0,40}\}\}"),
        ("<", r"<(?:insert|your)[ _][^>\n]{1,40}>"),
        ("lorem ipsum", r"\blorem ipsum\b"),
    ),
    "broken_text": _traces(
        ("\ufffd", "\ufffd"),
        ("â€", "â€[™œ“”¦–—˜\x80-\xa6]"),
        ("ã", "ã[©¨¤¶¼ÿ±³\xa0\xad]"),
        ("ðÿ", "ðÿ[\\w˜‘€™š]"),
        ("\\n", r"(?:\\n){2}"),
        ("\\u", r"\\u[0-9a-f]{4}"),
        ("&", r"&(?:amp|lt|gt|quot|nbsp|#39|#x27);"),
        ("<", r"</(?:p|div|span|strong|em|li|ul|b)>|<br ?/?>"),
        by_user_too=True,
    ),
}  # fmt: skip

_FENCE = re.compile(r"```(?!tool_).*?(?:```|\Z)", re.DOTALL)
_ASKS_WHO = re.compile(
    r"\b(?:ai|bot|chat ?bot|robot|human|real person|machine|ki|ia|gpt|language model|ии|бот)\b|人工智能|机器人|真人"
)


def artifacts_in(user: str, assistant: str) -> Iterator[Artifact]:
    """Yield the kinds that stand in one exchange."""
    said, answered = _FENCE.sub("\n", user).lower(), _FENCE.sub("\n", assistant).lower()
    for kind, traces in _TRACES.items():
        if kind == "ai_talk" and _ASKS_WHO.search(said):
            continue  # an honest answer to an honest question
        if any(_stands_in(trace, answered) or (trace.by_user_too and _stands_in(trace, said)) for trace in traces):
            yield kind


def _stands_in(trace: _Trace, text: str) -> bool:
    return trace.cue in text and trace.pattern.search(text) is not None
