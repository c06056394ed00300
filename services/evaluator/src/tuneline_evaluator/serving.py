"""How the fine-tuned model is to be served so that people get what was compared."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tuneline.data.serving import Serving
from tuneline_evaluator.conversations.prepare import Prepared
from tuneline_evaluator.conversations.talk import TextForm


def serving_of(prepared: Prepared) -> Serving:
    """Return the settings with which both arms answered."""
    plan, tokenizer = prepared.plan, prepared.tokenizer
    prompt = plan.system_prompt
    if prompt and tokenizer:
        prompt = tokenizer.neutralise(prompt)
    folded = prompt is not None and tokenizer is not None and not tokenizer.accepts_system
    return Serving(context_tokens=plan.context_tokens, sampler=plan.sampler, system_prompt=prompt, folded=folded)


def modelfile(prepared: Prepared, converted: Path | None, serving: Serving) -> str:
    """Return the Modelfile of what was compared: the converter's, one of a given file, or none of an endpoint."""
    facts = prepared.models[1].facts
    if not isinstance(prepared.models[1].source, Path):
        return f"# No FROM: {facts.name} answered, and there is no file to make a model of.\n"
    own = f"FROM ./model/{facts.file}\n"
    text = completed(converted.read_text(encoding="utf-8") if converted else own, serving)
    form = prepared.plan.completion
    return f"{text}{_text_line(form)}" if form else text


def _text_line(form: TextForm) -> str:
    """Say in a comment that the model was compared without its chat template, and how."""
    ends = json.dumps(form.stop)
    return f"# Not compared by TEMPLATE: as text, {json.dumps(form.template)}, and an answer ends at one of {ends}.\n"


def completed(modelfile: str, serving: Serving) -> str:
    """Return the converter's Modelfile with context, sampler and system prompt of the comparison."""
    sampler = serving.sampler
    parameters = {
        "num_ctx": serving.context_tokens,
        "temperature": sampler.temperature,
        "top_k": sampler.top_k,
        "top_p": sampler.top_p,
        "min_p": sampler.min_p,
        "num_predict": sampler.max_answer_tokens,
        "repeat_penalty": 1,  # older versions of Ollama have 1.1
    }
    lines = [f"PARAMETER {name} {value}" for name, value in parameters.items()]
    lines += [system_line(serving.system_prompt)] if serving.system_prompt else []
    return re.sub(r"^PARAMETER num_ctx .*\n", "", modelfile, flags=re.MULTILINE) + "\n".join([*lines, ""])


def system_line(prompt: str) -> str:
    """Return SYSTEM with `prompt`, or a comment where the parser of Ollama would make another text of it.

    It knows no escapes: quotation marks at the end of a line end the text, and it drops characters that are not seen.
    """
    lost = sorted({c for c in prompt if not (c.isprintable() or c in "\n\r\t")})
    if lost:
        problem = f"it would lose the character U+{ord(lost[0]):04X}"
    elif any(line.rstrip().endswith('"""') for line in re.split(r"[\r\n]", prompt)[:-1]):
        problem = 'a line of it ends with """'
    else:
        return f'SYSTEM """{prompt}"""'
    return f"# No SYSTEM: send the system prompt with each conversation. Ollama would change it here: {problem}."
