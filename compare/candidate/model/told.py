"""By which number a caller tells its model the time: t, t from 1, t / T and the like."""

from dataclasses import dataclass

from torch import Tensor

from compare.oracle import F64

NEAR_WHOLE = 0.01  # float32 moves t / T times T by 1e-4 where T is 1000


@dataclass(frozen=True)
class Told:
    """How a caller tells its model t = 0..T-1: as (t + base) / unit, `words` for base 0."""

    words: str = "t"
    unit: float = 1
    base: int = 0

    def __str__(self) -> str:
        return self.words.replace("t", "(t + 1)" if " " in self.words else "t + 1", self.base)

    def steps(self, told: Tensor) -> Tensor:
        """What was told, in steps that count from `base`."""
        return told if self.unit == 1 else (told * self.unit).round()


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
            whole = bool(((at - at.round()).abs() < NEAR_WHOLE).all())
            if whole and round(float(at.min())) >= 0 and round(float(at.max())) < T:
                return Told(words, unit, base)
    return None


def taken_for(told: Tensor, T: int) -> Told:
    """What one call is taken for where nothing else is known: floats of 1 at most are t / T."""
    share = told.is_floating_point() and float(told.max()) <= 1 < T
    return Told("t / T", T) if share else Told()
