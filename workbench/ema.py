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

    def update(self, model: torch.nn.Module) -> None:
        """average <- decay * average + (1 - decay) * weights."""
        self.move(model, self.next_weight())
        self.updates += 1

    def next_weight(self) -> float:
        """1 - decay of the next update."""
        return 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))

    @torch.no_grad()
    def move(self, model: torch.nn.Module, weight: float | torch.Tensor) -> None:
        """average <- average + weight * (weights - average), without counting it.

        Args:
            model: as in `__init__`.
            weight: 1 - decay; a 0-dim tensor on the device may change inside a CUDA graph, and
                rounds otherwise in the last bit.
        """
        averages = list(self.average.values())
        weights: list[torch.Tensor] = list(model.parameters())
        if isinstance(weight, float):
            torch._foreach_lerp_(averages, weights, weight)
            return
        differences = torch._foreach_sub(weights, averages)
        torch._foreach_mul_(differences, weight)
        torch._foreach_add_(averages, differences)

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
