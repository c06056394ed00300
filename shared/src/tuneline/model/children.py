"""Programs that Tuneline starts: they get none of its secrets, and none outlives it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

CRASHES = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
"""How a program ends by its own doing; other signals come from outside."""

# What a program needs to find its files, processors and language. Everything else stays here: keys of the store and of
# judges, the Hub's token, and settings (LLAMA_ARG_…, PYTHONPATH) that would make results depend on the environment.
_INHERITED = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_INHERITED_PREFIXES = ("LC_", "OMP_", "MKL_", "OPENBLAS_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_")
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

# The child asks the kernel for its own end when its parent ends, then becomes the program. A wrapper and not
# `preexec_fn`, which may deadlock in a process with threads. The check is for a parent that had already ended.
_TIED_TO_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)  # 1 is PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent process has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""


def environment() -> dict[str, str]:
    """Return the variables that a program gets: what is on the list, and to stay off the network."""
    kept = (name for name in os.environ if name in _INHERITED or name.startswith(_INHERITED_PREFIXES))
    return {name: os.environ[name] for name in kept} | _OFFLINE


def tied_to_us(command: Sequence[str]) -> list[str]:
    """Return a command that becomes `command`, and ends when this process does, however it ends."""
    return [sys.executable, "-I", "-S", "-c", _TIED_TO_PARENT, str(os.getpid()), *command]


def ending(status: int) -> str:
    """Return how a program ended, by its return code: the name of the signal, else the status."""
    return signal.Signals(-status).name if status < 0 else f"status {status}"
