"""The nearest mistake of the catalogue, where none fits exactly: a hint, never a name.

Where a curve over t is wrong, near is what leaves least of the difference between the candidate's
curve and the right one. Where a list, a law or a loop is wrong, near is what most checks hold with.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import Subject
from compare.formulas.naming import NOT_COMPUTABLE, Named
from compare.measure.check import Check
from compare.measure.probe import probe
from compare.measure.step import curves_of_mean, level_of, loud, replayed_noise, right_curves
from compare.measure.values import explains
from compare.mistakes import Mistake
from compare.mistakes.limits import other_limits
from compare.oracle import F64, Oracle
from compare.oracle.samplers import BY_NAME
from compare.stages.stage import Stage
from compare.verdict.conventions.clip import PERCENTILES, large_answers, threshold

SAME = 1e-4  # relative: float32 rounding, also of 1 - alpha-bar at small t
NEAR = 0.7  # of the difference may be left; above it the right formula is about as near
LITTLE = 0.01  # of the difference: what is less is not said in figures
FEW = 3  # wrong steps that are told one by one


def readings(subject: Subject) -> Iterator[Subject]:
    """The candidate with each reading of what it does not name: of a variance, of a wrong step or
    list, of a spare beta."""
    yield subject
    if subject.setting.spare_beta is not None:
        yield subject.reading(spare_removed=True)
    for setting in subject.kinds:
        yield subject.reading(**vars(setting))
    if "variance_type" not in subject.named and subject.has("step"):
        for setting in BY_NAME[subject.setting.sampler].readings(subject.setting):
            yield subject.reading(**vars(setting))


def outcomes(
    subject: Subject, stage: Stage, oracle: Oracle, failing: Mapping[str, Check]
) -> dict[str, bool]:
    """By the id of each check of a stage, whether it holds with this oracle.

    `failing` are those that do not with the right formula.
    """
    return {check.id: holds(check, failing) for check in stage.of(subject, oracle)}


def holds(check: Check, failing: Mapping[str, Check]) -> bool:
    """True if a check passes with an oracle, and explains why it failed, if it did."""
    return check.passed and (check.id not in failing or explains(check, failing[check.id]))


def nearest(subject: Subject, stage: Stage, base: Oracle, mistakes: tuple[Mistake, ...]) -> str:
    """What to say about the mistakes near a fault of this stage; "" if nothing helps.

    Args:
        subject: the candidate.
        stage: that fails.
        base: the oracle, with the mistakes that are already found.
        mistakes: the catalogue.
    """
    name = stage.name
    # x0-hat is judged in the mean where it is hidden
    of = ("prediction", "mean") if name == "mean" else (name,)
    known = [m for m in mistakes if m.stage in of]
    fitting = ("", subject.setting.sampler, "loss", "eps_loss", "sample", "tables")
    trials = [m for m in known if m.only in fitting]
    try:
        for scheduler in (subject.scheduler(), loud(subject) or subject.scheduler()):
            seen = _curves(scheduler, name)
            if seen is None:
                continue
            off = _gaps(seen, _expected(scheduler, name, base))
            if bool((off > SAME).any()):
                return _by_curve(scheduler, name, base, trials, seen, off)
            trials = [m for m in trials if _has_curve(scheduler, name, m.oracle(base), seen)]
        return _by_checks(subject, stage, base, trials)
    except (Broken, *NOT_COMPUTABLE):
        return ""


OF_PREV = "x_prev as it is, with its noise; clip x0-hat, before the mean is made of it"


def other_limit(subject: Subject, base: Oracle) -> Named | None:
    """What a step limits otherwise, in letters: of a closed list, checked at every pixel.

    Args:
        subject: the candidate, whose step is no sum of x_t and the model's output.
        base: the oracle, with the mistakes that are already found.
    """
    with suppress(Broken, *NOT_COMPUTABLE):
        scheduler = subject.scheduler()
        scheduler.visit(None)
        setting, table = scheduler.setting.unlimited, scheduler.alpha_bars(base)
        t, prev = scheduler.near([k * len(table) // 4 for k in (1, 2, 3)])
        levels = base.place(table, t, prev, scheduler.before(t), setting)
        answers = large_answers(scheduler, levels)
        if answers.fit(base, setting):
            return None
        size = answers.limit_of_prev(base, setting)
        if size is not None:
            words = (
                f"your x_prev is clamp(x_prev, -{size:g}, {size:g}), should be x_prev as it is; "
            )
            return Named(f"{words}x0-hat may be clipped (Ho et al. eq. 15)", OF_PREV, True)
        for other in other_limits(PERCENTILES):
            changes = {} if other.percentile is None else threshold(other.percentile)
            if answers.fit(replace(base, **other.seams), replace(setting, **changes)):
                return Named(other.words, other.fix, True)
    return None


def _by_curve(
    scheduler: Scheduler,
    name: str,
    base: Oracle,
    trials: list[Mistake],
    seen: Tensor,
    off: Tensor,
) -> str:
    steps = (off > SAME).any(dim=0)
    if int(steps.sum()) <= FEW < len(steps):
        t = _steps(scheduler, name)[steps]
        places = ", ".join(f"t={i}" for i in sorted(t.tolist()))
        return f"all but {int(steps.sum())} of {len(steps)} steps are right: look at {places}"
    left: dict[float, Mistake] = {}
    for mistake in trials:
        for reading in readings(scheduler.subject.reading(**vars(scheduler.setting))):
            with suppress(*NOT_COMPUTABLE):
                curve = _expected(reading.scheduler(), name, mistake.oracle(base))
                left.setdefault(float(_gaps(seen, curve).mean() / off.mean()), mistake)
    best = min(left, default=1.0)
    if best > NEAR:
        return ""
    much = f"{best:.0%}" if best >= LITTLE else f"less than {LITTLE:.0%}"
    return f"{_said(left[best])}, which leaves {much} of the difference"


def _has_curve(scheduler: Scheduler, name: str, oracle: Oracle, seen: Tensor) -> bool:
    """True if a mistake has the curve that is seen: only then can it be what is wrong elsewhere."""
    with suppress(*NOT_COMPUTABLE):
        return bool((_gaps(seen, _expected(scheduler, name, oracle)) <= SAME).all())
    return False


def _by_checks(subject: Subject, stage: Stage, base: Oracle, trials: list[Mistake]) -> str:
    before = list(stage.of(subject, base))
    differ = sum(not c.passed for c in before)
    left: dict[int, Mistake] = {}
    for mistake in trials:
        with suppress(*NOT_COMPUTABLE):
            holds = outcomes(subject, stage, mistake.oracle(base), {})
            left.setdefault(sum(not holds.get(c.id) for c in before), mistake)
    best = min(left, default=differ)
    if best >= differ:
        return ""
    return f"{_said(left[best])}, which fits all but {best} of the checks ({differ} differ now)"


def _said(mistake: Mistake) -> str:
    return f"nearest in the catalogue, though not the same: mistake {mistake.id}, {mistake.words}"


def _gaps(seen: Tensor, curve: Tensor) -> Tensor:
    """0 where two curves meet, 1 where they have nothing in common; of the same shape."""
    gap = (seen - curve).abs() / (seen.abs() + curve.abs()).clamp(min=1e-30)
    return torch.where(seen == curve, 0.0, gap).nan_to_num(1.0, 1.0, 1.0)


def _steps(scheduler: Scheduler, name: str) -> Tensor:
    """The t of each point of a stage's curves."""
    if name in ("mean", "prediction", "variance"):
        return probe(scheduler).t.flatten()
    return torch.arange(scheduler.setting.num_train_timesteps)


