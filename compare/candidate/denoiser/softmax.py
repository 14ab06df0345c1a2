"""Which axis a softmax runs over, and which one is summed over when its result weighs something.

The weights of attention sum to 1 over what is summed: softmax(Q K^T / sqrt(d)) V (Vaswani et al.
eq. 1). So do those of linear attention, over features and over pixels. A result is followed through
operations that move its axes or keep them, up to a product with something else; through others not.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

AXIS = "_compare_softmax_axis"  # the name of the attribute of a tensor that says over which it ran
KEPT = ("dropout", "to", "type", "type_as", "float", "half", "contiguous", "clone", "nan_to_num")
SCALED = ("mul", "div", "__mul__", "__rmul__", "__truediv__")
SWAPS = ("transpose", "swapaxes", "swapdims")
PRODUCTS = ("matmul", "bmm", "__matmul__")


@dataclass(frozen=True)
class Weighed:
    """A product with the result of a softmax.

    Attributes:
        shape: of the result.
        axis: over which the softmax ran.
        summed: the axes that the product sums over.
        rows: those of which each place has a sum of its own: of attention, the queries. What is
            left are axes that both sides have, such as images and heads.
    """

    shape: tuple[int, ...]
    axis: int
    summed: tuple[int, ...]
    rows: tuple[int, ...]


def begin(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
    """Marks what a softmax returns."""
    axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if name == "softmax" and isinstance(result, Tensor) and isinstance(axis, int):
        setattr(result, AXIS, axis % result.dim())


def follow(name: str, args: tuple[Any, ...], result: Any) -> Weighed | None:
    """What one operation does with the result of a softmax: the product, if it is one."""
    listed = args[1:2] and isinstance(args[1], tuple | list) and name == "einsum"
    operands = [each for each in (args[1] if listed else args) if isinstance(each, Tensor)]
    place = next((i for i, each in enumerate(operands) if hasattr(each, AXIS)), None)
    if place is None:
        return None
    weights = operands[place]
    axis, count = getattr(weights, AXIS), weights.dim()
    if name in PRODUCTS and len(operands) == 2 and count > 1:
        ends = (count - 1,), (count - 2,)
        return Weighed(tuple(weights.shape), axis, *(ends if place == 0 else ends[::-1]))
    if name == "einsum" and isinstance(args[0], str) and "." not in args[0]:
        inputs, _, output = args[0].replace(" ", "").partition("->")
        letters = inputs.split(",")
        others = "".join([*letters[:place], *letters[place + 1 :]])
        each = list(enumerate(letters[place]))
        summed = tuple(i for i, letter in each if letter not in output)
        rows = tuple(i for i, letter in each if letter in output and letter not in others)
        return Weighed(tuple(weights.shape), axis, summed, rows)
    moved = _moved(name, args, axis, count)
    if moved is not None and isinstance(result, Tensor) and result is not weights:
        setattr(result, AXIS, moved)
    return None


def _moved(name: str, args: tuple[Any, ...], axis: int, count: int) -> int | None:
    """The axis after an operation that only moves axes or keeps them; None for others."""
    numbers = [
        n for each in args[1:] for n in (each if isinstance(each, tuple | list) else (each,))
    ]
    if name in SWAPS and len(numbers) == 2:
        one, other = (n % count for n in numbers)
        return {one: other, other: one}.get(axis, axis)
    if name == "permute" and len(numbers) == count:
        return [n % count for n in numbers].index(axis)
    if name in KEPT or (name in SCALED and not isinstance(args[1], Tensor)):
        return axis
    return None
