"""The base model in shards: of every layer each process keeps a part, and gathers the rest for as long as it needs it.

The base model is frozen, so nothing but its numbers is sent, and a layer that is gathered has the very bits of one that
never was apart. The adapter is whole in every process, and its gradients are summed as ever.
"""

from __future__ import annotations

from typing import cast

import torch
from peft import PeftModel
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from tuneline.errors import UserError
from tuneline_trainer.training.peers import Peers


def shard_base(model: PeftModel, peers: Peers, device: torch.device) -> None:
    """Keep a part of every layer on `device`, one layer after the other, and all of what is no layer.

    Weights in 4 bits stay bytes: stored as numbers of 16 bits, as bitsandbytes can, some would be NaN, of which copies
    may have other bits. Raises UserError for a model whose layers are not told apart.
    """
    decoder = cast(PreTrainedModel, model.get_base_model()).get_decoder()  # type: ignore[no-untyped-call]
    layers = [module for module in decoder.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise UserError("`shard_base`: the layers of this model cannot be told apart. Leave it out, with a larger GPU")
    mesh = init_device_mesh(device.type, (peers.count,))
    for layer in layers:
        layer.to(device)
        adapter = {parameter for parameter in layer.parameters() if parameter.requires_grad}
        fully_shard(layer, mesh=mesh, ignored_params=adapter, reshard_after_forward=True)
    for tensor in (*model.parameters(), *model.buffers()):
        if not isinstance(tensor, DTensor):
            tensor.data = tensor.data.to(device)
