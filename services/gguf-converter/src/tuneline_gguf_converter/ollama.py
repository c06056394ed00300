"""The Modelfile for Ollama, with the chat template in Ollama's own language: Go's text/template.

Without TEMPLATE in the Modelfile, older versions of Ollama take a listed template that looks like the file's, or send
the bare prompt. So it is written from what the model's template makes of a conversation, and only if it makes the same
of every conversation that is compared: see `turn_form`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from tuneline.data.serving import LARGEST_DEFAULT_CONTEXT
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer, fold_system
from tuneline.model.gguf_header import Header
from tuneline.parsing.problems import printable
from tuneline_gguf_converter.checking.samples import Messages, Sample

PROMPT = "Answer in one word."
_TURNS = ("Qone1q", "Aone1a", "Qtwo2q", "Atwo2a", "Qthree3q")
_SYSTEM = "Szero0s"


class SystemForm(NamedTuple):
    """What stands around a system prompt, which comes before the first or the last question."""

    place: Literal["first", "last"]
    before: str
    after: str


class TurnForm(NamedTuple):
    """What a chat template writes around questions and answers that take turns, up to where an answer begins."""

    opening: str
    """Before the first question when there is no system prompt."""
    to_answer: str
    to_question: str
    closing: str
    """After the last question: the generation prompt."""
    system: SystemForm

    def render(self, system: str | None, turns: Sequence[str]) -> str:
        """Return the text for `turns`, which begin and end with a question: what `go_template` makes of them."""
        said = f"{self.system.before}{system}{self.system.after}"
        first = said if system and self.system.place == "first" else self.opening
        parts = [first]
        for number, turn in enumerate(turns):
            if number:
                parts.append(self.to_question if number % 2 == 0 else self.to_answer)
            if system and self.system.place == "last" and number == len(turns) - 1:
                parts.append(said)
            parts.append(turn)
        return "".join([*parts, self.closing])


def turn_form(tokenizer: ChatTokenizer, header: Header, samples: Sequence[Sample]) -> TurnForm | str:
    """Return the form of the model's chat template, or the reason why it has none that is the same everywhere.

    It is read off one conversation, and then has to make of every sample, up to the first, second and last question,
    with and without a system prompt, the text that the template makes.
    """
    bos = header.token(header.number("tokenizer.ggml.bos_token_id"))
    # Ollama has BOS added by its runner, as llama.cpp does.
    adds_bos = bool(bos) and bool(header.metadata.get("tokenizer.ggml.add_bos_token"))

    def rendered(system: str | None, turns: Sequence[str]) -> str:
        text = tokenizer.render(fold_system(_messages(system, turns), tokenizer), add_generation_prompt=True)
        return text.removeprefix(bos) if adds_bos else text

    try:
        form = _read_form(rendered(None, _TURNS), rendered(_SYSTEM, _TURNS))
        if isinstance(form, str):
            return form
        for sample in samples:
            turns = _turns(sample.messages, tokenizer)
            for end in sorted({1, 3, len(turns)}):
                for system in (None, PROMPT):
                    if form.render(system, turns[:end]) != rendered(system, turns[:end]):
                        return f"the chat template writes turns in different ways, as in {sample.name}"
    except UserError:
        return "the chat template refuses one of the conversations"
    return form


def modelfile(file: str, header: Header, end_of_turn: str, form: TurnForm | str) -> str:
    """Return the Modelfile for Ollama: the file, its chat template, its context, and where an answer ends."""
    context = header.context_tokens or 4096
    template = f'TEMPLATE """{go_template(form)}"""' if isinstance(form, TurnForm) else _left_out(form)
    return (
        "# ollama create my-model -f Modelfile     (beside the folder `model`)\n"
        f"FROM ./model/{file}\n"
        f"{template}\n"
        f"PARAMETER num_ctx {min(context, LARGEST_DEFAULT_CONTEXT)}\n"
        f"{_stop_line(end_of_turn)}\n"
    )


def _stop_line(end_of_turn: str) -> str:
    """Return where an answer ends. Ollama takes the outer quotation marks off, and knows no escapes."""
    if end_of_turn.isprintable():
        return f'PARAMETER stop "{end_of_turn}"'
    # A line end in it would end the line here, and what is behind it would be lines of the Modelfile.
    return (
        f"# No PARAMETER stop: Ollama cannot be told {printable(end_of_turn)}. The file names it as the end of a turn."
    )


def go_template(form: TurnForm) -> str:
    """Return `form` in Ollama's language. Messages of other roles are passed over: `.System` has the system prompts.

    White space in front of `{{-` is taken away, so all that is written stands in quotation marks. An answer that comes
    last is to be continued, and one that comes first (Ollama cuts old messages off) answers nothing.
    """
    system, opening = form.system, _go_string(form.opening)
    said = f"{_go_string(system.before)}{{{{ $.System }}}}{_go_string(system.after)}"
    last = f"{{{{- if and $.System (eq (len (slice $.Messages $i)) 1) }}}}{said}{{{{ end }}}}\n"
    return "".join(
        [
            "{{- $said := false }}{{ $asked := false }}\n",
            "{{- range $i, $_ := .Messages }}\n",
            '{{- if or (eq .Role "user") (eq .Role "assistant") }}\n',
            "{{- if not $said }}",
            f"{{{{ if $.System }}}}{said}{{{{ else }}}}{opening}{{{{ end }}}}" if system.place == "first" else opening,
            f'{{{{ else if eq .Role "user" }}}}{_go_string(form.to_question)}{{{{ end }}}}\n',
            '{{- if eq .Role "assistant" }}' + _go_string(form.to_answer) + "{{ end }}\n",
            last if system.place == "last" else "",
            '{{- .Content }}{{ $said = true }}{{ $asked = eq .Role "user" }}\n',
            "{{- end }}\n",
            "{{- end }}\n",
            f"{{{{- if $asked }}}}{_go_string(form.closing)}{{{{ end }}}}",
        ]
    )


def _messages(system: str | None, turns: Sequence[str]) -> Messages:
    first = [{"role": "system", "content": system}] if system else []
    roles = ("user", "assistant") * len(turns)
    return first + [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False)]


def _turns(messages: Messages, tokenizer: ChatTokenizer) -> list[str]:
    """Return what is said in turn, from the first question to the last, as the evaluator sends it."""
    said = [message for message in messages if message["role"] != "system"]
    if said and said[0]["role"] == "assistant":
        said = said[1:]
    if said and said[-1]["role"] == "assistant":
        said = said[:-1]
    return [tokenizer.neutralise(message["content"]) for message in said]


def _read_form(plain: str, with_system: str) -> TurnForm | str:
    """Read what stands between the marks. Each must be there once and in order."""
    between = _between(plain, _TURNS)
    if between is None:
        return "the chat template does not write each message once, in the order in which they were said"
    opening, to_answer, to_question, _, _, closing = between
    if (led := _between(with_system, (_SYSTEM, *_TURNS))) is not None:
        system = SystemForm("first", led[0], led[1])
    elif (led := _between(with_system, (*_TURNS[:-1], _SYSTEM, _TURNS[-1]))) is not None:
        if not led[4].startswith(to_question):
            return "the chat template writes the last question in another way when there is a system prompt"
        system = SystemForm("last", led[4].removeprefix(to_question), led[5])
    else:
        return "the chat template does not write a system prompt once, before the first question or the last"
    return TurnForm(opening, to_answer, to_question, closing, system)


def _between(text: str, marks: Sequence[str]) -> list[str] | None:
    parts = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            return None
        parts.append(before)
    return [*parts, text]


def _go_string(text: str) -> str:
    """Return an action that writes `text`: a string literal of Go with nothing in it that Ollama's parser drops."""
    if not text:
        return ""
    named = {"\n": r"\n", "\t": r"\t", "\r": r"\r", '"': r"\"", "\\": r"\\"}
    spelt = (named.get(c) or (c if c.isprintable() else f"\\U{ord(c):08x}") for c in text)
    return '{{ "' + "".join(spelt) + '" }}'


def _left_out(reason: str) -> str:
    """Say in a comment why there is no TEMPLATE, and what follows from it."""
    return (
        f"# No TEMPLATE, because {reason}.\n"
        "# Ollama from 2026 on uses the chat template in the file; older versions may use another one, or none."
    )
