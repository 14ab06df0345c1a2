"""Schedulers that share no line with the catalogue: right ones never alarm, wrong ones are named.

Written as other people write them: tables of coefficients, the epsilon form, numpy, the global
generator, t from 1. Each wrong one departs in one line.
"""

import math

import numpy as np
import pytest
import torch

from compare.verdict.judge import judge
from tests.often import each

STEPS = 100
ENDS = (1e-3, 0.2)


class Tables:
    """The posterior's form with float32 tables made beforehand; returns a tuple."""

    def __init__(self):
        betas = self.make_betas()
        alphas = 1.0 - betas
        acp = np.cumprod(alphas)
        prev = np.append(1.0, acp[:-1])
        self.make(betas, alphas, acp, prev)
        self.alphas_cumprod = torch.tensor(acp, dtype=torch.float32)
        self.num_timesteps = len(betas)

    def make_betas(self):
        return np.linspace(*ENDS, STEPS)

    def make(self, betas, alphas, acp, prev):
        f = lambda a: torch.tensor(a, dtype=torch.float32)  # noqa: E731
        self.root, self.root_1m = f(np.sqrt(acp)), f(np.sqrt(1 - acp))
        self.recip, self.recip_m1 = f(np.sqrt(1 / acp)), f(np.sqrt(1 / acp - 1))
        self.coef1 = f(betas * np.sqrt(prev) / (1 - acp))
        self.coef2 = f((1 - prev) * np.sqrt(alphas) / (1 - acp))
        self.var = f(betas * (1 - prev) / (1 - acp))

    def add_noise(self, x0, noise, t):
        return self.root[t].view(-1, 1, 1, 1) * x0 + self.root_1m[t].view(-1, 1, 1, 1) * noise

    def start(self, x, t, out):
        return self.recip[t] * x - self.recip_m1[t] * out

    def step(self, out, t, x, generator=None):
        mean = self.coef1[t] * self.start(x, t, out) + self.coef2[t] * x
        return (mean + self.spread(t) * self.noise(x, t, generator),)

    def spread(self, t):
        return self.var[t].sqrt()

    def noise(self, x, t, generator):
        if t == 0:
            return torch.zeros_like(x)
        return torch.randn(x.shape, generator=generator)


class LogVariance(Tables):
    """The standard deviation from a log-variance, clipped below; returns an object."""

    def make(self, betas, alphas, acp, prev):
        super().make(betas, alphas, acp, prev)
        var = betas * (1 - prev) / (1 - acp)
        self.log_var = torch.tensor(np.log(np.append(var[1], var[1:])), dtype=torch.float32)

    def spread(self, t):
        return torch.exp(0.5 * self.log_var[t])


class Epsilon:
    """The epsilon form in float64 with beta as the variance; t as a tensor; returns a tensor."""

    dtype = torch.float64

    def __init__(self):
        self.b = torch.linspace(*ENDS, STEPS, dtype=self.dtype)
        self.a = 1 - self.b
        self.ab = self.a.cumprod(0)
        self.alphas_cumprod = self.ab

    def gather(self, table, t, x):
        return table.gather(-1, t).reshape(-1, 1, 1, 1).to(x.dtype)

    def add_noise(self, x0, eps, t):
        ab = self.ab.gather(-1, t).reshape(-1, 1, 1, 1)
        return (ab**0.5).to(x0.dtype) * x0 + ((1 - ab) ** 0.5).to(x0.dtype) * eps

    def mean(self, x, eps, t):
        eps_coef = (1 - self.a[t]) / (1 - self.ab[t]) ** 0.5
        return 1 / self.a[t] ** 0.5 * (x - eps_coef * eps)

    def step(self, eps, t, x, generator=None):
        z = torch.randn(x.shape, generator=generator) if t > 0 else 0
        return (self.mean(x, eps, t) + self.b[t] ** 0.5 * z).to(x.dtype)


class Epsilon32(Epsilon):
    """The same in float32."""

    dtype = torch.float32


class Global(Epsilon):
    """Noise from the global generator, in float64: no generator is named."""

    def step(self, eps, t, x):
        z = torch.randn(x.shape, dtype=torch.float64) if t > 0 else 0
        return (self.mean(x, eps, t) + self.b[t] ** 0.5 * z).to(x.dtype)


