"""The answer of a model, to be read as a tensor, as `.sample`, as `["sample"]` or as `[0]`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Use:
    """What was done with an answer: its first item taken, it was unpacked, or used as a whole."""

    first: bool = False
    unpacked: bool = False
    whole: bool = False


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
            elif func is Tensor.unbind:
                each.use.unpacked = True
            elif func.__name__ not in ("__get__", "dim", "size", "as_subclass"):
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


def _outputs(args: Any) -> list[Output]:
    flat = [a for arg in args for a in (arg if isinstance(arg, list | tuple) else (arg,))]
    return [each for each in flat if isinstance(each, Output) and hasattr(each, "use")]
