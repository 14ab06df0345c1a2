"""Stage prediction: from what the model returns to x0-hat, clipping and thresholding included."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import Subject
from compare.measure.check import Check, guarded, note
from compare.measure.probe import Probe, Single, probe, single, some_of_chain, some_steps
from compare.measure.step import (
    full_chain_fits,
    inputs,
    level_at,
    level_of,
    mean_bound,
    own_x_0,
    rounding,
    rows_of_mean,
    twice,
    where_t,
)
from compare.measure.tolerances import propagated
from compare.measure.values import Expected, values
from compare.oracle import F64, KINDS, STEP, Inputs, Level, Oracle, Setting
from compare.stages.stage import Stage

Steps = list[int] | None  # of the full chain, or all


def kinds(subject: Subject) -> list[tuple[str, Scheduler, Steps]]:
    """(name, scheduler, steps) of each prediction type: the base one at every t."""
    base, T = subject.setting, subject.setting.num_train_timesteps
    offered = subject.all_offered({kind: {"prediction_type": kind} for kind in KINDS})
    whole = subject.level == "full"
    return [
        (kind, scheduler, None if whole or kind == base.prediction_type else some_steps(T))
        for kind, scheduler in offered.items()
    ]


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """x0-hat of every prediction type, then each way of limiting it."""
    # a step that gives no answer is left to stage mean
    yield from guarded("prediction/step", _checks(subject, oracle), quiet=True)


def _checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    probe(subject.scheduler())
    for name, scheduler, steps in kinds(subject):
        id = f"prediction/{name}"
        yield from guarded(id, _unlimited(id, scheduler, oracle, steps))
    for name, scheduler in limits(subject).items():
        id = f"prediction/{name}"
        yield from guarded(id, _limited(id, scheduler, oracle))


@dataclass(frozen=True)
class Seen:
    """A candidate's x0-hat, the difference from that of zeros, and how precisely it is known."""

    x_0: Tensor
    error: Tensor


def seen_x_0(scheduler: Scheduler, oracle: Oracle, rows: Probe, steps: Steps) -> Seen | None:
    """x0-hat as returned, or taken out of the step by the mean that `sample` fixes, or None."""
    own = own_x_0(rows)
    if own is not None:
        return Seen(own[0] - own[1], rounding(*own))
    plain = scheduler.subject.offers(prediction_type="sample")
    if plain is None or "prediction_type" not in scheduler.subject.named:
        return None
    level = twice(level_of(oracle, plain.alpha_bars(oracle), rows, scheduler.setting))

    def rounded(setting: Setting) -> Tensor:
        """Of the terms of a mean, of which little may be left."""
        asked = Inputs(*inputs(rows), level, setting)
        kind = setting.prediction_type
        x_0 = partial(oracle.x_0, kind, asked.out, asked.x_t)
        return rounding(*(e(level) for e in oracle.sampler(setting).terms(oracle, asked, x_0)))

    both = (rounded(scheduler.setting), rounded(plain.setting))
    return _taken_out(rows, probe(plain, None, steps), *both)


def _taken_out(rows: Probe, plain: Probe, error: Tensor, of_plain: Tensor) -> Seen:
    """x0-hat in a step whose weights another shows, that of a model which returns x_0 itself."""
    assert plain.at_out is not None
    assert plain.at_x is not None
    by_out = (plain.at_out - plain.zero) / plain.out
    by_x = (plain.at_x - plain.zero) / plain.x
    c_0, c_t = by_out.mean(1, keepdim=True), by_x.mean(1, keepdim=True)
    by_t, by_0 = of_plain.chunk(2)  # of x_t alone, then of the output alone
    slack_0 = (rounding(plain.zero, plain.at_out) + by_0) / plain.out.abs()
    slack_t = (rounding(plain.zero, plain.at_x) + by_t) / plain.x.abs()
    _, x = inputs(rows)
    measured = rows_of_mean(rows)
    double = [v.repeat(2, 1) for v in (c_0, c_t, slack_0.amax(1, True), slack_t.amax(1, True))]
    x_0 = (measured - double[1] * x) / double[0]
    noise = error + rounding(measured, torch.cat([rows.zero, rows.zero]), double[1] * x)
    error = (noise + double[3] * x.abs() + double[2] * x_0.abs()) / double[0].abs()
    return Seen(x_0, error)


def _unlimited(id: str, scheduler: Scheduler, oracle: Oracle, steps: Steps) -> Iterator[Check]:
    setting, rows = scheduler.setting, probe(scheduler, None, steps)
    seen = seen_x_0(scheduler, oracle, rows, steps)
    if seen is None:
        yield note(id, "x0-hat is not shown (pred_original_sample), so it is judged in the mean")
        return
    out, x = inputs(rows)

    def limited(out: Tensor, x: Tensor, at: Level) -> Tensor:
        """Inputs are small, so that a right limit does nothing."""
        raw = oracle.x_0(setting.prediction_type, out, x, at)
        return oracle.limit(raw.reshape(-1, 2, 4), setting).reshape(raw.shape)

    def expected(table: Tensor) -> Expected:
        def formula(at: Level) -> Tensor:
            return limited(out, x, at) - limited(0 * out, 0 * x, at)

        def ask() -> tuple[Tensor, Tensor]:
            level = twice(level_of(oracle, table, rows, setting))
            right = formula(level)
            terms = right.abs() + x.abs() + out.abs()
            return right, propagated(formula, level, terms) + seen.error

        return ask

    yield values(
        id,
        "x0-hat",
        seen.x_0,
        expected(scheduler.alpha_bars(oracle)),
        expected(oracle.alpha_bar(setting)),
        where=where_t(rows),
        inputs=2,
        input=f"prediction_type={id.partition('/')[2]!r}; x alone, then the model output alone",
    )


