"""What was measured of a candidate, as curves: add_noise, the velocity, the size of the noise."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compare.candidate.door.tables import Shown, own_schedule, shown
from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.formulas.atoms import OF_STEP, OF_TABLE, Atoms, atoms
from compare.formulas.expressions import Monomial
from compare.formulas.fit import Curve
from compare.measure.probe import Probe, probe, some_steps
from compare.measure.step import chain, level_of, replayed_noise, strided
from compare.measure.tolerances import FACTOR, UNIT, by_angle
from compare.oracle import LEARNED, TABLES, Level, Oracle, Setting
from compare.oracle.samplers import BY_NAME

SIGNAL, NOISE = Monomial(1.0, {"ab_t": 0.5}), Monomial(1.0, {"1 - ab_t": 0.5})
BETA = Monomial(1.0, {"beta_t": 0.5})
BETA_TILDE = Monomial(1.0, {"1 - ab_prev": 0.5, "beta_t": 0.5, "1 - ab_t": -0.5})
EQ_4, EQ_7, EQ_11, EQ_15 = (f"Ho et al. eq. {number}" for number in (4, 7, 11, 15))
OF_X_0 = Monomial(1.0, {"ab_prev": 0.5, "beta_t": 1, "1 - ab_t": -1})
OF_X_T = Monomial(1.0, {"ab_t": 0.5, "ab_prev": -0.5, "1 - ab_prev": 1, "1 - ab_t": -1})
INSIDE = Monomial(1.0, {"beta_t": 1, "1 - ab_t": -0.5})
RATIO = Monomial(1.0, {"1 - ab_t": 0.5, "ab_t": -0.5})
ALPHA, LEVEL, REST = (Monomial(1.0, {name: 1}) for name in ("alpha_t", "ab_t", "1 - ab_t"))
TILDE = BETA_TILDE.times(1.0, BETA_TILDE.powers)
# {table: what it may be, or what it is the logarithm of; the source}
OF_TABLES: dict[str, tuple[tuple[Monomial, ...], str]] = {
    "alphas": ((ALPHA, LEVEL, SIGNAL), "Ho et al. eq. 2"),
    "alphas_cumprod_prev": ((Monomial(1.0, {"ab_prev": 1}),), EQ_7),
    "one_minus_alphas_cumprod": ((REST,), EQ_4),
    "sqrt_alphas": ((Monomial(1.0, {"alpha_t": 0.5}),), "Ho et al. eq. 2"),
    "sqrt_betas": ((BETA,), "Ho et al. section 3.2"),
    "sqrt_alphas_cumprod": ((SIGNAL,), EQ_4),
    "sqrt_one_minus_alphas_cumprod": ((NOISE,), EQ_4),
    "log_one_minus_alphas_cumprod": ((REST,), EQ_4),
    "sqrt_recip_alphas": ((Monomial(1.0, {"alpha_t": -0.5}),), EQ_11),
    "noise_coef": ((INSIDE,), EQ_11),
    "sqrt_recip_alphas_cumprod": ((Monomial(1.0, {"ab_t": -0.5}),), EQ_15),
    "sqrt_recipm1_alphas_cumprod": ((RATIO,), EQ_15),
    "posterior_variance": ((TILDE,), EQ_7),
    "posterior_log_variance_clipped": ((TILDE,), EQ_7),
    "posterior_mean_coef1": ((OF_X_0,), EQ_7),
    "posterior_mean_coef2": ((OF_X_T,), EQ_7),
}
OWN = {"alphas": "alpha_t", "alphas_cumprod_prev": "ab_prev"}  # of which others are made
OF_VARIANCE = {"fixed_small": BETA_TILDE, "fixed_large": BETA}  # their roots
NOTHING_LEFT = 0.01  # of alpha-bar
CLAMPED = 1e-9  # of a sigma: a variance that should be 0 may be clamped to 1e-20


@dataclass(frozen=True)
class Reading:
    """The coefficients of one formula of a program.

    Attributes:
        whole: the formula, each coefficient in its place.
        curves: its coefficients.
        atoms: what they may be made of.
        t: (k,) the step of each row.
        strided: some rows are of shorter chains: they tell ab_prev from ab at t - 1.
        unlikely: factors by which it must be shorter than another to be told first.
    """

    whole: str
    curves: tuple[Curve, ...]
    atoms: Atoms
    t: Tensor
    strided: bool = False
    unlikely: float = 0.0

    @property
    def is_narrow(self) -> bool:
        """True if all its steps lie where next to nothing is left of the image: 1 - ab is 1 there,
        so that formulas are as good as each other that part everywhere else."""
        return bool((self.atoms.values["ab_t"][~self.atoms.end] < NOTHING_LEFT).all())


def forward(scheduler: Scheduler, oracle: Oracle) -> Iterator[Reading]:
    """The coefficients of add_noise, then of the velocity, at every t."""
    formulas = {
        "add_noise": ("x_t = sqrt(ab_t) * x_0 + sqrt(1 - ab_t) * noise", EQ_4),
        "get_velocity": (
            "v = sqrt(ab_t) * noise - sqrt(1 - ab_t) * x_0",
            "Salimans & Ho, section 4",
        ),
    }
    right = {"add_noise": (SIGNAL, NOISE), "get_velocity": (NOISE.times(-1.0, {}), SIGNAL)}
    table = scheduler.alpha_bars(oracle)
    t = torch.arange(len(table))
    level = oracle.level(table, t, t - 1, scheduler.setting)
    turned = (by_angle(table).sqrt() - table.sqrt()).abs()
    for method, (whole, source) in formulas.items():
        if not scheduler.subject.has(method):
            continue
        with suppress(Broken):
            seen = scheduler.coefficients(torch.float32, method=method)
            found = [
                Curve(name, c, FACTOR * (UNIT * c.abs() + off), (formula,), source, OF_TABLE)
                for name, c, formula in zip(("x_0", "noise"), seen, right[method], strict=True)
                for off in [turned if formula == SIGNAL else 0.0]
            ]
            yield Reading(whole, tuple(found), atoms(level, scheduler.betas()), t)


@dataclass(frozen=True)
class Rows:
    """Probed steps of the full chain, then of shorter ones, with their levels (k, 1)."""

    probes: list[Probe]
    level: Level

    @property
    def t(self) -> Tensor:
        """(k,)."""
        return self.level.t.flatten()

    @property
    def stride(self) -> Tensor:
        """(k,) T // n of the chain of each."""
        T = len(self.level.table)
        return torch.cat([torch.full((len(one.t),), T // one.n) for one in self.probes])


def rows(
    scheduler: Scheduler,
    oracle: Oracle,
    steps: list[int] | None,
    short: bool,
    noise_only: bool = False,
) -> Rows:
    """The steps of the full chain, and with `short` of the strided ones."""
    subject, setting = scheduler.subject, scheduler.setting
    full = probe(scheduler, None, steps, noise_only)
    found = [(full, level_of(oracle, scheduler.alpha_bars(oracle), full, setting))]
    for spacing, n in strided(subject) if short else ():
        with suppress(Broken):
            seen = chain(subject, oracle, spacing, n)
            built = subject.build(replace(setting, timestep_spacing=spacing))
            if built is not None:
                one = probe(built, n, None, noise_only)
                table = built.alpha_bars(oracle)
                found.append((one, oracle.level(table, one.t, seen.prev, setting)))
    parts = [level for _, level in found]
    places = [(one.t, one.prev, one.alpha_bar, one.alpha_bar_prev) for one in parts]
    t, prev, alpha_bar, alpha_bar_prev = (torch.cat(each) for each in zip(*places, strict=True))
    level = Level(parts[0].table, t, prev, alpha_bar, alpha_bar_prev)
    return Rows([one for one, _ in found], level)


def chosen_steps(scheduler: Scheduler) -> list[int] | None:
    """The steps of the full chain that the stages ask of it: of the base one all."""
    subject = scheduler.subject
    if subject.level == "full" or scheduler.setting == subject.setting:
        return None
    return some_steps(scheduler.setting.num_train_timesteps)


def sizes(scheduler: Scheduler, oracle: Oracle, seen: Rows) -> Tensor | None:
    """(k,) the s_t of s_t z at each step, where z can be replayed."""
    z = replayed_noise(scheduler.subject, oracle)
    if z is None:
        return None
    zero = torch.cat([one.zero for one in seen.probes])
    s = (zero * z).sum(1) / z.square().sum()
    left = (zero - s[:, None] * z).abs().amax(dim=1)
    return s if bool((left <= 1e-4 * s.abs() + CLAMPED).all()) else None


def rounded_size(s: Tensor) -> Tensor:
    """(k,) how far off the sizes (k,) of a step's noise may be."""
    return 2 * FACTOR * UNIT * s.abs() + CLAMPED


def size_of_noise(s: Tensor, slack: Tensor, setting: Setting, named: bool) -> Curve:
    """The curve of the sizes s (k,); `named`: its kind of variance was asked for."""
    sampler = BY_NAME[setting.sampler]
    right = tuple(
        OF_VARIANCE[kind].times(number, {}) if number else Monomial(0.0)
        for number, kind in sampler.roots(setting, named)
    )
    return Curve("z", s, slack, right, sampler.source or "", ends_at_0=True)


def noise(scheduler: Scheduler, oracle: Oracle, short: bool) -> Iterator[Reading]:
    """The size of the noise of a step, where the stage asks for it."""
    setting, subject = scheduler.setting, scheduler.subject
    if setting.variance_type in LEARNED or not BY_NAME[setting.sampler].source:
        return
    base = setting == subject.setting
    steps = chosen_steps(scheduler) if setting.variance_type.endswith("_log") else None
    seen = rows(scheduler, oracle, steps, short, noise_only=not base)
    s = sizes(scheduler, oracle, seen)
    if s is None:
        return
    curve = size_of_noise(s, rounded_size(s), setting, "variance_type" in subject.named)
    whole = "x_prev = mean + sigma_t * z"
    made = atoms(seen.level, scheduler.betas(), seen.stride)
    yield Reading(whole, (curve,), made, seen.t, len(seen.probes) > 1)


def tables(scheduler: Scheduler, oracle: Oracle) -> Iterator[Reading]:
    """The derived tables that are wrong: those of which others are made by themselves, then the
    others together, by the candidate's own of the former."""
    schedule, found = own_schedule(scheduler), shown(scheduler)
    alpha_bar, beta = schedule.alpha_bar, schedule.beta
    if alpha_bar is None:
        return
    T = len(alpha_bar)
    t = torch.arange(T)
    made = atoms(oracle.level(alpha_bar, t, t - 1, scheduler.setting), beta)
    read = {
        table: curve
        for name, table in found.known.items()
        # one that the oracle has wrong is named already
        if table in OF_TABLES and oracle.tables[table] is TABLES[table]
        for curve in _of_table(name, table, found, made)
    }
    own = made
    for table, atom in OWN.items():
        curve = read.pop(table, None)
        if curve is not None and not curve.is_right(made):
            yield Reading("at every t", (curve,), made, t)
            own = own.also(atom, curve.measured, own.slack[atom])
            if atom == "ab_prev":
                own = own.also("1 - ab_prev", 1 - curve.measured, own.slack["1 - ab_prev"])
    wrong = tuple(curve for curve in read.values() if not curve.is_right(own))
    if wrong:
        yield Reading("at every t", wrong, own, t)


def _of_table(name: str, table: str, found: Shown, made: Atoms) -> Iterator[Curve]:
    """A table as a curve; of a logarithm, what that is of. None if it cannot be read, or follows
    from another that is shown."""
    shape, values = made.end.shape, found.of(table)
    variance = found.of("posterior_variance")
    if values is None or values.numel() not in (len(made.end), len(made.end) + 1):
        return
    right, source = OF_TABLES[table]
    values = values.flatten()[-len(made.end) :]
    slack = FACTOR * UNIT * values.abs()
    if "log" in table:
        name, values = f"exp({name})", values.exp()
        slack = (slack + FACTOR * UNIT) * values
    if "variance" in table:  # what stands where it is 0 and not used is no matter
        values, slack = (torch.where(made.end, 0.0, each) for each in (values, slack))
    if table == "posterior_log_variance_clipped" and variance is not None:
        variance = variance.flatten()[-len(made.end) :]
        if variance.shape == shape and torch.allclose(values[1:], variance[1:], rtol=1e-4, atol=0):
            return
    if bool(values.isfinite().all()):
        of_step = any("prev" in atom for formula in right for atom in formula.powers)
        yield Curve(name, values, slack, right, source, OF_STEP if of_step else OF_TABLE)
