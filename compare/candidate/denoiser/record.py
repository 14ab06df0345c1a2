"""What each part of a network is given and makes, its prediction, and how far two are apart."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Call:
    """The first call of one part: copies of the tensors it was given and of those it returned."""

    given: tuple[Tensor, ...]
    made: tuple[Tensor, ...]


def prediction(answer: Any) -> Any:
    """The prediction (b, c, h, w) in an answer: the tensor, its `sample`, or the first of several.

    >>> prediction({"sample": torch.ones(1)}), prediction((torch.zeros(1), None))
    (tensor([1.]), tensor([0.]))
    """
    if isinstance(answer, Mapping):
        return answer.get("sample", next(iter(answer.values()), None))
    answer = getattr(answer, "sample", answer)
    return answer[0] if isinstance(answer, tuple | list) and answer else answer


def predict(network: nn.Module, arguments: Mapping[str, Any]) -> Tensor:
    """The prediction (b, c, h, w) of a network for these arguments."""
    result: Tensor = prediction(network(**arguments))
    return result


def record(
    network: nn.Module,
    arguments: Mapping[str, Any],
    seed: int = 0,
    names: Collection[str] | None = None,
) -> dict[str, Call]:
    """The first call of each part in one pass, by name, in the order in which they end.

    Args:
        network: in the mode in which it is to run.
        arguments: of its `forward`.
        seed: of the global generator, for dropout.
        names: of the parts to look at; None for all.
    """
    calls: dict[str, Call] = {}
    given: dict[str, tuple[Tensor, ...]] = {}

    def before(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        each = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
        given.setdefault(name, tuple(v.detach().clone() for v in each))

    def after(name: str, module: nn.Module, args: Any, output: Any) -> None:
        made = tuple(v.detach().clone() for v in tensors(output))
        calls.setdefault(name, Call(given[name], made))

    hooks = []
    for name, module in network.named_modules():
        if names is None or name in names:
            hooks.append(module.register_forward_pre_hook(partial(before, name), with_kwargs=True))
            hooks.append(module.register_forward_hook(partial(after, name)))
    try:
        torch.default_generator.manual_seed(seed)
        network(**arguments)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference relative to the largest entry of `other`; inf for NaN or other sizes.

    >>> apart(torch.tensor([1.0, 2.0]), torch.tensor([[1.0], [4.0]]))
    0.5
    """
    if one.numel() != other.numel():
        return math.inf
    gap = (one.double().flatten() - other.double().flatten()).abs().max()
    largest = other.double().abs().max().clamp(min=1e-30)
    relative = float(gap / largest)
    return relative if math.isfinite(relative) else math.inf


def tensors(answer: Any) -> list[Tensor]:
    """All tensors in an answer."""
    if isinstance(answer, Tensor):
        return [answer]
    if isinstance(answer, tuple | list | Mapping):
        parts = answer.values() if isinstance(answer, Mapping) else answer
        return [each for part in parts for each in tensors(part)]
    inside = getattr(answer, "sample", None)
    return [inside] if isinstance(inside, Tensor) else []
