"""By which number a caller tells its model the time: t, t from 1, t / T and the like."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compare.candidate.door.tables import kept_by, public
from compare.oracle import F64

NEAR_LEVEL = 2e-6  # of a level or 1: float32 rounds it, and what it is made of, by less
NEAR_WHOLE = 0.01  # float32 moves t / T times T by 1e-4 where T is 1000


@dataclass(frozen=True)
class Told:
    """How a caller tells its model t = 0..T-1: as (t + base) / unit, `words` for base 0; or as
    entry t of a list of its own."""

    words: str = "t"
    unit: float = 1
    base: int = 0
    listed: tuple[float, ...] = ()

    def __str__(self) -> str:
        if self.listed:
            return self.words
        return self.words.replace("t", "(t + 1)" if " " in self.words else "t + 1", self.base)

    def steps(self, told: Tensor) -> Tensor:
        """What was told, in steps that count from `base`."""
        if self.listed:
            gaps = told.to(F64).unsqueeze(-1) - torch.tensor(self.listed, dtype=F64)
            return gaps.abs().argmin(dim=-1)
        return told if self.unit == 1 else (told * self.unit).round()

    def number(self, t: int) -> float:
        """What is told of t, from 0."""
        return self.listed[t] if self.listed else (t + self.base) / self.unit


def read_told(told: Tensor, T: int) -> Told | None:
    """The first of a closed list of ways by which all that was told, (n,), is some t of 0..T-1.

    >>> import torch
    >>> [str(read_told(torch.arange(5) / n + k, 5)) for n, k in ((1, 0), (1, 1), (4, 0), (1, 2))]
    ['t', 't + 1', 't / (T - 1)', 'None']
    """
    units = {"t": 1.0, "t / T": float(T), "t / (T - 1)": T - 1.0, "1000 t / T": T / 1000}
    for words, unit in units.items():
        for base in (0, 1):
            at = told.to(F64) * unit - base
            whole = bool(((at - at.round()).abs() < NEAR_WHOLE * min(unit, 1.0)).all())
            if whole and round(float(at.min())) >= 0 and round(float(at.max())) < T:
                return Told(words, unit, base)
    return None


def told_by(things: Iterable[Any], told: Tensor, table: Tensor) -> Told | None:
    """The same; else that of a list of T numbers which an object has: a respaced chain tells its
    model the numbers of the steps that were kept; else the level of noise itself.

    Args:
        things: the objects.
        told: (n,) what it tells.
        table: (T,) float64 its alpha-bars.
    """
    T = len(table)
    every = (own for thing in things for own in own_lists(thing, T))
    lists = (own for own in every if {*told.tolist()} <= {*own.listed})
    return read_told(told, T) or next(lists, None) or _level(told, table) or _clock(told, T)


def _level(told: Tensor, table: Tensor) -> Told | None:
    """The first of a closed list of measures of noise of which all that was told are entries."""
    signal, noise = table.sqrt(), (1 - table).sqrt()
    before = torch.cat([table.new_ones(1), table[:-1]])
    measures = {
        "sqrt(alpha-bar_t)": signal,
        "alpha-bar_t": table,
        "1 - alpha-bar_t": 1 - table,
        "sqrt(1 - alpha-bar_t)": noise,
        "sqrt(1 - alpha-bar_t) / sqrt(alpha-bar_t)": noise / signal,
        "log SNR_t": 2 * (signal / noise).log(),
        "beta_t": 1 - table / before,
    }
    for words, values in measures.items():
        one = Told(words, listed=tuple(values.tolist()))
        near = values[one.steps(told)]
        off = (told.to(F64) - near).abs()
        if bool((off <= NEAR_LEVEL * (1 + near.abs())).all()):
            return one
    return None


def _clock(told: Tensor, T: int) -> Told | None:
    """Times of its own, that rise with t, where a number that is not whole is told for each t.

    >>> _clock(torch.linspace(1e-3, 0.995, 4), 4).steps(torch.tensor([0.995, 1e-3])).tolist()
    [3, 0]
    """
    every = told.float().unique()  # sorted
    parts = bool((every.isfinite() & (every != every.round())).all())
    if len(every) != T or not parts:
        return None
    return Told("a time of its own at t", listed=tuple(every.tolist()))


def own_lists(thing: Any, T: int) -> Iterator[Told]:
    """The lists of an object, and of what it keeps, that hold T whole numbers, some beyond those of
    its own T steps."""
    for owner in (thing, *kept_by(thing)):
        for name in public(owner):
            with suppress(Exception):
                numbers = torch.as_tensor(getattr(owner, name)).to(F64)
                listed = sorted({*numbers.tolist()})
                whole = bool((numbers == numbers.round()).all())
                if len(listed) == len(numbers) == T and whole and listed[0] >= 0 and listed[-1] > T:
                    yield Told(f"its own {name}[t]", listed=tuple(listed))


def taken_for(told: Tensor, T: int) -> Told:
    """What one call is taken for where nothing else is known: floats of 1 at most are t / T."""
    share = told.is_floating_point() and float(told.max()) <= 1 < T
    return Told("t / T", T) if share else Told()