def limits(subject: Subject) -> dict[str, Scheduler]:
    """Each way of limiting x0-hat that is offered, and a step without one."""
    wanted: dict[str, dict] = {}
    for kind in KINDS:
        wanted[f"clip-{kind}"] = {"clip_sample": True, "prediction_type": kind}
        wanted[f"no-clip-{kind}"] = {"clip_sample": False, "prediction_type": kind}
    wanted["clip-range-2"] = {"clip_sample": True, "clip_sample_range": 2.0}
    wanted["clip-cosine"] = {"clip_sample": True, "beta_schedule": "squaredcos_cap_v2"}
    wanted["threshold"] = {"thresholding": True, "sample_max_value": 1.5}
    wanted["threshold-half"] = {
        "thresholding": True,
        "dynamic_thresholding_ratio": 0.5,
        "sample_max_value": 100.0,
    }
    return {n: s for n, s in subject.all_offered(wanted).items() if s.usable()}


def far() -> tuple[Tensor, Tensor]:
    """(8,) float32 a picture and an output, both far outside the range."""
    x = [2.0, -3.0, 0.3, 5.0, -0.2, 0.1, -0.4, 0.25]
    out = [-3.0, 2.0, 0.4, -6.0, 0.1, -0.3, 0.2, -0.05]
    return torch.tensor(x, dtype=torch.float32), torch.tensor(out, dtype=torch.float32)


def _limited(id: str, scheduler: Scheduler, oracle: Oracle) -> Iterator[Check]:
    setting, T = scheduler.setting, scheduler.setting.num_train_timesteps
    wanted = sorted({T - 1, 3 * T // 4, T // 2, T // 20, 1, 0}, reverse=True)
    steps = some_of_chain(scheduler, wanted)
    x, out = far()
    nothing = torch.zeros_like(x)
    seen = [single(scheduler, None, t, x, out) for t, _ in steps]
    if seen[0].x_0 is None and not full_chain_fits(scheduler.subject, Oracle()):
        yield note(id, "x0-hat is not shown and the mean is off: left to stage mean")
        return
    still = [single(scheduler, None, t, nothing, nothing).prev for t, _ in steps]

    def expected(table: Tensor) -> Expected:
        def ask() -> tuple[Tensor, Tensor]:
            pairs = [
                _expected(oracle, level_at(scheduler, oracle, *step, table), setting, one, noise)
                for step, one, noise in zip(steps, seen, still, strict=True)
            ]
            return torch.cat([value for value, _ in pairs]), torch.cat([off for _, off in pairs])

        return ask

    shown = seen[-1].x_0 is not None
    yield values(
        id,
        "x0-hat" if shown else "the step with x0-hat limited",
        torch.cat([one.prev if one.x_0 is None else one.x_0 for one in seen]),
        expected(scheduler.alpha_bars(oracle)),
        expected(oracle.alpha_bar(setting)),
        where=lambda at: f"t={steps[at[0]][0]}",
        input=f"{_changed(scheduler)}; inputs inside and far outside the range",
    )


def _changed(scheduler: Scheduler) -> str:
    base = scheduler.subject.setting
    changed = {k: v for k, v in vars(scheduler.setting).items() if v != getattr(base, k)}
    return ", ".join(f"{k}={v!r}" for k, v in changed.items()) or "as it is by itself"


def _expected(
    oracle: Oracle, level: Level, setting: Setting, seen: Single, still: Tensor
) -> tuple[Tensor, Tensor]:
    """x0-hat limited, or the step that it leads to with the noise `still`, and what is allowed."""
    x, out = (v.to(F64).reshape(1, -1) for v in far())
    nothing, kind = torch.zeros_like(x), setting.prediction_type

    def from_x(at: Level) -> Tensor:
        return oracle.x_0(kind, nothing, x, at)

    def from_out(at: Level) -> Tensor:
        return oracle.x_0(kind, out, nothing, at)

    bound = rounding(x.abs() + out.abs())
    for part in (from_x, from_out):
        bound = bound + propagated(part, level, part(level).abs())
    if seen.x_0 is not None:
        raw = oracle.x_0(kind, out, x, level).reshape(1, 2, 4)
        return oracle.limit(raw, setting).reshape(1, 8), bound
    images = [v.reshape(1, 2, 4) for v in (out, x, still)]
    at = level.map(lambda values: values.unsqueeze(-1))  # for values of shape (k, b, pixels)
    noise = oracle.sigma(at, setting) * oracle.noise_of(torch.zeros_like(images[0]), images[0])
    mean = oracle.step_mean(images[0], images[1], at, setting) + images[2] + noise
    step = oracle.finish(mean, setting).reshape(1, 8)
    return step, bound + mean_bound(oracle, out, x, None, level, setting) + rounding(still)


PREDICTION = Stage(
    name="prediction",
    looks_at="model output and x_t to x0-hat: epsilon, sample, v; clipping, thresholding",
    right="x0-hat = (x_t - sqrt(1-ab) eps) / sqrt(ab), then clip (Ho et al. eq. 15)",
    page="prediction",
    checks=checks,
    needs=("step",),
    sees=STEP,
)
