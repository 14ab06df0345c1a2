"""The answer of a model, to be read as a tensor, as `.sample`, as `["sample"]` or as `[0]`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Use:
    """What was done with an answer: its first item taken, it was unpacked, used as a whole, its
    channels halved, or its shape asked for."""

    first: bool = False
    unpacked: bool = False
    whole: bool = False
    halved: bool = False
    measured: bool = False


class Output(Tensor):
    """A tensor that is its own `.sample` and `["sample"]`, and notices how it is used.

    What is computed of it is a plain tensor.
    """

    use: Use

    @property
    def sample(self) -> Tensor:
        """The same as a plain tensor."""
        self.use.whole = True
        return self.as_subclass(Tensor)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Calls torch, after what it is called for is noticed."""
        if func is Tensor.__getitem__ and isinstance(args[1], str):
            return args[0].sample
        for each in _outputs(args):
            if func is Tensor.__getitem__ and type(args[1]) is int and args[1] == 0:
                each.use.first = True
            elif _halves(func.__name__, each, args[1:], kwargs or {}):
                each.use.halved = each.use.whole = True
            elif func is Tensor.unbind:
                each.use.unpacked = True
            elif func.__name__ in ("__get__", "dim", "size"):
                each.use.measured = True
            elif func.__name__ != "as_subclass":
                each.use.whole = True
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


def output(values: Tensor) -> Output:
    """An answer that nobody has used yet.

    >>> out = output(torch.ones(2, 3))
    >>> out["sample"].shape, type(out + 1).__name__, out.use.first
    (torch.Size([2, 3]), 'Tensor', False)
    """
    made = values.as_subclass(Output)
    made.use = Use()
    return made


def is_of_a_pair(uses: Iterable[Use]) -> bool:
    """True if only the first item was ever used, or an answer did not let itself be unpacked."""
    uses = list(uses)
    first = bool(uses) and all(use.first and not use.whole for use in uses)
    return first or any(use.unpacked and not use.whole for use in uses)


def may_be_halved(uses: Iterable[Use], raised: bool) -> bool:
    """True if a caller asks for outputs of twice the channels, or may have missed them."""
    return any(use.halved or (raised and use.measured) for use in uses)


def _halves(name: str, out: Tensor, given: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """True if a call takes an answer of twice the channels apart: a learned variance beside."""
    if name == "__getitem__":
        place = given[0]
        channels = place[1] if isinstance(place, tuple) and len(place) > 1 else None
        return isinstance(channels, slice) and channels.start == out.shape[1]
    if name not in ("chunk", "split"):
        return False
    parts, dim = (*given, *named.values(), None, None)[:2]
    if dim not in (1, 1 - out.dim()):
        return False
    return (name == "chunk" and parts == 2) or (name == "split" and parts == out.shape[1])


def _outputs(args: Any) -> list[Output]:
    flat = [a for arg in args for a in (arg if isinstance(arg, list | tuple) else (arg,))]
    return [each for each in flat if isinstance(each, Output) and hasattr(each, "use")]
