"""Xet, the Hub's storage of large files: how long its client tries, and what it was answered.

The client (hf_xet) is no Python: it reads variables when it is first used, and raises plain errors with the status of
an answer in their text alone. While it downloads they are RuntimeErrors, while it uploads ConnectionErrors.
"""

from __future__ import annotations

import os
import re

_SETTINGS = {
    # Of its own accord it tries for six minutes, which nobody sees; whoever called us says more, and tries again.
    "HF_XET_CLIENT_RETRY_MAX_DURATION": "60s",
    "HF_XET_TELEMETRY_ENABLED": "false",
}


def settle() -> None:
    """Set what the client reads when it is first used, unless somebody has set it."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def is_of_xet(error: BaseException) -> bool:
    """Tell whether Xet's client raised this, and not the library around it."""
    return isinstance(error, ConnectionError) or (isinstance(error, RuntimeError) and "CAS Client" in str(error))


def status_of(error: BaseException) -> int | None:
    """Return the status that Xet's client was answered; None if nothing answered."""
    found = re.search(r"\((\d{3}) ", str(error))
    return int(found[1]) if found else None
