"""Weights of a loss by the signal-to-noise ratio, as papers give them: their numbers are read off.

min-SNR    Hang et al. 2023, section 3.4: min(SNR, gamma) for x_0, over SNR for the noise, over
           SNR + 1 for v
truncated  Salimans & Ho 2022, section 4: max(SNR, 1) for x_0, over the same for the others
P2         Choi et al. 2022, eq. 8: 1 / (k + SNR)^gamma for the noise
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compare.formulas.expressions import Monomial
from compare.formulas.parts.losses import Weights
from compare.measure.tolerances import FACTOR, UNIT
from compare.oracle import F64
from compare.oracle.algorithms import DIVIDERS, Weight

SNR = "SNR_t"
# {what is predicted: (by what min(SNR, gamma) is divided, how its inverse begins, in words)}
WRITTEN: dict[str, tuple[str, str, str]] = {
    "epsilon": (f" / {SNR}", f"{SNR} / ", "the noise"),
    "sample": ("", "1 / ", "x_0"),
    "v_prediction": (f" / ({SNR} + 1)", f"({SNR} + 1) / ", "v"),
}
POWERS = (1.0, 0.5, 2.0, 0.25, 0.75, 1.25, 1.5, 1.75)  # the gamma of P2
FEWEST = 2  # steps on either side of gamma
TRUNCATED = "the truncated SNR's weight (Salimans & Ho, section 4)"


@dataclass(frozen=True)
class BySnr:
    """A weight of a paper's, times which number is a convention.

    Attributes:
        form: what the loss weighs by, with {} for numbers.
        right: what it should, where that is another form.
        words: whose weight it is.
        numbers: gamma; or the k of P2, and its exponent as that is written.
    """

    form: str
    right: str
    words: str
    numbers: tuple[str, ...]

    @property
    def letters(self) -> str:
        """What the loss weighs by."""
        return self.form.format(*self.numbers)

    @property
    def should(self) -> str:
        """What it should."""
        return self.right.format(*self.numbers)


def some_snr() -> Tensor:
    """(100,) float64, from little noise to much."""
    return torch.logspace(4, -3, 100, dtype=F64)


def by_snr(found: Weights, table: Tensor, kind: str) -> BySnr | None:
    """The weight of a paper that these are at every t, within rounding; None if they are none.

    Args:
        found: the weights.
        table: (T,) alpha-bar.
        kind: what the model predicts.
    """
    ab = table[found.t]
    allowed = found.error + _rounded(ab) * found.values.abs()
    plain = isinstance(found.formula, Monomial) and not found.formula.has_sum
    known = _known(found.values, allowed, ab / (1 - ab), kind, plain)
    return known or next(_at_another(found, table, kind), None)


def _rounded(ab: Tensor) -> Tensor:
    """What float32 may do to SNR, relative."""
    return FACTOR * UNIT * (1 + 1 / (1 - ab))


def _at_another(found: Weights, table: Tensor, kind: str) -> Iterator[BySnr]:
    """The weight of a paper by the SNR of another index, but where that lies outside the table."""
    last = len(table) - 1
    for index, at in (
        ("t - 1", found.t - 1),
        ("t + 1", found.t + 1),
        ("T - 1 - t", last - found.t),
    ):
        inside = (at >= 0) & (at <= last)
        ab, values = table[at[inside]], found.values[inside]
        allowed = found.error[inside] + _rounded(ab) * values.abs()
        known = _known(values, allowed, ab / (1 - ab), kind, plain=True) if len(values) else None
        if known is not None:
            form = known.form.replace(SNR, f"SNR[{index}]")
            yield replace(known, form=form, words=f"{known.words}, by the SNR of {index}")


def form_of(weight: Weight, kind: str) -> str | None:
    """The form of a weight over SNR, whatever its numbers; None if it is none of a paper's."""
    snr = some_snr()
    values = weight(snr, kind)
    known = _known(values, FACTOR * UNIT * values, snr, kind)
    return None if known is None else known.form


