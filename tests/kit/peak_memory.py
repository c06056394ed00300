"""The memory of a process, by the kernel's figure of its own pages.

Not `ru_maxrss`, which begins with what the process that started it had.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal


def run_and_weigh(words: Sequence[str]) -> int:
    """Run a program to its good end; return the most bytes that it had, as seen twenty times a second."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _peak(process.pid))
        time.sleep(0.05)
    assert process.returncode == 0, "the command has failed"
    return peak


def held(what: Literal["VmHWM", "VmRSS"]) -> int:
    """Return the bytes of this process: the most that it had, or those that it has."""
    found = _read(what, Path("/proc/self/status").read_text())
    assert found is not None
    return found


def _peak(pid: int) -> int:
    try:
        return _read("VmHWM", Path(f"/proc/{pid}/status").read_text()) or 0
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _read(what: str, status: str) -> int | None:
    found = re.search(rf"^{what}:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else None
