"""What people and programs call the two sides of a conversation, the system and the tools."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]

_NAMES: Mapping[Role, str] = {
    "system": "system developer instruction instructions systemprompt systemmessage",
    "user": "user usr human humanmessage customer client visitor guest enduser requester prompter contact lead caller "
    "buyer shopper consumer subscriber member patient student inbound incoming input question prompt",
    "assistant": "assistant ai aimessage aimessagechunk bot chatbot botmessage agent humanagent model llm gpt chatgpt "
    "claude gemini virtualassistant virtualagent aiassistant representative rep salesrep csr support supportagent "
    "supportrep operator advisor adviser admin staff helpdesk servicedesk consultant counselor counsellor therapist "
    "coach tutor teacher doctor seller outbound outgoing output response completion answer",
    "tool": "tool toolmessage toolresult toolcallresult toolresponse function functionmessage functionresponse "
    "functionresult ipython observation environment",
}
ROLES: Mapping[str, Role] = {name: role for role, names in _NAMES.items() for name in names.split()}
CALL = "functioncall", "toolcall", "toolcalls"
"""Roles of some data sets under which the assistant's calls stand, as text."""
_TAWK: Mapping[str, Role] = {"v": "user", "a": "assistant", "s": "system"}
"""How Tawk.to writes visitors, agents and itself."""
_COPILOT: Mapping[str, Role] = {"0": "assistant", "1": "user"}
"""How Copilot Studio writes who an activity is from."""


def role_of(value: object) -> Role | None:
    """Return the role that a name means, in any case and spelling (`End-User`, `agent:12`, `Customer 2`)."""
    if isinstance(value, Mapping):
        known = _TAWK.get(str(value.get("t"))) or _COPILOT.get(str(value.get("role")))
        return known or next(filter(None, (role_of(value.get(key)) for key in ("role", "type", "name"))), None)
    if not isinstance(value, str) or len(value) > 100:
        return None
    return ROLES.get(bare(value.partition(":")[0]))


def bare(name: str) -> str:
    """Return a name in small letters, without spaces, signs and figures."""
    return re.sub(r"[\W_\d]+", "", name).casefold()
