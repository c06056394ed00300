"""The program `tuneline`, from its first step: it may be interrupted while the command line is still being loaded."""

from __future__ import annotations

import os
import signal
import sys

EXIT_INTERRUPTED = 130
"""128 and the number of SIGINT, as a shell says it."""


def main() -> None:
    """Load the command line and run it. Ctrl-C ends it without a traceback, however early."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # a shell's job in the background ignores Ctrl-C
        # An exception may be lost in an import, which then goes on. Nothing has begun yet that needs an end.
        signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))
    from tuneline.commands.tuneline import main as run

    signal.signal(signal.SIGINT, before)
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
