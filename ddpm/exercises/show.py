"""A call and what it gives, in words and figures that fit one line."""

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

SMALL = 12  # entries of what is shown whole
DIGITS = (3, 5, 8, 12, 17)


def call(function: str, arguments: dict[str, Any]) -> str:
    """A call as one writes it, large arguments by their shape.

    >>> call("f", {"x_0": torch.ones(1), "eps": torch.zeros(2, 3, 4, 4), "alpha_bar": 0.36})
    'f(x_0=1, eps=<(2, 3, 4, 4) float32>, alpha_bar=0.36)'
    """
    return f"{function}({', '.join(f'{name}={show(v)}' for name, v in arguments.items())})"


def show(value: Any, digits: int = 5) -> str:
    """A value in so many digits, or what it is where it is large.

    >>> show([9, 6, 3, 0]), show(torch.tensor([0.25, 0.5])), show(1 / 3, 3)
    ('[9, 6, 3, 0]', '[0.25, 0.5]', '0.333')
    """
    if isinstance(value, Tensor):
        if value.numel() > SMALL:
            return f"<{tuple(value.shape)} {_dtype(value.dtype)}>"
        if value.ndim > 2 and value.numel() > 1:
            return f"{show(value.flatten(), digits)} of shape {tuple(value.shape)}"
        return show(value.item() if value.numel() == 1 else value.tolist(), digits)
    if isinstance(value, list):
        if len(value) > SMALL:
            return f"[{show(value[0], digits)}, ..., {show(value[-1], digits)}]"
        return f"[{', '.join(show(each, digits) for each in value)}]"
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    if isinstance(value, torch.dtype):
        return _dtype(value)
    return "a generator" if isinstance(value, torch.Generator) else str(value)


def kind(value: Any) -> str:
    """What sort of thing it is: two answers of different kinds are never the same.

    >>> kind(0.5), kind([1, 2]), kind(torch.zeros(2, 3)), kind(None)
    ('a number', 'a list of integers', 'a float32 tensor of shape (2, 3)', 'None (no return?)')
    """
    if value is None:
        return "None (no return?)"
    if isinstance(value, Tensor):
        return f"a {_dtype(value.dtype)} tensor of shape {tuple(value.shape)}"
    if isinstance(value, list):
        whole = all(isinstance(each, Integral) for each in value)
        return "a list of integers" if whole else "a list of other things than integers"
    if isinstance(value, Real):
        return "a number"
    return f"of type {type(value).__name__}"


def told_apart(got: Tensor, want: Tensor, apart: Tensor) -> str:
    """What is and what should be: all of it if it is small, else the first entry that is wrong.

    Args:
        got, want: float64, of one shape, or lists of two lengths.
        apart: where they differ, if they have one shape.
    """
    if got.numel() <= SMALL and want.numel() <= SMALL:
        return " = {}, should be {}".format(*_in_few_digits(got, want))
    if got.shape != want.shape:
        return f" has {len(got)} entries, should have {len(want)}"
    first = apart.nonzero()[0].tolist()
    at = tuple(first)
    return " at {} is {}, should be {}".format(first, *_in_few_digits(got[at], want[at]))


def _in_few_digits(got: Tensor, want: Tensor) -> Iterable[str]:
    """Both, in the fewest digits in which one sees that they differ."""
    for digits in DIGITS:
        texts = show(got, digits), show(want, digits)
        if texts[0] != texts[1]:
            break
    return texts


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
