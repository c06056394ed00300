from __future__ import annotations

import pytest

from tuneline.data.serving import SamplerParams, Serving
from tuneline_evaluator.serving import completed, system_line

CONVERTED = 'FROM ./model/x.gguf\nTEMPLATE """{{- .Content }}"""\nPARAMETER num_ctx 8192\nPARAMETER stop "<end>"\n'


def test_the_modelfile_has_sampler_and_context_of_the_comparison() -> None:
    text = completed(CONVERTED, Serving(context_tokens=1024, sampler=SamplerParams(temperature=0.5, top_k=0)))
    assert text == (
        'FROM ./model/x.gguf\nTEMPLATE """{{- .Content }}"""\nPARAMETER stop "<end>"\nPARAMETER num_ctx 1024\n'
        "PARAMETER temperature 0.5\nPARAMETER top_k 0\nPARAMETER top_p 0.95\nPARAMETER min_p 0.05\n"
        "PARAMETER num_predict 512\nPARAMETER repeat_penalty 1\n"
    )


@pytest.mark.parametrize(
    "prompt",
    [
        "Be kind.",
        'Say "yes" or """no""" only.\n\n  Never say {{ .System }}.\tGrüße, 日本語.\r\nEnd with "quotes"',
        '"',
        'ends with """',
    ],
)
def test_a_system_prompt_stands_in_the_modelfile_as_it_is(prompt: str) -> None:
    assert system_line(prompt) == f'SYSTEM """{prompt}"""'


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("no\u00a0break", "it would lose the character U+00A0"),
        ("a family: \U0001f469\u200d\U0001f467", "it would lose the character U+200D"),
        ('a fence:\n"""\ntext\n"""', 'a line of it ends with """'),
        ('a quotation """  \nand more', 'a line of it ends with """'),
    ],
)
def test_a_system_prompt_that_ollama_would_change_is_left_out_with_the_reason(prompt: str, reason: str) -> None:
    line = system_line(prompt)
    assert line.startswith("# No SYSTEM: ") and reason in line and "\n" not in line
