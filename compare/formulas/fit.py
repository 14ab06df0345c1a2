"""Reads the product of powers that a measured curve is: least squares on logarithms, then a check.

What a fit proposes is rounded, powers to quarters and constants to what people write, and counts
only if it is the measured curve at every t, within what float32 costs that very formula there.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations, islice, product

import torch
from torch import Tensor

from compare.formulas.atoms import BEFORE_PREV, OF_STEP, OVER_PREV, PREV, STRIDE, Atoms
from compare.formulas.expressions import (
    WORDS,
    Expression,
    Monomial,
    Powers,
    Sum,
    is_plain,
)
from compare.measure.tolerances import FACTOR, UNIT
from compare.oracle import F64

MOST = 2.0  # the largest power that is read
ROUND = 0.1  # how far from a quarter a fitted power may be: they come out to 3e-3
FEW = 3  # wrong steps that have no formula
COARSE = 1e-3  # of a curve: where more is allowed, several formulas fit
WELL = 0.15  # of what is allowed, where float32 leaves what is computed: the rest is a margin
SHARP = 5.0  # what fits less than well, and so many times worse than another, does not fit
NEAR = 20.0  # times what is allowed: a proposal further off is not checked
HUGE = 20.0  # of the logarithm of a constant
DIGITS, SHORT = 7, 2  # of a number, and of one that is added to a root
LEVELS = ("ab_t", "ab_prev")
INDEX = re.compile(r"s?\[[^]]*\]|_t\b|_prev\b")  # what says at which t a table is read
MANY, TRIED = 6, 3  # steps by which two numbers are read off, and numbers that are tried for each
PLAIN = (1.0, 2.0, 0.5, 3.0, 4.0, 0.25, *WORDS)
# How the indices of a formula may be moved as a whole: {atom: the same at the other index}.
MOVES: dict[str, dict[str, str]] = {
    "t": {"beta_t": "betas[t]", "ab_prev": "ab[t - 1]"},
    "t - 1": {"beta_t": "betas[t - 1]", "ab_t": "ab_prev", "ab_prev": "ab[t - 2]"},
    "t + 1": {"beta_t": "betas[t + 1]", "ab_t": "ab[t + 1]", "ab_prev": "ab_t"},
    "T - 1 - t": {
        "beta_t": "betas[T - 1 - t]",
        "ab_t": "ab[T - 1 - t]",
        "ab_prev": "ab[T - 2 - t]",
    },
    STRIDE: {"ab_prev": f"ab[{STRIDE}]", "beta_t": f"1 - ab_t / ab[{STRIDE}]"},
    PREV: {"beta_t": f"betas[{PREV}]"},
    OVER_PREV: {"ab_prev": f"ab[{OVER_PREV}]", "beta_t": f"1 - ab_t / ab[{OVER_PREV}]"},
    BEFORE_PREV: {"ab_prev": f"ab[{BEFORE_PREV}]", "beta_t": f"1 - ab_t / ab[{BEFORE_PREV}]"},
}

OF_LISTS = (STRIDE, PREV, BEFORE_PREV, OVER_PREV)  # which a full chain has under other names


@dataclass(frozen=True)
class Curve:
    """A coefficient over k steps, as it was measured and as it should be.

    Attributes:
        name: what it is multiplied with, such as "noise".
        measured: (k,) float64.
        slack: (k,) how far from a formula it may be besides the formula's own roundings.
        right: the right formula, or several that are.
        source: the paper and the equation.
        names: the atoms that a formula of it is made of.
        ends_at_0: it is 0 where no step comes before, whatever the formula.
        beside: right formulas of other curves, of which a wrong sum may be made.
    """

    name: str
    measured: Tensor
    slack: Tensor
    right: tuple[Expression, ...]
    source: str
    names: tuple[str, ...] = OF_STEP
    ends_at_0: bool = False
    beside: tuple[Expression, ...] = ()

    def at(self, rows: Tensor) -> "Curve":
        """At some of the steps."""
        return replace(self, measured=self.measured[rows], slack=self.slack[rows])

    def expected(self, right: Expression, atoms: Atoms) -> Tensor:
        """(k,) the curve of a formula, with its end."""
        value = right.value(atoms)
        return torch.where(atoms.end, 0.0, value) if self.ends_at_0 else value

    def off(self, formula: Expression, atoms: Atoms) -> Tensor:
        """(k,) the distance from a formula, over what is allowed; NaN where that has no value."""
        allowed = formula.error(atoms) + self.slack
        gap = (self.measured - self.expected(formula, atoms)).abs()
        return gap / allowed.clamp(min=1e-300)

    def is_right(self, atoms: Atoms) -> bool:
        """True if it is one of the right formulas at every step."""
        return any(bool((self.off(right, atoms) <= 1).all()) for right in self.right)


@dataclass(frozen=True)
class Fit:
    """A formula that is the measured curve wherever a step comes before.

    Attributes:
        formula: what the program computes.
        worst: the largest distance over what is allowed.
        coarse: several formulas may fit as well.
    """

    formula: Expression
    worst: float
    coarse: bool = field(compare=False, default=False)


def products(curve: Curve, atoms: Atoms) -> list[Fit]:
    """The products that fit, of the atoms at t."""
    if bool((curve.measured.abs() <= curve.slack)[~atoms.end].all()):
        return [Fit(Monomial(0.0), 0.0)]
    names = atoms.varied(curve.names)
    return _fitted(curve, atoms, _starts(curve), names, len(names))


def moved_products(curve: Curve, atoms: Atoms) -> list[Fit]:
    """The products that fit with some atoms at another index."""
    found: list[Fit] = []
    here, of_step = atoms.varied(curve.names), "ab_prev" in curve.names
    full = len(atoms.varied(["ab_prev", "ab[t - 1]"])) == 1
    for place in MOVES:
        names = atoms.varied([*curve.names, *_names_at(place)])
        again = full and place in (("t", *OF_LISTS) if of_step else OF_LISTS)
        if again or len(names) == len(here):
            continue  # on a full chain nothing is another there
        moves = MOVES[place]
        if not of_step and place != "t":
            moves = {**moves, "ab_t": f"ab[{place}]"}
        starts = [*_starts(curve), *(_moved(start, moves) for start in _starts(curve))]
        found += _fitted(curve, atoms, starts, names, 3)
    return found


def wider_products(curve: Curve, atoms: Atoms) -> list[Fit]:
    """The products that fit with one factor that is a sum, and a constant that people write: what
    cancels in a sum leaves room for any other."""
    found: list[Fit] = []
    here = atoms.varied(curve.names)
    for name in atoms.sums_of([*curve.names, "alpha_t"]):
        fits = _fitted(curve, atoms, _starts(curve), [*here, name], 3)
        found += [fit for fit in fits if _is_written(fit.formula, name) and _is_plain(fit.formula)]
    return found


def numbers_in_levels(curve: Curve, atoms: Atoms) -> list[Fit]:
    """The products that fit where 1 - ab, or ab, of a right formula has other numbers in it, or a
    number is added to its root."""
    found = list[Fit]()
    for right in (each for each in curve.right if isinstance(each, Monomial)):
        for name, power in right.powers.items():
            level = name.removeprefix("1 - ")
            if level in LEVELS:
                rest = right.times(1.0, {name: -power})
                found += _with_numbers(curve, atoms, rest, level, power)
                if abs(power) == 0.5:
                    found += _with_addend(curve, atoms, rest, name, 2 * power)
    return found


def _with_addend(
    curve: Curve, atoms: Atoms, rest: Monomial, name: str, power: float
) -> Iterator[Fit]:
    """The fits of `rest` times (the root of an atom + a number)^power."""
    inner = ~atoms.end
    part = (curve.measured / rest.value(atoms))[inner]
    if not bool(((part > 0) & part.isfinite()).all()) or len(part) < MANY:
        return
    sum_ = part ** (1 / power)
    weight = (sum_ * (curve.slack[inner] / curve.measured[inner].abs() + UNIT)) ** -2
    more = float((weight * (sum_ - atoms.values[name][inner].sqrt())).sum() / weight.sum())
    for number in islice(constants(more), TRIED) if more else ():
        if number == float(f"{number:.{SHORT}g}"):
            sign = "-" if number < 0 else "+"
            factor = f"sqrt({name}) {sign} {abs(number):.{DIGITS}g}"
            fit = verified(curve, atoms, rest.times(1.0, {factor: power}), 3)
            if fit is not None:
                yield fit
                return


def _with_numbers(
    curve: Curve, atoms: Atoms, rest: Monomial, level: str, power: float
) -> Iterator[Fit]:
    """The fits of `rest` times (a + b * level)^power, a and b numbers that people write."""
    inner = ~atoms.end
    part = (curve.measured / rest.value(atoms))[inner]
    known = (part > 0) & part.isfinite()
    if int(known.sum()) < MANY or not bool(known.all()):
        return
    sum_, at = part ** (1 / power), atoms.values[level][inner]
    weight = 1 / (sum_ * (curve.slack[inner] / curve.measured[inner].abs() + UNIT))
    design = torch.stack([torch.ones_like(at), at], dim=1) * weight[:, None]
    fitted = torch.linalg.lstsq(design, (sum_ * weight)[:, None]).solution.flatten().tolist()
    for a, b in product(*(islice(constants(value), TRIED) for value in fitted)):
        if (is_plain(a) or is_plain(round(a - 1, DIGITS))) and is_plain(b) and a > 0:
            fit = verified(curve, atoms, rest.times(1.0, {_level(a, b, level): power}), 3)
            if fit is not None:
                yield fit
                return


def _level(a: float, b: float, level: str) -> str:
    """a + b * level, as it is written.

    >>> _level(1.0, -0.9, "ab_t"), _level(1.05, -1.0, "ab_t"), _level(0.1, 0.9, "ab_prev")
    ('1 - 0.9 * ab_t', '1 - ab_t + 0.05', '0.1 + 0.9 * ab_prev')
    """
    if b == -1:
        return f"1 - {level} {'-' if a < 1 else '+'} {abs(a - 1):.{DIGITS}g}"
    times = "" if b == 1 else f"{abs(b):.{DIGITS}g} * "
    return f"{a:.{DIGITS}g} {'-' if b < 0 else '+'} {times}{level}"


def _is_plain(formula: Expression) -> bool:
    return isinstance(formula, Monomial) and abs(formula.constant) in PLAIN


def _is_written(formula: Expression, name: str) -> bool:
    """True if a sum is a factor, and not half of 1 - its square."""
    powers = formula.powers if isinstance(formula, Monomial) else {}
    other = name.replace("1 + ", "1 - ")
    return name in powers and (other == name or powers.get(other) != powers[name])


def _starts(curve: Curve) -> list[Powers]:
    """The powers of the right formulas: what is written departs from them in a few."""
    return [right.powers for right in curve.right if isinstance(right, Monomial)] or [{}]


def _names_at(place: str) -> list[str]:
    moved = MOVES[place]
    levels = [name for name in moved.values() if name.startswith("ab[")]
    return [moved["beta_t"], *levels, *(f"1 - {name}" for name in levels)]


def _moved(powers: Powers, moves: dict[str, str]) -> Powers:
    """The powers with every index moved, in 1 - ab_t as in ab_t."""
    found: dict[str, float] = {}
    for name, power in powers.items():
        inside = name.removeprefix("1 - ")
        other = name.replace(inside, moves.get(inside, inside))
        found[other] = found.get(other, 0) + power
    return found


def _fitted(
    curve: Curve, atoms: Atoms, starts: list[Powers], names: list[str], most: int
) -> list[Fit]:
    """The products that fit and depart from one of `starts` in up to `most` atoms."""
    found: dict[str, Fit] = {}
    for start in starts:
        rows = _rows(curve, atoms, [*names, *start])
        if int(rows.sum()) < 2:
            continue
        for monomial in _proposed(curve.at(rows), atoms.at(rows), start, names, most):
            fit = checked(curve, atoms, monomial, 1 + len(monomial.powers))
            if fit is not None:
                found.setdefault(str(fit.formula), fit)
    return list(found.values())


def _rows(curve: Curve, atoms: Atoms, names: list[str]) -> Tensor:
    """(k,) bool, the steps at which logarithms exist and something is left of the curve."""
    rows = ~atoms.end & (curve.measured.abs() > curve.slack)
    for name in names:
        value = atoms.value(name)
        rows = rows & (value > 0) & value.isfinite()
    return rows


def _proposed(
    curve: Curve, atoms: Atoms, start: Powers, names: list[str], most: int
) -> Iterator[Monomial]:
    """By least squares on logarithms, weighted by what is allowed at each t."""
    logs = torch.stack([atoms.value(name).log() for name in names])
    begun = Monomial(1.0, start)
    target = curve.measured.abs().log() - begun.value(atoms).log()
    base = [name for name in OF_STEP if name in atoms.values]
    base += [name for name in names if name.startswith("1 - ") and name not in base]
    float32 = sum((atoms.roundings(name) for name in base), torch.ones_like(target)) / 2
    weight = 1 / (curve.slack / curve.measured.abs() + FACTOR * UNIT * float32)
    design = torch.cat([torch.ones(1, len(target), dtype=F64), logs])
    if not bool((design * weight).isfinite().all() and (target * weight).isfinite().all()):
        return
    q, small = torch.linalg.qr((design * weight).T)  # the same problem in as many rows as unknowns
    wanted = q.T @ (target * weight)
    left_by_all = target * weight - q @ wanted  # no fewer names, nor rounded powers, leave less
    if float(left_by_all.square().mean()) > NEAR**2:
        return
    sign = 1.0 if bool(curve.measured.sum() > 0) else -1.0
    for size in range(min(most, len(names), len(target) - 1) + 1):
        chosen_of = list(combinations(range(len(names)), size))
        sets = torch.tensor(chosen_of, dtype=torch.long).reshape(len(chosen_of), size)
        columns = torch.cat([torch.zeros(len(sets), 1, dtype=torch.long), sets + 1], dim=1)
        part = small[:, columns].transpose(0, 1)  # (sets, unknowns of all, unknowns of the set)
        solved = torch.linalg.lstsq(part, wanted.expand(len(sets), -1).unsqueeze(2)).solution
        powers = (4 * solved[:, 1:, 0]).round() / 4
        near = ((powers - solved[:, 1:, 0]).abs() < ROUND) & (powers != 0)
        for i in near.all(dim=1).nonzero().flatten().tolist():
            left = target - powers[i] @ logs[sets[i]]
            level = float((left * weight**2).sum() / (weight**2).sum())
            if float(((left - level).abs() * weight).max()) > NEAR or abs(level) > HUGE:
                continue
            chosen = {
                names[j]: p for j, p in zip(sets[i].tolist(), powers[i].tolist(), strict=True)
            }
            total = begun.times(sign * math.exp(level), chosen)
            if all(abs(p) <= MOST for p in total.powers.values()):
                yield total


def checked(curve: Curve, atoms: Atoms, monomial: Monomial, unknowns: int) -> Fit | None:
    """The product with the plainest constant with which it is the curve at every t."""
    for constant in constants(monomial.constant):
        plain = Monomial(constant, monomial.powers)
        fit = verified(curve, atoms, plain, unknowns)
        if fit is not None:
            return fit
    return None


def constants(value: float) -> Iterator[float]:
    """What a fitted constant may have been written as, the plainest first.

    >>> list(constants(0.49999))[:2]
    [0.5, 0.49999]
    """
    size, sign = abs(value), math.copysign(1.0, value)
    tried: set[float] = set()
    rounded = (float(f"{size:.{digits}g}") for digits in range(1, DIGITS + 1))
    for plain in (*PLAIN, *rounded, size):
        if abs(plain - size) <= 0.02 * size and plain not in tried:
            tried.add(plain)
            yield sign * plain


def verified(curve: Curve, atoms: Atoms, formula: Expression, unknowns: int) -> Fit | None:
    """The fit of a formula that is the curve at every step but the ends; None if it is not.

    An index that lies outside the table has no value: such a step is an end too.
    """
    inner = ~atoms.end & formula.value(atoms).isfinite()
    many = int(inner.sum())
    if many < max(2, int((~atoms.end).sum()) - 2):
        return None
    worst = float(curve.off(formula, atoms)[inner].max())
    # Of two terms with numbers of their own one passes near most curves, within the margin.
    if not worst <= (WELL if isinstance(formula, Sum) else 1):
        return None
    allowed = formula.error(atoms) + curve.slack
    if not _explains(curve, atoms, formula, allowed, inner):
        return None
    relative = float((allowed / curve.measured.abs().clamp(min=1e-300))[inner].median())
    return Fit(formula, worst, relative > COARSE or many < 2 * unknowns)


def _explains(
    curve: Curve, atoms: Atoms, formula: Expression, allowed: Tensor, inner: Tensor
) -> bool:
    """True if a formula is told from the right ones where they fail, by its prediction.

    At half of those steps at least: there it is twice as far from them as it may be off. Else what
    cancels, and so is allowed much, would be any curve. What is wrong at a few steps alone has no
    formula: a small term with a free constant would pass through them.
    """
    value, failing, apart = formula.value(atoms), inner, torch.full_like(allowed, torch.inf)
    for right in curve.right:
        failing = failing & (curve.off(right, atoms) > 1)
        apart = torch.minimum(apart, (value - curve.expected(right, atoms)).abs())
    told = allowed <= apart / 2
    some = int(failing.sum()) > min(FEW, int(inner.sum()) - 1)
    return some and bool(told[failing].double().mean() >= 0.5)


def best(fits: list[Fit], right: tuple[Expression, ...]) -> list[Fit]:
    """The likeliest first: the shortest, then the nearest to the right formula, then the same at
    another index.

    What fits far worse than another is left out; where the allowance is coarse and three or more
    fit, nothing is left.
    """
    if not fits:
        return []
    sharpest = min(fit.worst for fit in fits)
    each = {str(fit.formula): fit for fit in fits}.values()
    kept = [fit for fit in each if fit.worst <= max(SHARP * sharpest, WELL)]
    if len(kept) > 2 and any(fit.coarse for fit in kept):
        return []
    wanted = [_tables(each) for each in right]
    ordered = sorted(
        kept,
        key=lambda fit: (
            fit.formula.cost,
            _distance(fit.formula, right),
            _tables(fit.formula) not in wanted,
        ),
    )
    return [fit for fit in ordered if fit.formula.cost <= ordered[0].formula.cost + 1]


def _tables(formula: Expression) -> dict[str, float]:
    """The powers of a product by the tables in it, whatever they are read at.

    >>> early, right = {"1 - ab[t - 1]": 0.5}, {"1 - ab_prev": 0.5}
    >>> _tables(Monomial(1.0, early)) == _tables(Monomial(1.0, right))
    True
    """
    powers = formula.powers if isinstance(formula, Monomial) else {}
    return {INDEX.sub("", name): power for name, power in powers.items()}


def _distance(formula: Expression, right: tuple[Expression, ...]) -> float:
    """How much of the powers is another: 0 for the same, infinite for what is no product."""
    if not isinstance(formula, Monomial):
        return math.inf
    return min(
        (
            sum(
                abs(p)
                for p in formula.times(1, {n: -p for n, p in r.powers.items()}).powers.values()
            )
            for r in right
            if isinstance(r, Monomial)
        ),
        default=math.inf,
    )
