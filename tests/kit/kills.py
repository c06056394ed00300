"""Commands that are killed with -9, after so many calls to a scripted server."""

from __future__ import annotations

import subprocess
import time

from kit.scripted_openai import ScriptedOpenAI

FLUSH_SECONDS = 1.0
"""How long a busy machine may take to write what a beat has found."""


def killed_after(calls: int, server: ScriptedOpenAI, words: list[str]) -> float | None:
    """Start it and kill it once it has made so many calls; return when, None if it was done before."""
    seen = len(server.calls)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while process.poll() is None and len(server.calls) < seen + calls:
            time.sleep(0.005)
        at = time.monotonic()
    finally:
        process.kill()
        _, said = process.communicate()
    assert process.returncode in (0, -9), said.decode()
    return at if process.returncode else None
