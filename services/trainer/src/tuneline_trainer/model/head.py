"""The head and the loss on a CPU: never more logits than LOGITS at once, and their gradient on the spot.

TRL's head, which is used on a GPU, keeps nothing and so computes every logit a second time for the backward pass, and
without a GPU's kernel it goes over each tile some ten times. The head is never trained here, so that the gradient of a
token's log-probability is one vector of the size of its hidden state, which can be kept: two products instead of three.
"""

from __future__ import annotations

from typing import Any

import torch
from trl.trainer import utils

from tuneline_trainer.model.memory import HEAD_LOGITS_ON_CPU

LOGITS = HEAD_LOGITS_ON_CPU // 3
"""Logits that are held at once, in three copies."""


class ChunkedHead(torch.autograd.Function):
    """Log-probabilities of targets, in place of TRL's function of the same arguments."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor,
        temperature: float, chunk_size: int, softcap: float | None = None, scale: float = 1.0, outputs: object = (),
    ) -> tuple[torch.Tensor | None, ...]:  # fmt: skip
        """Take hidden states (tokens, size), the head (vocabulary, size) and targets (tokens); return (tokens)."""
        assert temperature == 1.0
        found = torch.empty(len(hidden), dtype=torch.float32)
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        tokens = max(1, LOGITS // len(weight))
        for start in range(0, len(hidden), tokens):
            part = slice(start, start + tokens)
            logits = torch.nn.functional.linear(hidden[part], weight, bias).float().mul_(scale)
            if softcap:
                logits.div_(softcap).tanh_().mul_(softcap)
            total = logits.logsumexp(1, keepdim=True)
            wanted = targets[part, None]
            found[part] = (logits.gather(1, wanted) - total)[:, 0]
            if slopes is not None:
                slope = (logits - total).exp_().neg_()
                slope.scatter_add_(1, wanted, torch.ones(wanted.shape))
                if softcap:
                    slope.mul_(logits.div_(softcap).square_().neg_().add_(1))
                slopes[part] = slope.mul_(scale).to(weight.dtype) @ weight
        ctx.save_for_backward(slopes)
        return found, None, None, None, None

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """Weigh each token's slope."""
        (slopes,), weights = ctx.saved_tensors, gradients[0]
        assert weights is not None
        return (slopes * weights[:, None].to(slopes.dtype), *(None,) * 8)


def use_on_cpu() -> None:
    """Let TRL use it, for the tokens that are learnt alone: without a GPU it would compute the others as well."""
    utils._ChunkedLogProbFunction = ChunkedHead  # type: ignore[attr-defined, assignment]
    utils._use_triton = lambda device: True  # type: ignore[attr-defined]
