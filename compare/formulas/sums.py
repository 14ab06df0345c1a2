"""Sums of two products with free constants, of a curve or of its square."""

from itertools import combinations, product

import torch
from torch import Tensor

from compare.formulas.atoms import Atoms
from compare.formulas.expressions import Expression, Monomial, Powers, Sum, is_plain
from compare.formulas.fit import Curve, Fit, constants, verified
from compare.measure.tolerances import FACTOR, UNIT

FEW = 48  # steps at which every pair is tried, before what is left is checked at all of them
MANY = 60  # pairs that are checked at all of them, the nearest first
TRIED = 4  # constants of a term, the plainest first
SPREAD = 4.0  # times what is allowed: a sum that is further off at some step fits with no constants
POWERS = (1.0, 0.5, -1.0, -0.5, 2.0)


def sums(curve: Curve, atoms: Atoms) -> list[Fit]:
    """The sums that fit, of the curve and, if none does, of its square."""
    names = atoms.varied([*curve.names, *(n for n in ("sigma_t",) if n in atoms.values)])
    terms = _terms(curve.right, names)
    rows = ~atoms.end & curve.measured.isfinite()
    few = rows.nonzero().flatten()
    few = few[:: 1 + len(few) // FEW]
    found: dict[str, Fit] = {}
    for root in (False, True):
        for formula in _pairs(curve.at(few), atoms.at(few), terms, root):
            fit = _settled(curve, atoms, formula)
            if fit is not None:
                found.setdefault(str(fit.formula), fit)
    return list(found.values())


def _terms(right: tuple[Expression, ...], names: list[str]) -> list[Monomial]:
    """Short products of the atoms, and the same times the right formula, or its square."""
    short: list[Powers] = [{}, *({name: p} for name in names for p in POWERS)]
    for a, b in combinations(names, 2):
        short += [{a: p, b: q} for p, q in product((1.0, -1.0, 0.5, -0.5), repeat=2)]
    tilde = {"beta_t": 1.0, "1 - ab_prev": 1.0, "1 - ab_t": -1.0}
    if all(name in names for name in tilde):
        short += [tilde, {name: p / 2 for name, p in tilde.items()}]
    found = {str(Monomial(1.0, powers)): Monomial(1.0, powers) for powers in short}
    for one in right:
        parts = one.terms if isinstance(one, Sum) else (one,) if isinstance(one, Monomial) else ()
        for part in parts:
            begun = Monomial(1.0, part.powers)
            squared = begun.times(1.0, part.powers)
            for powers in short[: 1 + len(POWERS) * len(names)]:
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
    left = torch.full(det.shape, torch.inf, dtype=det.dtype)
    for part in clear.nonzero().flatten().split(20_000):
        made = a[part, None] * scaled[i[part]] + b[part, None] * scaled[j[part]]
        left[part] = (made - target).abs().amax(dim=1)
    order = left.argsort()[:MANY]
    order = order[left[order] <= 2]
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
    """With the plainest constants with which it is the curve at every t; one may be any number."""
    inner = ~atoms.end
    if bool((curve.off(formula, atoms)[inner] > SPREAD).any()):
        return None
    allowed = (formula.error(atoms) + curve.slack)[inner]
    if formula.root:
        allowed = 2 * allowed * curve.measured[inner].abs()
    choices = []
    for term in formula.terms:
        free = float((allowed / term.value(atoms)[inner].abs()).min()) * abs(term.constant)
        near = (c for c in constants(term.constant) if abs(c - term.constant) <= 3 * free)
        choices.append((*near, term.constant)[:TRIED])
    one, other = formula.terms
    for a, b in product(*choices):
        if not (is_plain(a) or is_plain(b)):
            continue
        terms = (Monomial(a, one.powers), Monomial(b, other.powers))
        ordered = sorted(terms, key=_place)
        fit = verified(curve, atoms, Sum(tuple(ordered), formula.root, formula.sign), 4)
        if fit is not None:
            return fit
    return None


def _place(term: Monomial) -> tuple[bool, bool]:
    """1 - something is written first, and what is taken off last."""
    return term.constant < 0, not str(term).startswith("1 - ")
