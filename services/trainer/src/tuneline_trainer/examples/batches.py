"""Tensors of rows: a forward pass of training or validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tuneline_trainer.examples.rows import Row
from tuneline_trainer.examples.steps import Steps

Batch = dict[str, torch.Tensor]
"""A forward pass."""


class Collator:
    """Makes tensors of what the data sets name: the number of a step of training, or of a row of validation."""

    def __init__(self, steps: Steps, validation: Sequence[Row]) -> None:
        self._steps, self._validation = steps, validation

    def __call__(self, named: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        (name,) = named  # one at a time
        if "row" in name:
            return batch_of([self._validation[name["row"]]], 1)
        batches = self._steps.batches(name["step"])
        supervised = sum(row.supervised for rows in batches for row in rows)
        return {"batches": [batch_of(rows, supervised) for rows in batches]}


def batch_of(rows: Sequence[Row], supervised: int) -> Batch:
    """Return tensors of shape (rows, tokens of the longest), padded at the end; weights are parts of `supervised`."""
    shape = (len(rows), max(row.length for row in rows))
    ids, labels, weights = torch.zeros(shape, dtype=torch.long), torch.full(shape, -100), torch.zeros(shape)
    for at, row in enumerate(rows):
        ids[at, : row.length] = torch.frombuffer(row.ids, dtype=torch.int32)[: row.length]
        for (start, end), weight in row.learnt:
            labels[at, start:end] = ids[at, start:end]
            weights[at, start:end] = weight / supervised
    return {"input_ids": ids, "labels": labels, "weights": weights, "tokens": torch.tensor([r.length for r in rows])}
