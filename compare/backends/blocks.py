"""What each part of a network is given and makes, and the first that departs from another's."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

SEVERAL = (tuple, list, Mapping)
WHOLE = ""  # the name of the network itself among its parts


@dataclass(frozen=True)
class Call:
    """The first call of one part: copies of the tensors it was given and of those it returned."""

    given: tuple[Tensor, ...]
    made: tuple[Tensor, ...]


@dataclass(frozen=True)
class Departure:
    """Where a network first departs from another.

    Attributes:
        block: the innermost part that is given the same and makes something else.
        before: its first child that is already given something else, if there is one.
        uncalled: its children that only the other network calls.
    """

    block: str
    before: str | None
    uncalled: tuple[str, ...]

    def __str__(self) -> str:
        name = f"`{self.block}`" if self.block else "the network, outside its blocks,"
        words = f"{name} is the first block that departs"
        if self.before:
            words += f", in what it gives to `{self.before.removeprefix(self.block).lstrip('.')}`"
        if self.uncalled:
            words += f"; it never calls {', '.join(self.uncalled)}"
        return words


@contextmanager
def lent(*networks: nn.Module) -> Iterator[None]:
    """Lets weights, buffers, gradients and modes be changed inside the block; then as before."""
    before = [{k: v.clone() for k, v in n.state_dict().items()} for n in networks]
    modes = [[m for m in n.modules() if m.training] for n in networks]
    gradients = [[(p, p.grad) for p in n.parameters()] for n in networks]
    try:
        yield
    finally:
        for network, state, training, grads in zip(networks, before, modes, gradients, strict=True):
            network.load_state_dict(state)
            network.eval()
            for module in training:
                module.training = True
            for weight, grad in grads:
                weight.grad = grad


def predict(network: nn.Module, arguments: Mapping[str, Any]) -> Tensor:
    """The prediction (b, c, h, w): of an object with `sample`, of a tuple, or the tensor itself."""
    output = network(**arguments)
    output = getattr(output, "sample", output)
    result: Tensor = output[0] if isinstance(output, tuple) else output
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

    def before(name: str, args: Any, kwargs: Any) -> None:
        tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
        given.setdefault(name, tuple(v.detach().clone() for v in tensors))

    def after(name: str, output: Any) -> None:
        calls.setdefault(name, Call(given[name], tuple(v.detach().clone() for v in _flat(output))))

    hooks = []
    for name, module in network.named_modules():
        if names is None or name in names:
            start, end = partial(_starts, before, name), partial(_ends, after, name)
            hooks.append(module.register_forward_pre_hook(start, with_kwargs=True))
            hooks.append(module.register_forward_hook(end))
    try:
        torch.default_generator.manual_seed(seed)
        network(**arguments)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _starts(tell: Callable[..., None], name: str, module: nn.Module, args: Any, kw: Any) -> None:
    tell(name, args, kw)


def _ends(tell: Callable[..., None], name: str, module: nn.Module, args: Any, out: Any) -> None:
    tell(name, out)


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


def first_departure(
    network: nn.Module, calls: dict[str, Call], others: dict[str, Call], bound: float
) -> Departure | None:
    """The innermost part of a network that departs by itself, or None if the output agrees.

    Parts inside a part whose output agrees are not looked at: that is another way to the same.

    Args:
        network: whose calls `calls` are.
        calls: of the network that is judged.
        others: of the network with the same weights that it is measured by.
        bound: the largest difference that is allowed, relative to the largest entry.
    """
    if _largest(calls[WHOLE].made, others[WHOLE].made) <= bound:
        return None
    parts = {name for name, _ in network.named_modules()}
    shared = [name for name in others if name in calls and name != WHOLE]
    block, before, inside = WHOLE, None, True
    while inside:
        inside = False
        for child in (name for name in shared if _parent(name, shared) == block):
            if _largest(calls[child].made, others[child].made) > bound:
                inside = _largest(calls[child].given, others[child].given) <= bound
                block, before = (child, None) if inside else (block, child)
                break
    missing = [n for n in others if n in parts and n not in calls and _parent(n, shared) == block]
    prefix = f"{block}." if block else ""
    return Departure(block, before, tuple(name.removeprefix(prefix) for name in missing))


def _largest(ones: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> float:
    return max((apart(a, b) for a, b in zip(ones, others, strict=False)), default=0.0)


def _parent(name: str, known: list[str]) -> str:
    """The nearest known part round this one."""
    while name:
        name = name.rpartition(".")[0]
        if name in known:
            break
    return name


def _flat(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, Mapping) else output
    return [t for part in parts for t in _flat(part)] if isinstance(output, SEVERAL) else []
