"""The closed forms of the papers in float64: what every verdict is measured against.

Written apart from both backends, so that two which share a mistake are not taken for right. Every
formula is a field of `Oracle`; a mistake of the catalogue is an `Oracle` with one field replaced,
and the checks do not know whether they hold the right one or a wrong one.

`alpha_bar` counts from t = 0 (one step of noise) to T-1; the papers count the same steps 1..T.
Sources: Ho et al. 2020 (arXiv:2006.11239), Nichol & Dhariwal 2021 (arXiv:2102.09672), Song et al.
2020 (arXiv:2010.02502), Salimans & Ho 2022 (arXiv:2202.00512), Lin et al. 2023 (arXiv:2305.08891),
Saharia et al. 2022 (arXiv:2205.11487).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

F64 = torch.float64


@dataclass(frozen=True)
class Setting:
    """What a scheduler is asked to be, in Diffusers' words; `None` where it has no such thing."""

    num_train_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: tuple[float, ...] | None = None
    variance_type: str = "fixed_small"
    clip_sample: bool = False
    clip_sample_range: float = 1.0
    prediction_type: str = "epsilon"
    thresholding: bool = False
    dynamic_thresholding_ratio: float = 0.995
    sample_max_value: float = 1.0
    timestep_spacing: str = "leading"
    steps_offset: int = 0
    rescale_betas_zero_snr: bool = False
    set_alpha_to_one: bool = True
    eta: float | None = None
    use_clipped_model_output: bool = False


@dataclass(frozen=True)
class Level:
    """Where in the chain a step stands: `t`, the step before it in the list, and their alpha-bars.

    All are tensors of one shape that broadcasts against the sample; `prev` is -1 before the first.
    """

    table: Tensor
    t: Tensor
    prev: Tensor
    alpha_bar: Tensor
    alpha_bar_prev: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> "Level":
        """The same places with every tensor but the table changed, such as in its shape."""
        names = ("t", "prev", "alpha_bar", "alpha_bar_prev")
        return replace(self, **{name: change(getattr(self, name)) for name in names})

    def at(self, which: slice | Tensor) -> "Level":
        """Some of the places, along the first axis."""
        return self.map(lambda values: values[which])

    def nudged(self, name: str, relative: float) -> "Level":
        """The same place with one alpha-bar off by a rounding error (1 stays 1)."""
        value = getattr(self, name)
        moved = torch.where(value < 1, (value * (1 + relative)).clamp(max=1 - 1e-16), value)
        return replace(self, **{name: moved})

    def roughened(self, relative: float) -> "Level":
        """The same place, every other entry of the table off by a rounding error."""
        moved = torch.minimum(self.table * (1 + relative), self.table.clamp(min=1 - 1e-16))
        every_other = torch.arange(len(self.table)) % 2 == 0
        return replace(self, table=torch.where(every_other, moved, self.table))


def betas(setting: Setting) -> Tensor:
    """(T,) betas of a named family, before any rescaling to zero terminal SNR.

    >>> betas(Setting(num_train_timesteps=3)).tolist()
    [0.0001, 0.01005, 0.02]
    """
    T, start, end = setting.num_train_timesteps, setting.beta_start, setting.beta_end
    if setting.trained_betas is not None:
        return torch.tensor(setting.trained_betas, dtype=F64)
    if setting.beta_schedule == "linear":
        return torch.linspace(start, end, T, dtype=F64)
    if setting.beta_schedule == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, T, dtype=F64) ** 2
    if setting.beta_schedule == "sigmoid":
        return torch.linspace(-6, 6, T, dtype=F64).sigmoid() * (end - start) + start
    if setting.beta_schedule == "squaredcos_cap_v2":
        return cosine_betas(T)
    raise ValueError(f"beta_schedule={setting.beta_schedule!r} is unknown to the oracle")


def cosine_betas(T: int, s: float = 0.008, power: float = 2, cap: float = 0.999) -> Tensor:
    """1 - f(t+1)/f(t) with f = cos^2((t/T + s)/(1 + s) pi/2), at most `cap`: N&D eq. 17."""
    u = torch.arange(T + 1, dtype=F64) / T
    f = ((u + s) / (1 + s) * math.pi / 2).cos().clamp(min=0) ** power
    return (1 - f[1:] / f[:-1]).clamp(max=cap)


