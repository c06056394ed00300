"""Messages as programs write them: who speaks, under any usual name, and what is said, in text or in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tuneline.data.reading.messages.asides import Aside, aside_of, attached_to, side_of, way_of
from tuneline.data.reading.messages.content import (
    EMPTY,
    MAX_PER_RECORD,
    Problem,
    call_text,
    check_text,
    kind,
    read_content,
    spelt,
    text_of_result,
)
from tuneline.data.reading.messages.marks import is_learnt
from tuneline.data.reading.messages.roles import CALL, Role, bare, role_of
from tuneline.data.reading.messages.thoughts import pieces_of
from tuneline.data.reading.messages.wrappers import unwrapped
from tuneline.parsing.problems import Loc

EVENTS = (
    "event", "systemevent", "conversationupdate", "typing", "endofconversation", "service", "action", "slot",
    "sessionstarted", "userfeaturization", "restart", "followup", "activeloop", "summary", "filehistorysnapshot",
    "rewind", "undo", "resetslots", "pause", "resume", "export", "storeentities", "invoke",
)  # fmt: skip
"""What happened beside what was said, in logs of chat services, of Rasa and of Claude Code."""
TOLD = (
    "guildmemberjoin", "channelpinnedmessage", "recipientadd", "recipientremove", "channelnamechange",
    "channeliconchange", "threadcreated", "userpremiumguildsubscription", "trace",
)  # fmt: skip
"""What happened in a chat of Discord, where a sentence that nobody wrote stands beside it, or of Copilot Studio."""
_HAPPENED = frozenset(("type", "event"))
_OF_EVENTS = _HAPPENED | {"user_name"}
"""Most messages have none of these keys, and there are millions of messages."""

ROLE_KEYS = (
    "role", "from", "sender", "speaker", "author", "sender_type", "author_type", "user_type", "sender_role",
    "author_role", "participant", "participant_role", "participant_type", "actor", "actor_type", "actor_role", "who",
    "message_from", "message_type", "from_type", "speaker_role", "speaker_type", "direction", "type",
    "comment_author_role", "comment_author_type", "participant_id", "event",
)  # fmt: skip
"""Keys that say who speaks. The first whose value is a role counts: `from` may be an address, the role beside it."""
TEXT_KEYS = (
    "content", "value", "text", "message", "stripped_text", "body_text", "plain_body", "body", "parts", "utterance",
    "msg", "mes", "comment", "plaintext", "message_text", "content_text", "message_body", "message_content",
    "comment_body", "text_body", "content_list", "content_chunks", "refusal",
)  # fmt: skip
"""Keys under which a message's text stands; the first that holds anything counts."""
_SAID = frozenset((*TEXT_KEYS, "payload", "tool_calls", "function_call", "conversations_thread_id"))


class Turn(NamedTuple):
    """One message. `calls` are the tools that it calls, each as JSON text; `learnt` is False where the log says so.

    `parts`: how many parts its text had. `aside`: it is said by neither side. `attached`: files whose text is part of
    it; `missing`: files of which the log has no text; `split`: it was cut out of a text by the marks in it; `thoughts`:
    those of a model that stood in its text and were left out.
    """

    role: Role
    text: str
    loc: Loc
    learnt: bool = True
    calls: tuple[str, ...] = ()
    parts: int = 1
    aside: Aside | None = None
    attached: int = 0
    missing: int = 0
    split: bool = False
    thoughts: int = 0


def is_message(value: object) -> bool:
    """Tell whether a record is one message rather than a conversation: it says who speaks, and what."""
    if not isinstance(value, Mapping):
        return False
    value = spelt(value)
    if _SAID.isdisjoint(value):
        return False
    by = any(_role_at(value, key) or _is_call(value[key]) for key in ROLE_KEYS if key in value)
    return by or side_of(value) is not None or aside_of(value) is not None


