"""Sums of two products with free constants, of a curve or of its square."""

from dataclasses import replace
from itertools import combinations, islice, product

import torch
from torch import Tensor

from compare.formulas.atoms import Atoms
from compare.formulas.expressions import Expression, Monomial, Powers, Sum, is_plain
from compare.formulas.fit import Curve, Fit, constants, verified
from compare.measure.tolerances import FACTOR, UNIT

FEW = 48  # steps at which every pair is tried, before what is left is checked at all of them
ENDS = 8  # of the first and of the last steps, where formulas differ most
FAR = 2.0  # times what is allowed: a pair further off at a step is not looked at
ROUGH = 1e-8  # of a sum of squares: far above what is rounded of it
MANY = 60  # pairs that are checked at all of them, the nearest first
TRIED = 3  # constants near that of a term, the plainest first: two terms may be nearly one
POWERS = (1.0, 0.5, -1.0, -0.5, 2.0)


def sums(curve: Curve, atoms: Atoms) -> list[Fit]:
    """The sums that fit, of the curve and, if none does, of its square."""
    known = ["sigma_t"] if "sigma_t" in atoms.values and curve.name != "z" else []
    names = atoms.varied([*curve.names, *known])
    terms = _terms((*curve.right, *curve.beside), names)
    rows = (~atoms.end & curve.measured.isfinite()).nonzero().flatten()
    if not len(rows):
        return []
    found: dict[str, Fit] = {}
    size = curve.measured[rows].abs()
    large = rows[size >= size.median()]  # where a difference under a root is not negative
    for some, root in ((rows, False), (rows, True), (large, True)):
        if found and some is large:
            break
        few = _some(some)
        for formula in _pairs(curve.at(few), atoms.at(few), terms, root):
            fit = _settled(curve, atoms, formula)
            if fit is not None:
                found.setdefault(str(fit.formula), fit)
    return list(found.values())