def table(betas: Tensor) -> Tensor:
    """alpha_bar_t = product of 1 - beta_s for s = 0..t: below Ho et al. eq. 3."""
    return torch.cumprod(1 - betas, dim=0)


def zero_terminal_snr(alpha_bar: Tensor) -> Tensor:
    """sqrt(alpha_bar) shifted to end at 0 and scaled to start where it did: Lin et al. alg. 1."""
    root = alpha_bar.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).reshape(-1, *[1] * (like.dim() - 1))  # (b, 1, 1, 1)


def add_noise(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise, per image: Ho et al. eq. 4."""
    alpha_bar = table[t]
    return _per_image(alpha_bar.sqrt(), x_0) * x_0 + _per_image((1 - alpha_bar).sqrt(), x_0) * noise


def velocity(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    """sqrt(alpha_bar_t) noise - sqrt(1 - alpha_bar_t) x_0, per image: Salimans & Ho, section 4."""
    alpha_bar = table[t]
    return _per_image(alpha_bar.sqrt(), x_0) * noise - _per_image((1 - alpha_bar).sqrt(), x_0) * x_0


def timesteps(setting: Setting, n: int) -> tuple[Tensor, int]:
    """The n steps visited, as (numerators, denominator) of their exact values: Lin et al. table 2.

    Exact, since at k + 1/2 either neighbour is right.

    >>> timesteps(Setting(num_train_timesteps=10), 3)
    (tensor([6, 3, 0]), 1)
    >>> timesteps(Setting(num_train_timesteps=10, timestep_spacing="trailing"), 3)
    (tensor([27, 17,  7]), 3)
    """
    T, i = setting.num_train_timesteps, torch.arange(n)
    if setting.timestep_spacing == "leading":
        return (i * (T // n)).flip(0) + setting.steps_offset, 1
    if setting.timestep_spacing == "trailing":
        return T * n - i * T - n, n
    return (i * (T - 1)).flip(0), max(n - 1, 1)


def previous(following: Tensor, t: Tensor, n: int, setting: Setting) -> Tensor:
    """The step before t in the chain is the one visited next, -1 after the last."""
    return following


def level(table: Tensor, t: Tensor, prev: Tensor, setting: Setting) -> Level:
    """Reads alpha_bar_t and alpha_bar of the previous step, which is 1 before the first."""
    first = 1.0 if setting.set_alpha_to_one else float(table[0])
    before = torch.where(prev >= 0, table[prev.clamp(min=0)], torch.tensor(first, dtype=F64))
    return Level(table, t, prev, table[t], before)


def x_0(prediction_type: str, out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """x0-hat from what the model returns: Ho et al. eq. 15; Salimans & Ho, appendix D."""
    signal, noise = level.alpha_bar.sqrt(), (1 - level.alpha_bar).sqrt()
    if prediction_type == "epsilon":
        return (x_t - noise * out) / signal
    if prediction_type == "v_prediction":
        return signal * x_t - noise * out
    return out


def limit(x_0: Tensor, setting: Setting) -> Tensor:
    """Clipping, or dynamic thresholding per image (Saharia et al. 2022, section 2.3).

    `x_0` is (..., b, pixels).
    """
    if setting.thresholding:
        s = torch.quantile(x_0.abs(), setting.dynamic_thresholding_ratio, dim=-1, keepdim=True)
        s = s.clamp(1, max(setting.sample_max_value, 1))
        return x_0.clamp(-s, s) / s
    if setting.clip_sample:
        return x_0.clamp(-setting.clip_sample_range, setting.clip_sample_range)
    return x_0


def mean(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """The posterior mean: Ho et al. eq. 7, for any pair of steps."""
    ab, prev = level.alpha_bar, level.alpha_bar_prev
    alpha = ab / prev
    return prev.sqrt() * (1 - alpha) / (1 - ab) * x_0 + alpha.sqrt() * (1 - prev) / (1 - ab) * x_t


def std(variance_type: str, level: Level, out: Tensor | None = None) -> Tensor:
    """The standard deviation of a step: sqrt(beta), sqrt(beta-tilde), or learned between the two.

    Ho et al. eq. 7 and section 3.2; `learned_range`: N&D eq. 15 with `out` in [-1, 1].
    """
    ab, prev = level.alpha_bar, level.alpha_bar_prev
    beta = 1 - ab / prev
    small = (1 - prev) / (1 - ab) * beta
    if variance_type in ("fixed_large", "fixed_large_log"):
        return beta.sqrt()
    if variance_type == "learned_range":
        assert out is not None
        frac = (out + 1) / 2
        return torch.exp(0.5 * (frac * beta.log() + (1 - frac) * small.clamp(min=1e-20).log()))
    return small.clamp(min=0).sqrt()


def noisy(level: Level) -> Tensor:
    """Noise is added while a previous step exists: Ho et al. algorithm 2, line 3."""
    return level.prev >= 0


def draw(shape: tuple[int, ...], generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
    """z ~ N(0, 1): Ho et al. algorithm 2."""
    return torch.randn(shape, generator=generator, dtype=dtype)


def noise_of(z: Tensor, out: Tensor) -> Tensor:
    """What multiplies the standard deviation: the fresh z, whatever the model returned."""
    return z


def eps_from_x_0(x_t: Tensor, x_0: Tensor, level: Level) -> Tensor:
    """(x_t - sqrt(alpha_bar) x_0) / sqrt(1 - alpha_bar): Ho et al. eq. 4 solved for the noise."""
    return (x_t - level.alpha_bar.sqrt() * x_0) / (1 - level.alpha_bar).sqrt()


def ddim_eps(out: Tensor, x_t: Tensor, x_0: Tensor, level: Level, setting: Setting) -> Tensor:
    """The noise that DDIM's direction uses; `x_0` is x0-hat before clipping."""
    if setting.prediction_type == "epsilon":
        return out
    if setting.prediction_type == "v_prediction":
        return level.alpha_bar.sqrt() * out + (1 - level.alpha_bar).sqrt() * x_t
    return eps_from_x_0(x_t, x_0, level)


def ddim_mean(x_0: Tensor, eps: Tensor, level: Level, sigma: Tensor) -> Tensor:
    """sqrt(ab_prev) x_0 + sqrt(1 - ab_prev - sigma^2) eps: Song et al. eq. 12."""
    prev = level.alpha_bar_prev
    return prev.sqrt() * x_0 + (1 - prev - sigma**2).clamp(min=0).sqrt() * eps


def rederived(x_t: Tensor, x_0: Tensor, level: Level) -> Tensor:
    """The noise that belongs to the clipped x0-hat (`use_clipped_model_output`)."""
    return eps_from_x_0(x_t, x_0, level)


def finish(x_prev: Tensor, setting: Setting) -> Tensor:
    """Nothing is done to x_{t-1} itself."""
    return x_prev


@dataclass(frozen=True)
class Loop:
    """What a sampling loop does besides its steps (the role `sample`).

    Attributes:
        falls: t runs from T-1 down; False: up.
        stops_at: the last t of the full chain.
        tells: what the model is told: `"t"`, or `"index"`, the position in the list.
        evaluates: the model is put into eval mode.
        start: the law of x_T: `"normal"` or `"uniform"`.
        reseeds: every step draws the same z.
        own_streams: with one generator for each image, an image does not depend on the others.
        codec: how pictures in [0, 255] are made: `"round"`, `"floor"`, or `"wrap"` (no clamp).
    """

    falls: bool = True
    stops_at: int = 0
    tells: str = "t"
    evaluates: bool = True
    start: str = "normal"
    reseeds: bool = False
    own_streams: bool = True
    codec: str = "round"


@dataclass(frozen=True)
class Loss:
    """What a training loss does (the role `loss`).

    Attributes:
        noise: the law of the noise: `"normal"` or `"uniform"`.
        redrawn: the target is other noise than that in x_t.
        per_image: every image has a t of its own.
        low, high: t is drawn from low..T-1-high.
        scale, shift: the model sees noise added to scale x_0 + shift.
        reduce: `"mean"`, `"sum"`, `"batch"` (sum over pixels, mean over images), `"before"` (the
            square of the mean error), or `"first"` (the first image alone).
        target: what the output is compared with; None: what the model predicts. Besides the three
            predictions: `"minus"` (-noise), `"v_sum"`, `"v_minus"`, `"v_swapped"`.
        crossed: weights of shape (b, 1) meet losses of shape (b,): every pair is averaged.
    """

    noise: str = "normal"
    redrawn: bool = False
    per_image: bool = True
    low: int = 0
    high: int = 0
    scale: float = 1.0
    shift: float = 0.0
    reduce: str = "mean"
    target: str | None = None
    crossed: bool = False


@dataclass(frozen=True)
class Oracle:
    """The formulas of a scheduler, one field each; a mistake replaces one of them."""

    betas: Callable[[Setting], Tensor] = betas
    table: Callable[[Tensor], Tensor] = table
    add_noise: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = add_noise
    velocity: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = velocity
    timesteps: Callable[[Setting, int], tuple[Tensor, int]] = timesteps
    previous: Callable[[Tensor, Tensor, int, Setting], Tensor] = previous
    level: Callable[[Tensor, Tensor, Tensor, Setting], Level] = level
    x_0: Callable[[str, Tensor, Tensor, Level], Tensor] = x_0
    limit: Callable[[Tensor, Setting], Tensor] = limit
    mean: Callable[[Tensor, Tensor, Level], Tensor] = mean
    std: Callable[..., Tensor] = std
    noisy: Callable[[Level], Tensor] = noisy
    draw: Callable[..., Tensor] = draw
    noise_of: Callable[[Tensor, Tensor], Tensor] = noise_of
    ddim_eps: Callable[[Tensor, Tensor, Tensor, Level, Setting], Tensor] = ddim_eps
    ddim_mean: Callable[[Tensor, Tensor, Level, Tensor], Tensor] = ddim_mean
    rederived: Callable[[Tensor, Tensor, Level], Tensor] | None = rederived
    finish: Callable[[Tensor, Setting], Tensor] = finish
    refuses_past_end: bool = True
    loop: Loop = Loop()
    loss: Loss = Loss()

    def alpha_bar(self, setting: Setting) -> Tensor:
        """(T,) float64 alpha-bars of a setting."""
        alpha_bar = self.table(self.betas(setting))
        return zero_terminal_snr(alpha_bar) if setting.rescale_betas_zero_snr else alpha_bar

    def stepping(self) -> "Oracle":
        """The same for whoever looks at steps alone: oracles that are equal there become equal."""
        right = Oracle()
        outside = ("betas", "table", "add_noise", "velocity", "timesteps", "refuses_past_end")
        return replace(self, **{name: getattr(right, name) for name in (*outside, "loop", "loss")})

    def sigma(self, level: Level, setting: Setting) -> Tensor:
        """The standard deviation that a fixed-variance step adds at this level."""
        if setting.eta is None:
            size = self.std(setting.variance_type, level)
        else:
            size = setting.eta * self.std("fixed_small", level)
        return torch.where(self.noisy(level), size, torch.zeros_like(size))

    def step_mean(
        self, out: Tensor, x_t: Tensor, level: Level, setting: Setting, given: Tensor | None = None
    ) -> Tensor:
        """x_{t-1} before noise; `given` is a candidate's own (clipped) x0-hat in place of ours."""
        raw = self.x_0(setting.prediction_type, out, x_t, level)
        x_0 = self.limit(raw, setting) if given is None else given
        if setting.eta is None:
            return self.mean(x_0, x_t, level)
        limited = setting.clip_sample or setting.thresholding
        eps = self.ddim_eps(out, x_t, raw if given is None or limited else given, level, setting)
        if setting.use_clipped_model_output and self.rederived is not None:
            eps = self.rederived(x_t, x_0, level)
        sigma = setting.eta * self.std("fixed_small", level)
        return self.ddim_mean(x_0, eps, level, sigma)

    def step(self, out: Tensor, x_t: Tensor, z: Tensor, level: Level, setting: Setting) -> Tensor:
        """One whole reverse step for model output `out` (..., b, pixels), sample and noise."""
        noise = self.sigma(level, setting) * self.noise_of(z, out)
        return self.finish(self.step_mean(out, x_t, level, setting) + noise, setting)
