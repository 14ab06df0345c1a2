"""What is wrong in a part of a program: the basis in which the fewest coefficients are wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from compare.formulas.atoms import Atoms
from compare.formulas.curves import Reading
from compare.formulas.fit import (
    FEW,
    WELL,
    Curve,
    Fit,
    best,
    moved_products,
    numbers_in_levels,
    products,
    wider_products,
)
from compare.formulas.sums import sums

Search = Callable[[Curve, Atoms], list[Fit]]
# Products of powers at t are looked for in every basis before other indices, those before products
# with a sum, those before other numbers in a right one, and sums.
SEARCHES: tuple[Search, ...] = (
    products,
    moved_products,
    wider_products,
    numbers_in_levels,
    sums,
)


@dataclass
class Told:
    """A wrong coefficient and the formulas that it may be.

    None if it is wrong at t = 0 alone, or at a few t of many (`fit.FEW`).
    """

    curve: Curve
    at_0_alone: bool
    at_few: bool
    found: list[Fit] = field(default_factory=list)

    @property
    def fits(self) -> list[Fit]:
        """The likeliest first."""
        found = {str(fit.formula): fit for fit in reversed(self.found)}  # by several searches
        return best([*found.values()], self.curve.right)

    @property
    def clear(self) -> bool:
        """True if nothing more needs to be looked for; a fitted number may hide another index."""
        fits = (fit for fit in self.fits if fit.worst <= WELL and not fit.formula.fitted)
        return self.at_0_alone or self.at_few or any(fits)


@dataclass(frozen=True)
class Account:
    """A reading of a program and all that is wrong in it."""

    reading: Reading
    told: list[Told]

    @property
    def whole(self) -> bool:
        """True if there are words for every wrong coefficient, and letters where at a few t one is
        another number."""
        return all(one.at_0_alone or one.at_few or one.fits for one in self.told)

    @property
    def sharp(self) -> bool:
        """True if no formula is one of several that may fit."""
        return not any(one.fits and one.fits[0].coarse for one in self.told)

    @property
    def cost(self) -> tuple[int, float]:
        """How many are wrong, then how long their formulas are."""
        lengths = [one.fits[0].formula.cost for one in self.told if one.fits]
        return len(self.told), sum(lengths) + self.reading.unlikely


def accounts(readings: list[Reading]) -> list[Account]:
    """Those with the fewest wrong coefficients, the likeliest first.

    They are several ways to say one thing. None if in some reading all is right, or none has words;
    nor if words are near what is measured alone, and another reading has fewer wrong ones; nor of
    steps where formulas cannot be told from each other.
    """
    tried = read_all(readings)
    if not all(account.told and not account.reading.is_narrow for account in tried):
        return []
    fewest = min((len(account.told) for account in tried), default=0)
    found: list[Account] = []
    for search in map(_once, SEARCHES):
        for account in tried:
            unclear = [told for told in account.told if not told.clear]
            if search is sums and len(unclear) > 1:
                continue  # two sums at once are not looked for: it takes long, and many would fit
            for told in unclear:
                fits = search(told.curve, account.reading.atoms)
                alone = len(account.told) == 1  # else a number that is fitted passes through much
                told.found += [
                    f for f in fits if alone or search is not sums or not f.formula.fitted
                ]
        whole = (one for one in tried if one.whole and (one.sharp or len(one.told) == fewest))
        found = sorted(whole, key=lambda account: account.cost)
        if found and all(told.clear for told in found[0].told):
            break
    return [account for account in found if len(account.told) == len(found[0].told)]


def read_all(readings: list[Reading]) -> list[Account]:
    """What is wrong in each reading of more than one step, without words yet."""
    long_enough = (one for one in readings if int((~one.atoms.end).sum()) > 1)
    return [Account(one, _wrong(one)) for one in long_enough]


def fewest_wrong(readings: list[Reading]) -> int:
    """How many coefficients are wrong in the reading in which the fewest are."""
    return min(len(_wrong(one)) for one in readings)


def _once(search: Search) -> Search:
    """The same; several readings may have one curve."""
    found: dict[tuple[int, int], list[Fit]] = {}

    def looked(curve: Curve, atoms: Atoms) -> list[Fit]:
        key = id(curve), id(atoms)
        if key not in found:
            found[key] = search(curve, atoms)
        return found[key]

    return looked


def _spiked(right: Tensor, reading: Reading) -> bool:
    """True for what is wrong at a few t of many, and so has no formula; `right` (k,) where not."""
    inner = ~reading.atoms.end
    t = reading.t[inner & ~right].unique()
    return 0 < len(t) <= FEW and len(reading.t[inner].unique()) > 2 * FEW


def _wrong(reading: Reading) -> list[Told]:
    """The coefficients that are not right at every t; at a few a right one may have no value, where
    another than it is wrong."""
    inner, found = ~reading.atoms.end, []
    for curve in reading.curves:
        off = [curve.off(right, reading.atoms) <= 1 for right in curve.right]
        none = [~right.value(reading.atoms).isfinite() for right in curve.right]
        off = [
            o | n if int((n & inner).sum()) <= FEW else o for o, n in zip(off, none, strict=True)
        ]
        if not any(bool(fits.all()) for fits in off):
            at_0_alone = any(bool(fits[inner].all()) for fits in off)
            right = torch.stack(off).any(dim=0)
            found.append(Told(curve, at_0_alone, not at_0_alone and _spiked(right, reading)))
    return found