def is_event(item: Mapping[str, object]) -> bool:
    """Tell whether a record only says what happened beside a conversation: that somebody joined it, say."""
    if _OF_EVENTS.isdisjoint(item) or "role" in item or "tool_calls" in item:
        return False
    if "chat_metadata" in item or item.keys() >= {"user_name", "character_name"}:
        return True  # the first line of SillyTavern's files
    told = (item.get(key) for key in TEXT_KEYS)
    said = any(one not in (None, "", []) and not (isinstance(one, Mapping) and "namespace" in one) for one in told)
    named = {bare(name) for key in _HAPPENED if isinstance(name := item.get(key), str) and len(name) < 40}
    if "call_ended_timestamp" in item and not named & {"default", "reply"}:
        return True  # DiscordChatExporter's calls, and kinds that it has only numbers for
    return any(name in TOLD or (not said and name in EVENTS) for name in named)


def read_turns(
    items: Sequence[object],
    loc: Loc,
    problems: list[Problem],
    *,
    texts: bool = False,
    places: Sequence[int] | None = None,
) -> list[Turn]:
    """Read a list of messages, or those at `places` in it; with `texts` also one of texts, said by turns."""
    if not items:
        problems.append(Problem(loc, "is empty", EMPTY))
    turns: list[Turn] = []
    for index in range(len(items)) if places is None else places:
        if len(problems) >= MAX_PER_RECORD:
            break
        here, item = (*loc, index), items[index]
        if isinstance(item, Mapping):
            turns += read_message(item, here, problems)
        elif isinstance(item, str) and texts:
            turns += turns_of("assistant" if index % 2 else "user", item, here, problems)
        else:
            problems.append(Problem(here, f"must be an object (got {kind(item)})", "shape"))
    return turns


def read_message(item: Mapping[str, object], loc: Loc, problems: list[Problem]) -> list[Turn]:
    """Read one message of any program; tool calls and results in it become turns of their own."""
    item = spelt(unwrapped(spelt(item)))
    if (typed := _typed(item, loc)) is not None:
        return typed
    aside = aside_of(item)
    if aside == "note":
        return [Turn("assistant", "", loc, aside=aside)]
    turns = _read_said(item, "assistant" if aside else None, loc, problems)
    attached = attached_to(item)
    if not turns or not (aside or attached.texts or attached.missing):
        return turns
    *before, last = turns
    text = "\n\n".join(filter(str.strip, [*(check_text(one, loc, problems) for one in attached.texts), last.text]))
    count = len(attached.texts)
    return [*before, last._replace(text=text, aside=aside, attached=count, missing=attached.missing)]


def _read_said(item: Mapping[str, object], said_by: Role | None, loc: Loc, problems: list[Problem]) -> list[Turn]:
    """Read what a message says; by whom, unless that is known."""
    key, role, is_call = (None, said_by, False) if said_by else _role(item)
    if role is None:
        problems.append(_bad_role(item, key, loc))
        return []
    said = next((name for name in TEXT_KEYS if item.get(name) not in (None, "", [])), None)
    calls = _calls(item)
    if said is None and role == "tool" and "result" in item:
        return [Turn("tool", text_of_result(item["result"]), loc)]
    if said is None:
        if not calls and not attached_to(item).missing and not any(name in item for name in TEXT_KEYS):
            problems.append(Problem((*loc, "content"), "is missing", "content"))
            return []
        present = next((name for name in TEXT_KEYS if name in item), "content")
        return [Turn(role, "", (*loc, present), is_learnt(item, role, loc, problems), calls)]
    if is_call and isinstance(item[said], str):
        return [Turn("assistant", "", loc, calls=(str(item[said]),))]
    learnt = is_learnt(item, role, loc, problems)
    return turns_of(role, item[said], (*loc, said), problems, learnt=learnt, calls=calls)


def turns_of(
    role: Role, value: object, loc: Loc, problems: list[Problem], *, learnt: bool = True, calls: tuple[str, ...] = ()
) -> list[Turn]:
    """Turn the content of one message, text or parts, into turns: results of tools first, then what is said."""
    content = read_content(value, loc, problems, joint="" if role == "assistant" else "\n")
    if role == "assistant" and content.results and isinstance(value, list) and (content.calls or content.text.strip()):
        return _in_order(value, loc, learnt=learnt)
    results = [Turn("tool", text, loc) for text in content.results]
    calls = (*calls, *content.calls)
    only_results = bool(results) and not content.text.strip() and not calls
    if only_results or content.is_silent:
        return results
    spoken = Turn(role, content.text, loc, learnt, calls, content.parts)
    return [*results, *(_without_thoughts(spoken) if role == "assistant" else [spoken])]


