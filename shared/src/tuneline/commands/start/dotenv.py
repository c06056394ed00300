"""Reads keys from a file `.env` in the current folder, as many tools do: what is set already stays, nothing is printed.

The folder may have come from somebody else, so only variables that hold keys or name our own settings are taken from
there: any other, such as `LD_PRELOAD` or `HTTPS_PROXY`, could decide what runs or where secrets go.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from pathlib import Path

from tuneline.errors import UserError
from tuneline.parsing.problems import not_utf8

TAKEN = re.compile(r"[A-Z0-9_]+_(KEY|TOKEN|KEY_ID)|TUNELINE_STORE|AWS_(DEFAULT_)?REGION|AWS_PROFILE")
"""Names of variables that a `.env` may set."""
LARGEST = 65_536

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)")
_ALMOST = re.compile(r"(?:export\s+|set\s+|\$env:)?([A-Z0-9_]+)\s*[:=\s].*")
"""What people write for another program: `NAME: value`, `NAME value`, `set NAME=value`."""
_VALUE = re.compile(r"""'([^']*)'\s*(?:\#.*)?|"((?:[^"\\]|\\.)*)"\s*(?:\#.*)?|((?!["']).*?)(?:\s+\#.*)?""")


def read_env(place: Path, environ: MutableMapping[str, str]) -> None:
    """Set what the file gives and `environ` lacks; lines that are about other variables are another program's.

    Raises UserError with the line, and never with a value.
    """
    try:
        with place.open("rb") as file:
            text = file.read(LARGEST + 1).decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        return
    except OSError as e:
        raise UserError(f"{place}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise UserError(f"{place}: {not_utf8(e)}") from None
    if len(text) > LARGEST:
        raise UserError(f"{place}: longer than {LARGEST:,} characters")
    for number, line in enumerate(text.split("\n"), start=1):
        found = _LINE.fullmatch(line.strip()) or _ALMOST.fullmatch(line.strip())
        if not found or not TAKEN.fullmatch(found[1]):
            continue
        value = _VALUE.fullmatch(found[2]) if found.re is _LINE else None
        if not value or "\0" in line:
            raise UserError(f"{place}:{number}: {found[1]}: a line is NAME=value, its value perhaps in quotes")
        environ.setdefault(found[1], _text(value))


def _text(value: re.Match[str]) -> str:
    if value[2] is not None:
        return re.sub(r"\\(.)", lambda one: "\n" if one[1] == "n" else one[1], value[2])
    return value[1] if value[1] is not None else value[3]