def _known(
    values: Tensor, allowed: Tensor, snr: Tensor, kind: str, plain: bool = False
) -> BySnr | None:
    """The weight that these are; `plain`: they are powers of the table, and not P2's."""
    clamped = next(_clamped(values, allowed, snr, kind), None)
    if clamped is not None or kind != "epsilon" or plain:
        return clamped
    return next(_p2(values, allowed, snr), None)


def _clamped(values: Tensor, allowed: Tensor, snr: Tensor, kind: str) -> Iterator[BySnr]:
    """min-SNR for what the model predicts, max in its place, its inverse; then for another kind."""
    own, inverse, _ = WRITTEN[kind]
    right = f"min({SNR}, {{}}){own}"
    for other in sorted(WRITTEN, key=lambda one: one != kind):
        written, _, what = WRITTEN[other]
        divider, whose = DIVIDERS[other](snr), f"min-SNR's weight for a model that predicts {what}"
        for name, least in (("min", True), ("max", False)):
            form = f"{name}({SNR}, {{}}){written}"
            gamma = _gamma(values * divider, allowed * divider, snr, least)
            if gamma == "1" and other == kind and not least:
                yield BySnr(form, form, TRUNCATED, (gamma,))
            elif gamma is not None:
                words = f"{whose}{'' if least else ', with max for min'} (Hang et al.)"
                yield BySnr(form, right, words, (gamma,))
        turned = divider / values
        gamma = _gamma(turned, turned * allowed / values, snr, True) if other == kind else None
        if gamma is not None:
            form = f"{inverse}min({SNR}, {{}})"
            yield BySnr(form, right, f"{whose}, upside down (Hang et al.)", (gamma,))
    root, whose = f"sqrt({SNR})", f"min-SNR's weight for a model that predicts {WRITTEN[kind][2]}"
    for letters, by in ((root, snr.sqrt()), (SNR, snr)):  # it is divided by
        divider = DIVIDERS[kind](by)
        gamma = _gamma(values * divider, allowed * divider, snr.sqrt(), True)
        if gamma is not None:
            form = f"min({root}, {{}}){own.replace(SNR, letters)}"
            yield BySnr(form, right, f"{whose}, with {root} for {SNR} (Hang et al.)", (gamma,))


def _gamma(whole: Tensor, allowed: Tensor, snr: Tensor, least: bool) -> str | None:
    """The gamma with which `whole` is a constant times min(SNR, gamma), or max; None if none is."""
    slope = whole / snr
    constant = slope.max() if least else slope.min()
    gamma = (whole.max() if least else whole.min()) / constant
    below = snr < gamma
    follows = below if least else ~below
    if min(int(follows.sum()), int((~follows).sum())) < FEWEST:
        return None
    constant = slope[follows].median()
    gamma = whole[~follows].median() / constant
    wanted = constant * (snr.clamp(max=float(gamma)) if least else snr.clamp(min=float(gamma)))
    return f"{float(gamma):.3g}" if bool(((whole - wanted).abs() <= 2 * allowed).all()) else None


def _p2(values: Tensor, allowed: Tensor, snr: Tensor) -> Iterator[BySnr]:
    """1 / (k + SNR)^gamma, or upside down: to the power -1 / gamma it is a line over SNR."""
    first, last = int(snr.argmax()), int(snr.argmin())
    for power in (*POWERS, *(-power for power in POWERS)):
        line = values ** (-1 / power)
        slope = (line[first] - line[last]) / (snr[first] - snr[last])
        k = float(line[last] / slope - snr[last])
        wanted = (slope * (k + snr)) ** -power
        if k > 0 and bool(((values - wanted).abs() <= 2 * allowed).all()):
            form, exponent = f"({{}} + {SNR}){{}}", "" if abs(power) == 1 else f"^{abs(power):g}"
            over, turned = ("1 / ", "") if power > 0 else ("", ", upside down")
            words = f"P2's weight{turned} (Choi et al., eq. 8)"
            yield BySnr(f"{over}{form}", f"1 / {form}", words, (f"{k:.3g}", exponent))
