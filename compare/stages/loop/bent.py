"""What a step that is no sum of x_t, the model's output and noise makes of one of its parts.

Where the noise of a loop is known, what it made of each part follows from where its steps end, the
rest being right: the part may be limited, be another image's, or be bent by some function.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from compare.measure.check import Check, found
from compare.measure.loop_steps import Steps, largest
from compare.oracle import F64, Oracle, Setting
from compare.oracle.samplers import noisy, silent

SHARP = 3e-3  # of a part: steps at which it is read less well are left out
FEWEST = 4  # steps at which it is read
STEEP = 4.0  # what a part is bent by changes no faster
DIGITS = 6  # of a limit, at most
PLACES = (0.0, 0.5, 1.0)  # of the values of a part, of which is said what becomes of them


@dataclass(frozen=True)
class Part:
    """A part of a step at some calls, (calls, b, c, h, w), as it should be and as it is.

    Attributes:
        name: what it is.
        right: what it should be.
        is_: what it is.
        off: how far off that may be, (calls, 1, 1, 1, 1).
    """

    name: str
    right: Tensor
    is_: Tensor
    off: Tensor

    @property
    def changed(self) -> bool:
        """True if something was made of it."""
        return not self.fits(self.right)

    def fits(self, wanted: Tensor) -> bool:
        """True if it is this everywhere."""
        return bool(((self.is_ - wanted).abs() <= self.off).all())


def bent(steps: Steps, setting: Setting) -> Check | None:
    """What is made of which part, if that explains every pixel of the steps looked at."""
    noise, drawn = steps.run.noise, steps.run.drawn
    says = [_limited, _divided, _of_others, _other]
    if noise is None and drawn is not None:  # the steps are sums
        noise, says = drawn.z, [_divided]
    if noise is None or steps.oracle != Oracle():
        return None
    few = steps.few()
    kinds = (*noisy(setting), *silent(setting))
    parts = [part for kind in kinds for part in _parts(few, noise, kind.unlimited)]
    for say, part in product(says, parts):
        words = say(part) if part.changed else ""
        if words:
            right = f"{part.name} as it is; x0-hat may be limited to [-1, 1] (Ho et al. eq. 15)"
            return found("sampling/loop/bent", "differs", words, right=right)
    return None


def _parts(steps: Steps, noise: Tensor, kind: Setting) -> Iterator[Part]:
    """Each part that can be read sharply, all others being right."""
    oracle, run, calls = steps.oracle, steps.run, steps.calls
    at, z = steps.level.at(calls), noise[calls]
    x, out, end = (v.to(F64) for v in (run.x[calls], run.out[calls], run.x[calls + 1]))
    bound = steps.bound(kind, largest, z).reshape(-1, 1, 1, 1, 1)
    rest = end - oracle.sigma(at, kind) * z
    one = torch.ones_like(x[:, :1, :1, :1, :1])
    nothing, of_one = 0 * x, 0 * one

    def mean(out: Tensor, x: Tensor, given: Tensor | None = None) -> Tensor:
        return oracle.step_mean(out, x, at, kind, given)

    def x_0(out: Tensor, x: Tensor) -> Tensor:
        return oracle.x_0(kind.prediction_type, out, x, at)

    right, whole = x_0(out, x), mean(out, x)
    by_x_0 = mean(of_one, of_one, one)
    read = [
        ("x0-hat", right, rest - mean(out, x, nothing), by_x_0),
        (
            "x_t beside x0-hat",
            x,
            rest - mean(out, nothing, right),
            mean(of_one, one, of_one),
        ),
        ("x_t in x0-hat", x, rest - mean(out, x, x_0(out, nothing)), by_x_0 * x_0(of_one, one)),
        ("the model's output", out, rest - mean(nothing, x), mean(one, of_one)),
        ("x_t", x, rest - mean(out, nothing), mean(of_one, one)),
        ("the mean", whole, rest, one),
        ("x_{t-1}", whole + end - rest, end, one),
    ]
    for name, wanted, left, weight in read:
        off = bound / weight.abs()
        sharp = (off <= SHARP * (1 + largest(wanted))).flatten()
        if int(sharp.sum()) >= FEWEST:
            yield Part(name, wanted[sharp], (left / weight)[sharp], off[sharp])


def _limited(part: Part) -> str:
    """It is kept between two numbers, of which one may be far outside."""
    off = float(part.off.max())
    low, high = (_short(float(v), off) for v in (part.is_.min(), part.is_.max()))
    below, above = (
        bool((part.right < low - 2 * off).any()),
        bool((part.right > high + 2 * off).any()),
    )
    kept = part.right.clamp(low if below else -torch.inf, high if above else torch.inf)
    if not (below or above) or not replace(part, off=part.off + off).fits(kept):
        return ""
    if below and above:
        return f"{part.name} is limited to [{low:g}, {high:g}]"
    return f"{part.name} is limited to {f'{low:g} and more' if below else f'{high:g} and less'}"


def _divided(part: Part) -> str:
    """It is divided by what is largest in the batch, or in its image."""
    for whole, dims in (("the batch", (1, 2, 3, 4)), ("its image", (2, 3, 4))):
        if part.fits(part.right / part.right.abs().amax(dim=dims, keepdim=True)):
            return f"{part.name} is divided by the largest value of {whole}"
    return ""


def _short(value: float, off: float) -> float:
    """The number of fewest digits that is no further off."""
    written = (0.0, *(float(f"{value:.{digits}g}") for digits in range(1, DIGITS + 1)))
    return next((number for number in written if abs(number - value) <= off), value)


def _of_others(part: Part) -> str:
    """It is that of another image of the batch."""
    of: list[int] = []
    for is_, right, off in zip(part.is_, part.right, part.off, strict=True):
        apart = (is_[:, None] - right).abs().flatten(2).amax(dim=2)
        same = apart <= off.flatten()  # (image, image that it is of)
        if not bool(same.any(dim=1).all()):
            return ""
        of = of or same.double().argmax(dim=1).tolist()
    i = next((i for i, other in enumerate(of) if other != i), 0)
    return f"{part.name} of image {i} is that of image {of[i]} of the batch"


def _other(part: Part) -> str:
    """It is a function of what it should be."""
    if not _smooth(part, slice(1)) or not (curve := _smooth(part, slice(None))):
        return ""
    at = [int(place * (len(curve[0]) - 1)) for place in PLACES]
    shown = (", ".join(f"{float(v[i]):.3g}" for i in at) for v in curve)
    return f"{part.name} is bent: {' become '.join(shown)}"


def _smooth(part: Part, calls: slice) -> tuple[Tensor, Tensor] | None:
    """What it should be in rising order, and what it is, if the one is a function of the other."""
    right, order = part.right[calls].flatten().sort()
    off = part.off.expand_as(part.right)[calls].flatten()[order]
    is_ = part.is_[calls].flatten()[order]
    smooth = is_.diff().abs() <= STEEP * right.diff() + off[1:] + off[:-1]
    return (right, is_) if bool(smooth.all()) else None
