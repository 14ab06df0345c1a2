"""What a candidate's step shows of what its signature does not name."""

from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.measure.probe import SEED, SHAPE, output, picture
from compare.measure.step import replayed, rounding
from compare.measure.tolerances import UNIT, propagated
from compare.oracle import F64, KINDS, Level, Oracle, Setting
from compare.oracle.samplers import ALL, BY_NAME, silent
from compare.verdict.conventions.clip import SMALL, read_clip
from compare.verdict.conventions.learned import read_learned

RIGHT = Oracle()
FAR = 5.0  # times its size: the root mean square of eight draws is hardly further off
EXACT = 1e-3  # of a coefficient of a step: float32 at small t, where 1 - alpha-bar is rounded


def read_step(scheduler: Scheduler, known: set[str]) -> Setting:
    """Prediction type, kind of step, clip and variance: of each the first that is the step's.

    What is `known`, as the candidate names or claims it, is left as it is.
    """
    base = scheduler.setting
    scheduler.visit(None)
    table = scheduler.alpha_bars(RIGHT)
    t, prev = scheduler.near(_some_steps(base))
    level = RIGHT.level(table, t, prev, base)
    try:
        rows = torch.stack([_rows(scheduler, int(i), float(table[int(i)]) ** 0.5) for i in t])
        setting = _kind(scheduler, rows, level, known)
    except Broken:  # one that counts its calls may raise where they do not follow its list
        kind = _with_memory(scheduler, level, known)
        if kind is None:
            raise
        setting = kind
    if BY_NAME[setting.sampler].remembers:
        scheduler = replace(scheduler, setting=setting)
    if "variance_type" not in known:
        setting = _variance(scheduler, setting, table)
        if BY_NAME[setting.sampler].learns:
            setting = read_learned(scheduler, setting)
    steps = t.flatten().tolist()
    if "clip_sample" not in known:
        return replace(setting, **read_clip(scheduler, setting, table, steps))
    option = "use_clipped_model_output"
    own = BY_NAME[setting.sampler].own
    if option in own and option not in scheduler.subject.step_named:
        clipped = scheduler.subject.build(replace(setting, clip_sample=True))
        if clipped is not None:
            again = read_clip(clipped, setting, table, steps).get(option, False)
            setting = replace(setting, use_clipped_model_output=again)
    return setting


def table_of_step(scheduler: Scheduler) -> Tensor | None:
    """(T,) the alpha-bars behind a step on the noise that shows no table, or None.

    Each beta follows from the weight of the model output, b^2 = beta^2 / ((1 - ab) alpha), and is
    believed if at every t the weight of x_t is 1 / sqrt(alpha) too (Ho et al. algorithm 2).
    """
    alpha_bar, table = 1.0, []
    with suppress(Broken):
        for t in range(scheduler.setting.num_train_timesteps):
            rows = _rows(scheduler, t, 1.0)
            a, b = (float((rows[j] / v.to(F64)).mean()) for j, v in ((1, picture()), (2, output())))
            middle = b * b * (2 * alpha_bar - 1)
            lead = 1 + b * b * alpha_bar
            beta = middle + (middle**2 + 4 * lead * b * b * (1 - alpha_bar)) ** 0.5
            alpha = 1 - beta / (2 * lead)
            if not (b < 0 < alpha < 1 and abs(a * alpha**0.5 - 1) <= 64 * UNIT):
                return None
            alpha_bar *= alpha
            table.append(alpha_bar)
    return torch.tensor(table, dtype=F64) if table else None


