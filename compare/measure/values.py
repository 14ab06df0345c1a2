"""Numbers against numbers, elementwise: one place that turns deviations into statuses."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compare.measure.check import Check, Status, found
from compare.measure.tolerances import TOLERANCES
from compare.oracle import F64

Expected = Callable[[], tuple[Tensor, Tensor]]  # the values, and how far from them is allowed
Place = Callable[[tuple[int, ...]], str]  # an index in words


def values(
    id: str,
    what: str,
    measured: Tensor,
    expected: Expected,
    pure: Expected | None = None,
    where: Place | None = None,
    tolerance: str = "coefficient",
    inputs: int = 1,
    **more: Any,
) -> Check:
    """`measured` against `expected`, and, if the report asks, against `pure`, the oracle's chain.

    What holds given the candidate's earlier stages but not against the pure oracle `follows`.
    The rows of several `inputs` to the same steps follow each other.
    """
    more.setdefault("reason", f"{TOLERANCES[tolerance].bound}: {TOLERANCES[tolerance].reason}")
    right, allowed = expected()
    status, first, worst, got, may = deviation(measured, right, allowed)
    message = f"{what} agrees"
    if status == "differs":
        elsewhere = where is not None and where(worst) != where(first)
        message = f"{what} {_said(measured, right, first, where)}"
        message += f"; furthest off, it {_said(measured, right, worst, where)}" * elsewhere
    more["compared"] = lambda: _by_step(inputs, measured, right, allowed)
    check = found(id, status, message, measured=got, allowed=may, **more)
    if pure is None or status == "differs":
        return check

    def whole() -> Check:
        other, seen, *_ = deviation(measured, *pure())
        if other != "differs":
            return check
        place = f" (first seen at {where(seen)})" if where else ""
        words = f"{what} is right for the candidate's own table and list{place}"
        return replace(check, status="follows", message=words)

    return replace(check, whole=whole)


def _said(measured: Tensor, right: Tensor, at: tuple[int, ...], where: Place | None) -> str:
    place = f" at {where(at)}" if where else ""
    value, wanted = apart_in_print(_at(measured, at), _at(right, at))
    return f"is {value}{place}, should be {wanted}"


def apart_in_print(a: float, b: float) -> tuple[str, str]:
    """Two numbers in six digits, or in as many as it takes to tell them apart.

    >>> apart_in_print(0.5, 0.25), apart_in_print(1.0000001, 1.0)
    (('0.5', '0.25'), ('1.0000001', '1'))
    """
    digits = next((d for d in range(6, 17) if f"{a:.{d}g}" != f"{b:.{d}g}"), 17)
    return f"{a:.{digits}g}", f"{b:.{digits}g}"


def deviation(
    measured: Tensor, right: Tensor, allowed: Tensor
) -> tuple[Status, tuple[int, ...], tuple[int, ...], float, float]:
    """Status; indices of the first element out of bounds and of the worst, the furthest beyond its
    bound or nearest to it; the deviation of the worst and what is allowed there.

    >>> deviation(torch.ones(3), torch.tensor([1.0, 2.0, 4.0]), torch.full((3,), 0.5))
    ('differs', (1,), (2,), 3.0, 0.5)
    """
    gap, bound = torch.broadcast_tensors(_gap(measured, right), _bound(allowed))
    if not gap.numel():
        return "equal", (), (), 0.0, 0.0
    out = (gap > bound).flatten().nonzero()
    status: Status = "differs" if len(out) else "equal" if not gap.any() else "close"
    worst = int((gap / bound.clamp(min=1e-300)).flatten().argmax())
    first = int(out[0]) if len(out) else worst

    def place(flat: int) -> tuple[int, ...]:
        return tuple(int(i) for i in np.unravel_index(flat, gap.shape))

    got, may = float(gap.flatten()[worst]), float(bound.flatten()[worst])
    return status, place(first), place(worst), got, may


def explains(trial: Check, failing: Check) -> bool:
    """True if a check that holds with a mistake explains why it fails with the right formula.

    It does where the mistake has something to say. At an element it has if what it allows is at
    most half of what is between its prediction and the right one; or, as a mistake that amplifies
    rounding may allow more, if what is measured is as near to its prediction as the right formula
    would ask. It must have at half or more of what is wrong in every row: a t, a picture, a call
    of a loop. (Where two large terms cancel, a mistake says nothing of their sum.)

    Args:
        trial: the check with the mistake, which holds.
        failing: the same check with the right formula.

    >>> def check(right, allowed):
    ...     off = torch.tensor([right]), torch.tensor([allowed])
    ...     return values("mean/a", "a_t", torch.tensor([0.9]), lambda: off)
    >>> right, near, wide = check(0.0, 0.1), check(0.89, 0.1), check(1.0, 17.0)
    >>> near.passed, explains(near, right), wide.passed, explains(wide, right)
    (True, True, True, False)
    """
    if trial.compared is None or failing.compared is None:
        return True
    measured, right, allowed = failing.compared()
    again, predicted, wide = trial.compared()
    if measured.shape != again.shape:
        return True  # of another chain: no element has its like
    wrong = _gap(measured, right) > _bound(allowed)
    sharp = 2 * _bound(wide) <= _gap(predicted, right)
    near = _gap(again, predicted) <= _bound(allowed)
    silent = wrong & ~(sharp | near)
    unsaid, off = (each.reshape(len(wrong), -1).sum(dim=1) for each in (silent, wrong))
    return bool((2 * unsaid <= off).all())


def _by_step(inputs: int, *rows: Tensor) -> tuple[Tensor, ...]:
    """(inputs * steps, ...) -> (steps, inputs, ...), each of what broadcasts to one shape."""
    every = torch.broadcast_tensors(*rows)
    return tuple(v.unflatten(0, (inputs, -1)).transpose(0, 1) for v in every)


def _gap(a: Tensor, b: Tensor) -> Tensor:
    """How far apart they are, elementwise: equal infinities and NaN not at all."""
    a, b = torch.broadcast_tensors(a.to(F64), b.to(F64))
    same = (a == b) | (a.isnan() & b.isnan())
    return (a - b).abs().masked_fill(same, 0.0).nan_to_num(torch.inf, torch.inf)


def _bound(allowed: Tensor) -> Tensor:
    """What is allowed, 0 where that cannot be computed."""
    return allowed.to(F64).nan_to_num(0.0, posinf=0.0)


def _at(values: Tensor, index: tuple[int, ...]) -> float:
    # Both from numpy, here and above: torch's load sympy, which takes 2 s.
    shape = np.broadcast_shapes(values.shape, (1,) * len(index))
    values = values.reshape(shape)
    return float(values[tuple(min(i, n - 1) for i, n in zip(index, shape, strict=True))])
