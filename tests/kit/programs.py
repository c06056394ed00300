"""One conversation, `p` and `r`, as chat programs, help desks and tracers export it, with what stands beside it."""

from __future__ import annotations

import json
from typing import Any


def _node(name: str, parent: str | None, role: str, content: dict[str, Any]) -> dict[str, Any]:
    message = {"id": name, "author": {"role": role, "metadata": {}}, "recipient": "all", "content": content}
    return {"id": name, "parent": parent, "children": [], "message": message}


def _spoken(text: str) -> dict[str, Any]:
    sound = {"content_type": "audio_asset_pointer", "asset_pointer": "file-service://f"}
    said = {"content_type": "audio_transcription", "text": text, "direction": "in"}
    return {"content_type": "multimodal_text", "parts": [said, sound]}


def _fragments(parent: str, *parts: tuple[str, str]) -> dict[str, Any]:
    fragments = [{"type": kind, "content": text} for kind, text in parts]
    return {"parent": parent, "children": [], "message": {"model": "m", "files": [], "fragments": fragments}}


def _block(text: str, style: str = "default") -> dict[str, Any]:
    return {"type": "contentBlock", "style": {"type": style}, "content": [{"type": "text", "text": text}]}


_LISTED = [{"message.role": "user", "message.content": "p"}], [{"message.role": "assistant", "message.content": "r"}]
PROGRAMS: dict[str, Any] = {
    "ChatGPT, spoken": {
        "id": "c",
        "mapping": {"a": _node("a", None, "user", _spoken("p")), "b": _node("b", "a", "assistant", _spoken("r"))},
        "current_node": "b",
    },
    "ChatGPT, an answer in code": {
        "id": "c",
        "mapping": {
            "a": _node("a", None, "user", {"content_type": "text", "parts": ["p"]}),
            "b": _node("b", "a", "assistant", {"content_type": "code", "language": "python", "text": "r"}),
        },
        "current_node": "b",
    },
    "DeepSeek": {
        "id": "c",
        "mapping": {
            "root": {"id": "root", "parent": None, "children": ["1"], "message": None},
            "1": _fragments("root", ("REQUEST", "p")),
            "2": _fragments("1", ("THINK", "hm"), ("SEARCH", "x"), ("RESPONSE", "r")),
        },
    },
    "Grok": {
        "conversations": [
            {
                "conversation": {"id": "c", "title": "t", "leaf_response_id": "3"},
                "responses": [
                    {"response": {"_id": "1", "message": "p", "sender": "human", "parent_response_id": "0"}},
                    {"response": {"_id": "2", "message": "x", "sender": "ASSISTANT", "parent_response_id": "1"}},
                    {"response": {"_id": "3", "message": "r", "sender": "ASSISTANT", "parent_response_id": "1"}},
                ],
            }
        ]
    },
    "LM Studio": {
        "name": "t",
        "messages": [
            {
                "versions": [{"type": "singleStep", "role": "user", "content": [{"type": "text", "text": "p"}]}],
                "currentlySelected": 0,
            },
            {
                "versions": [
                    {"type": "singleStep", "role": "assistant", "content": [{"type": "text", "text": "x"}]},
                    {
                        "type": "multiStep",
                        "role": "assistant",
                        "steps": [_block("hm", "thinking"), _block("r"), {"type": "debugInfoBlock"}],
                    },
                ],
                "currentlySelected": 1,
            },
        ],
    },
    "Zendesk, a whole account": {
        "id": 35,
        "requester": {"id": 1, "name": "n"},
        "comments": [
            {"id": 1, "author_id": 1, "plain_body": "p", "public": True},
            {"id": 2, "author_id": 2, "plain_body": "r", "public": True},
        ],
    },
    "Help Scout": {
        "id": 1,
        "_embedded": {
            "threads": [
                {"type": "note", "body": "x", "createdAt": "2025-01-03T00:00:00Z", "createdBy": {"type": "user"}},
                {
                    "type": "message",
                    "body": "<p>r</p>",
                    "createdAt": "2025-01-02T00:00:00Z",
                    "createdBy": {"type": "user"},
                },
                {"type": "lineitem", "createdAt": "2025-01-01T12:00:00Z", "createdBy": {"type": "user"}},
                {
                    "type": "customer",
                    "body": "p",
                    "createdAt": "2025-01-01T00:00:00Z",
                    "createdBy": {"type": "customer"},
                },
            ]
        },
    },
    "LiveChat": {
        "chats": [
            {
                "id": "c",
                "users": [{"id": "u", "type": "customer"}, {"id": "b@x", "type": "agent"}],
                "thread": {
                    "id": "t",
                    "events": [
                        {"type": "system_message", "text": "joined"},
                        {"type": "message", "text": "p", "author_id": "u"},
                        {"type": "message", "text": "x", "author_id": "b@x", "visibility": "agents"},
                        {"type": "message", "text": "r", "author_id": "b@x"},
                    ],
                },
            }
        ]
    },
    "Tawk": {
        "id": "c",
        "messages": [
            {"sender": {"t": "v", "n": "n"}, "type": "msg", "msg": "p"},
            {"sender": {"t": "a", "n": "m"}, "type": "msg", "msg": "r"},
        ],
    },
    "Rasa": {
        "sender_id": "c",
        "events": [
            {"event": "action", "name": "action_listen"},
            {"event": "user", "text": "p", "parse_data": {}},
            {"event": "slot", "name": "x", "value": None},
            {"event": "bot", "text": "r", "data": {}},
        ],
    },
    "Amazon Connect": {
        "Participants": [{"ParticipantId": "AGENT", "ParticipantRole": "AGENT"}],
        "Transcript": [
            {"Type": "EVENT", "ContentType": "x.event.participant.joined", "ParticipantRole": "CUSTOMER"},
            {"ParticipantId": "CUSTOMER", "Content": "p"},
            {"ParticipantId": "AGENT", "Content": "r"},
        ],
    },
    "Bot Framework": [
        {"type": "conversationUpdate", "id": "1"},
        {"type": "message", "from": {"id": "u", "role": "user"}, "text": "p", "conversation": {"id": "c"}},
        {"type": "message", "from": {"id": "b", "role": "bot"}, "text": "r", "conversation": {"id": "c"}},
    ],
    "Phoenix, a table": {
        "context.span_id": "a",
        "attributes.llm.input_messages": json.dumps(_LISTED[0]),
        "attributes.llm.output_messages": _LISTED[1],
    },
    "OpenInference, flat": {
        "spanId": "a",
        "attributes": {
            "openinference.span.kind": "LLM",
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": "p",
            "llm.output_messages.0.message.content": "r",
            "llm.model_name": "m",
        },
    },
    "OpenInference, nested": {
        "spanId": "a",
        "attributes": {
            "llm": {
                "input_messages": [{"message": {"role": "user", "content": "p"}}],
                "output_messages": [{"message": {"role": "assistant", "content": "r"}}],
            }
        },
    },
    "a conversation with settings of its model": {
        "id": "c",
        "llm": {"model": "m"},
        "messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}],
    },
    "Open WebUI, without a list": [
        {
            "id": "c",
            "chat": {
                "models": ["m"],
                "history": {
                    "messages": {
                        "1": {"id": "1", "parentId": None, "childrenIds": ["2", "3"], "role": "user", "content": "p"},
                        "3": {"id": "3", "parentId": "1", "childrenIds": [], "role": "assistant", "content": "r"},
                        "2": {"id": "2", "parentId": "1", "childrenIds": [], "role": "assistant", "content": "x"},
                    },
                    "currentId": "3",
                },
                "messages": [],
            },
        }
    ],
    "Qwen's chat": {
        "success": True,
        "data": [
            {
                "id": "c",
                "chat": {
                    "history": {
                        "messages": {
                            "1": {"id": "1", "parentId": None, "role": "user", "content": "p"},
                            "2": {
                                "id": "2",
                                "parentId": "1",
                                "role": "assistant",
                                "content": "",
                                "content_list": [
                                    {"content": "hm", "phase": "think"},
                                    {"content": "r", "phase": "answer"},
                                ],
                            },
                        },
                        "currentId": "2",
                    }
                },
            }
        ],
    },
    "Le Chat": [
        {"id": "1", "chatId": "c", "role": "user", "content": "p", "contentChunks": None, "parentId": None},
        {
            "id": "2",
            "chatId": "c",
            "role": "assistant",
            "content": "",
            "contentChunks": [{"type": "text", "text": "r"}],
        },
    ],
    "AI Studio": {
        "runSettings": {"model": "m"},
        "chunkedPrompt": {
            "chunks": [
                {"text": "p", "role": "user", "tokenCount": 1},
                {"text": "hm", "role": "model", "isThought": True},
                {"text": "r", "role": "model", "finishReason": "STOP"},
            ],
            "pendingInputs": [{"text": "", "role": "user"}],
        },
    },
    "Botpress": {
        "messages": [
            {
                "id": "2",
                "conversationId": "c",
                "type": "text",
                "payload": {"text": "r"},
                "direction": "outgoing",
                "createdAt": "2025-01-01T00:00:02Z",
            },
            {
                "id": "1",
                "conversationId": "c",
                "type": "text",
                "payload": {"text": "p"},
                "direction": "incoming",
                "createdAt": "2025-01-01T00:00:01Z",
            },
        ],
        "meta": {},
    },
    "Copilot Studio": {
        "activities": [
            {
                "type": "trace",
                "valueType": "ConversationInfo",
                "from": {"id": "", "role": 0},
                "value": {"outcome": "x"},
            },
            {"type": "message", "from": {"id": "u", "role": 1}, "text": "p"},
            {"type": "message", "from": {"id": "b", "role": 0}, "text": "r"},
            {"type": "event", "name": "x", "from": {"id": "b", "role": 0}},
        ]
    },
    "Genesys, messages": {
        "messages": [{"direction": "inbound", "textBody": "p"}, {"direction": "outbound", "textBody": "r"}]
    },
    "Front": {"_results": [{"is_inbound": True, "text": "p"}, {"is_inbound": False, "text": "r"}]},
    "Crisp, with its events": {
        "data": [
            {"session_id": "s", "type": "text", "from": "user", "content": "p"},
            {"session_id": "s", "type": "text", "from": "operator", "content": "r"},
            {"session_id": "s", "type": "event", "from": "operator", "content": {"namespace": "state:resolved"}},
        ]
    },
    "CX Insights": {"entries": [{"text": "p", "role": "CUSTOMER"}, {"text": "r", "role": "AGENT", "user_id": 2}]},
    "MultiWOZ and SGD": [
        {
            "dialogue_id": "1",
            "turns": [
                {"frames": [], "speaker": "USER", "utterance": "p"},
                {"frames": [], "speaker": "SYSTEM", "utterance": "r"},
            ],
        }
    ],
    "SillyTavern": [
        {"user_name": "n", "character_name": "m", "chat_metadata": {}},
        {"name": "n", "is_user": True, "is_system": False, "mes": "p"},
        {"name": "m", "is_user": False, "is_system": True, "mes": "hidden"},
        {"name": "m", "is_user": False, "is_system": False, "mes": "r", "swipes": ["x", "r"], "swipe_id": 1},
    ],
    "Responses, a log": {
        "object": "response",
        "input": "p",
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "r"}]},
        ],
    },
    "Contact Lens": {
        "Version": "1.1.0",
        "Participants": [
            {"ParticipantId": "1", "ParticipantRole": "AGENT"},
            {"ParticipantId": "2", "ParticipantRole": "CUSTOMER"},
        ],
        "Transcript": [
            {"ParticipantId": "2", "Id": "a", "Content": "p", "BeginOffsetMillis": 0},
            {"ParticipantId": "1", "Id": "b", "Content": "r", "BeginOffsetMillis": 900},
        ],
    },
    "Genesys, a call": {
        "conversationId": "c",
        "transcripts": [
            {
                "transcriptId": "t",
                "phrases": [
                    {"text": "p", "participantPurpose": "external", "phraseIndex": 0},
                    {"text": "r", "participantPurpose": "internal", "phraseIndex": 1},
                ],
            }
        ],
    },
    "Dialogflow CX": {
        "name": "projects/p/conversations/c",
        "interactions": [
            {
                "request": {"queryInput": {"event": {"event": "bye"}}},
                "response": {"queryResult": {"responseMessages": [{"payload": {"x": 1}}]}},
                "createTime": "2025-01-01T00:00:02Z",
            },
            {
                "request": {"queryInput": {"text": {"text": "p"}}},
                "response": {"queryResult": {"text": "p", "responseMessages": [{"text": {"text": ["r"]}}]}},
                "createTime": "2025-01-01T00:00:01Z",
            },
        ],
    },
    "Dialogflow CX, a table": [
        {
            "conversation_name": "c",
            "turn_position": 1,
            "request": json.dumps({"queryInput": {"text": {"text": "p"}}}),
            "response": json.dumps({"queryResult": {"responseMessages": [{"text": {"text": ["r"]}}]}}),
        }
    ],
    "Voiceflow": {
        "transcript": {
            "id": "c",
            "logs": [
                {"type": "action", "data": {"type": "launch"}},
                {"type": "action", "data": {"type": "text", "payload": "p"}},
                {"type": "trace", "data": {"type": "debug", "payload": {"message": "matched"}}},
                {"type": "trace", "data": {"type": "text", "payload": {"message": "r", "slate": {}}}},
            ],
        }
    },
    "Voiceflow, of before": [
        {"turnID": "1", "type": "launch", "payload": {"type": "launch"}, "format": "launch"},
        {"turnID": "2", "type": "request", "payload": {"type": "text", "payload": "p"}, "format": "request"},
        {
            "turnID": "2",
            "type": "text",
            "payload": {"type": "text", "payload": {"message": "r"}},
            "format": "trace",
        },
    ],
    "VS Code": {
        "requesterUsername": "n",
        "responderUsername": "GitHub Copilot",
        "requests": [
            {
                "requestId": "1",
                "message": {"text": "p", "parts": [{"text": "p", "kind": "text"}]},
                "response": [{"value": "r", "supportHtml": False}, {"kind": "progressTask"}],
            }
        ],
    },
    "Takeout": [
        {"header": "Gemini Apps", "title": "Used an Assistant feature", "products": ["Gemini Apps"]},
        {
            "header": "Gemini Apps",
            "title": "Prompted p",
            "safeHtmlItem": [{"html": "<p>r</p>"}],
            "products": ["Gemini Apps"],
        },
    ],
}
