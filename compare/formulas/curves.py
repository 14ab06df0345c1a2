"""What was measured of a candidate, as curves: add_noise, the velocity, the size of the noise."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.formulas.atoms import OF_TABLE, Atoms, atoms
from compare.formulas.expressions import Expression, Monomial
from compare.formulas.fit import Curve
from compare.measure.probe import Probe, probe, some_steps
from compare.measure.step import chain, level_of, replayed_noise, strided
from compare.measure.tolerances import FACTOR, UNIT
from compare.oracle import LEARNED, Level, Oracle, Setting

SIGNAL, NOISE = Monomial(1.0, {"ab_t": 0.5}), Monomial(1.0, {"1 - ab_t": 0.5})
BETA = Monomial(1.0, {"beta_t": 0.5})
BETA_TILDE = Monomial(1.0, {"1 - ab_prev": 0.5, "beta_t": 0.5, "1 - ab_t": -0.5})
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


def forward(scheduler: Scheduler, oracle: Oracle) -> Iterator[Reading]:
    """The coefficients of add_noise, then of the velocity, at every t."""
    formulas = {
        "add_noise": ("x_t = sqrt(ab_t) * x_0 + sqrt(1 - ab_t) * noise", "Ho et al. eq. 4"),
        "get_velocity": (
            "v = sqrt(ab_t) * noise - sqrt(1 - ab_t) * x_0",
            "Salimans & Ho, section 4",
        ),
    }
    right = {"add_noise": (SIGNAL, NOISE), "get_velocity": (NOISE.times(-1.0, {}), SIGNAL)}
    table = scheduler.alpha_bars(oracle)
    t = torch.arange(len(table))
    level = oracle.level(table, t, t - 1, scheduler.setting)
    for method, (whole, source) in formulas.items():
        if not scheduler.subject.has(method):
            continue
        with suppress(Broken):
            seen = scheduler.coefficients(torch.float32, method=method)
            found = [
                Curve(name, c, FACTOR * UNIT * c.abs(), (formula,), source, OF_TABLE)
                for name, c, formula in zip(("x_0", "noise"), seen, right[method], strict=True)
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
    names = ("t", "prev", "alpha_bar", "alpha_bar_prev")
    joined = [torch.cat([getattr(level, name) for level in parts]) for name in names]
    return Rows([one for one, _ in found], Level(parts[0].table, *joined))


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


def right_sizes(setting: Setting, named: bool) -> tuple[Expression, ...]:
    """What sigma may be: of DDPM either variance, unless the candidate was asked for one."""
    if setting.sampler == "ddim":
        return (BETA_TILDE.times(setting.eta, {}) if setting.eta else Monomial(0.0),)
    large, small = (BETA,), (BETA_TILDE,)
    if setting.variance_type.startswith("fixed_large"):
        return large if named else large + small
    return small if named else small + large


def size_of_noise(s: Tensor, slack: Tensor, setting: Setting, named: bool) -> Curve:
    """The curve of the sizes s (k,); `named`: its kind of variance was asked for."""
    sources = {"ddpm": "Ho et al. section 3.2", "ddim": "Song et al. eq. 16"}
    right = right_sizes(setting, named)
    return Curve("z", s, slack, right, sources[setting.sampler], ends_at_0=True)


def noise(scheduler: Scheduler, oracle: Oracle, short: bool) -> Iterator[Reading]:
    """The size of the noise of a step, where the stage asks for it."""
    setting, subject = scheduler.setting, scheduler.subject
    if setting.variance_type in LEARNED:
        return
    base = setting == subject.setting
    steps = chosen_steps(scheduler) if setting.variance_type.endswith("_log") else None
    seen = rows(scheduler, oracle, steps, short, noise_only=not base)
    s = sizes(scheduler, oracle, seen)
    if s is None:
        return
    slack = 2 * FACTOR * UNIT * s.abs() + CLAMPED
    curve = size_of_noise(s, slack, setting, "variance_type" in subject.named)
    whole = "x_prev = mean + sigma_t * z"
    made = atoms(seen.level, scheduler.betas(), seen.stride)
    yield Reading(whole, (curve,), made, seen.t, len(seen.probes) > 1)
