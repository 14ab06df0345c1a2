"""The curves that coefficients are made of, for the steps that were measured."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from compare.measure.tolerances import UNIT
from compare.oracle import F64, Level

# beta_t is 1 - ab_t / ab_prev and alpha_t the ratio itself, on strided chains too.
OF_STEP = ("beta_t", "ab_t", "ab_prev", "1 - ab_t", "1 - ab_prev")
OF_TABLE = ("beta_t", "alpha_t", "ab_t", "1 - ab_t")  # where no step comes before
PREV = "prev"
BEFORE_PREV = "prev - 1"  # of a table that is shifted by itself
OVER_PREV = "prev of prev"  # two entries further in a list
STRIDE = "t - T // n"  # the step before, where lists are counted from 0 by T // n
# (numerator, denominator): how their ratio is called
RATIOS = {
    ("ab_t", "alpha_t"): "ab[t - 1]",
    ("ab_t", "ab_prev"): "alpha_t",
    ("ab_t", "ab[t - 1]"): "alphas[t]",
    ("ab[t - 1]", "ab[t - 2]"): "alphas[t - 1]",
    ("ab_prev", "ab[t - 2]"): "alphas[t - 1]",
    ("ab[t + 1]", "ab_t"): "alphas[t + 1]",
    ("ab[T - 1 - t]", "ab[T - 2 - t]"): "alphas[T - 1 - t]",
}
Term = tuple[float, str, float]  # a constant, and the power of a curve


def _sums_of(level: str) -> dict[str, tuple[Term, Term]]:
    one, noise = (1.0, level, 0.0), f"1 - {level}"
    return {
        f"1 - {level}^2": (one, (-1.0, level, 2.0)),
        f"1 + {level}": (one, (1.0, level, 1.0)),
        f"2 - {level}": ((2.0, level, 0.0), (-1.0, level, 1.0)),
        f"1 - sqrt({level})": (one, (-1.0, level, 0.5)),
        f"1 - sqrt({noise})": (one, (-1.0, noise, 0.5)),
        f"sqrt({level}) + sqrt({noise})": ((1.0, level, 0.5), (1.0, noise, 0.5)),
    }


# Sums that may stand as a factor, by their two terms.
WIDER: dict[str, tuple[Term, Term]] = {
    **_sums_of("ab_t"),
    **_sums_of("ab_prev"),
    "1 + beta_t": ((1.0, "beta_t", 0.0), (1.0, "beta_t", 1.0)),
    "1 + alpha_t": ((1.0, "alpha_t", 0.0), (1.0, "alpha_t", 1.0)),
    "1 - sqrt(beta_t)": ((1.0, "beta_t", 0.0), (-1.0, "beta_t", 0.5)),
    "1 - sqrt(alpha_t)": ((1.0, "alpha_t", 0.0), (-1.0, "alpha_t", 0.5)),
    "1 - ab_t + beta_t": ((1.0, "1 - ab_t", 1.0), (1.0, "beta_t", 1.0)),
    "1 - ab_prev + beta_t": ((1.0, "1 - ab_prev", 1.0), (1.0, "beta_t", 1.0)),
    "1 - ab_t - beta_t": ((1.0, "1 - ab_t", 1.0), (-1.0, "beta_t", 1.0)),
}


# A number and so many times a level, or 1 less it and a number more or less.
OF_ROOT = re.compile(r"sqrt\(((?:1 - )?(?:ab_t|ab_prev))\) ([+-]) (\S+)")
OF_LEVEL = re.compile(r"(?!1 - ab_\w+$)(\S+) ([+-]) (?:(\S+) \* )?(ab_t|ab_prev)(?: ([+-]) (\S+))?")


@lru_cache(maxsize=4096)
def wide(name: str) -> tuple[Term, Term] | None:
    """The terms of a sum that may stand as a factor; of a level, or the root of one, with numbers
    of any kind too.

    >>> wide("1 - 0.9 * ab_t"), wide("1 - ab_t")
    (((1.0, 'ab_t', 0.0), (-0.9, 'ab_t', 1.0)), None)
    >>> wide("1 - ab_t + 0.25")
    ((1.25, 'ab_t', 0.0), (-1.0, 'ab_t', 1.0))
    >>> wide("sqrt(1 - ab_t) + 0.05")
    ((0.05, '1 - ab_t', 0.0), (1.0, '1 - ab_t', 0.5))
    """
    root = OF_ROOT.fullmatch(name)
    if root is not None:
        level, sign, number = root.groups()
        return (float(f"{sign}{number}"), level, 0.0), (1.0, level, 0.5)
    found = OF_LEVEL.fullmatch(name)
    if name in WIDER or found is None:
        return WIDER.get(name)
    number, sign, factor, level, less, more = found.groups()
    whole = float(number) + (float(f"{less}{more}") if more else 0.0)
    return (whole, level, 0.0), (float(f"{sign}{factor or 1}"), level, 1.0)


def is_sum(name: str) -> bool:
    """True for a curve whose name is a sum, which stands in brackets among factors.

    >>> is_sum("1 - ab_t"), is_sum("ab[t - 1]"), is_sum("sqrt(1 - ab_t)")
    (True, False, False)
    """
    return " " in re.sub(r"\[.*?\]|\(.*?\)", "", name)


@dataclass(frozen=True)
class Atoms:
    """Named curves over the k measured steps.

    Attributes:
        values: {name: (k,) float64}; NaN where an index lies outside the table.
        slack: {name: (k,)} how many roundings of float32 it may be off by, relative to its size.
        end: (k,) bool, the steps before which there is none (t = 0): ab_prev is 1 there.
    """

    values: dict[str, Tensor]
    slack: dict[str, Tensor]
    end: Tensor

    def also(self, name: str, values: Tensor, slack: Tensor) -> "Atoms":
        """The same with one more curve."""
        return replace(
            self, values={**self.values, name: values}, slack={**self.slack, name: slack}
        )

    def at(self, rows: Tensor) -> "Atoms":
        """Some of the steps."""
        values = {name: v[rows] for name, v in self.values.items()}
        return Atoms(values, {name: v[rows] for name, v in self.slack.items()}, self.end[rows])

    def value(self, name: str) -> Tensor:
        """(k,) a curve, or a sum that may stand as a factor."""
        if name in self.values:
            return self.values[name]
        one, other = self._terms(name)
        return one + other

    def roundings(self, name: str) -> Tensor:
        """(k,) the slack of the same."""
        if name in self.slack:
            return self.slack[name]
        value = self.value(name)
        parts = zip(self._terms(name), wide(name) or (), strict=True)
        size = sum((v.abs() * (1 + abs(p) * self.slack[of]) for v, (_, of, p) in parts), value)
        return size / value.abs().clamp(min=1e-300)

    def _terms(self, name: str) -> tuple[Tensor, Tensor]:
        one, other = (c * self.values[of] ** power for c, of, power in wide(name) or ())
        return one, other

    def sums_of(self, names: Iterable[str]) -> list[str]:
        """The sums of these curves that may stand as a factor."""
        known = {*names} & {*self.values}
        return [name for name, terms in WIDER.items() if known.issuperset(of for _, of, _ in terms)]

    def varied(self, names: Iterable[str]) -> list[str]:
        """Those of the names that are there and no copy of one before."""
        kept: list[str] = []
        for name in names:
            here = self.values.get(name)
            if here is not None and not any(_same(here, self.values[other]) for other in kept):
                kept.append(name)
        return kept


def _same(a: Tensor, b: Tensor) -> bool:
    both = a.isfinite() & b.isfinite()
    return bool(((a - b).abs()[both] <= 1e-12 * b.abs()[both]).all())


def atoms(level: Level, betas: Tensor | None = None, stride: Tensor | None = None) -> Atoms:
    """Every curve of the steps of a level (flattened), at t and at other indices of its table.

    `betas` (T,) are the candidate's own: 1 - ab_t / ab_prev of a float32 table is less precise.
    `stride` (k,) is T // n of the chain of each step.
    """
    table, t = level.table, level.t.flatten()
    ab, prev = level.alpha_bar.flatten(), level.alpha_bar_prev.flatten()
    found = Atoms({}, {}, level.prev.flatten() < 0)
    found = _with_beta(found, "beta_t", ab, prev)
    if betas is not None and len(betas) == len(table):
        found = _sharpened(found, betas[t], level.prev.flatten() == t - 1)
    found = found.also("alpha_t", ab / prev, torch.full_like(ab, 4.0))
    for name, values in (("ab_t", ab), ("ab_prev", prev)):
        found = _with_level(found, name, values)
    mirrored = len(table) - 1 - t
    for name, at in (("t", t), ("t - 1", t - 1), ("t + 1", t + 1), ("T - 1 - t", mirrored)):
        found = _with_level(found, f"ab[{name}]", _entry(table, at))
        found = _with_beta(found, f"betas[{name}]", _entry(table, at), _entry(table, at - 1))
    if stride is not None:  # before the first step it is 1, however far
        found = _with_level(found, f"ab[{STRIDE}]", _entry(table, (t - stride).clamp(min=-1)))
    before = level.prev.flatten() - 1
    for name, at in (("t - 2", t - 2), ("T - 2 - t", mirrored - 1), (BEFORE_PREV, before)):
        found = _with_level(found, f"ab[{name}]", _entry(table, at))
    of_prev = _entry(table, level.prev.flatten()), found.values[f"ab[{BEFORE_PREV}]"]
    found = _with_beta(found, f"betas[{PREV}]", *of_prev)
    over = _over(t, level.prev.flatten())
    if over is not None:
        found = _with_level(found, f"ab[{OVER_PREV}]", _entry(table, over))
    for name in (STRIDE, BEFORE_PREV, OVER_PREV):
        if f"ab[{name}]" in found.values:
            found = _with_beta(found, f"1 - ab_t / ab[{name}]", ab, found.values[f"ab[{name}]"])
    for name in ("t", "t - 1", "t + 1", "T - 1 - t"):
        alpha = 1 - found.values[f"betas[{name}]"]
        found = found.also(f"alphas[{name}]", alpha, torch.full_like(alpha, 4.0))
    return found


def _over(t: Tensor, prev: Tensor) -> Tensor | None:
    """(k,) the step before that before each t, -1 where there is none, -2 where it was not
    measured; None for several chains, in which a t has several.

    >>> _over(torch.tensor([9, 6, 3, 0]), torch.tensor([6, 3, 0, -1])).tolist()
    [3, 0, -1, -1]
    """
    if len(t.unique()) < len(t):
        return None
    before = {-1: -1, **dict(zip(t.tolist(), prev.tolist(), strict=True))}
    return torch.tensor([before.get(each, -2) for each in prev.tolist()])


def _sharpened(found: Atoms, own: Tensor, full: Tensor) -> Atoms:
    """With the candidate's own betas on the full chain, where they are those of its table."""
    beta, slack = found.values["beta_t"], found.slack["beta_t"]
    same = full & ((own - beta).abs() <= 4 * UNIT * slack * beta)
    return found.also("beta_t", torch.where(same, own, beta), slack)


def _entry(table: Tensor, at: Tensor) -> Tensor:
    """The entries of a table: 1 just before the first, NaN elsewhere outside."""
    inside = (at >= 0) & (at < len(table))
    outside = torch.where(at == -1, 1.0, torch.nan).to(F64)
    return torch.where(inside, table[at.clamp(0, len(table) - 1)], outside)


def _with_level(found: Atoms, name: str, values: Tensor) -> Atoms:
    noise = 1 - values
    found = found.also(name, values, torch.full_like(values, 2.0))
    return found.also(f"1 - {name}", noise, 1 + 2 * values / noise.clamp(min=1e-300))


def _with_beta(found: Atoms, name: str, ab: Tensor, prev: Tensor) -> Atoms:
    """1 - ab / prev: two entries, each rounded once, of which little may be left."""
    beta = 1 - ab / prev
    return found.also(name, beta, 1 + 4 * (1 - beta) / beta.clamp(min=1e-300))
