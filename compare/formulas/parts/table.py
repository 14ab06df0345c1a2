"""A wrong table in letters: what an alpha-bar computes of the betas that it should be made of.

The forms are those that a slip leaves: another power of the product, no product, a sum, an
exponential, or the product of something else than 1 - beta.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from compare.formulas.expressions import Monomial, is_plain
from compare.measure.tolerances import FACTOR, UNIT

FEWEST = 6  # entries: twice as many as a form has free numbers, and more
EVEN = 1e-2  # how far a free number may be from t to t: float32 makes 6e-4 of the first log
UNDERFLOWS = 1e-37  # what float32 holds with fewer digits, or as 0
PRODUCT = "the product of 1 - beta_s for s = 0..t"
RIGHT = f"alpha-bar_t, {PRODUCT} (Ho et al., below eq. 3)"


@dataclass(frozen=True)
class Form:
    """What a table may be: its words, its entries, and those that it is 1 less, if it is."""

    words: str
    value: Tensor
    less: Tensor | None = None


def form_of(table: Tensor, betas: Tensor) -> str | None:
    """What a table holds, in letters; None if it is none of the forms at every t.

    Args:
        table: (T,) float64.
        betas: (T,) float64, those that it should be made of.

    >>> betas = torch.linspace(0.01, 0.3, 20, dtype=torch.float64)
    >>> form_of((1 - betas**2).cumprod(0), betas), form_of((1 - betas).cumprod(0) ** 2, betas)
    ('the product of 1 - beta_s^2 for s = 0..t', 'alpha-bar_t^2')
    >>> form_of(torch.rand(20, dtype=torch.float64), betas)
    """
    if len(table) < FEWEST or len(table) != len(betas):
        return None
    if not bool((table.isfinite() & betas.isfinite()).all()):
        return None
    roundings = FACTOR * UNIT * (2 + torch.arange(1, len(table) + 1))  # of a product or a sum
    for form in _forms(table, betas):
        size = roundings * (form.value if form.less is None else form.less).abs()
        size = size + (UNDERFLOWS if form.less is None else FACTOR * UNIT)
        if bool(((table - form.value).abs() <= size).all()):
            return form.words
    return None


def _forms(table: Tensor, betas: Tensor) -> Iterator[Form]:
    """The shortest first; a free number is read off the table."""
    alphas = 1 - betas
    product, total = alphas.cumprod(0), betas.cumsum(0)
    yield Form("alpha_t, which is 1 - beta_t", alphas)
    yield Form("beta_t", betas)
    yield Form("1 - alpha-bar_t", 1 - product, product)
    yield Form("1 - the sum of beta_s for s = 0..t", 1 - total, total)
    wrong = betas.cumprod(0)
    yield Form("the product of beta_s for s = 0..t", wrong)
    yield Form("1 - the product of beta_s for s = 0..t", 1 - wrong, wrong)
    yield from _power("alpha-bar_t", table, product)
    yield from _power("alpha_t", table, alphas)
    rate = _even(-table.log() / total)
    if rate is not None:
        factor = "" if rate == 1 else f"{rate:g} * "
        yield Form(f"exp(-{factor}the sum of beta_s for s = 0..t)", (-rate * total).exp())
    yield from _product(table, betas)


def _even(values: Tensor) -> float | None:
    """The quarters that all values are, nearly; None if they are none."""
    near = round(float(values.median()) * 4) / 4 if values.isfinite().all() else 0.0
    return near if near and bool(((values - near).abs() <= EVEN * abs(near)).all()) else None


def _power(name: str, table: Tensor, of: Tensor) -> Iterator[Form]:
    power = _even(table.log() / of.log())
    if power not in (None, 1.0):
        yield Form(str(Monomial(1.0, {name: power})), of**power)


def _product(table: Tensor, betas: Tensor) -> Iterator[Form]:
    """The product of 1 + c beta^e: neighbours' quotients, less 1, are one power of beta."""
    if not bool((betas > 0).all()):
        return
    factors = table / torch.cat([torch.ones(1, dtype=table.dtype), table[:-1]])
    left, x = factors - 1, betas.log()
    if not bool((left.sign() == left[0].sign()).all()) or not bool(left[0]):
        return
    y, apart = left.abs().log(), x - x.mean()
    slope = float((apart * (y - y.mean())).sum() / apart.square().sum().clamp(min=1e-300))
    power = round(slope * 4) / 4
    constant = float(f"{float((y - power * x).exp().median()):.2g}")
    if power and is_plain(constant):
        sign = float(left[0].sign())
        written = Monomial(constant, {"beta_s": power})
        words = f"the product of 1 {'+' if sign > 0 else '-'} {written} for s = 0..t"
        yield Form(words, (1 + sign * constant * betas**power).cumprod(0))
