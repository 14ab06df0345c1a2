"""What the waves of a table of sinusoids go by, where it is none of t by any convention."""

import math
from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from compare.oracle import F64, Waves

NICE = 1e-3  # a period this near to a round number is that
FEWEST = 3  # waves of which it can be said how they fall
LIKE_WAVES = 1e-3  # how far off the angle of a wave may be that is read off float32, or less


def other_waves(rows: Tensor, t: Tensor) -> tuple[str, str]:
    """Which check of a table's waves fails, and by what they go that are no right ones; "" for what
    is of another kind.

    Where the first goes by t and the others fall, their frequencies are wrong: those of Fourier
    features are drawn, or rise. Where all fall geometrically and go by something else, that is said
    of the waves as a whole, which may be meant so.

    Args:
        rows: (n, dim) of the table, of the first t.
        t: (n,) those.
    """
    half = rows.shape[1] // 2
    for angle in _angles(rows) if half >= FEWEST else ():
        turned = angle.diff(dim=0)
        turned = turned - 2 * math.pi * (turned / (2 * math.pi)).round()
        f = turned.mean(0)
        even = bool(((turned - f).abs() <= LIKE_WAVES).all())
        if not bool((f > 0).all() and (f.diff() < 0).all()):
            continue
        ahead = round(float(angle[0, -1] / f[-1]))  # the slowest has made no turn
        if even and ahead and _is_of_t_ahead(angle, f, t, ahead):
            return "waves", f"its waves go by t + {ahead} and not by t"
        if even and abs(float(f[0]) - 1) <= NICE:
            told, last = ", ".join(f"{float(v):.4g}" for v in f[:3]), float(f[-1])
            right = ", ".join(f"{10000 ** (-i / half):.4g}" for i in range(3))
            words = f"its frequencies are {told}, ..., {last:.4g}, should be {right}, ..."
            return "frequencies", f"{words}: 10000^(-i / half)"
        if not even and not bool(angle[t == 0].any()):
            along = angle[:1] + torch.cat([0 * turned[:1], turned.cumsum(0)])
            return "waves", _by_another(along, t)
    return "", ""


def _is_of_t_ahead(angle: Tensor, f: Tensor, t: Tensor, ahead: float) -> bool:
    """True if all angles are (t + ahead) f, whole turns apart, and these fall geometrically."""
    off = (angle - (t[:, None] + ahead) * f) / (2 * math.pi)
    near = 2 * math.pi * (off - off.round()).abs() <= LIKE_WAVES * (1 + t[:, None])
    rates = f.log().diff()
    return bool(near.all()) and bool(((rates - rates[0]).abs() <= LIKE_WAVES).all())


def _angles(rows: Tensor) -> Iterator[Tensor]:
    """(b, half) of each order of columns in which every two are the sine and cosine of one."""
    half = rows.shape[1] // 2
    for cosine_first, alternating in product((False, True), (False, True)):
        waves = Waves(cosine_first, alternating)
        order = waves.arranged(*torch.arange(2 * half, dtype=F64).reshape(2, 1, half))[0][0]
        sine, cosine = rows[:, order.argsort()].chunk(2, dim=1)
        if bool(((sine.square() + cosine.square() - 1).abs() <= LIKE_WAVES).all()):
            yield torch.atan2(sine, cosine)


def _by_another(angle: Tensor, t: Tensor) -> str:
    """By what all waves go, if that is one curve of t and their frequencies fall geometrically."""
    curve = angle[:, 0]
    share = (angle * curve[:, None]).sum(0) / curve.square().sum()
    rates = share.log().diff()
    one = bool(((angle - curve[:, None] * share).abs() <= LIKE_WAVES * (1 + curve[:, None])).all())
    if not one or bool(((rates - rates[0]).abs() > LIKE_WAVES).any()):
        return ""
    if bool(((curve - t.log1p()).abs() <= LIKE_WAVES * (1 + t.log1p())).all()):
        return "its waves go by log(1 + t) and not by t"
    told = ", ".join(f"{float(v):.4g}" for v in curve[:4])
    at = ", ".join(f"{v:g}" for v in t[:4])
    return f"its waves go by {told}, ... at t = {at}, and not by t"
