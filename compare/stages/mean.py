"""Stage mean: the linear part of a step in (x0-hat, x_t), given the candidate's own x0-hat."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import Subject
from compare.measure.check import Check, guarded
from compare.measure.probe import (
    Probe,
    Single,
    of_before,
    probe,
    single,
    some_of_chain,
    some_steps,
)
from compare.measure.step import (
    chain,
    expected_mean,
    level_at,
    level_of,
    mean_bound,
    replayed,
    rounding,
    rows_of_mean,
    strided,
    where_t,
)
from compare.measure.values import Expected, deviation, values
from compare.oracle import F64, STEP, Level, Oracle
from compare.oracle.samplers import BY_NAME
from compare.stages import learned
from compare.stages.prediction import Steps, far, kinds
from compare.stages.stage import Stage

X_T_ALONE = "x_t alone, with a model output of 0"
BEFORE = "mean/step-before"
OUTPUT_ALONE = "the model output alone, with an x_t of 0"


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """Full chains of every prediction type and schedule, short chains, and steps that clip."""
    for name, scheduler, steps in _full(subject):
        yield from guarded(f"mean/{name}", _of_full(f"mean/{name}", scheduler, oracle, steps))
    for spacing, n in strided(subject):
        id = f"mean/{spacing}-{n}"
        yield from guarded(id, _of_short(id, subject, oracle, spacing, n))
    if subject.scheduler().sampler.remembers:
        yield from guarded(BEFORE, _of_before(BEFORE, subject.scheduler(), oracle))
    for name, scheduler in learned.learned(subject).items():
        yield from guarded(f"mean/{name}", learned.of_mean(f"mean/{name}", scheduler, oracle))
    for name, scheduler in _limited(subject).items():
        yield from guarded(f"mean/{name}", _whole(f"mean/{name}", scheduler, oracle))


def _full(subject: Subject) -> list[tuple[str, Scheduler, Steps]]:
    """(name, scheduler, steps) of the chains of all T steps."""
    base, T, kinds_of = subject.setting, subject.setting.num_train_timesteps, kinds(subject)
    others: dict[str, dict] = {
        "cosine": {"beta_schedule": "squaredcos_cap_v2"},
        "sigmoid": {"beta_schedule": "sigmoid"},
        "last-alpha": {"set_alpha_to_one": False},
    }
    others |= BY_NAME[base.sampler].means([kind for kind, _, _ in kinds_of])
    return kinds_of + [
        (name, scheduler, some_steps(T, 16))
        for name, scheduler in subject.all_offered(others).items()
        if scheduler.setting != base and scheduler.usable()
    ]


def _of_full(id: str, scheduler: Scheduler, oracle: Oracle, steps: Steps) -> Iterator[Check]:
    yield _linear(id, scheduler, oracle, probe(scheduler, None, steps))


def _of_short(id: str, subject: Subject, oracle: Oracle, spacing: str, n: int) -> Iterator[Check]:
    seen = chain(subject, oracle, spacing, n)
    yield _linear(id, seen.scheduler, oracle, seen.rows, seen.prev)


def _linear(
    id: str, scheduler: Scheduler, oracle: Oracle, rows: Probe, prev: Tensor | None = None
) -> Check:
    setting, table = scheduler.setting, scheduler.alpha_bars(oracle)

    def given_its_own(oracle: Oracle) -> Expected:
        """By the candidate's own table and, in a short chain, its own previous steps."""
        return expected_mean(oracle, rows, level_of(oracle, table, rows, setting, prev), setting)

    judged = given_its_own(oracle)
    share = scheduler.sampler.noise_in_mean(setting)
    if share and deviation(rows_of_mean(rows), *judged())[0] == "differs":
        oracle = _of_its_own_size(oracle, rows.zero, rows.t.flatten().tolist(), share)
        judged = given_its_own(oracle)

    def pure() -> tuple[Tensor, Tensor]:
        level = level_of(oracle, oracle.alpha_bar(setting), rows, setting)
        return expected_mean(oracle, rows, level, setting)()

    k, where = len(rows.t), where_t(rows)
    return values(
        id,
        "the mean of the step",
        rows_of_mean(rows),
        judged,
        pure,
        where=lambda at: f"{where(at)} from {X_T_ALONE if at[0] < k else OUTPUT_ALONE}",
        inputs=2,
        input=f"{len(rows.t)} steps of a chain of {rows.n}, prediction {setting.prediction_type}",
    )


def _of_before(id: str, scheduler: Scheduler, oracle: Oracle) -> Iterator[Check]:
    """What a step on zeros makes of the step before it, of its x_t alone and its output alone."""
    setting, T = scheduler.setting, scheduler.setting.num_train_timesteps
    seen = of_before(scheduler, some_steps(T, 16))
    k, table = len(seen.t), scheduler.alpha_bars(oracle)
    zero = torch.zeros_like(seen.out)

    def expected() -> tuple[Tensor, Tensor]:
        prev = oracle.previous(seen.prev, seen.t, T, setting)
        level = oracle.place(table, seen.t, prev, seen.before, setting)
        memory = oracle.kept(seen.out, seen.x, level, setting)
        right = oracle.step_mean(zero, zero, level, setting, memory=memory)
        bound = mean_bound(oracle, zero, zero, None, level, setting, memory)
        return right, bound + rounding(right)

    yield values(
        id,
        "what a step keeps of the one before it",
        seen.answers,
        expected,
        where=lambda at: f"t={int(seen.t[at[0]])} from {(X_T_ALONE, OUTPUT_ALONE)[2 * at[0] // k]}",
        inputs=2,
        input=f"{k // 2} steps of a chain of {T} on zeros, after a step that was not",
    )