def _kind(scheduler: Scheduler, rows: Tensor, level: Level, known: set[str]) -> Setting:
    """What the model predicts, and whose step it is: DDPM's, or DDIM's with which eta.

    The first of a closed list that fits at each of the steps looked at. If none does, the step is
    wrong: it is taken for the first, without noise for DDIM's, and naming what is wrong may take
    any of the others.
    """
    base, subject = scheduler.setting, scheduler.subject
    settings = _predicting(base, known)
    told = base.sampler != Setting.sampler  # by the options that its step names
    if not told and not bool(rows[:, 0].any()):
        stills = [still for setting in settings for still in silent(setting)]
        settings += [still for still in stills if not BY_NAME[still.sampler].remembers]
    of_noise = replace(base, prediction_type="epsilon")

    def drawing(eta: float) -> list[Setting]:
        found = (sampler.louder(of_noise, eta) for sampler in ALL)
        return [setting for setting in found if setting is not None]

    shown = None if told else _eta_of_noise(rows, level)
    etas = _etas(rows, level) if shown is None else [shown]
    between = [] if told else [kind for eta in etas if 0 < eta < 1 for kind in drawing(eta)]
    for setting in settings + between:
        if _fits(rows, level, setting):
            return setting
    kind = None if told else _with_memory(scheduler, level, known)
    if kind is not None:
        return kind
    shown_kind = None if "prediction_type" in known else _kind_by_x_0(scheduler, level)
    if shown_kind is not None:
        settings = [s for s in settings if s.prediction_type == shown_kind]
        base = replace(base, prediction_type=shown_kind)
    first = next((s for s in settings if s.sampler != base.sampler), base)
    declared = None if told else subject.declared_eta("step")
    if shown and (declared == shown or any(_fits(rows, level, s) for s in silent(of_noise))):
        first = drawing(shown)[0]  # its direction is another's
    elif declared is not None and 0 < declared < 1:
        first = drawing(declared)[0]
    subject.kinds = tuple(s for s in settings if s != first)
    return first


def _kind_by_x_0(scheduler: Scheduler, level: Level) -> str | None:
    """What the model predicts by the x0-hat that a wrong step shows; None if it shows none, or by
    no kind's formula."""
    at = level.map(lambda values: values[-1:])
    x, out = (SMALL * float(at.alpha_bar.sqrt()) * v.reshape(SHAPE) for v in (picture(), output()))
    shown = scheduler.alone(out, int(at.t), x, SEED).x_0
    if shown is None:
        return None
    answer, x_t = (v.to(F64).reshape(1, -1) for v in (out, x))
    for kind in KINDS:
        right = RIGHT.x_0(kind, answer, x_t, at)
        if bool(((shown.reshape(1, -1) - right).abs() <= EXACT * right.abs().amax()).all()):
            return kind
    return None


def _predicting(base: Setting, known: set[str]) -> list[Setting]:
    """The settings of each kind of prediction, where that is not known."""
    if "prediction_type" in known:
        return [base]
    return [replace(base, prediction_type=kind) for kind in KINDS]


def _with_memory(scheduler: Scheduler, level: Level, known: set[str]) -> Setting | None:
    """Whose step it is, of samplers with a memory, and what its model predicts: the first that
    fits, else the first, of a step without noise that goes by the one before it; None of another.

    On zeros such a step gives something else after a step on others.
    """
    stills = [s for base in _predicting(scheduler.setting, known) for s in silent(base)]
    found = [still for still in stills if BY_NAME[still.sampler].remembers]
    nothing, (x, out) = torch.zeros(SHAPE), (v.reshape(SHAPE) for v in (picture(), output()))
    asked, t = replace(scheduler, setting=found[0]), int(level.t[-1])
    with suppress(Broken):
        once = asked.alone(nothing, t, nothing, SEED).prev
        again = asked.alone(nothing, t, nothing, SEED, before=(out, x)).prev
        if bool(once.any()) or not bool(again.any()):
            return None
        fitting = next((s for s in found if _fits_with_memory(scheduler, level, s)), None)
        scheduler.subject.kinds = () if fitting else tuple(found[1:])
        return fitting or found[0]
    return None


def _fits_with_memory(scheduler: Scheduler, level: Level, setting: Setting) -> bool:
    """True if its steps are right ones of a sampler with a memory, on zeros before them."""
    asked, table = replace(scheduler, setting=setting), level.table
    steps = [int(t) for t in level.t]
    rows = torch.stack([_rows(asked, t, float(table[t]) ** 0.5) for t in steps])
    at = RIGHT.place(table, level.t, level.prev, scheduler.before(level.t), setting)
    return _fits(rows, at, setting)


def _eta_of_noise(rows: Tensor, level: Level) -> float | None:
    """The eta up to 1 with which the noise of each step is DDIM's; None where z is not known."""
    sizes = _sizes_of_noise(rows)
    if sizes is None:
        return None
    shares = sizes / RIGHT.std("fixed_small", level).flatten()
    eta = float(f"{float(shares.median()):.3g}")
    return eta if 0 < eta <= 1 and bool(((shares - eta).abs() <= EXACT * eta).all()) else None


