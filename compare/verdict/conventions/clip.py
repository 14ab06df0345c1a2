"""Whether a step clips x0-hat, and at what: by exact checks at a few steps, which must agree."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from compare.candidate.scheduler import Scheduler
from compare.measure.probe import SHAPE, output, picture
from compare.measure.step import mean_bound, rounding
from compare.measure.tolerances import propagated
from compare.oracle import F64, Level, Oracle, Setting
from compare.oracle.samplers import BY_NAME

RIGHT = Oracle()
FAR = 256.0  # of x0-hat: outside any range that a person would clip to
FAR_OFF = 1.0  # what the noise of one step does not add, seven times its std
SMALL = 0.05  # of the signal: no clip acts on it
MOST = 100.0  # of a range
DIGITS = 6  # of one, that a person writes
PERCENTILES = (0.995, 0.99, 0.95, 0.9, 0.999, 0.975, 0.98, 0.97, 0.85, 0.8)  # of a threshold


@dataclass(frozen=True)
class Limit:
    """A number that is read off one step, and how far off float32 may make it."""

    value: float
    error: float


@dataclass(frozen=True)
class Ends:
    """What outputs add to one step from x_t = 0: one on which no clip acts, one by which x0-hat is
    `FAR`, and twice that.

    Attributes:
        near, far: the first two of those outputs.
        of_near, of_far, of_further: what each adds, and how far off that may be.
    """

    near: float
    far: float
    of_near: Limit
    of_far: Limit
    of_further: Limit


def read_clip(
    built: Scheduler, setting: Setting, table: Tensor, steps: list[int]
) -> dict[str, Any]:
    """Whether x0-hat saturates, and at what, the same at each of some steps within rounding.

    Where x_{t-1} saturates instead, that is the range, and stage mean says that it is misplaced.

    Args:
        built: a scheduler that clips, if the candidate does.
        setting: of its steps.
        table: (T,) alpha-bars.
        steps: the t that are looked at.
    """
    steps = [t for t in steps if 0 < float(table[t]) < 1]
    if not steps:  # nothing of the image, or no noise: no x0-hat to be limited
        return {"clip_sample": False}
    built.visit(None)
    t, prev = built.near(steps)
    levels = RIGHT.place(table, t, prev, built.before(t), setting)
    seen = [_limits(built, setting, levels.at(torch.tensor(i))) for i in range(len(steps))]
    for where in BY_NAME[setting.sampler].clip_shows:
        size = _agreed([each[where] for each in seen if where in each])
        if size is not None:
            found = {
                "clip_sample": True,
                "clip_sample_range": size,
                "use_clipped_model_output": where == "again",
            }
            dynamic = _threshold(built, setting, levels, found) if size == 1 else {}
            return found | dynamic
    return {"clip_sample": False}


def _threshold(
    built: Scheduler, setting: Setting, levels: Level, clipped: dict[str, Any]
) -> dict[str, Any]:
    """What a limit of 1 is, where a picture of several sizes shows that no clip gives it: dynamic
    thresholding (Saharia et al. 2022), the first of the percentiles that fits at every step."""
    trials = [clipped, *map(threshold, PERCENTILES)]
    answers = large_answers(built, levels)
    return next((trial for trial in trials if answers.fit(RIGHT, replace(setting, **trial))), {})


def threshold(percentile: float) -> dict[str, Any]:
    """Dynamic thresholding by this percentile."""
    return {
        "clip_sample": False,
        "thresholding": True,
        "dynamic_thresholding_ratio": percentile,
        "sample_max_value": float("inf"),
    }


@dataclass(frozen=True)
class Large:
    """What a step makes of large pictures, in which no pixel is as large as another.

    Attributes:
        x, out: (1, 2, pixels) what it was given.
        prev: (k, 2, pixels) what it makes of that.
        added: (k, 2, pixels) what that adds to what it makes of nothing.
        level: (k, 1, 1) where it stands.
    """

    x: Tensor
    out: Tensor
    prev: Tensor
    added: Tensor
    level: Level

    def limit_of_prev(self, oracle: Oracle, chosen: Setting) -> float | None:
        """The range to which each x_{t-1} is clamped, where that is one, whatever its noise."""
        size, right = self.prev.abs(), oracle.step_mean(self.out, self.x, self.level, chosen)
        most = float(size.max())
        there = right.abs() > most + FAR_OFF  # where no noise brings it back inside
        clamped = (self.prev == most * right.sign())[there]
        return most if len(clamped) > size.numel() // 4 and bool(clamped.all()) else None

    def fit(self, oracle: Oracle, chosen: Setting) -> bool:
        """True if they are those of an oracle, at every pixel."""
        x, out, at = self.x, self.out, self.level
        right = oracle.step_mean(out, x, at, chosen)
        allowed = mean_bound(oracle, out, x, None, at, chosen) + rounding(self.added, right, x)
        return bool(((self.added - right).abs() <= allowed).all())


def large_answers(built: Scheduler, levels: Level) -> Large:
    """Asks for the steps of these levels."""
    x, out = ((FAR / 64 * v.to(F64)).reshape(1, 2, -1) for v in (picture(), output()))
    at = levels.map(lambda values: values.reshape(-1, 1, 1))
    nothing, prevs, added = torch.zeros(SHAPE), [], []
    for t in levels.t.flatten().tolist():
        given = [v.float().reshape(SHAPE) for v in (out, x)]
        still, there = (built.alone(a, t, b, 3).prev for a, b in ((nothing, nothing), given))
        prevs.append(there.reshape(2, -1))
        added.append((there - still).reshape(2, -1))
    return Large(x, out, torch.stack(prevs), torch.stack(added), at)


def _limits(built: Scheduler, setting: Setting, level: Level) -> dict[str, Limit]:
    """{where: the range that shows there} of one step, its level of shape (1,)."""
    one = torch.ones(1, dtype=F64)
    to_x_0 = float(RIGHT.x_0(setting.prediction_type, one, 0 * one, level))
    near, far = SMALL * float(level.alpha_bar.sqrt()), FAR / to_x_0
    near = near if far > 0 else -near
    outputs = [torch.full(SHAPE, size) for size in (0.0, near, far, 2 * far)]
    answers = [built.alone(out, int(level.t), torch.zeros(SHAPE), 3) for out in outputs]
    still, *prevs = (answer.prev.flatten()[0] for answer in answers)
    added = [Limit(float(prev - still), float(rounding(prev, still))) for prev in prevs]
    ends = Ends(near, far, *added)
    found = {"flat": Limit(float(prevs[1]), float(rounding(prevs[1])))}
    if answers[2].x_0 is not None:
        shown = answers[2].x_0.flatten()[0]
        found["shown"] = Limit(float(shown), float(rounding(shown)))
    clipped = replace(setting, clip_sample=True)
    found["reach"] = _reach(ends, level, clipped)
    found["again"] = _reach(ends, level, replace(clipped, use_clipped_model_output=True))
    return found | {"kink": _kink(ends, level, setting)}


def _reach(ends: Ends, level: Level, setting: Setting) -> Limit:
    """The range that explains how far a step moved: past the clip it is affine in it."""
    far, zero = torch.full((1,), ends.far, dtype=F64), torch.zeros(1, dtype=F64)

    def mean(size: float, at: Level) -> Tensor:
        return RIGHT.step_mean(far, zero, at, replace(setting, clip_sample_range=size))

    unit = mean(2.0, level) - mean(1.0, level)
    value = float(1 + (ends.of_far.value - mean(1.0, level)) / unit)
    rough = 1 + BY_NAME[setting.sampler].roughness(level)
    terms = rough * (mean(value, level).abs() + abs(value))
    off = propagated(lambda at: mean(value, at), level, terms)
    return Limit(value, float((off + ends.of_far.error) / unit.abs()))


def _kink(ends: Ends, level: Level, setting: Setting) -> Limit:
    """x0-hat where the straight part of a step meets the clipped one, whatever the mean."""
    first, beyond = ends.of_near, (ends.of_further.value - ends.of_far.value) / ends.far
    off_beyond = (ends.of_further.error + ends.of_far.error) / abs(ends.far)
    bend = first.value / ends.near - beyond
    of_bend = first.error / abs(ends.near) + off_beyond
    if abs(bend) <= of_bend:  # it goes straight on
        return Limit(float("inf"), 0.0)
    out = (ends.of_far.value - beyond * ends.far) / bend
    error = (ends.of_far.error + off_beyond * abs(ends.far) + abs(out) * of_bend) / abs(bend)

    def x_0(at: Level) -> Tensor:
        one = torch.ones(1, dtype=F64)
        return RIGHT.x_0(setting.prediction_type, out * one, 0 * one, at)

    value = x_0(level)
    of_formula = float(propagated(x_0, level, value.abs()))
    return Limit(float(value), of_formula + error * float((value / out).abs()))


def _agreed(limits: list[Limit]) -> float | None:
    """The number of fewest digits that all of these may be; None if they part, or are no range."""
    low = max((abs(each.value) - each.error for each in limits), default=0.0)
    high = min((abs(each.value) + each.error for each in limits), default=0.0)
    if not 0 < low <= high < MOST:
        return None
    written = (float(f"{(low + high) / 2:.{digits}g}") for digits in range(1, DIGITS + 1))
    return next((size for size in written if low <= size <= high), (low + high) / 2)
