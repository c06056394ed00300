"""Measures what the head and the loss take: the logits of all tokens at once, in TRL's tiles, and as the trainer does.

`python tests/kit/head_memory.py` (with PYTHONPATH=tests) prints bytes above those of the weights, and CPU seconds, for
TOKENS tokens and the head of a Gemma-3 of 270 million parameters. Each is a process, forward and backward.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import NamedTuple

import torch
from trl.kernels import chunked_logprob
from trl.kernels.chunked_logprob import ChunkedLogProbFunction

from kit.peak_memory import held
from tuneline_trainer.model.head import ChunkedHead
from tuneline_trainer.model.memory import HEAD_TILE, return_freed_memory

TOKENS, HIDDEN, VOCABULARY = 1024, 640, 262_144
CAP = 30.0
"""Soft cap of the logits, as in Gemma-2."""


class Taken(NamedTuple):
    """What a forward and a backward pass took; seconds are those of all processors."""

    bytes: int
    seconds: float


def full(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the log-probability of each target, by the plain way."""
    logits = CAP * torch.tanh(hidden @ head.T / CAP)
    return -torch.nn.functional.cross_entropy(logits, targets, reduction="none")


def tiled(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the same by TRL, with small tiles."""
    chunked_logprob.TOKEN_CHUNK_SIZE = 256
    found = ChunkedLogProbFunction.apply(hidden, head, None, targets, 1.0, HEAD_TILE, CAP, 1.0, ())
    log_probs: torch.Tensor = found[0]
    return log_probs


def chunked(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the same as the trainer does."""
    found = ChunkedHead.apply(hidden, head, None, targets, 1.0, HEAD_TILE, CAP, 1.0, ())
    log_probs: torch.Tensor = found[0]
    return log_probs


WAYS = {"full": full, "tiled": tiled, "chunked": chunked}


def measure(way: str) -> Taken:
    """Measure one way in a process of its own."""
    done = subprocess.run([sys.executable, __file__, way], stdout=subprocess.PIPE, text=True, check=True)
    return Taken(*json.loads(done.stdout))


def _take(way: str) -> Taken:
    return_freed_memory()
    hidden = torch.randn(TOKENS, HIDDEN, requires_grad=True)
    head, targets = torch.randn(VOCABULARY, HIDDEN).div_(25), torch.randint(VOCABULARY, (TOKENS,))
    weights = torch.rand(TOKENS)
    before, began = held("VmRSS"), time.process_time()
    log_probs = WAYS[way](hidden, head, targets)
    (-(log_probs * weights).sum()).backward()  # type: ignore[no-untyped-call]
    return Taken(held("VmHWM") - before, time.process_time() - began)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_take(sys.argv[1])))
    else:
        for name in WAYS:
            taken = measure(name)
            print(f"{name}\t{taken.bytes / 2**30:.2f} GiB\t{taken.seconds:.1f} s")
