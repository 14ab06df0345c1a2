"""Formulas: products of powers of the atoms, and sums of such; how they are written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from compare.formulas.atoms import RATIOS, WIDER, Atoms, is_sum, wide
from compare.measure.tolerances import FACTOR, UNIT
from compare.oracle import F64

Powers = Mapping[str, float]
# In which factors are written; those that are divided by, the other way round.
ORDER = ("ab_prev", "beta_t", "alpha_t", "ab_t", "1 - ab_prev", "1 - ab_t")
# Constants that people write, with their words; others are written as decimals.
WORDS = {
    3**-1: "1/3",
    2 / 3: "2/3",
    2**0.5: "sqrt(2)",
    0.5**0.5: "sqrt(1/2)",
    3**0.5: "sqrt(3)",
}


class Expression(Protocol):
    """A formula of the atoms."""

    @property
    def cost(self) -> float:
        """How long it is: the shorter is the likelier to have been written."""

    @property
    def fitted(self) -> bool:
        """True if it holds a number that nobody would write: it was fitted."""

    def value(self, atoms: Atoms) -> Tensor:
        """(k,) its curve."""

    def error(self, atoms: Atoms) -> Tensor:
        """(k,) how far from it a float32 program may be: the roundings of each atom, added up."""

    def __str__(self) -> str:
        """In the words of the field."""


@dataclass(frozen=True)
class Monomial:
    """constant * product of atom ** power.

    >>> str(Monomial(-1.0, {"beta_t": 1, "1 - ab_t": -1, "ab_t": -0.5, "ab_prev": 0.5}))
    '-beta_t / (1 - ab_t) / sqrt(alpha_t)'
    >>> str(Monomial(0.5, {"1 - ab_t": 0.25}))
    '0.5 * (1 - ab_t)^(1/4)'
    >>> str(Monomial(1.0, {"1 - ab_t": 0.75})), str(Monomial(1.0, {"1 - ab_t": 1}))
    ('(1 - ab_t)^(3/4)', '1 - ab_t')
    """

    constant: float = 1.0
    powers: Powers = field(default_factory=dict)

    @cached_property
    def merged(self) -> dict[str, float]:
        """Its powers, with ratios of neighbours by their names."""
        return merged(self.powers)

    @property
    def cost(self) -> float:
        """A point for each factor, one more for a sum among them, for a number in that and for a
        constant, half a point for each unusual power or index."""
        powers = self.merged
        unusual = sum(abs(e) not in (0.5, 1) for e in powers.values())
        indices = sum("[" in name for name in powers)
        sums = [name for name in powers if wide(name) is not None]
        factors = len(powers) + len(sums) + sum(name not in WIDER for name in sums)  # with a number
        constant = 0 if abs(self.constant) in (0, 1) else 2 if self.fitted else 1
        return factors + 0.5 * (unusual + indices) + constant

    @property
    def fitted(self) -> bool:
        """True if its constant is none that people write."""
        return self.constant != 0 and not is_plain(self.constant)

    @property
    def has_sum(self) -> bool:
        """True if a factor is a sum."""
        return any(wide(name) is not None for name in self.powers)

    def value(self, atoms: Atoms) -> Tensor:
        """(k,) its curve: that of what is written, ratios by their names."""
        found = torch.full(atoms.end.shape, self.constant, dtype=F64)
        for name, power in self.merged.items():
            found = found * atoms.value(name).clamp(min=0) ** power
        return found

    def error(self, atoms: Atoms) -> Tensor:
        """(k,) the roundings of each atom, by its power, and one of its own."""
        many = torch.ones_like(atoms.end, dtype=F64)
        for name, power in self.powers.items():
            many = many + abs(power) * atoms.roundings(name)
        return (FACTOR * UNIT * many * self.value(atoms).abs()).nan_to_num(0.0)

    def times(self, constant: float, powers: Powers) -> "Monomial":
        """The product with another."""
        names = dict.fromkeys([*self.powers, *powers])
        total = {name: self.powers.get(name, 0) + powers.get(name, 0) for name in names}
        kept = {name: power for name, power in total.items() if power}
        return Monomial(self.constant * constant, kept)

    def __str__(self) -> str:
        return _product(self.constant, self.merged)


@dataclass(frozen=True)
class Sum:
    """The sum of some products, or the root of that.

    >>> noise, less = Monomial(1.0, {"1 - ab_prev": 1}), Monomial(-0.25, {"beta_t": 1})
    >>> str(Sum((noise, less), root=True))
    'sqrt(1 - ab_prev - 0.25 * beta_t)'

    Attributes:
        terms: what is added up.
        root: the root of it is taken.
        sign: -1 for less that.
        below: what is made of something negative under the root: "" nothing, "0" or "abs".
    """

    terms: tuple[Monomial, ...]
    root: bool = False
    sign: int = 1
    below: str = ""

    @property
    def cost(self) -> float:
        """Of its terms, and a point for being a sum."""
        return sum(term.cost for term in self.terms) + 1

    @property
    def fitted(self) -> bool:
        """True if a constant of its terms is none that people write."""
        return any(term.fitted for term in self.terms)

    def value(self, atoms: Atoms) -> Tensor:
        """(k,) its curve; NaN where the root is of something negative."""
        total = self.total(atoms)
        if self.below:
            total = total.abs() if self.below == "abs" else total.clamp(min=0)
        return self.sign * (total.sqrt() if self.root else total)

    def total(self, atoms: Atoms) -> Tensor:
        """(k,) what its terms add up to."""
        nothing = torch.zeros_like(atoms.end, dtype=F64)
        return sum((term.value(atoms) for term in self.terms), nothing)

    def error(self, atoms: Atoms) -> Tensor:
        """(k,) the errors of its terms; under the root they count by its slope, or by theirs."""
        found = sum(
            (term.error(atoms) for term in self.terms), torch.zeros_like(atoms.end, dtype=F64)
        )
        if not self.root:
            return found
        value = self.value(atoms).abs().nan_to_num(0.0)
        return torch.minimum(found / (2 * value.clamp(min=1e-300)), found.sqrt()) + UNIT * value

    def __str__(self) -> str:
        first, *others = self.terms
        text = str(first)
        for term in others:
            sign = "-" if term.constant < 0 else "+"
            positive = Monomial(abs(term.constant), term.powers)
            said = str(positive)
            taken_off = sign == "-" and said in term.powers and is_sum(said)
            text += f" {sign} ({said})" if taken_off else f" {sign} {said}"
        text = {"0": f"max({text}, 0)", "abs": f"|{text}|"}.get(self.below, text)
        text = f"sqrt({text})" if self.root else text
        return text if self.sign > 0 else f"-{text}" if self.root else f"-({text})"


def is_plain(constant: float) -> bool:
    """True for constants that people write: small whole numbers, their inverses, a few digits.

    >>> is_plain(0.25), is_plain(3.0), is_plain(2**0.5), is_plain(1.0372)
    (True, True, True, False)
    """
    size = abs(constant)
    near = (abs(size - word) < 1e-12 for word in WORDS)
    return any(near) or (float(f"{size:.2g}") == size and 0.01 <= size <= 100)


def constant_words(size: float) -> str:
    """A constant as it would be written.

    >>> constant_words(0.5), constant_words(1 / 3)
    ('0.5', '1/3')
    """
    for word, text in WORDS.items():
        if abs(size - word) < 1e-12:
            return text
    return f"{size:.7g}"


def merged(powers: Powers) -> dict[str, float]:
    """The powers with ratios of neighbours called by their name, where that is shorter.

    >>> merged({"ab_t": 0.5, "ab_prev": -0.5})
    {'alpha_t': 0.5}
    """
    found = {name: power for name, power in powers.items() if power}
    for (above, below), ratio in RATIOS.items():
        if found.get(above) and found.get(above) == -found.get(below, 0):
            found[ratio] = found.get(ratio, 0) + found.pop(above)
            del found[below]
    ordered = sorted(found, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    return {name: found[name] for name in ordered if found[name]}


def _product(constant: float, powers: dict[str, float]) -> str:
    sign, size = "-" if constant < 0 else "", abs(constant)
    halves = len(powers) > 2 and all(abs(power) == 0.5 for power in powers.values())
    if halves:
        powers = {name: 2 * power for name, power in powers.items()}
    above = [_power(name, p) for name, p in powers.items() if p > 0]
    below = [_power(name, -p) for name, p in reversed(powers.items()) if p < 0]
    if size != 1 and not halves:
        above.insert(0, constant_words(size))
    if not below and len(above) == 1 and above[0][1:-1] in powers and not sign:
        above = [above[0][1:-1]]  # (1 - ab_t), alone
    text = " / ".join([" * ".join(above) or "1", *below])
    if halves:
        text = f"sqrt({text})"
        text = text if size == 1 else f"{constant_words(size)} * {text}"
    return sign + text


def _power(name: str, power: float) -> str:
    """
    >>> _power("1 - ab_t", 0.5), _power("beta_t", 2), _power("1 - ab_t", 1)
    ('sqrt(1 - ab_t)', 'beta_t^2', '(1 - ab_t)')
    """
    if power == 0.5:
        return f"sqrt({name})"
    base = f"({name})" if is_sum(name) else name
    if power == 1:
        return base
    exponent = str(Fraction(power))
    return f"{base}^{exponent if power == int(power) else f'({exponent})'}"
