"""The processes that compute a training together, as one of them sees them.

Every process holds the whole model (with `shard_base` a part of each layer) and takes every `count`-th forward pass of
a step. The gradients are then added in the order of the passes, as one process would add them, so that the sum is the
same to the last bit whatever their number is; every process takes the optimiser's step for itself, from equal numbers
to equal numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

PATIENCE = timedelta(hours=1)
"""How long a process waits for another one, which may be compiling kernels; one that has ended is noticed at once."""


class Peers:
    """Process number `rank` of `count`."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    @property
    def first(self) -> bool:
        """Whether this is the one process that saves and tells."""
        return self.rank == 0

    def meet(self, place: Path) -> None:
        """Wait for the others at a file that no meeting has used before."""
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(
            backend, init_method=place.absolute().as_uri(), rank=self.rank, world_size=self.count, timeout=PATIENCE
        )

    def agreed(self, wanted: bool) -> bool:
        """Return what the first process wants."""
        if self.count == 1:
            return wanted
        flag = torch.tensor([wanted])
        distributed.broadcast(flag, 0)
        return bool(flag)

    def joined(self, mine: Sequence[torch.Tensor], total: int, device: torch.device) -> torch.Tensor:
        """Return `total` numbers, of which each process has every `count`-th one, in their order."""
        if self.count == 1:
            return torch.stack(list(mine))
        numbers = torch.zeros(total, device=device)
        if mine:
            numbers[self.rank :: self.count] = torch.stack(list(mine))
        distributed.all_reduce(numbers)  # to each number nothing is added but zeros
        return numbers


class GradientSum:
    """The sum of the gradients of a step's forward passes, in their order."""

    def __init__(self, weights: Sequence[torch.nn.Parameter], peers: Peers) -> None:
        self._weights, self._peers = weights, peers
        self._sum: torch.Tensor | None = None

    def add(self, passes: int) -> None:
        """Add the gradient of one forward pass of each of the first `passes` processes, and clear ours."""
        ours = self._flat()
        for source in range(passes):
            gradient = ours if source == self._peers.rank else torch.empty_like(ours)
            distributed.broadcast(gradient, source)
            self._sum = gradient.clone() if self._sum is None else self._sum.add_(gradient)

    def put(self) -> None:
        """Make the sum the gradient of the weights; one that no pass has touched gets none."""
        assert self._sum is not None
        *parts, touched = torch.split(self._sum, [*(weight.numel() for weight in self._weights), len(self._weights)])
        for weight, part, found in zip(self._weights, parts, touched.tolist(), strict=True):
            weight.grad = part.view_as(weight).to(weight.dtype) if found else None

    def _flat(self) -> torch.Tensor:
        """Return the gradients in a row, and behind them for each weight whether it has one."""
        found = [weight.grad for weight in self._weights]
        parts = [torch.zeros_like(w) if g is None else g for w, g in zip(self._weights, found, strict=True)]
        touched = parts[0].new_tensor([gradient is not None for gradient in found])
        for weight in self._weights:
            weight.grad = None
        return torch.cat([*(part.flatten() for part in parts), touched])
