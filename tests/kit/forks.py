"""Processes that are forked from a server which has done the imports: those take longer than most of what is tested.

pytest has one such server in each of its processes, which imports what was named before it forks for the first time.
So whoever needs imports names them while tests are collected: the first one to fork would else decide for all.
"""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess

_forks = multiprocessing.get_context("forkserver")
_named: list[str] = []


def preload(*modules: str) -> None:
    """Name installed modules that the server imports."""
    _named.extend(modules)
    _forks.set_forkserver_preload(_named)


def start(function: Callable[..., object], *args: object) -> ForkServerProcess:
    """Begin to call `function` in a fresh process; SystemExit gives its exit code."""
    process = _forks.Process(target=_begin, args=(function, *args))
    process.start()
    return process


def _begin(function: Callable[..., object], *args: object) -> None:
    gc.freeze()  # what was imported need not be searched, and its memory copied, each time garbage is collected
    function(*args)
