"""Traces of tools: what is one, and what only looks like one."""

from __future__ import annotations

import time

import pytest

from tuneline.data.text.artifacts import Artifact, artifacts_in

FOUND: list[tuple[Artifact, str, str]] = [
    ("stage_directions", "", "*smiles warmly* Good to hear."),
    ("stage_directions", "", "I see. *pauses for a moment* And then?"),
    ("stage_directions", "", "[laughs] That is a good one."),
    ("stage_directions", "", "(sighs softly) Let us begin again."),
    ("ai_talk", "How was your week?", "As an AI language model, I have no weeks."),
    ("ai_talk", "Help me.", "I'm just an AI, so I cannot know."),
    ("ai_talk", "Help me.", "I'm sorry, but I can't assist with that request."),
    ("ai_talk", "Hilf mir.", "Als KI-Sprachmodell kann ich das nicht sagen."),
    ("ai_talk", "帮帮我", "作为一个人工智能，我不能回答。"),
    ("footers", "It leaks.\n\nGenerated with [A Tool](https://example.org)", "Where?"),
    ("footers", "It leaks.\nCo-Authored-By: Bot <bot@example.org>", "Where?"),
    ("footers", "It leaks.\n\nSent from my iPhone", "Where?"),
    ("footers", "It leaks.", "Empty the tray.\n\nWas this answer helpful?"),
    ("tool_boxes", "It leaks.", "★ Insight ─────────────────\nThe tray is full."),
    ("tool_boxes", "It leaks.", "<tool_call>{}</tool_call> Empty the tray."),
    ("tool_boxes", "It leaks.", "<think>The user has a leak.</think> Empty the tray."),
    ("tool_boxes", "It leaks.", "```tool_code\nprint()\n```"),
    ("speaker_labels", "It leaks.", "Empty the tray.\nUser: Which tray?\nAssistant: The lower one."),
    ("speaker_labels", "It leaks.<|im_end|>", "Empty the tray."),
    ("speaker_labels", "It leaks.", "[INST] Empty the tray. [/INST]"),
    ("generator_talk", "For Exchange 2 I should show my slow_starter pattern. It leaks.", "Where?"),
    ("generator_talk", "I will stay within 30 to 80 words. It leaks.", "Where?"),
    ("generator_talk", "I stop here, this is generated data.", "Where?"),
    ("generator_talk", "It leaks.", "Understood, ending the simulation."),
    ("generator_talk", "It leaks.", "I will not go on producing this training data."),
    ("generator_talk", "Here is the user's next message: It leaks.", "Where?"),
    ("placeholders", "It leaks.", "Dear [Customer Name], please empty the tray."),
    ("placeholders", "It leaks.", "Hello {{first_name}}, please empty the tray."),
    ("broken_text", "It leaks.", "Itâ€™s the tray."),
    ("broken_text", "It leaks.", "First the tray.\\n\\nThen the tank."),
    ("broken_text", "It leaks &amp; hisses.", "Empty the tray."),
    ("broken_text", "It leaks.", "The tray<br>then the tank."),
]  # fmt: skip

CLEAN = [
    ("It leaks.", "Please *do not* open it, just *listen* to what it does, and *think* about the tray."),
    ("She says I should.", "They *nod along in meetings*. That is not the same as agreeing."),
    ("It leaks.", "That is a *huge* help!"),
    ("Am I talking to a bot?", "Yes, I am an AI assistant, and I pass you on to a person whenever you like."),
    ("It leaks.", "Something came up that was out of character for it (see page 3)."),
    ("I exchanged it.", "Keep the exchange receipt, and the pattern on the lid in mind."),
    ("How do I write to them?", "Write: I will be back on [date], and sign with [your name]."),
    ("Which page?", "See [the manual](https://example.org) [page 3]."),
    ("How do I?", "Run this:\n```\n<think>\nUser: x\n&amp; ──────────────\n```"),
    ("It leaks.", "Note: the user manual says more. Response times vary. The user: you."),
    ("É a máquina.", "São Paulo não é longe; a manhã é boa. Â vontade."),
    ("It leaks.", "You said you feel tired (laughing helps, by the way)."),
]


@pytest.mark.parametrize(("kind", "user", "assistant"), FOUND)
def test_a_trace_of_a_tool_is_found(kind: Artifact, user: str, assistant: str) -> None:
    assert kind in artifacts_in(user, assistant)


@pytest.mark.parametrize(("user", "assistant"), CLEAN)
def test_what_people_write_is_no_trace(user: str, assistant: str) -> None:
    assert list(artifacts_in(user, assistant)) == []


PIECES = [
    "*", "*smiles ", "[", "(sighs ", "as an ", "i am an ai", "<", "</p", "<|a", "──", "###", "exchange 1", "\\n", "&",
    "here is the ", "```", "user:", "[insert ", "persona ", "word_word ", "i should show ", " 1 - 2 words",
    "action: a\n", "softly ", "# ",
]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_a_text_that_repeats_one_piece_takes_time_in_proportion(piece: str) -> None:
    text = piece * (400_000 // len(piece))
    began = time.process_time()
    list(artifacts_in(text, text))
    assert time.process_time() - began < 20
