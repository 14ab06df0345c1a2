"""A moving average of the weights: what one samples with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class EMA:
    """Exponential moving average of a model's parameters, with warm-up.

    After k updates the decay is min(decay, (1 + k) / (10 + k)): a short run forgets its random
    start too. Only parameters are averaged; buffers are the model's own.

    Args:
        model: whose parameters are averaged.
        decay: in [0, 1).

    Attributes:
        average: one tensor for each parameter, by its name.
        updates: k.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """average <- decay * average + (1 - decay) * weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        weights: list[torch.Tensor] = list(model.parameters())
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - decay)
        self.updates += 1

    @contextmanager
    def applied_to(self, model: torch.nn.Module) -> Iterator[torch.nn.Module]:
        """`model` with the averaged weights inside the block, with its own again afterwards."""
        own = {name: p.detach().clone() for name, p in model.named_parameters()}
        try:
            model.load_state_dict(self.average, strict=False)
            yield model
        finally:
            model.load_state_dict(own, strict=False)


@contextmanager
def sampling_weights(unet: Any, ema: EMA | None) -> Iterator[Any]:
    """The UNet with the weights to sample with: the averaged ones, if there are any."""
    if ema is None:
        yield unet
    else:
        with ema.applied_to(unet):
            yield unet