def _curves(scheduler: Scheduler, name: str) -> Tensor | None:
    """(curves, steps) as the candidate has them, or None where a stage has no curve over t."""
    if name == "schedule":
        table = scheduler.table()
        return None if table is None else _snr(table)
    if name == "forward" and scheduler.subject.has("add_noise"):
        return torch.stack(scheduler.coefficients(torch.float32))
    if name in ("mean", "prediction"):
        return curves_of_mean(probe(scheduler))
    if name == "variance":
        z = replayed_noise(scheduler.subject, Oracle())
        if z is not None:
            return ((probe(scheduler).zero * z).sum(1) / z.square().sum()).reshape(1, -1)
    return None


def _expected(scheduler: Scheduler, name: str, oracle: Oracle) -> Tensor:
    """The same curves by an oracle, given the candidate's own table."""
    setting = scheduler.setting
    if name == "schedule":
        return _snr(oracle.alpha_bar(setting))
    table = scheduler.alpha_bars(oracle)
    if name == "forward":
        T = len(table)
        one, t = torch.ones(T, 1, 1, 1, dtype=F64), torch.arange(T)
        pair = oracle.add_noise(one, 0 * one, table, t), oracle.add_noise(0 * one, one, table, t)
        return torch.stack([values.reshape(T) for values in pair])
    rows = probe(scheduler)
    setting = setting.unlimited  # the inputs are small
    level = level_of(oracle, table, rows, setting)
    if name == "variance":
        return oracle.sigma(level, setting).reshape(1, -1)
    return right_curves(oracle, level, setting)


def _snr(table: Tensor) -> Tensor:
    return (table / (1 - table)).reshape(1, -1)
