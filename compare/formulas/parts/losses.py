"""What was measured of a training loss, as curves: x_t, what is compared with it, its weights."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from compare.candidate.loss.slopes import Known, Slopes, slopes
from compare.candidate.scheduler import Scheduler
from compare.formulas.accounts import accounts, fewest_wrong
from compare.formulas.atoms import OF_TABLE, Atoms, atoms
from compare.formulas.curves import EQ_4, EQ_7, NOISE, OF_X_0, OF_X_T, SIGNAL, Reading
from compare.formulas.expressions import Expression, Monomial, Sum
from compare.formulas.fit import Curve
from compare.formulas.parts.measured import other_kinds
from compare.measure.tolerances import FACTOR, RATE, UNIT
from compare.oracle import Oracle

ONE, ZERO = Monomial(1.0), Monomial(0.0)
HIDDEN = 1e-5  # of the largest weight: of a sum over a batch less than float32 leaves
ALIKE = 1e-4  # of the largest weight: far above what float32 makes of a constant
# What x_0 and the noise weigh in the mean of x_prev, which is made of x_0 and x_t.
OF_MEANS: tuple[Expression, Expression] = (
    Sum((OF_X_0, OF_X_T.times(1.0, SIGNAL.powers))),
    OF_X_T.times(1.0, NOISE.powers),
)
EQ_14 = "Ho et al. eq. 14"
# {what is predicted: (the target, what x_0 and the noise weigh in it, the source)}
TARGETS: dict[str, tuple[str, tuple[Monomial, Monomial], str]] = {
    "epsilon": ("noise", (ZERO, ONE), EQ_14),
    "sample": ("x_0", (ONE, ZERO), "Ho et al. section 3.2"),
    "v_prediction": (
        "sqrt(ab_t) * noise - sqrt(1 - ab_t) * x_0",
        (NOISE.times(-1.0, {}), SIGNAL),
        "Salimans & Ho, section 4",
    ),
}


def trains_means(scheduler: Scheduler, oracle: Oracle) -> bool:
    """True if a loss compares the model with the mean of x_prev, of x_0 and x_t: Ho et al. eq. 7,
    of x_0 and the noise."""
    seen = slopes(scheduler.subject, scheduler.alpha_bars(Oracle()), RATE)
    if seen is None or seen.target is None:
        return False
    made = _atoms(scheduler, oracle, seen)
    curves = [
        Curve("", part.value, slack(part), (formula,), EQ_7, ends_at_0=formula is OF_MEANS[1])
        for part, formula in zip(seen.target, OF_MEANS, strict=True)
    ]
    return all(curve.is_right(made) for curve in curves)


def of_loss(scheduler: Scheduler, oracle: Oracle) -> Iterator[list[Reading]]:
    """What x_t is made of and what the output is compared with, together, then one by one.

    Of a loss alone nobody may say what its model predicts: it is that with which fewest are wrong.
    """
    subject, kind = scheduler.subject, scheduler.setting.prediction_type
    seen = slopes(subject, scheduler.alpha_bars(Oracle()), RATE)
    if seen is None:
        return
    made = _atoms(scheduler, oracle, seen)
    alone = not (subject.has("sample") or subject.has("step"))
    kinds = (kind, *(other_kinds(scheduler) if alone else ()))
    read = [_of_kind(kind, seen, made) for kind in kinds]
    found = min(read, key=lambda parts: sum(fewest_wrong([part]) for part in parts))
    if len(found) == 2:
        x_t, of_target = found
        whole = f"{x_t.whole}; {of_target.whole}"
        yield [Reading(whole, (*x_t.curves, *of_target.curves), made, seen.t)]
    yield from ([one] for one in found)


def _of_kind(kind: str, seen: Slopes, made: Atoms) -> list[Reading]:
    """The same, each by itself, of a model that predicts this."""
    target, right, source = TARGETS[kind]
    found = []
    for what, whole, parts, formulas, where in (
        ("x_t", f"{SIGNAL} * x_0 + {NOISE} * noise", seen.x_t, (SIGNAL, NOISE), EQ_4),
        ("the target", target, seen.target, right, source),
    ):
        if parts is not None:
            curves = tuple(
                Curve(f"{name} in {what}", c.value, slack(c), (formula,), where, OF_TABLE)
                for name, c, formula in zip(("x_0", "noise"), parts, formulas, strict=True)
            )
            found.append(Reading(f"{what} = {whole}", curves, made, seen.t))
    return found


def _atoms(scheduler: Scheduler, oracle: Oracle, seen: Slopes) -> Atoms:
    table = scheduler.alpha_bars(oracle)
    level = oracle.level(table, seen.t, seen.t - 1, scheduler.setting)
    return atoms(level, scheduler.betas())


def slack(known: Known) -> Tensor:
    """(k,) how far off a curve may be: by the rounding of what it was read off, and its own."""
    return 2 * known.error + FACTOR * UNIT * known.value.abs()


@dataclass(frozen=True)
class Weights:
    """By what a loss weighs the images, where that goes by their t.

    Attributes:
        t: (k,) the t, rising.
        values, error: (k,) the weights, times a constant, and how far off they may be.
        formula: what they are, times a constant; None if they are no formula.
        apart: (k,) bool, where they are something else.
    """

    t: Tensor
    values: Tensor
    error: Tensor
    formula: Expression | None
    apart: Tensor

    @property
    def trains(self) -> bool:
        """True if every t is learnt."""
        return bool((self.values > 0).all())

    @property
    def hides(self) -> bool:
        """True if some t weigh so little that an image of theirs is less than rounding."""
        return bool(self.values.min() <= HIDDEN * self.values.max())

    @property
    def letters(self) -> str:
        """The formula, "" if there is none."""
        return "" if self.formula is None else f"weight(t) = {self.formula}"

    @property
    def words(self) -> str:
        """What the loss does, at three t and as a formula."""
        inner = (~self.apart).nonzero().flatten().tolist()
        at, by = self._numbers(dict.fromkeys((inner[0], inner[len(inner) // 2], inner[-1])))
        should = f"should weigh all t alike ({EQ_14})"
        if self.formula is None:
            return f"your loss weighs {at} by {by}, {should}"
        words = f"your loss weighs t by {self.formula}, {should}: at {at} by {by}"
        rest = self.apart.nonzero().flatten().tolist()[:2]
        return words + (" but at {} by {}".format(*self._numbers(rest)) if rest else "")

    def _numbers(self, rows: Iterable[int]) -> tuple[str, str]:
        rows = list(rows)
        ts = ", ".join(str(int(self.t[i])) for i in rows)
        return f"t={ts}", ", ".join(f"{float(self.values[i]) + 0:.3g}" for i in rows)


def weights_of(scheduler: Scheduler) -> Weights | None:
    """The weights of a loss; None where all t weigh alike, or that cannot be read."""
    subject, key = scheduler.subject, ("weights", *scheduler.subject.asked_as)
    found: Weights | None = subject.remember(key, lambda: _weights(scheduler))
    return found


def _weights(scheduler: Scheduler) -> Weights | None:
    oracle = Oracle()
    seen = slopes(scheduler.subject, scheduler.alpha_bars(oracle), RATE)
    known = None if seen is None else seen.weight
    if seen is None or known is None:
        return None
    most, nowhere = float(known.value.abs().max()), torch.zeros(len(seen.t), dtype=torch.bool)
    if float(known.value.max() - known.value.min()) <= ALIKE * most:
        return None
    alike = Monomial(float(known.value.median()))
    allowed = slack(known)
    curve = Curve("t", known.value, allowed, (alike,), EQ_14, OF_TABLE)
    made = _atoms(scheduler, oracle, seen)
    found = accounts([Reading("", (curve,), made, seen.t)])
    fits = found[0].told[0].fits if found else []
    if not fits or fits[0].coarse:
        return Weights(seen.t, known.value / most, allowed / most, None, nowhere)
    formula = fits[0].formula
    apart = ~(curve.off(formula, made) <= 1)
    if isinstance(formula, Monomial):  # times which number is a convention
        values, error = known.value / formula.constant, allowed / abs(formula.constant)
        return Weights(seen.t, values, error, Monomial(1.0, formula.powers), apart)
    return Weights(seen.t, known.value, allowed, formula, apart)
