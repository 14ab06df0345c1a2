"""A step read as DDIM's: which eta it has, by the noise that it adds.

Whose noise is a multiple of sqrt(beta-tilde) has said its eta, whatever its direction holds. The
direction may say another, if that is above 0; of a direction without sigma nothing is read but
where the noise says nothing either.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import Tensor

from compare.formulas.atoms import Atoms
from compare.formulas.bases import readings
from compare.formulas.curves import BETA_TILDE, size_of_noise
from compare.formulas.expressions import Expression, Monomial, Sum, is_plain
from compare.formulas.fit import Curve, best, constants, moved_products, products
from compare.formulas.parts.measured import Measured
from compare.oracle.samplers import DDIM


def as_ddim(step: Measured, slack: Tensor, declared: float | None) -> Iterator[Measured]:
    """The same step as DDIM's, with the eta that its noise has, and with that of its direction.

    One of them may be wrong: the other is that which is declared, if any is. Where neither has one
    the direction may hold the sigma of the noise, whatever that is.

    Args:
        step: of which the size of the noise is known.
        slack: (k,) how far off that may be.
        declared: the eta that the program has by default, if it names one.
    """
    sigma = step.sigma
    assert sigma is not None

    def ddim(eta: float, size: Tensor | None = None) -> Measured:
        return replace(step, setting=replace(step.setting, sampler=DDIM.name, eta=eta), sigma=size)

    still = ddim(0.0)
    tilde, signal = BETA_TILDE.value(step.atoms), step.level.alpha_bar_prev.flatten()
    z = size_of_noise(sigma, slack, still.setting, named=False)
    noisy = _eta(z, float((sigma / tilde).nanmedian()), _noise, step.atoms)
    _, eps = next(readings(still)).curves
    squares = (1 - signal - eps.measured**2) / tilde**2
    along = _eta(eps, float(squares.nanmedian().clamp(min=0).sqrt()), _direction, step.atoms)
    named = declared if declared is not None and 0 < declared <= 1 else None
    along = along if named is None else named
    if noisy is not None:
        yield ddim(noisy)
    elif along in (None, named):
        yield ddim(_share(z, step.atoms) if named is None else named, sigma)
    if along is None or along == noisy:
        return
    # With eta = 1 the mean is DDPM's, which was read; with 0 it may be that of any noise.
    if along == named or (along != 1.0 and (is_plain(along) if along else not noisy)):
        yield ddim(along)


def _eta(
    curve: Curve, about: float, formula: Callable[[float], Expression], atoms: Atoms
) -> float | None:
    """The plainest eta up to 1 with which a curve is this formula at every step, if any is."""
    for eta in (0.0, *constants(about)):
        if 0 <= eta <= 1 and bool((curve.off(formula(eta), atoms) <= 1)[~atoms.end].all()):
            return eta
    return None


def _noise(eta: float) -> Expression:
    return BETA_TILDE.times(eta, {})


def _direction(eta: float) -> Expression:
    """sqrt(1 - ab_prev - sigma_t^2) with the sigma of DDIM."""
    noise = Monomial(1.0, {"1 - ab_prev": 1})
    return Sum((noise, BETA_TILDE.times(-(eta**2), BETA_TILDE.powers)), root=True)


def _share(noise: Curve, atoms: Atoms) -> float:
    """The number before the formula that a wrong sigma has, if that may be an eta; else 1."""
    for search in (products, moved_products):
        for fit in best(search(noise, atoms), noise.right)[:1]:
            number = getattr(fit.formula, "constant", 1.0)
            return number if 0 < number < 1 and is_plain(number) else 1.0
    return 1.0
