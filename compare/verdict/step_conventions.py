"""What a candidate's step shows of what its signature does not name."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from compare.candidate.scheduler import Scheduler
from compare.measure.loop_steps import silent
from compare.measure.probe import OUT, SHAPE, X
from compare.oracle import F64, Level, Oracle, Setting
from compare.oracle.samplers import BY_NAME

RIGHT = Oracle()
FAR = 1e3  # x0-hat far outside any range that a person would clip to
EXACT = 1e-3  # of a coefficient of a step: float32 at small t, where 1 - alpha-bar is rounded


def read_step(scheduler: Scheduler, known: set[str]) -> Setting:
    """Prediction type, kind of step, clip and variance: those that explain the step best.

    What is `known`, as the candidate names or claims it, is left as it is.
    """
    base = scheduler.setting
    scheduler.visit(None)
    table = scheduler.alpha_bars(RIGHT)
    t = torch.tensor(_quarters(base)).reshape(-1, 1)
    level = RIGHT.level(table, t, t - 1, base)
    rows = torch.stack([_rows(scheduler, int(i), float(table[int(i)]) ** 0.5) for i in t])
    setting = _kind(rows, level, base, known)
    if "variance_type" not in known:
        setting = _variance(scheduler, setting, table)
    if "clip_sample" not in known:
        setting = replace(setting, **_clip(scheduler, setting, table, rows[:, 2]))
    return setting


def _kind(rows: Tensor, level: Level, base: Setting, known: set[str]) -> Setting:
    """What the model predicts, and whose step it is: DDPM's, or DDIM's with which eta."""
    settings = [base]
    if "prediction_type" not in known:
        kinds = ("epsilon", "sample", "v_prediction")
        settings = [replace(base, prediction_type=kind) for kind in kinds]
    told = base.sampler != Setting.sampler  # by the options that its step names
    if not told and not bool(rows[:, 0].any()):
        settings += [still for setting in settings for still in silent(setting)]
    etas = [] if told else _etas(rows, level)
    ddim = replace(base, sampler="ddim", prediction_type="epsilon")
    between = [replace(ddim, eta=eta) for eta in etas]
    fitting = [s for s in between if _mean_gap(rows, level, s) < EXACT]
    return (fitting or [_nearest(rows, level, settings) or base])[0]


def _nearest(rows: Tensor, level: Level, settings: list[Setting]) -> Setting | None:
    """The setting that fits; else one that a mistake of the catalogue makes fit; else the nearest.

    So a wrong step is not taken for a right one of another kind that happens to look like it.
    """
    gaps = [_mean_gap(rows, level, s) for s in settings]
    nearest = int(torch.tensor(gaps).argmin())
    if gaps[nearest] < EXACT:
        return settings[nearest]
    from compare.mistakes import MISTAKES

    for setting in settings:
        for mistake in MISTAKES:
            kinds = ("", setting.sampler)
            if mistake.stage in ("prediction", "mean") and mistake.only in kinds:
                gap = _mean_gap(rows, level, setting, mistake.oracle())
                if gap < EXACT:
                    return setting
    return settings[nearest] if gaps[nearest] < 0.05 else None


def _etas(rows: Tensor, level: Level) -> list[float]:
    """The eta between 0 and 1 of a DDIM step on the noise, if the same at every t."""
    one, zero = torch.ones(1, 1, dtype=F64), torch.zeros(1, 1, dtype=F64)
    from_x_0 = RIGHT.ddim_mean(RIGHT.x_0("epsilon", one, zero, level), zero, level, zero)
    direction = (rows[:, 2] / OUT.to(F64)).mean(1, keepdim=True) - from_x_0
    squares = (1 - level.alpha_bar_prev - direction**2) / RIGHT.std("fixed_small", level) ** 2
    found = [float(f"{float(v):.3g}") for v in squares.clamp(min=0).sqrt().flatten()]
    return found[:1] if max(found) - min(found) < 0.01 and 0 < found[0] < 1 else []


def _rows(built: Scheduler, t: int, signal: float) -> Tensor:
    """(3, 8): the noise of a step, then what small x and small output add to it."""
    nothing, size = torch.zeros(SHAPE), 0.05 * signal
    zero = built.step(nothing, t, nothing, 3).prev.flatten()
    at_x = built.step(nothing, t, (size * X).reshape(SHAPE), 3).prev.flatten()
    at_out = built.step((size * OUT).reshape(SHAPE), t, nothing, 3).prev.flatten()
    return torch.stack([zero, (at_x - zero) / size, (at_out - zero) / size])


def _mean_gap(rows: Tensor, level: Level, setting: Setting, oracle: Oracle = RIGHT) -> float:
    x, out = X.to(F64).reshape(1, -1), OUT.to(F64).reshape(1, -1)
    zero, plain = torch.zeros_like(x), replace(setting, clip_sample=False, thresholding=False)
    gaps = []
    for j, (a, b) in enumerate(((zero, x), (out, zero)), start=1):
        right = oracle.step_mean(a, b, level, plain)
        gaps.append(
            float(((rows[:, j] - right).abs() / right.abs().amax(1, True).clamp(min=1e-4)).max())
        )
    return max(gaps)


def _variance(built: Scheduler, setting: Setting, table: Tensor) -> Setting:
    """The reading whose ratio between t = 1 and mid-chain is nearest."""
    T, readings = setting.num_train_timesteps, BY_NAME[setting.sampler].readings(setting)
    if not readings:
        return setting
    t = torch.tensor([[min(1, T - 1)], [T // 2]])
    level = RIGHT.level(table, t, t - 1, setting)
    nothing = torch.zeros(SHAPE)
    sizes = [float(built.step(nothing, int(i), nothing, 3).prev.abs().max()) for i in t]
    z = sizes[1] / max(float(RIGHT.std("fixed_small", level)[1]), 1e-12)

    def off(reading: Setting) -> float:
        return abs(sizes[0] - float(RIGHT.std(reading.variance_type, level)[0]) * z)

    return min([setting, *readings], key=off)


def _clip(built: Scheduler, setting: Setting, table: Tensor, small: Tensor) -> dict[str, Any]:
    """Whether x0-hat saturates, and at what: read at several t, which must agree.

    `small` (3, 8) is what a small model output adds to a step. Where x_{t-1} saturates instead,
    that is the range, and stage mean says that it is misplaced.
    """
    nothing, far = torch.zeros(SHAPE), torch.full(SHAPE, FAR)
    sign = 1.0 if setting.prediction_type == "sample" else -1.0
    answers, kink, reach, again = [], [], [], []
    towards = sign * OUT > 0  # the side that is looked at: the other may be clipped elsewhere
    gains = (small[:, towards] / OUT[towards].to(F64)).mean(1)
    for t, gain in zip(_quarters(setting), gains, strict=True):
        answer = built.step(sign * far, t, nothing, 3)
        moved = (answer.prev - built.step(nothing, t, nothing, 3).prev).flatten()[0]
        at = torch.tensor([t])
        level = RIGHT.level(table, at, at - 1, setting)
        answers.append(answer)
        # where the straight part meets the flat one, whatever the mean
        raw = RIGHT.x_0(setting.prediction_type, 1 + 0 * gain, 0 * gain, level)
        kink.append(float(moved / gain * raw))
        reach.append(_reach(sign, moved, level, replace(setting, clip_sample=True)))
        rederived = replace(setting, clip_sample=True, use_clipped_model_output=True)
        again.append(_reach(sign, moved, level, rederived))
    seen = {
        "shown": [float(a.x_0.flatten()[0]) for a in answers if a.x_0 is not None],
        "reach": reach,
        "again": again,
        "kink": kink,
        "flat": [float(a.prev.flatten()[0]) for a in answers],
    }
    for where in BY_NAME[setting.sampler].clip_shows:
        sizes = sorted(abs(r) for r in seen[where])
        if sizes and 0 < sizes[-1] < 100 and sizes[-1] - sizes[0] < 0.02 * sizes[-1]:
            digits = 3 if sizes[-1] - sizes[0] < 1e-3 * sizes[-1] else 2  # a wrong step blurs it
            return {
                "clip_sample": True,
                "clip_sample_range": float(f"{sizes[1]:.{digits}g}"),
                "use_clipped_model_output": where == "again",
            }
    return {"clip_sample": False}


def _quarters(setting: Setting) -> list[int]:
    """Three steps in mid-chain."""
    T = setting.num_train_timesteps
    return [T // 4, T // 2, 3 * T // 4]


def _reach(sign: float, moved: Tensor, level: Level, setting: Setting) -> float:
    """The range r that explains how far a step moved: past the clip it is affine in r."""
    far, zero = torch.full((1,), sign * FAR, dtype=F64), torch.zeros(1, dtype=F64)
    at_1, at_2 = (
        RIGHT.step_mean(far, zero, level, replace(setting, clip_sample_range=r)) for r in (1.0, 2.0)
    )
    return float(1 + (moved - at_1) / (at_2 - at_1))