def _some(rows: Tensor) -> Tensor:
    """A few of the steps (k,), with those at both ends."""
    if len(rows) <= FEW:
        return rows
    return torch.cat([rows[:ENDS], rows[ENDS:-ENDS][:: 1 + len(rows) // FEW], rows[-ENDS:]])


def _terms(right: tuple[Expression, ...], names: list[str]) -> list[Monomial]:
    """Short products of the atoms, and atoms times the right formulas, or their squares."""
    short: list[Powers] = [{}, *({name: p} for name in names for p in POWERS)]
    for a, b in combinations(names, 2):
        short += [{a: p, b: q} for p, q in product((1.0, -1.0, 0.5, -0.5), repeat=2)]
    tilde = {"beta_t": 1.0, "1 - ab_prev": 1.0, "1 - ab_t": -1.0}
    if all(name in names for name in tilde):
        short += [tilde, {name: p / 2 for name, p in tilde.items()}]
    found = {str(Monomial(1.0, powers)): Monomial(1.0, powers) for powers in short}
    beside: list[Powers] = [*short[: 1 + len(POWERS) * len(names)]]
    if {"ab_t", "ab_prev"} <= {*names}:  # another power of alpha_t
        beside += [{"ab_t": p, "ab_prev": -p} for p in POWERS]
    for one in right:
        parts = one.terms if isinstance(one, Sum) else (one,) if isinstance(one, Monomial) else ()
        for part in parts:
            begun = Monomial(1.0, part.powers)
            squared = begun.times(1.0, part.powers)
            for powers in beside:
                for whole in (begun.times(1.0, powers), squared.times(1.0, powers)):
                    found.setdefault(str(whole), whole)
    return list(found.values())


def _pairs(curve: Curve, atoms: Atoms, terms: list[Monomial], root: bool) -> list[Sum]:
    """The pairs with which a curve, or its square, is nearly a sum at a few steps."""
    values = torch.stack([term.value(atoms) for term in terms])  # (terms, few)
    whole = values.isfinite().all(dim=1) & (values != 0).all(dim=1)
    terms = [term for term, ok in zip(terms, whole.tolist(), strict=True) if ok]
    values, wanted = values[whole], curve.measured
    allowed = curve.slack + _float32(curve, atoms)
    if root:
        allowed, wanted = 2 * wanted.abs() * allowed, wanted**2
    scaled, target = values / allowed, wanted / allowed
    i, j = torch.triu_indices(len(terms), len(terms), 1)
    gram = scaled @ scaled.T
    onto = scaled @ target
    det = gram[i, i] * gram[j, j] - gram[i, j] ** 2
    a = (gram[j, j] * onto[i] - gram[i, j] * onto[j]) / det
    b = (gram[i, i] * onto[j] - gram[i, j] * onto[i]) / det
    clear = det > 1e-10 * gram[i, i] * gram[j, j]
    squares = target @ target  # what least squares leave is no less than the furthest, squared
    clear &= squares - a * onto[i] - b * onto[j] <= FAR**2 * len(target) + ROUGH * squares
    left = torch.full(det.shape, torch.inf, dtype=det.dtype)
    for part in clear.nonzero().flatten().split(20_000):
        made = a[part, None] * scaled[i[part]] + b[part, None] * scaled[j[part]]
        left[part] = (made - target).abs().amax(dim=1)
    order = left.argsort()[:MANY]
    order = order[left[order] <= FAR]
    sign = 1 if bool(curve.measured.sum() >= 0) else -1
    found = []
    for n in order.tolist():
        one = terms[int(i[n])].times(float(a[n]), {})
        other = terms[int(j[n])].times(float(b[n]), {})
        found.append(Sum((one, other), root, sign if root else 1))
    return found


def _float32(curve: Curve, atoms: Atoms) -> Tensor:
    """(k,) about what float32 costs a formula of these atoms."""
    base = [atoms.slack[name] for name in curve.names]
    return FACTOR * UNIT * curve.measured.abs() * (1 + sum(base, torch.zeros_like(curve.slack)) / 2)


def _settled(curve: Curve, atoms: Atoms, formula: Sum) -> Fit | None:
    """With the plainest constants with which it is the curve at every t; one may be any number.

    Of what is negative under a root the size may be taken, or 0.
    """
    choices = [(*islice(constants(t.constant), TRIED), t.constant) for t in formula.terms]
    unit = [Monomial(1.0, term.powers) for term in formula.terms]
    one, other = (term.value(atoms) for term in unit)
    inner, allowed = ~atoms.end, formula.error(atoms) + curve.slack
    if not all(_matters(term, formula, curve, atoms, allowed) for term in formula.terms):
        return None
    for pair in product(*choices):
        if not any(is_plain(constant) for constant in pair):
            continue
        total = pair[0] * one + pair[1] * other
        made = formula.sign * (total.sqrt() if formula.root else total)
        if bool(((made - curve.measured).abs() > 2 * allowed)[inner].any()):
            continue
        terms = sorted((t.times(c, {}) for t, c in zip(unit, pair, strict=True)), key=_place)
        negative = formula.root and bool((total < 0)[inner].any())
        for below in ("", "abs", "0") if negative else ("",):
            written = replace(formula, terms=tuple(terms), below=below)
            fit = verified(curve, atoms, written, 4)
            if fit is not None:
                return fit
    return None


def _matters(term: Monomial, formula: Sum, curve: Curve, atoms: Atoms, allowed: Tensor) -> bool:
    """True if a sum without this term would be told from it at half of the steps."""
    size = term.value(atoms).abs()
    moved = size / (2 * curve.measured.abs()) if formula.root else size
    return bool((moved > allowed)[~atoms.end].double().mean() >= 0.5)


def _place(term: Monomial) -> tuple[bool, bool]:
    """1 - something is written first, and what is taken off last."""
    return term.constant < 0, not str(term).startswith("1 - ")
