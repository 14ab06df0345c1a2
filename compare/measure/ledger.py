"""How a stage writes down what it measured: one place that turns deviations into statuses."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compare.candidate.scheduler import Broken
from compare.measure.tolerances import TOLERANCES
from compare.oracle import F64
from compare.verdict.report import Check, Status

Expected = Callable[[], tuple[Tensor, Tensor]]  # the values, and how far from them is allowed


class Stop(Exception):
    """Raised in place of a failing check while a mistake is tried on."""


class Ledger:
    """The checks of one stage, in the order in which they were made."""

    def __init__(self, stage: str, strict: frozenset[str] | None = None):
        self.stage = stage
        self.strict = strict  # the failing checks that are tolerated while a mistake is tried on
        self.checks: list[Check] = []

    def add(self, name: str, status: Status, message: str, **more: Any) -> None:
        """Writes a check down as it is."""
        more.setdefault("reason", TOLERANCES["exact"].reason)
        self.put(Check(f"{self.stage}/{name}", self.stage, status, message, **more))

    def put(self, check: Check) -> None:
        """Takes a check over from elsewhere."""
        self.checks.append(check)
        if self.strict is not None and not check.passed and check.id not in self.strict:
            raise Stop(check.id)

    def judge(self, name: str, ok: bool, right: str, wrong: str, **more: Any) -> None:
        """A yes-or-no check."""
        self.add(name, "equal" if ok else "differs", right if ok else wrong, **more)

    def values(
        self,
        name: str,
        what: str,
        measured: Tensor,
        expected: Expected,
        pure: Expected | None = None,
        where: Callable[[tuple[int, ...]], str] | None = None,
        tolerance: str = "coefficient",
        **more: Any,
    ) -> None:
        """Elementwise: `measured` against `expected`, and against `pure`, the oracle's own chain.

        What holds given the candidate's earlier stages but not against the pure oracle `follows`.
        """
        more.setdefault("reason", f"{TOLERANCES[tolerance].bound}: {TOLERANCES[tolerance].reason}")
        right, allowed = expected()
        status, first, worst, got, may = deviation(measured, right, allowed)

        def say(at: tuple[int, ...]) -> str:
            place = f" at {where(at)}" if where else ""
            got, wanted = apart_in_print(_at(measured, at), _at(right, at))
            return f"is {got}{place}, should be {wanted}"

        if status == "differs":
            most = (
                f"; furthest off, it {say(worst)}" if where and where(worst) != where(first) else ""
            )
            message = f"{what} {say(first)}{most}"
            self.add(name, status, message, measured=got, allowed=may, **more)
            return
        message = f"{what} agrees"
        if pure is not None and self.strict is None:
            other, seen, *_ = deviation(measured, *pure())
            if other == "differs":
                place = f" (first seen at {where(seen)})" if where else ""
                message = f"{what} is right for the candidate's own table and list{place}"
                status = "follows"
        self.add(name, status, message, measured=got, allowed=may, **more)

    @contextmanager
    def guard(self, name: str, quiet: bool = False) -> Iterator[None]:
        """Turns what a candidate did instead of answering into a check; `quiet`: into a note."""
        try:
            yield
        except Broken as broken:
            status: Status = "note" if quiet else "error" if broken.raised else "differs"
            self.add(name, status, str(broken))


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
    measured, right, allowed = torch.broadcast_tensors(measured, right, allowed)
    gap = (measured.to(F64) - right.to(F64)).abs()
    gap = torch.where(measured == right, torch.zeros_like(gap), gap)  # equal infinities
    both_nan = measured.isnan() & right.isnan()
    gap = torch.where(both_nan, torch.zeros_like(gap), gap).nan_to_num(torch.inf, torch.inf)
    bound = allowed.to(F64).nan_to_num(0.0, posinf=0.0)
    if not gap.numel():
        return "equal", (), (), 0.0, 0.0
    out = (gap > bound).flatten().nonzero()
    status: Status = "differs" if len(out) else "equal" if not gap.any() else "close"
    worst = int((gap / bound.clamp(min=1e-300)).flatten().argmax())
    first = int(out[0]) if len(out) else worst

    def place(flat: int) -> tuple[int, ...]:
        return tuple(int(i) for i in np.unravel_index(flat, gap.shape))  # torch's: sympy, 2 s

    got, may = float(gap.flatten()[worst]), float(bound.flatten()[worst])
    return status, place(first), place(worst), got, may


def _at(values: Tensor, index: tuple[int, ...]) -> float:
    shape = torch.broadcast_shapes(values.shape, (1,) * len(index))
    values = values.reshape(shape)
    return float(values[tuple(min(i, n - 1) for i, n in zip(index, shape, strict=True))])
