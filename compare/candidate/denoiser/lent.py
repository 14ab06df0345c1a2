"""A network's weights, lent: changed for a while, and given back as they were."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

SMALL = 0.1  # what is added to weights that are all alike: gains stay near 1


@contextmanager
def lent(*networks: nn.Module) -> Iterator[None]:
    """Lets weights, buffers, gradients and modes be changed inside the block; then as before."""
    modules = [module for network in networks for module in network.modules()]
    stores: list[Any] = [store for m in modules for store in (m._parameters, m._buffers)]
    every = [(store, name, value) for store in stores for name, value in store.items()]
    kept = [(*each, each[2].detach().clone()) for each in every if _is(each[2])]
    modes = [(module, module.training) for module in modules]
    gradients = [(weight, weight.grad) for n in networks for weight in n.parameters()]
    try:
        yield
    finally:
        with torch.no_grad():
            for store, name, value, before in kept:
                store[name] = value
                value.copy_(before)
        for module, training in modes:
            module.training = training
        for weight, gradient in gradients:
            weight.grad = gradient


def _is(value: Any) -> bool:
    """True for a tensor that has values yet."""
    return value is not None and not is_lazy(value)


def vary(network: nn.Module, seed: int) -> None:
    """Gives weights that are all alike, as those of a last layer that begins at zero, values of
    their own, in place: with zeros there nothing could be seen behind them.

    A matrix of zeros becomes N(0, 1 / fan-in); to what else is constant N(0, 0.1^2) is added.
    Weights that were drawn or trained, and frozen ones, stay.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.requires_grad or not weight.is_floating_point() or not weight.numel():
                continue
            if not bool((weight == weight.flatten()[0]).all()):
                continue
            noise = torch.randn(weight.shape, generator=generator).to(weight)
            of_zeros = weight.dim() > 1 and not bool(weight.any())
            weight.add_(noise / math.sqrt(weight[0].numel()) if of_zeros else SMALL * noise)
