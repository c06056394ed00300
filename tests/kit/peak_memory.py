"""The most memory of a program, from outside: the kernel's figure of its own pages.

Not `ru_maxrss`, which begins with what the process that started it had.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


def run_and_weigh(words: Sequence[str]) -> int:
    """Run a program to its good end; return the most bytes that it had, as seen twenty times a second."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _peak(process.pid))
        time.sleep(0.05)
    assert process.returncode == 0, "the command has failed"
    return peak


def _peak(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
