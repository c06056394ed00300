"""Which variables may hold a model's key, and where a key may go.

A run file is data that one downloads and runs, so it may not decide where secrets go: the variables that it may name
are those with keys of models, and a key of a known vendor goes to that vendor or to this machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import AnyHttpUrl, TypeAdapter, ValidationError

_ADDRESS = re.compile(
    r"https?://(\[[0-9a-f:.]+\]|[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*)(:[0-9]+)?(/[^\s@?#\\\x7f-\U0010ffff]*)?",
    re.IGNORECASE | re.ASCII,  # without ASCII, \u017f and \u212a would exclude s and k as well
)
"""So plain that everybody reads the same host in it."""

VENDORS: Mapping[str, tuple[str, ...]] = {
    "AZURE_OPENAI": ("azure.com",), "OPENAI": ("openai.com",), "ANTHROPIC": ("anthropic.com",),
    "CLAUDE": ("anthropic.com",), "GEMINI": ("googleapis.com",), "GOOGLE": ("googleapis.com",),
    "OPENROUTER": ("openrouter.ai",), "MISTRAL": ("mistral.ai",), "GROQ": ("groq.com",), "DEEPSEEK": ("deepseek.com",),
    "TOGETHER": ("together.xyz", "together.ai"), "XAI": ("x.ai",), "FIREWORKS": ("fireworks.ai",),
    "CEREBRAS": ("cerebras.ai",), "SAMBANOVA": ("sambanova.ai",), "DEEPINFRA": ("deepinfra.com",),
    "NEBIUS": ("nebius.com", "nebius.ai"), "PERPLEXITY": ("perplexity.ai",), "COHERE": ("cohere.com", "cohere.ai"),
    "MOONSHOT": ("moonshot.ai", "moonshot.cn"), "DASHSCOPE": ("aliyuncs.com",), "ZAI": ("z.ai",),
    "ZHIPUAI": ("bigmodel.cn",), "NVIDIA": ("nvidia.com",), "SILICONFLOW": ("siliconflow.com", "siliconflow.cn"),
    "HYPERBOLIC": ("hyperbolic.xyz",), "NOVITA": ("novita.ai",), "VERTEX": ("googleapis.com",),
}  # fmt: skip
"""Where a key goes whose variable has this word in its name."""

ROLES = ("JUDGE", "SIMULATOR", "GENERATOR", "WRITER", "CRITIC", "RECOGNISER", "MODEL", "LLM")
"""What a model is used for, in the names of variables whose key goes wherever the model is."""

_KEY = re.compile(
    r"(?=[A-Z0-9_]{1,64}$)(?!(?:\w+_)?(?:AWS|S3|MINIO|HF|HUGGING_?FACE(?:HUB)?|GITHUB|GH|GITLAB|CI|KUBE\w*|K8S|ARGO\w*|DOCKER"
    rf"|TUNELINE)_)(?:\w+_)?(?:(?:{'|'.join(VENDORS)})_(?:\w+_)?API_KEY"
    rf"|(?:{'|'.join(ROLES)})(?:_\w+)?_(?:KEY|TOKEN))"
)


def names_a_key(name: str) -> bool:
    """Tell whether a variable of this name may hold the key of a model."""
    return _KEY.fullmatch(name) is not None


def receivers(name: str) -> tuple[str, ...]:
    """Return the domains that the key in a variable goes to; none is named where it may go to any."""
    return next((domains for word, domains in VENDORS.items() if f"_{word}_" in f"_{name}"), ())


def is_plain_address(value: str) -> bool:
    """Tell whether an address is one that everybody reads alike, without key or query."""
    try:
        TypeAdapter(AnyHttpUrl).validate_python(value)
    except ValidationError:
        return False
    return _ADDRESS.fullmatch(value) is not None
