"""Tables that no attribute shows: those in variables of functions, seen as these return.

A function that returns numbers is not asked: what they are called where they go says what they are.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compare.candidate.door.names import plain
from compare.candidate.door.tables import NUMBERS, SCHEDULE, meant, product_of, schedule

FEWEST, MOST = 3, 100_000  # entries of a table
IMAGES = 7  # that are asked for: as many numbers are one for each, and no table
AB = SCHEDULE[0]
OF_NOISE = re.compile(r"(?i)sig(?!nal)|sin|noise|std|minus")  # the names of a root
OF_SIGNAL = re.compile(r"(?i)signal|cos|alpha")
LOG_SNR = {"logsnr", "logsnrs", "lam", "lams", "lambdas"}
ROUNDED = 1e-6  # a sum of two squares of float32
PRODUCT = 1e-4  # of a product of 1000 numbers in float32, each rounded by 6e-8
MODULE = "<module>"  # what Python calls a file as it is run
LIBRARIES = f"{os.sep}site-packages{os.sep}"


@dataclass(frozen=True)
class Variables:
    """What a call of somebody's function had when it ended.

    Attributes:
        where: what the function is called.
        tables: {name: numbers in a row}, its own, and those that its `self` has.
        depth: of calls in which it lies.
        asked: the whole number that it was asked for, if it is one of alpha-bar; else 0.
        returned: the numbers that it returned; None where it returned nothing, or several things.
    """

    where: str
    tables: Mapping[str, Tensor]
    depth: int
    returned: Tensor | None = None
    asked: int = 0

    def without_others(self, names: set[str]) -> "Variables":
        """Of what a whole file left at its top, the tables under these names alone."""
        if self.where != MODULE:
            return self
        return replace(self, tables={k: each for k, each in self.tables.items() if k in names})


@dataclass(frozen=True)
class Seen:
    """A table that no attribute shows.

    Attributes:
        where: that it is in a variable of a function, or what one gives.
        name: which table of a schedule it is.
        table: (n,) float64.
        sure: a table of this kind is nothing else; else what differs by it is left open.
    """

    where: str
    name: str
    table: Tensor
    sure: bool = True


@contextmanager
def watched(found: list[Variables], file: str) -> Iterator[None]:
    """Leaves in `found` what the functions of a file and of those beside it had, each as it ends;
    nothing of no file, or where something else watches, such as a profiler."""
    if not file or sys.getprofile() is not None:
        yield
        return
    folder = f"{os.path.dirname(file)}{os.sep}"

    def saw(frame: FrameType, event: str, returned: Any) -> None:
        code = frame.f_code
        theirs = code.co_filename.startswith(folder) and LIBRARIES not in code.co_filename
        if event == "return" and theirs:
            tables, asked = dict(_tables(frame.f_locals)), _asked(frame)
            if tables or asked:
                depth = _depth(frame)
                found.append(Variables(code.co_qualname, tables, depth, _of(returned), asked))

    sys.setprofile(saw)
    try:
        yield
    finally:
        sys.setprofile(None)


def _asked(frame: FrameType) -> int:
    """The step of which a function called as alpha-bar is gives it, its last argument; else 0."""
    code = frame.f_code
    if meant(code.co_name) != SCHEDULE[0] or not code.co_argcount:
        return 0
    t = frame.f_locals.get(code.co_varnames[code.co_argcount - 1])
    return t if isinstance(t, int) else 0


def _depth(frame: FrameType | None) -> int:
    depth = 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def _tables(variables: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """The tables among variables, and among what a `self` of them has."""
    mine = variables.get("self")
    with suppress(Exception):
        every = {**getattr(mine, "__dict__", {}), **getattr(mine, "_buffers", {}), **variables}
        inner = [value for value in every.values() if isinstance(value, Mapping)]
        for each in inner:
            every = {str(name): value for name, value in each.items()} | every
        for name, value in every.items():
            numbers = _numbers(value)
            if numbers is not None:
                yield name, numbers


def _numbers(value: Any) -> Tensor | None:
    """Different numbers in a row, more than two, as float64, and a copy; None of anything else."""
    with suppress(Exception):
        if not isinstance(value, NUMBERS) or not FEWEST <= len(value) <= MOST:
            return None
        if len(value) == IMAGES or np.ndim(value) != 1:
            return None
        numbers = torch.as_tensor(value)
        if numbers.is_floating_point() and not bool((numbers == numbers[0]).all()):
            return numbers.detach().to("cpu", torch.float64, copy=True)
    return None


def schedule_of(calls: Iterable[Variables], own: Mapping[str, str], top: int = 0) -> Seen | None:
    """The one schedule of these calls, alpha-bar before betas; of several that in the outermost
    call, and None where that has two.

    Args:
        calls: what functions had.
        own: {a name: the usual one} of the tables that a file calls otherwise.
        top: the step that a model was told first: a shorter table is one of some steps.
    """
    for which in range(2):
        found = []
        for call in filter(_is_asked, calls):
            known = {own.get(name, name): table for name, table in call.tables.items()}
            ratios = [table for name, table in known.items() if plain(name) in LOG_SNR]
            if len(ratios) == 1:
                known.setdefault("alphas_cumprod", ratios[0].sigmoid())
            both = schedule(known)
            if both[which] is not None:
                table = both[1] if which else product_of(both[0], known.values())
                found += [(call, table)] if len(table) >= top else []
        least = min((call.depth for call, _ in found), default=0)
        outer = [(call, table) for call, table in found if call.depth == least]
        if outer:
            call, table = outer[-1]
            same = all(torch.equal(table, other) for _, other in outer)
            where = f"that in a variable of {call.where}"
            if not which and bool((table.diff() >= 0).all()):  # as a loop goes through it
                where, table = f"{where}, from its last entry", table.flip(0)
            return Seen(where, SCHEDULE[which], table) if same else None
    return None


def of_function(function: Callable[[int], Any], top: int) -> Tensor | None:
    """(top + 1,) what a function gives at t = 0, 1, ..., top; None if that is no table that falls
    from 1 or below.

    >>> of_function(lambda t: 1 - t / 10, 4)
    tensor([1.0000, 0.9000, 0.8000, 0.7000, 0.6000], dtype=torch.float64)
    >>> of_function(lambda t: 1 - t, 4), of_function(lambda t: t[0], 4)
    (None, None)
    """
    with suppress(Exception):
        found = [float(function(t)) for t in range(top + 1)]
        table = torch.tensor(found, dtype=torch.float64)
        if 1 >= table[0] > table[-1] > 0 and bool((table.diff() <= 0).all()):
            return table
    return None


def _of(returned: Any) -> Tensor | None:
    """A tensor or an array that a function returned, or a row of numbers."""
    with suppress(Exception):
        if isinstance(returned, Tensor | np.ndarray):
            return torch.as_tensor(returned).detach().to("cpu", torch.float64)
    return _numbers(returned)


def by_another(calls: Iterable[Variables]) -> Seen | None:
    """The one alpha-bar that a table is, whatever it is called, by another beside it in a call: the
    product of 1 - that."""
    return _the_one(_products(calls))


def that_may_be(calls: Iterable[Variables]) -> Seen | None:
    """What may be alpha-bar and is not sure: the square of a signal beside what is left of it, else
    the only table that falls."""
    calls = [*calls]
    found = _the_one(_squares(calls)) or _the_one(_falling(calls))
    return None if found is None else replace(found, sure=False)


def _pairs(calls: Iterable[Variables]) -> Iterator[tuple[str, str, Tensor, str, Tensor]]:
    """Where a table that falls from 1 or below stands, and it, beside another of its length."""
    for call in calls:
        falling = {name: table for name, table in call.tables.items() if _falls(table)}
        for name, table in falling.items():
            others = ((n, o) for n, o in call.tables.items() if o.shape == table.shape)
            yield from ((call.where, name, table, n, other) for n, other in others)


def _falls(table: Tensor) -> bool:
    return bool((table.diff() < 0).all() & (table > 0).all() & (table <= 1).all())


def _products(calls: Iterable[Variables]) -> Iterator[Seen]:
    """Products of 1 - another; that of another itself may be that of roots."""
    for where, name, table, _, other in _pairs(calls):
        if torch.allclose(table, (1 - other).cumprod(0), rtol=PRODUCT, atol=0):
            yield Seen(f"{name}, in a variable of {where}, the product of 1 - another", AB, table)


def _squares(calls: Iterable[Variables]) -> Iterator[Seen]:
    """Squares of a signal, where those of the noise beside it are what is left; by their names it
    is the noise that falls where a loop goes through them from the end."""
    for where, name, falls, beside, rises in _pairs(calls):
        if torch.allclose(falls**2 + rises**2, torch.ones_like(falls), rtol=ROUNDED):
            turned = bool(OF_NOISE.search(name) or OF_SIGNAL.search(beside))
            signal, noise = (rises.flip(0), falls.flip(0)) if turned else (falls, rises)
            table = torch.where(noise < signal, 1 - noise**2, signal**2)  # the smaller is rounded
            words = f"of {beside if turned else name} beside {name if turned else beside}"
            yield Seen(f"the square {words}, in variables of {where}", AB, table)


def _falling(calls: Iterable[Variables]) -> Iterator[Seen]:
    for call in calls:
        for name, table in call.tables.items():
            if _falls(table):
                yield Seen(f"{name}, in a variable of {call.where}, which falls", AB, table)


def _the_one(found: Iterable[Seen]) -> Seen | None:
    """That of several with one table."""
    different = {str(seen.table.tolist()): seen for seen in found}
    return next(iter(different.values())) if len(different) == 1 else None


def _is_asked(call: Variables) -> bool:
    """False for a call that returned numbers which are no table among its variables, nor made of
    its betas."""
    made = [(1 - t).cumprod(0) for name, t in call.tables.items() if meant(name) == SCHEDULE[1]]
    return call.returned is None or any(
        table.shape == call.returned.shape and torch.allclose(table, call.returned, rtol=PRODUCT)
        for table in (*call.tables.values(), *made)
    )