def _in_order(parts: Sequence[object], loc: Loc, *, learnt: bool) -> list[Turn]:
    """Return the turns of an answer in whose parts tools are called and return something, in their order."""
    turns: list[Turn] = []
    before: list[object] = []
    for place, part in enumerate(parts):
        before.append(part)
        read = read_content(part, (*loc, place), [], joint="")
        if not read.results and place + 1 < len(parts):
            continue
        said = read_content(before, loc, [], joint="")
        if said.text.strip() or said.calls:
            turns.append(Turn("assistant", said.text, loc, learnt, said.calls, said.parts))
        turns += [Turn("tool", text, loc) for text in read.results]
        before = []
    return turns


def _without_thoughts(turn: Turn) -> list[Turn]:
    """Leave out what stands in an answer and nobody saw; tools called in it become turns, and their results."""
    turns: list[Turn] = []
    for piece in pieces_of(turn.text):
        calls = (piece.call,) if piece.call else ()
        turns.append(turn._replace(text=piece.text, calls=calls, thoughts=piece.thoughts))
        turns += [Turn("tool", piece.result, turn.loc)] if piece.call else []
    turns[-1] = turns[-1]._replace(calls=turn.calls)
    said_nothing = turns[-1].text.strip() == "" != turn.text.strip()
    return turns[:-1] if said_nothing and not turn.calls else turns


def _typed(item: Mapping[str, object], loc: Loc) -> list[Turn] | None:
    """Read an item of OpenAI's Responses API that is no message; None for a message."""
    if is_event(item):
        return []
    if item.get("is_thought") is True or (item.get("channel") == "analysis" and item.get("role") == "assistant"):
        return []  # a thought, as AI Studio and the format of gpt-oss mark it
    match item.get("type") if "role" not in item else None:
        case "reasoning":
            return []
        case "function_call" | "custom_tool_call":
            call = call_text(item.get("name"), item.get("arguments", item.get("input")))
            return [Turn("assistant", "", loc, calls=(call,))]
        case "function_call_output" | "custom_tool_call_output":
            return [Turn("tool", text_of_result(item.get("output")), loc)]
    return None


def _role(item: Mapping[str, object]) -> tuple[str | None, Role | None, bool]:
    """Return the key that names the role, the role, and whether it stands for a call of a tool."""
    keys = [key for key in ROLE_KEYS if item.get(key) is not None]
    if side := way_of(item):
        return "message_type", side, False
    for key in keys:
        if _is_call(item[key]):
            return key, "assistant", True
        if role := _role_at(item, key):
            return key, role, False
    return keys[0] if keys else None, side_of(item), False


def _role_at(item: Mapping[str, object], key: str) -> Role | None:
    """Return the role that a key means; of events only what Rasa says of messages, for logs call many things so."""
    return role_of(item[key]) if key != "event" or item[key] in ("user", "bot") else None


def _bad_role(item: Mapping[str, object], key: str | None, loc: Loc) -> Problem:
    if key is None:
        return Problem((*loc, "role"), "is missing", "role")
    got = "another word" if isinstance(item[key], str) else kind(item[key])
    usual = "user, customer, human; assistant, agent, bot; system; tool"
    return Problem((*loc, key), f"must say who speaks, as in {usual} (got {got})", "role")


def _calls(item: Mapping[str, object]) -> tuple[str, ...]:
    """Return the tool calls that stand beside the text, as OpenAI and LangChain write them."""
    listed = item.get("tool_calls")
    found = [call for call in listed if isinstance(call, Mapping)] if isinstance(listed, list) else []
    if isinstance(one := item.get("function_call"), Mapping):
        found.append(one)
    return tuple(_one_call(call) for call in found)


def _one_call(call: Mapping[str, object]) -> str:
    inner = call.get("function")
    about = inner if isinstance(inner, Mapping) else call
    return call_text(about.get("name"), about.get("arguments", about.get("args", about.get("input"))))


def _is_call(value: object) -> bool:
    return isinstance(value, str) and len(value) < 20 and bare(value) in CALL
