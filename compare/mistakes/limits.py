"""What a step may limit in the place of x0-hat, or by another size: no entries, as none is common.

Right: x0-hat itself is clipped, or clamp(x0-hat, -s, s) / s with s a quantile of its size (Saharia
et al. 2022, section 2.3).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from compare.mistakes.prediction import threshold_without_division
from compare.oracle import Level, Setting
from compare.oracle import step as right

SOURCE = "(Saharia et al., section 2.3)"


@dataclass(frozen=True)
class OtherLimit:
    """A wrong limit.

    Attributes:
        words: what is, and should be.
        fix: what to give.
        seams: what stands in the oracle where it is.
        percentile: of its threshold, if it has such.
    """

    words: str
    fix: str
    seams: dict[str, Any] = field(default_factory=dict)
    percentile: float | None = None


def other_limits(percentiles: Iterable[float]) -> Iterator[OtherLimit]:
    """All that are known, with thresholds by each of the percentiles."""
    for thing, formula in (("x_t", _of_clipped_x_t), ("model output", _of_clipped_output)):
        words = f"your x0-hat is made of clamp({thing}, -1, 1), should be of the {thing} as it is, "
        fix = f"x0-hat the {thing} as it is; clip x0-hat itself"
        yield OtherLimit(f"{words}and clipped itself (Ho et al. eq. 15)", fix, {"x_0": formula})
    for words, limits in (
        ("clamp(x0-hat, min=-1)", {"min": -1.0}),
        ("clamp(x0-hat, max=1)", {"max": 1.0}),
    ):
        said = f"your x0-hat is {words}, should be clamp(x0-hat, -1, 1), or as it is, of images in "
        limit: dict[str, Any] = {"limit": partial(_limited, limits)}
        yield OtherLimit(f"{said}[-1, 1] (Ho et al. eq. 15)", "x0-hat clamp(x0-hat, -1, 1)", limit)
    whole = f"x0-hat clamp(x0-hat, -s, s) / s {SOURCE}"
    for percentile in percentiles:
        words = f"your x0-hat is clamp(x0-hat, -s, s), s the {percentile:g} quantile of |x0-hat|, "
        seams: dict[str, Any] = {"limit": threshold_without_division.seams["limit"]}
        yield OtherLimit(f"{words}should be divided by s {SOURCE}", whole, seams, percentile)
        words = f"your s of clamp(x0-hat, -s, s) / s is the {percentile:g} quantile of x0-hat, "
        seams, fix = {"limit": _by_signed_quantile}, "s the quantile of |x0-hat|"
        yield OtherLimit(f"{words}should be that of |x0-hat| {SOURCE}", fix, seams, percentile)


def _of_clipped_x_t(kind: str, out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    return right.x_0(kind, out, x_t.clamp(-1, 1), level)


def _of_clipped_output(kind: str, out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    return right.x_0(kind, out.clamp(-1, 1), x_t, level)


def _limited(limits: dict[str, float], x_0: Tensor, setting: Setting) -> Tensor:
    return x_0.clamp(**limits)


def _by_signed_quantile(x_0: Tensor, setting: Setting) -> Tensor:
    s = torch.quantile(x_0, setting.dynamic_thresholding_ratio, dim=-1, keepdim=True).clamp(min=1)
    return x_0.clamp(-s, s) / s