def _of_its_own_size(oracle: Oracle, noise: Tensor, ts: list[int], share: float) -> Oracle:
    """The oracle with the size of the candidate's own noise (steps, 8) in the place of sigma.

    `share` is what multiplies sigma; whether the noise has the right size is for stage variance.
    """
    loudest = int(noise.abs().amax(dim=1).argmax())
    z = replayed(noise[loudest : loudest + 1], Oracle())
    if z is None and bool(noise.any()):
        return oracle
    z = torch.ones(1, 1, dtype=F64) if z is None else z
    sizes = (noise * z).sum(1) / z.square().sum() / share
    size_at = dict(zip(ts, sizes.tolist(), strict=True))

    def std(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
        known = [size_at[int(t)] for t in level.t.flatten()]
        return torch.tensor(known, dtype=F64).reshape(level.t.shape)

    return replace(oracle, std=std)


def _limited(subject: Subject) -> dict[str, Scheduler]:
    """Schedulers that clip x0-hat on the way to x_{t-1}."""
    wanted: dict[str, dict] = {"clipped": {"clip_sample": True}}
    wanted["clipped-large"] = {"clip_sample": True, "variance_type": "fixed_large"}
    for kind in ("sample", "v_prediction"):
        wanted[f"clipped-{kind}"] = {"clip_sample": True, "prediction_type": kind}
    wanted |= BY_NAME[subject.setting.sampler].limited()
    return subject.all_offered(wanted)


def _whole(id: str, scheduler: Scheduler, oracle: Oracle) -> Iterator[Check]:
    """Whole steps on inputs far outside the range, less the noise of the same random state."""
    setting, T = scheduler.setting, scheduler.setting.num_train_timesteps
    wanted = sorted({T - 1, T // 2, T // 20, 1, 0}, reverse=True)
    steps = some_of_chain(scheduler, wanted)
    ts, (x, out) = [t for t, _ in steps], far()
    nothing = torch.zeros_like(x)
    seen = [single(scheduler, None, t, x, out) for t in ts]
    still = [single(scheduler, None, t, nothing, nothing) for t in ts]

    def expected(oracle: Oracle) -> tuple[Tensor, Tensor]:
        pairs = [
            _whole_step(scheduler, oracle, *step, there, here)
            for step, there, here in zip(steps, seen, still, strict=True)
        ]
        return torch.cat([right for right, _ in pairs]), torch.cat([off for _, off in pairs])

    measured = torch.cat([one.prev for one in seen])
    share = scheduler.sampler.noise_in_mean(setting)
    if share and deviation(measured, *expected(oracle))[0] == "differs":
        rows = torch.cat([one.prev for one in still])
        oracle = _of_its_own_size(oracle, rows, ts, share)
    yield values(
        id,
        "the step with x0-hat limited",
        measured,
        lambda: expected(oracle),
        where=lambda at: f"t={ts[at[0]]}",
        input="inputs far outside the range, the noise of the same random state taken off",
    )


def _whole_step(
    scheduler: Scheduler, oracle: Oracle, t: int, following: int, there: Single, here: Single
) -> tuple[Tensor, Tensor]:
    """(1, 8) one step from t, given the noise of `here` and x0-hat of `there`; what is allowed."""
    setting = scheduler.setting
    x, out = (v.to(F64).reshape(1, 2, 4) for v in far())
    level = level_at(scheduler, oracle, t, following).map(lambda values: values.unsqueeze(-1))
    own = there.x_0 if there.x_0 is None else there.x_0.reshape(1, 2, 4)
    noise = here.prev.reshape(1, 2, 4)
    mean = oracle.step_mean(out, x, level, setting, own)
    extra = oracle.sigma(level, setting) * oracle.noise_of(torch.zeros_like(out), out)
    raw = oracle.x_0(setting.prediction_type, out, x, level) if own is None else own
    size = raw.abs() + x.abs() + out.abs() + noise.abs()
    bound = mean_bound(oracle, out, x, own, level, setting) + rounding(size)
    return oracle.finish(mean + noise + extra, setting).reshape(1, 8), bound.reshape(1, 8)


MEAN = Stage(
    name="mean",
    looks_at="the posterior mean of full and strided chains, for every t",
    right="sqrt(ab_prev) beta/(1-ab) x0-hat + sqrt(alpha) (1-ab_prev)/(1-ab) x_t (Ho et al. eq. 7)",
    page="reverse-step",
    checks=checks,
    needs=("step",),
    sees=STEP,
)