class Numpy(Tables):
    """Noise drawn by numpy, which the probe cannot replay by a formula of torch."""

    def step(self, out, t, x):
        mean = self.coef1[t] * self.start(x, t, out) + self.coef2[t] * x
        z = np.random.standard_normal(tuple(x.shape)) if t > 0 else np.zeros(tuple(x.shape))  # noqa: NPY002
        return mean + self.spread(t) * torch.tensor(z, dtype=torch.float32)


class FromOne(Tables):
    """t runs from 1 to T and the table starts with 1."""

    def __init__(self):
        super().__init__()
        self.alphas_cumprod = torch.cat([torch.ones(1), self.alphas_cumprod])
        self.timesteps = list(range(STEPS, 0, -1))

    def add_noise(self, x0, noise, t):
        return super().add_noise(x0, noise, t - 1)

    def step(self, out, t, x, generator=None):
        return super().step(out, t - 1, x, generator)


class Strided(Tables):
    """Any number of steps, spaced as `leading`; the step reads the list."""

    def make(self, betas, alphas, acp, prev):
        super().make(betas, alphas, acp, prev)
        self.acp = torch.tensor(acp)

    def set_timesteps(self, n):
        self.timesteps = torch.tensor([i * (STEPS // n) for i in range(n)][::-1])

    def before(self, t):
        i = self.timesteps.tolist().index(int(t))
        return self.acp[self.timesteps[i + 1]] if i + 1 < len(self.timesteps) else torch.tensor(1.0)

    def variance(self, ab, prev, t):
        return (1 - prev) / (1 - ab) * (1 - ab / prev)

    def step(self, out, t, x, generator=None):
        ab, prev = self.acp[t], self.before(t)
        x0 = (x - (1 - ab).sqrt() * out) / ab.sqrt()
        eps_weight = (1 - prev - self.variance(ab, prev, t)).clamp(min=0).sqrt()
        mean = prev.sqrt() * x0 + eps_weight * out  # DDIM's form with eta = 1
        z = torch.randn(x.shape, generator=generator) if prev < 1 else 0
        return (mean + self.variance(ab, prev, t).sqrt() * z).float()


class Clipped(Tables):
    """x0-hat is clipped, and only x_{t-1} is returned."""

    def start(self, x, t, out):
        return super().start(x, t, out).clamp(-1, 1)


class Expanded(Clipped):
    """Axes are added behind t until there are enough; a mask silences the last step."""

    def add_noise(self, x0, noise, t):
        return self.expand(self.root[t], x0) * x0 + self.expand(self.root_1m[t], x0) * noise

    def expand(self, values, x):
        while values.dim() < x.dim():
            values = values[..., None]
        return values

    def noise(self, x, t, generator):
        return torch.randn(x.shape, generator=generator) * self.mask(t)

    def mask(self, t):
        return float(t != 0)


class Shown(Tables):
    """Its betas are there to be seen."""

    def make(self, betas, alphas, acp, prev):
        super().make(betas, alphas, acp, prev)
        self.betas = torch.tensor(betas)


class Implicit(Strided):
    """DDIM with any eta; the step before is t less the stride."""

    def set_timesteps(self, n):
        super().set_timesteps(n)
        self.stride = STEPS // n

    def before(self, t):
        t = t - getattr(self, "stride", 1)
        return self.acp[t] if t >= 0 else torch.tensor(1.0)

    def size(self, ab, prev, eta):
        return eta * ((1 - prev) / (1 - ab) * (1 - ab / prev)).sqrt()

    def direction(self, prev, sigma):
        return (1 - prev - sigma**2).clamp(min=0).sqrt()

    def step(self, out, t, x, eta=0.0, generator=None):
        ab, prev = self.acp[t], self.before(t)
        sigma = self.size(ab, prev, eta)
        x0 = (x - (1 - ab).sqrt() * out) / ab.sqrt()
        mean = prev.sqrt() * x0 + self.direction(prev, sigma) * out
        z = torch.randn(x.shape, generator=generator) if eta > 0 and prev < 1 else 0
        return (mean + sigma * z).float()


RIGHT = [Tables, LogVariance, Epsilon, Epsilon32, Global, Numpy, FromOne, Strided]
RIGHT += [Clipped, Expanded, Shown, Implicit]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("candidate", RIGHT[:5], ids=lambda c: c.__name__)
def test_right_ones_never_alarm(candidate, seed):
    if seed and candidate is not RIGHT[seed % 5]:
        seed = 1000 + seed  # another seed each time, all candidates in turn
    report = judge(candidate, "quick", seed, beside=False)
    assert report.passed, str(report)
    assert not report.diagnoses


@pytest.mark.parametrize("candidate", RIGHT[5:], ids=lambda c: c.__name__)
def test_right_ones_in_rarer_words_pass(candidate):
    report = judge(candidate, "quick", 0, beside=False)
    assert report.passed, str(report)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(200))
@pytest.mark.parametrize("candidate", RIGHT[:5], ids=lambda c: c.__name__)
def test_two_hundred_seeds_never_alarm(candidate, seed):
    assert judge(candidate, "quick", seed, beside=False).passed


def other(parent, **methods):
    return type("Other" + parent.__name__, (parent,), methods)


def coefficients(**wrong):
    """Tables with one of them made by another formula of (betas, alphas, acp, prev)."""

    def make(self, betas, alphas, acp, prev):
        Tables.make(self, betas, alphas, acp, prev)
        for name, formula in wrong.items():
            setattr(self, name, torch.tensor(formula(betas, alphas, acp, prev)).float())

    return other(Tables, make=make)


def eps_mean(formula):
    return other(Epsilon, mean=lambda self, x, e, t: formula(self, x, e, t))


def _with_stride_rounded_up(self, n):
    Implicit.set_timesteps(self, n)
    self.timesteps = torch.arange(0, STEPS, -(-STEPS // n)).flip(0)


def _own_noise(self, x0, noise, t):
    return Tables.add_noise(self, x0, torch.randn_like(x0), t)


def _per_row(self, x0, noise, t):
    shape = (-1, 1, 1) if len(t) == x0.shape[1] else (-1, 1, 1, 1)
    return self.root[t].view(shape) * x0 + self.root_1m[t].view(shape) * noise


def _weak_late(self, t):
    return self.var[t].sqrt() * (0.99 if t == 57 else 1.0)


def _same_batch(self, x, t, generator):
    z = torch.randn(x.shape[1:], generator=generator)
    return (z if t > 0 else 0 * z).expand(x.shape)


def _half_normal(self, x, t, generator):
    return torch.randn(x.shape, generator=generator).abs() * (t > 0)


def _laplace(self, x, t, generator):
    u = torch.rand(x.shape, generator=generator) - 0.5
    return -u.sign() * torch.log1p(-2 * u.abs()) / math.sqrt(2) * (t > 0)


def _correlated(self, x, t, generator):
    z = torch.randn(x.shape, generator=generator)
    return (z + z.roll(1, dims=-1)) / math.sqrt(2) * (t > 0)


def _early(self, out, t, x, generator=None):
    at = max(int(t) - 1, 0)
    mean = self.coef1[at] * self.start(x, at, out) + self.coef2[at] * x
    return mean + self.spread(at) * self.noise(x, t, generator)


def _clips_the_step(self, out, t, x, generator=None):
    return Tables.step(self, out, t, x, generator)[0].clamp(-1, 1)


def _with_table(change):
    def __init__(self):
        Shown.__init__(self)
        self.alphas_cumprod = change(self)

    return __init__


def _before(table, t):
    return table[max(int(t) - 1, 0)]


def _ignores(self, x, t, generator):
    return torch.randn(x.shape) * (t > 0)


WRONG = {
    "every beta doubled at T/2": (
        other(
            Tables,
            make_betas=lambda self: np.linspace(*ENDS, STEPS) * (1 + (np.arange(STEPS) == 50)),
        ),
        None,  # a schedule of its own: a convention, said on the card
        None,
    ),
    "signal level of the step before": (
        coefficients(root=lambda b, a, acp, prev: np.sqrt(prev)),
        "forward",
        None,
    ),
    "noise level cubed": (
        coefficients(root_1m=lambda b, a, acp, prev: np.sqrt(1 - acp) ** 3),
        "forward",
        None,
    ),
    "noise of its own": (other(Tables, add_noise=_own_noise), "forward", None),
    "axis guessed from the batch": (other(Tables, add_noise=_per_row), "forward", None),
    "x0 with all of the noise": (
        other(Tables, start=lambda s, x, t, out: s.recip[t] * (x - out)),
        "mean",  # x0-hat is not shown, and the step is that of mistake 43
        "43",
    ),
    "x0 with the wrong noise": (
        coefficients(recip_m1=lambda b, a, acp, prev: np.sqrt(1 / acp) - 1),
        "mean",
        None,
    ),
    "x0 weight without root": (
        coefficients(coef1=lambda b, a, acp, prev: b * prev / (1 - acp)),
        "mean",
        "38",
    ),
    "x0 weight with beta halved": (
        coefficients(coef1=lambda b, a, acp, prev: b * np.sqrt(prev) / (1 - acp) / 2),
        "mean",
        None,
    ),
    "x_t weight of the full noise": (
        coefficients(coef2=lambda b, a, acp, prev: np.sqrt(a) * (1 - acp) / (1 - acp)),
        "mean",
        "41",
    ),
    "x_t weight with alpha-bar": (
        coefficients(coef2=lambda b, a, acp, prev: (1 - prev) * np.sqrt(acp) / (1 - acp)),
        "mean",
        "39-alpha-bar",
    ),
    "weights exchanged": (
        coefficients(
            coef1=lambda b, a, acp, prev: (1 - prev) * np.sqrt(a) / (1 - acp),
            coef2=lambda b, a, acp, prev: b * np.sqrt(prev) / (1 - acp),
        ),
        "mean",
        "37",
    ),
    "eps over the variance": (
        eps_mean(lambda s, x, e, t: (x - s.b[t] / (1 - s.ab[t]) * e) / s.a[t] ** 0.5),
        "mean",
        "43",
    ),
    "eps by the root of beta": (
        eps_mean(lambda s, x, e, t: (x - (s.b[t] / (1 - s.ab[t])) ** 0.5 * e) / s.a[t] ** 0.5),
        "mean",
        "44",
    ),
    "divided by alpha": (
        eps_mean(lambda s, x, e, t: (x - s.b[t] / (1 - s.ab[t]) ** 0.5 * e) / s.a[t]),
        "mean",
        "45",
    ),
    "bracket forgotten": (
        eps_mean(lambda s, x, e, t: x / s.a[t] ** 0.5 - s.b[t] / (1 - s.ab[t]) ** 0.5 * e),
        "mean",
        "46",
    ),
    "three per cent too much": (
        eps_mean(lambda s, x, e, t: 1.03 * Epsilon.mean(s, x, e, t)),
        "mean",
        None,
    ),
    "variance as deviation": (other(Tables, spread=lambda s, t: s.var[t]), "variance", "49"),
    "exp of the log-variance": (
        other(LogVariance, spread=lambda s, t: torch.exp(s.log_var[t])),
        "variance",
        "49",
    ),
    "root of the root": (other(Tables, spread=lambda s, t: s.var[t] ** 0.25), "variance", "53"),
    "ratio upside down": (
        coefficients(
            var=lambda b, a, acp, prev: b * (1 - acp) / np.where(prev < 1, 1 - prev, np.inf)
        ),
        "variance",
        "59",
    ),
    "one per cent weak at one t": (other(Tables, spread=_weak_late), "variance", None),
    "one noise for the batch": (other(Tables, noise=_same_batch), "variance", None),
    "absolute noise": (other(Tables, noise=_half_normal), "variance", None),
    "Laplace noise": (other(Tables, noise=_laplace), "variance", None),
    "smoothed noise": (other(Tables, noise=_correlated), "variance", None),
    "generator ignored": (other(Tables, noise=_ignores), "variance", None),
    "no noise": (other(Tables, noise=lambda s, x, t, g: torch.zeros_like(x)), "variance", "55"),
    "no noise below ten": (
        other(Tables, noise=lambda s, x, t, g: torch.randn(x.shape, generator=g) * (t > 9)),
        "variance",
        None,
    ),
    "clipped, x0 weight without root": (
        other(
            Clipped,
            make=lambda self, b, a, acp, prev: (
                Tables.make(self, b, a, acp, prev),
                setattr(self, "coef1", torch.tensor(b * prev / (1 - acp)).float()),
            ),
        ),
        "mean",
        "38",
    ),
    "the step before is this one": (
        coefficients(
            coef1=lambda b, a, acp, prev: b * np.sqrt(acp) / (1 - acp),
            coef2=lambda b, a, acp, prev: np.sqrt(a) * (1 - acp) / (1 - acp),
        ),
        "mean",
        "40-unshifted",
    ),
    "clipped x_{t-1}": (other(Tables, step=_clips_the_step), "mean", "64"),
    "clipped to [0, 1]": (
        other(Tables, start=lambda s, x, t, out: Tables.start(s, x, t, out).clamp(0, 1)),
        "prediction",
        "34-clip",
    ),
    "all of the step before": (other(Tables, step=_early), "schedule", "2-early"),
    "table of roots": (
        other(Shown, __init__=_with_table(lambda s: s.alphas_cumprod.sqrt())),
        "schedule",
        "4-root",
    ),
    "table in half precision": (
        other(Shown, __init__=_with_table(lambda s: (1 - s.betas).half().cumprod(0).float())),
        "schedule",
        "13-float16",
    ),
    "clipped log-variance without a mask": (
        other(LogVariance, noise=lambda s, x, t, g: torch.randn(x.shape, generator=g)),
        "variance",
        "56-clipped",
    ),
    "mask upside down": (
        other(LogVariance, noise=lambda s, x, t, g: torch.randn(x.shape, generator=g) * (t == 0)),
        "variance",
        "56-inverted",
    ),
    "beta of the step before in the noise": (
        other(
            Epsilon,
            step=lambda s, e, t, x, generator=None: (
                s.mean(x, e, t)
                + _before(s.b, t) ** 0.5 * torch.randn(x.shape, generator=generator) * (t > 0)
            ).to(x.dtype),
        ),
        "variance",
        None,
    ),
    "alpha-bar of the step before under eps": (
        eps_mean(
            lambda s, x, e, t: (x - s.b[t] / (1 - _before(s.ab, t)) ** 0.5 * e) / s.a[t] ** 0.5
        ),
        "mean",
        None,
    ),
    "eta without effect": (
        other(Implicit, size=lambda s, ab, prev, eta: 0 * ab),
        "variance",
        "55",
    ),
    "eta squared": (
        other(Implicit, size=lambda s, ab, prev, eta: Implicit.size(s, ab, prev, eta**2)),
        "variance",
        None,
    ),
    "direction without sigma": (
        other(Implicit, direction=lambda s, prev, sigma: (1 - prev).sqrt()),
        "mean",
        "82",
    ),
    "direction of this step": (
        other(Implicit, direction=lambda s, prev, sigma: (1 - prev).sqrt() * 0.9),
        "mean",
        None,
    ),
    "strided to t-1": (
        other(Strided, before=lambda s, t: s.acp[t - 1] if t > 0 else torch.tensor(1.0)),
        "timesteps",
        "70",
    ),
    "stride of its own list rounded up, in the step down": (
        other(Implicit, set_timesteps=_with_stride_rounded_up),
        "timesteps",
        "72",
    ),
    "list one too long": (
        other(
            Strided,
            set_timesteps=lambda s, n: setattr(
                s, "timesteps", torch.arange(0, STEPS, STEPS // n).flip(0)
            ),
        ),
        "timesteps",
        "74",
    ),
    "strided list one short": (
        other(
            Strided,
            set_timesteps=lambda s, n: setattr(
                s, "timesteps", torch.tensor([i * (STEPS // n) for i in range(n)][::-1][:-1] or [0])
            ),
        ),
        "timesteps",
        None,
    ),
}


@pytest.mark.parametrize("name", each(6, [n for n, (_, stage, _) in WRONG.items() if stage]))
def test_wrong_ones_are_found_in_their_stage(name):
    candidate, stage, bug = WRONG[name]
    report = judge(candidate, "quick", 0, beside=False)
    assert report.exit_status == 1, f"survived: {report}"
    assert {d.stage for d in report.diagnoses} == {stage}, str(report)
    if bug is not None:
        assert report.diagnoses[0].bug == bug, str(report)


def test_there_are_enough():
    assert sum(stage is not None for _, stage, _ in WRONG.values()) >= 20


def test_a_schedule_of_its_own_is_a_convention():
    report = judge(WRONG["every beta doubled at T/2"][0], "quick", 0, beside=False)
    assert report.passed, str(report)
    assert report.conventions["betas"].startswith("own")
