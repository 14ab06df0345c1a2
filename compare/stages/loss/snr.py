"""Weights of a loss by the signal-to-noise ratio, as papers give them: their numbers are read off.

min-SNR  Hang et al. 2023, section 3.4: min(SNR, gamma) for x_0, over SNR for the noise, over
         SNR + 1 for v
P2       Choi et al. 2022, eq. 8: 1 / (k + SNR)^gamma for the noise
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from compare.formulas.parts.losses import Weights
from compare.measure.tolerances import FACTOR, UNIT

SNR = "SNR_t"
# {what is predicted: (by what min(SNR, gamma) is divided, as it is written, in words)}
DIVIDED: dict[str, tuple[Callable[[Tensor], Tensor], str, str]] = {
    "epsilon": (lambda snr: snr, f" / {SNR}", "the noise"),
    "sample": (torch.ones_like, "", "x_0"),
    "v_prediction": (lambda snr: snr + 1, f" / ({SNR} + 1)", "v"),
}
POWERS = (1.0, 0.5, 2.0, 0.25, 0.75, 1.25, 1.5, 1.75)  # the gamma of P2
FEWEST = 2  # steps on either side of gamma


@dataclass(frozen=True)
class BySnr:
    """A weight of a paper's, times which number is a convention.

    Attributes:
        formula: what the loss weighs by.
        right: what it should, where that is another.
        words: whose weight it is.
    """

    formula: str
    right: str
    words: str


def by_snr(found: Weights, table: Tensor, kind: str) -> BySnr | None:
    """The weight of a paper that these are at every t, within rounding; None if they are none.

    Args:
        found: the weights.
        table: (T,) alpha-bar.
        kind: what the model predicts.
    """
    ab = table[found.t]
    snr = ab / (1 - ab)
    rounded = FACTOR * UNIT * (1 + 1 / (1 - ab))  # of SNR, relative
    allowed = found.error + rounded * found.values.abs()
    clamped = next(_clamped(found.values, allowed, snr, kind), None)
    if clamped is not None or kind != "epsilon" or found.formula is not None:
        return clamped
    return next(_p2(found.values, allowed, snr), None)


def _clamped(values: Tensor, allowed: Tensor, snr: Tensor, kind: str) -> Iterator[BySnr]:
    """min-SNR, first for what the model predicts, and max in its place."""
    for other in sorted(DIVIDED, key=lambda one: one != kind):
        divider, written, _ = DIVIDED[other]
        whole = values * divider(snr)
        for name, least in (("min", True), ("max", False)):
            gamma = _gamma(whole, allowed * divider(snr), snr, least)
            if gamma is not None:
                number = f"{gamma:.3g}"
                right = f"min({SNR}, {number}){DIVIDED[kind][1]}"
                words = f"min-SNR's weight for a model that predicts {DIVIDED[other][2]}"
                words += "" if least else ", with max for min"
                yield BySnr(f"{name}({SNR}, {number}){written}", right, f"{words} (Hang et al.)")


def _gamma(whole: Tensor, allowed: Tensor, snr: Tensor, least: bool) -> float | None:
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
    return float(gamma) if bool(((whole - wanted).abs() <= 2 * allowed).all()) else None


def _p2(values: Tensor, allowed: Tensor, snr: Tensor) -> Iterator[BySnr]:
    """1 / (k + SNR)^gamma: to the power -1 / gamma it is a line over SNR."""
    first, last = int(snr.argmax()), int(snr.argmin())
    for power in POWERS:
        line = values ** (-1 / power)
        slope = (line[first] - line[last]) / (snr[first] - snr[last])
        k = float(line[last] / slope - snr[last])
        wanted = (slope * (k + snr)) ** -power
        if k > 0 and bool(((values - wanted).abs() <= 2 * allowed).all()):
            formula = f"1 / ({k:.3g} + {SNR})" + (f"^{power:g}" if power != 1 else "")
            yield BySnr(formula, formula, "P2's weight (Choi et al., eq. 8)")