def _sizes_of_noise(rows: Tensor) -> Tensor | None:
    """(steps,) what z is multiplied by at each step; None where z is not known."""
    z = replayed(rows[len(rows) // 2, :1].to(F64), RIGHT)
    return None if z is None else (rows[:, 0].to(F64) @ z.flatten()) / z.square().sum()


def _etas(rows: Tensor, level: Level) -> list[float]:
    """What the eta between 0 and 1 of a DDIM step on the noise may be, by its direction, of two
    digits as people write it: a factor in another step comes near to others.

    None where its noise is of quite another size, or just that of DDPM's larger variance, whose
    mean with a factor on the output is nearly that of an eta.
    """
    sizes, large = _sizes_of_noise(rows), RIGHT.std("fixed_large", level).flatten()
    if sizes is not None and bool(((sizes - large).abs() <= EXACT * large).all()):
        return []
    one, zero = torch.ones(1, 1, dtype=F64), torch.zeros(1, 1, dtype=F64)
    from_x_0 = RIGHT.ddim_mean(RIGHT.x_0("epsilon", one, zero, level), zero, level, zero)
    direction = (rows[:, 2] / output().to(F64)).mean(1, keepdim=True) - from_x_0
    sigma = RIGHT.std("fixed_small", level)
    squares = (1 - level.alpha_bar_prev - direction**2) / sigma**2
    found = [float(f"{float(v):.3g}") for v in squares.clamp(min=0).sqrt().flatten()]
    found = [eta for eta in found if eta == round(eta, 2)]
    shares = rows[:, 0].to(F64).square().mean(1, keepdim=True).sqrt() / sigma
    least, most = float(shares.min()) / FAR, float(shares.max()) * FAR
    return [eta for eta in dict.fromkeys(found) if least <= eta <= most]


def _rows(built: Scheduler, t: int, signal: float) -> Tensor:
    """(3, 8): the noise of a step, then what small x and small output add to it."""
    nothing, size = torch.zeros(SHAPE), SMALL * signal
    zero = built.alone(nothing, t, nothing, SEED).prev.flatten()
    at_x = built.alone(nothing, t, (size * picture()).reshape(SHAPE), SEED).prev.flatten()
    at_out = built.alone((size * output()).reshape(SHAPE), t, nothing, SEED).prev.flatten()
    return torch.stack([zero, (at_x - zero) / size, (at_out - zero) / size])


def _fits(rows: Tensor, level: Level, setting: Setting) -> bool:
    """True if both parts of the mean are those of a right step, up to rounding."""
    x, out = (v.to(F64).reshape(1, -1) for v in (picture(), output()))
    zero, plain = torch.zeros_like(x), setting.unlimited
    size = SMALL * level.alpha_bar.sqrt()
    for j, (a, b) in enumerate(((zero, x), (out, zero)), start=1):
        right = RIGHT.step_mean(a, b, level, plain)
        rounded = rounding(2 * rows[:, 0], size * rows[:, j]) / size
        allowed = EXACT * right.abs().amax(1, True) + rounded + UNIT
        if not bool(((rows[:, j] - right).abs() <= allowed).all()):
            return False
    return True


def _variance(built: Scheduler, setting: Setting, table: Tensor) -> Setting:
    """The first reading whose ratio between t = 1 and mid-chain is the step's; else the usual."""
    T, readings = setting.num_train_timesteps, BY_NAME[setting.sampler].readings(setting)
    if not readings:
        return setting
    t, prev = built.near([min(1, T - 1), T // 2])
    level = RIGHT.level(table, t, prev, setting)
    nothing = torch.zeros(SHAPE)
    sizes = [float(built.step(nothing, int(i), nothing, 3).prev.abs().max()) for i in t]

    def fits(reading: Setting) -> bool:
        std = RIGHT.std(reading.variance_type, level)
        off = propagated(lambda at: RIGHT.std(reading.variance_type, at), level, std)
        early, middle = (std / std[1] * sizes[1]).flatten().tolist()
        share = float((off / std.clamp(min=1e-30)).sum())
        return abs(sizes[0] - early) <= share * middle

    return next(filter(fits, [setting, *readings]), setting)


def _some_steps(setting: Setting) -> list[int]:
    """Three steps in mid-chain, and an early one, where etas differ most."""
    T = setting.num_train_timesteps
    return [min(max(1, T // 8), T - 1), T // 4, T // 2, 3 * T // 4]
