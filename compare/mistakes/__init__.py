"""The catalogue: each wrong formula once, as a function at the seam of the oracle that it replaces.

A mistake is tried on by replacing that one field: the checks then expect what a scheduler with this
mistake would do. The same replacement makes the mutants that prove the power of the checks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from compare import oracle as right
from compare.oracle import F64, Level, Loop, Loss, Oracle, Setting


@dataclass(frozen=True)
class Mistake:
    """A wrong formula.

    Attributes:
        id: the number in the catalogue, with a suffix where a number has several forms.
        stage: which stage it is a fault of.
        words: what is computed, what should be, which equation.
        fix: what to write instead.
        seams: {field of `Oracle`: the wrong function}.
        only: `"ddim"` if it needs a DDIM step, `"epsilon"` etc. if it needs that option, `"loss"`
            or `"v_loss"` (of a model that predicts v) if it is one of a training loss.
    """

    id: str
    stage: str
    words: str
    fix: str
    seams: dict[str, Any]
    only: str = ""

    def oracle(self, base: Oracle | None = None) -> Oracle:
        """The oracle with this formula wrong."""
        return replace(base or Oracle(), **self.seams)


# -- tables ----------------------------------------------------------------------------------------


def _extra_factor(betas: Tensor) -> Tensor:
    return right.table(betas) * (1 - betas[0])


def _alpha(betas: Tensor) -> Tensor:
    return 1 - betas


def _root_table(betas: Tensor) -> Tensor:
    return right.table(betas).sqrt()


def _starts_at_one(betas: Tensor) -> Tensor:
    return torch.cat([torch.ones(1, dtype=F64), right.table(betas)[:-1]])


def _betas(**changes: Any) -> Callable[[Setting], Tensor]:
    """Betas of a setting that differs from what was asked, where it asked for `linear`."""

    def betas(setting: Setting) -> Tensor:
        if setting.beta_schedule != "linear" or setting.trained_betas is not None:
            return right.betas(setting)
        return right.betas(replace(setting, **changes))

    return betas


def _linear_for_cosine(setting: Setting) -> Tensor:
    if setting.beta_schedule != "squaredcos_cap_v2":
        return right.betas(setting)
    return right.betas(replace(setting, beta_schedule="linear"))


def _cosine(**changes: Any) -> Callable[[Setting], Tensor]:
    def betas(setting: Setting) -> Tensor:
        if setting.beta_schedule != "squaredcos_cap_v2" or setting.trained_betas is not None:
            return right.betas(setting)
        return right.cosine_betas(setting.num_train_timesteps, **changes)

    return betas


def _early_cosine(setting: Setting) -> Tensor:
    if setting.beta_schedule != "squaredcos_cap_v2" or setting.trained_betas is not None:
        return right.betas(setting)
    return torch.cat([torch.zeros(1, dtype=F64), right.betas(setting)[:-1]])


def _uncapped(setting: Setting) -> Tensor:
    if setting.beta_schedule != "squaredcos_cap_v2" or setting.trained_betas is not None:
        return right.betas(setting)
    return right.cosine_betas(setting.num_train_timesteps, cap=math.inf)


def _half_product(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    def table(betas: Tensor) -> Tensor:
        return torch.cumprod((1 - betas).to(dtype), dim=0).to(F64)

    return table


# -- reading the table -----------------------------------------------------------------------------


def _read_shifted(table: Tensor, t: Tensor, prev: Tensor, setting: Setting) -> Level:
    """alpha_bar[t-1] read as alpha_bar_t, at t = 0 too."""
    padded = torch.cat([torch.tensor([table[0]], dtype=F64), table])
    level = right.level(padded, t, prev, setting)
    return replace(level, table=table)


def _step_of(shift: int) -> Callable[..., Level]:
    """The step at t takes every coefficient of the step `shift` later, held inside the table."""

    def level(table: Tensor, t: Tensor, prev: Tensor, setting: Setting) -> Level:
        last = len(table) - 1
        at = (t + shift).clamp(0, last)
        before = torch.where(at == t, prev, (prev + shift).clamp(-1, last - 1))
        return replace(right.level(table, at, before, setting), t=t, prev=prev)

    return level


def _no_leading_one(table: Tensor, t: Tensor, prev: Tensor, setting: Setting) -> Level:
    level = right.level(table, t, prev, setting)
    before = torch.where(prev >= 0, level.alpha_bar_prev, table[0])
    return replace(level, alpha_bar_prev=before)


def _wraps(table: Tensor, t: Tensor, prev: Tensor, setting: Setting) -> Level:
    """Python's index -1: the last entry, of pure noise."""
    level = right.level(table, t, prev, setting)
    return replace(level, alpha_bar_prev=torch.where(prev >= 0, level.alpha_bar_prev, table[-1]))


# -- forward ---------------------------------------------------------------------------------------

Coefficient = Callable[[Tensor], Tensor]


def _forward(signal: Coefficient, noise_level: Coefficient) -> Callable[..., Tensor]:
    def add_noise(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
        per_image = [1] * (x_0.dim() - 1)
        c_0, c_1 = (
            c(table[t]).to(x_0.dtype).reshape(-1, *per_image) for c in (signal, noise_level)
        )
        return c_0 * x_0 + c_1 * noise

    return add_noise


def _root(alpha_bar: Tensor) -> Tensor:
    return alpha_bar.sqrt()


def _noise_level(alpha_bar: Tensor) -> Tensor:
    return (1 - alpha_bar).sqrt()


def _own_uniform(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    return right.add_noise(x_0, torch.rand(x_0.shape).to(x_0.dtype), table, t)


def _own_normal(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    return right.add_noise(x_0, torch.randn(x_0.shape).to(x_0.dtype), table, t)


def _last_axis(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    alpha_bar = table[t]
    return alpha_bar.sqrt().to(x_0.dtype) * x_0 + (1 - alpha_bar).sqrt().to(x_0.dtype) * noise


def _not_flattened(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    alpha_bar = table[t]
    while alpha_bar.dim() < x_0.dim():
        alpha_bar = alpha_bar.unsqueeze(-1)
    return alpha_bar.sqrt().to(x_0.dtype) * x_0 + (1 - alpha_bar).sqrt().to(x_0.dtype) * noise


def _cast_first(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    if x_0.dtype not in (torch.float16, torch.bfloat16):
        return right.add_noise(x_0, noise, table, t)
    alpha_bar = table.to(x_0.dtype)[t].reshape(-1, *[1] * (x_0.dim() - 1))
    return alpha_bar**0.5 * x_0 + (1 - alpha_bar) ** 0.5 * noise


def _alpha_forward(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    before = torch.cat([torch.ones(1, dtype=F64), table[:-1]])
    return right.add_noise(x_0, noise, table / before, t)


def _shifted_forward(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    return right.add_noise(x_0, noise, table, (t - 1).clamp(min=0))


def _velocity_sign(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    return -right.velocity(x_0, noise, table, t)


def _velocity_swapped(x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> Tensor:
    return right.velocity(x_0, noise, 1 - table, t)


# -- timesteps -------------------------------------------------------------------------------------


def _to_previous_number(following: Tensor, t: Tensor, n: int, setting: Setting) -> Tensor:
    return t - 1


def _by_stride(following: Tensor, t: Tensor, n: int, setting: Setting) -> Tensor:
    return (t - setting.num_train_timesteps // n).clamp(min=-1)


def _float_range(setting: Setting, n: int) -> tuple[Tensor, int]:
    if setting.timestep_spacing != "trailing":
        return right.timesteps(setting, n)
    T = setting.num_train_timesteps
    count = math.ceil(T / (T / n))  # in floats, one more than n for some n
    return T * n - torch.arange(count) * T - n, n


def _float_stride(setting: Setting, n: int) -> tuple[Tensor, int]:
    if setting.timestep_spacing != "leading":
        return right.timesteps(setting, n)
    T = setting.num_train_timesteps
    listed = torch.arange(0, T, max(T // n, 1))
    return listed.flip(0) + setting.steps_offset, 1


# -- x0-hat ----------------------------------------------------------------------------------------


def _x_0(**wrong: Callable[[Tensor, Tensor, Level], Tensor]) -> Callable[..., Tensor]:
    def x_0(kind: str, out: Tensor, x_t: Tensor, level: Level) -> Tensor:
        formula = wrong.get(kind)
        return right.x_0(kind, out, x_t, level) if formula is None else formula(out, x_t, level)

    return x_0


def _parts(level: Level) -> tuple[Tensor, Tensor]:
    return level.alpha_bar.sqrt(), (1 - level.alpha_bar).sqrt()


def _v_sign(out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    signal, noise = _parts(level)
    return signal * x_t + noise * out


def _v_swapped(out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    signal, noise = _parts(level)
    return noise * x_t - signal * out


def _read_as_x_0(out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    return out + 0 * x_t


def _read_as_eps(out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    return right.x_0("epsilon", out, x_t, level)


def _over_alpha_bar(out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    return (x_t - (1 - level.alpha_bar).sqrt() * out) / level.alpha_bar


def _plus_noise(out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    return (x_t + (1 - level.alpha_bar).sqrt() * out) / level.alpha_bar.sqrt()


def _no_minus_one(out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    return (x_t - out) / level.alpha_bar.sqrt()


def _variance_of_noise(out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    return (x_t - (1 - level.alpha_bar) * out) / level.alpha_bar.sqrt()


def _signal_on_x_only(out: Tensor, x_t: Tensor, level: Level) -> Tensor:
    return x_t / level.alpha_bar.sqrt() - (1 - level.alpha_bar).sqrt() * out


def _no_clip(x_0: Tensor, setting: Setting) -> Tensor:
    return right.limit(x_0, replace(setting, clip_sample=False))


def _always_one(x_0: Tensor, setting: Setting) -> Tensor:
    return right.limit(x_0, replace(setting, clip_sample_range=1.0))


def _clip_to_unit(x_0: Tensor, setting: Setting) -> Tensor:
    if setting.thresholding or not setting.clip_sample:
        return right.limit(x_0, setting)
    return x_0.clamp(0, setting.clip_sample_range)


def _batch_quantile(x_0: Tensor, setting: Setting) -> Tensor:
    if not setting.thresholding:
        return right.limit(x_0, setting)
    flat = x_0.flatten(-2)
    s = torch.quantile(flat.abs(), setting.dynamic_thresholding_ratio, dim=-1)[..., None, None]
    s = s.clamp(1, max(setting.sample_max_value, 1))
    return x_0.clamp(-s, s) / s


def _not_divided(x_0: Tensor, setting: Setting) -> Tensor:
    if not setting.thresholding:
        return right.limit(x_0, setting)
    s = torch.quantile(x_0.abs(), setting.dynamic_thresholding_ratio, dim=-1, keepdim=True)
    s = s.clamp(1, max(setting.sample_max_value, 1))
    return x_0.clamp(-s, s)


def _finish_clipped(x_prev: Tensor, setting: Setting) -> Tensor:
    return right.limit(x_prev, setting)


# -- means -----------------------------------------------------------------------------------------

Mean = Callable[[Tensor, Tensor, Level], Tensor]


def _posterior(c_0: Callable[..., Tensor], c_t: Callable[..., Tensor]) -> Mean:
    """c_0(...) x_0 + c_t(...) x_t, of alpha_bar, alpha_bar_prev, alpha and beta."""

    def mean(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
        ab, prev = level.alpha_bar, level.alpha_bar_prev
        alpha = ab / prev
        values = (ab, prev, alpha, 1 - alpha)
        return c_0(*values) * x_0 + c_t(*values) * x_t

    return mean


def _weights_without_one(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """A table of alpha-bar_{t-1} that repeats its first entry, beside a right beta."""
    ab, prev = level.alpha_bar, level.alpha_bar_prev
    before = torch.where(level.t == 0, ab, prev)
    values = (ab, before, ab / prev, 1 - ab / prev)
    return _c_0(*values) * x_0 + _c_t(*values) * x_t


def _weights_wrapped(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """A rolled table of alpha-bar_{t-1}, which starts with its last entry, beside a right beta."""
    ab, prev = level.alpha_bar, level.alpha_bar_prev
    values = (ab, torch.where(level.t == 0, level.table[-1], prev), ab / prev, 1 - ab / prev)
    return _c_0(*values) * x_0 + _c_t(*values) * x_t


def _c_0(ab: Tensor, prev: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return prev.sqrt() * beta / (1 - ab)


def _c_t(ab: Tensor, prev: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return alpha.sqrt() * (1 - prev) / (1 - ab)


def _by_eps(formula: Callable[..., Tensor]) -> Mean:
    """A mean written with the noise, of x_t, eps, alpha_bar, alpha and beta: Ho et al. eq. 11."""

    def mean(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
        ab = level.alpha_bar
        alpha = ab / level.alpha_bar_prev
        return formula(x_t, right.eps_from_x_0(x_t, x_0, level), ab, alpha, 1 - alpha)

    return mean


def _ddim_without_sigma(x_0: Tensor, eps: Tensor, level: Level, sigma: Tensor) -> Tensor:
    return right.ddim_mean(x_0, eps, level, 0 * sigma)


def _ddim_sigma_as_direction(x_0: Tensor, eps: Tensor, level: Level, sigma: Tensor) -> Tensor:
    return level.alpha_bar_prev.sqrt() * x_0 + sigma * eps


def _ddim_sigma_unsquared(x_0: Tensor, eps: Tensor, level: Level, sigma: Tensor) -> Tensor:
    direction = (1 - level.alpha_bar_prev - sigma).clamp(min=0).sqrt()
    return level.alpha_bar_prev.sqrt() * x_0 + direction * eps


def _ddim_output_as_eps(
    out: Tensor, x_t: Tensor, x_0: Tensor, level: Level, setting: Setting
) -> Tensor:
    return out


def _eps_sign(out: Tensor, x_t: Tensor, x_0: Tensor, level: Level, setting: Setting) -> Tensor:
    eps = right.ddim_eps(out, x_t, x_0, level, setting)
    return -eps if setting.prediction_type == "sample" else eps


def _eps_over_ab(out: Tensor, x_t: Tensor, x_0: Tensor, level: Level, setting: Setting) -> Tensor:
    if setting.prediction_type != "sample":
        return right.ddim_eps(out, x_t, x_0, level, setting)
    return (x_t - level.alpha_bar.sqrt() * x_0) / (1 - level.alpha_bar)


# -- variances and draws ---------------------------------------------------------------------------


def _std(change: Callable[[Tensor, Level], Tensor], only: str = "") -> Callable[..., Tensor]:
    """The right standard deviation changed, for every variance type or for those named `only`."""

    def std(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
        size = right.std(kind, level, out)
        return change(size, level) if only in kind and kind != "learned_range" else size

    return std


def _other_kind(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    swap = {"fixed_small": "fixed_large", "fixed_large": "fixed_small"}
    return right.std(swap.get(kind.removesuffix("_log"), kind), level, out)


def _always(which: str) -> Callable[..., Tensor]:
    def std(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
        return right.std(which if kind != "learned_range" else kind, level, out)

    return std


def _inverted(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    if not kind.startswith("fixed_small"):
        return right.std(kind, level, out)
    ab, prev = level.alpha_bar, level.alpha_bar_prev
    return ((1 - ab) / (1 - prev).clamp(min=1e-9) * (1 - ab / prev)).sqrt()


def _small_without_ratio_root(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    if not kind.startswith("fixed_small"):
        return right.std(kind, level, out)
    ab, prev = level.alpha_bar, level.alpha_bar_prev
    return (1 - prev) / (1 - ab) * (1 - ab / prev).sqrt()


def _tables_beta(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """beta of the full chain where the stride asks for that of the stride."""
    if kind == "learned_range":
        return right.std(kind, level, out)
    beta = 1 - level.alpha_bar / _full_chain(level).alpha_bar_prev
    if kind.startswith("fixed_small"):
        return ((1 - level.alpha_bar_prev) / (1 - level.alpha_bar) * beta).clamp(min=0).sqrt()
    return beta.sqrt()


def _full_chain(level: Level) -> Level:
    """The level of t in the full chain, whatever the stride."""
    before = torch.where(level.t > 0, level.table[(level.t - 1).clamp(min=0)], torch.ones(()))
    return replace(level, alpha_bar_prev=before.to(F64))


def _tables_alpha(only_beta: bool) -> Mean:
    """A posterior mean with beta_t, or also alpha_t, of the full chain beside a strided ab_prev."""

    def mean(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
        ab, prev = level.alpha_bar, level.alpha_bar_prev
        full = ab / _full_chain(level).alpha_bar_prev
        alpha = ab / prev if only_beta else full
        values = (ab, prev, alpha, 1 - full)
        return _c_0(*values) * x_0 + _c_t(*values) * x_t

    return mean


def _tables_beta_tilde(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """beta and beta-tilde of the full chain where the stride asks for those of the stride."""
    if kind == "learned_range":
        return right.std(kind, level, out)
    return right.std(kind, _full_chain(level))


def _log_of_variance(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    size = right.std(kind, level, out)
    return size.square().log().sqrt() if kind.endswith("_log") else size


def _without_log(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    if kind != "learned_range":
        return right.std(kind, level, out)
    assert out is not None
    beta = 1 - level.alpha_bar / level.alpha_bar_prev
    small = (1 - level.alpha_bar_prev) / (1 - level.alpha_bar) * beta
    frac = (out + 1) / 2
    return (frac * beta + (1 - frac) * small).sqrt()


def _noisy_always(level: Level) -> Tensor:
    return torch.ones_like(level.prev, dtype=torch.bool)


def _noisy_above(t: int) -> Callable[[Level], Tensor]:
    def noisy(level: Level) -> Tensor:
        return level.t > t

    return noisy


def _not_at_one(level: Level) -> Tensor:
    return level.t != 1


def _unlogged(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    size = right.std(kind, level, out)
    return size if kind == "learned_range" else (0.5 * size.square()).exp()


def _beta_unrooted(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    if not kind.startswith("fixed_small"):
        return right.std(kind, level, out)
    beta = 1 - level.alpha_bar / level.alpha_bar_prev
    return ((1 - level.alpha_bar_prev) / (1 - level.alpha_bar)).sqrt() * beta


def _only_at_the_end(level: Level) -> Tensor:
    return level.prev < 0


def _clipped_below(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
    """The log-variance of the first step, which is log 0, replaced by that of the second."""
    size = right.std(kind, level, out)
    if kind == "learned_range" or len(level.table) < 2:
        return size
    table = level.table
    second = replace(level, alpha_bar=table[1], alpha_bar_prev=table[0])
    return torch.where(level.prev < 0, right.std(kind, second), size)


def _never_noisy(level: Level) -> Tensor:
    return torch.zeros_like(level.prev, dtype=torch.bool)


def _output_as_noise(z: Tensor, out: Tensor) -> Tensor:
    return out


def _uniform(shape: Any, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=dtype)


def _centred_uniform(shape: Any, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
    return 2 * torch.rand(shape, generator=generator, dtype=dtype) - 1


def _one_for_all(shape: Any, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
    return torch.randn((1, *shape[1:]), generator=generator, dtype=dtype).expand(shape)


def _same_every_call(shape: Any, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def _one_per_channel(shape: Any, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
    z = torch.randn((*shape[:2], 1, 1), generator=generator, dtype=dtype)
    return z.expand(shape)


_MISTAKES: list[tuple] = [
    # id, stage, words, fix, seams, (only)
    ("1", "schedule", "alpha-bar has one factor too many: every entry carries an extra 1 - beta_0; "
     "alpha-bar_0 should be 1 - beta_0 and the table T long (Ho et al., below eq. 3)",
     "take the cumulative product of exactly the T factors 1 - beta_t", {"table": _extra_factor}),
    ("1-leading-one", "schedule", "the alpha-bar table starts at 1 and lacks its last entry: every "
     "t reads the entry of the step before; alpha-bar_0 should be 1 - beta_0",
     "drop the leading 1, or count t from 1 everywhere", {"table": _starts_at_one}),
    ("2", "schedule", "the step reads alpha-bar[t-1] as alpha-bar_t, one entry too early, although "
     "the table is right", "index the table with the same t that noised the image",
     {"level": _read_shifted}),
    ("2-early", "schedule", "the step at t takes the coefficients of the step at t-1: its tables "
     "are read one entry too early", "index every table with the t that the model is told",
     {"level": _step_of(-1)}),
    ("2-late", "schedule", "the step at t takes the coefficients of the step at t+1: its tables "
     "are read one entry too late", "index every table with the t that the model is told",
     {"level": _step_of(1)}),
    ("3", "schedule", "alpha-bar before the first step is read as alpha-bar_0; it is 1, so the "
     "last step leaves noise in the picture",
     "prepend 1 to the shifted table (or use 1 if prev < 0)",
     {"level": _no_leading_one}),
    ("4", "schedule", "the table holds alpha_t, not its cumulative product alpha-bar_t (Ho et al., "
     "below eq. 3)", "alpha_bar = cumprod(1 - beta)", {"table": _alpha}),
    ("4-root", "schedule", "the table holds sqrt(alpha-bar_t) under the name of alpha-bar_t (Ho et "
     "al., below eq. 3)", "alpha_bar = cumprod(1 - beta), without a root", {"table": _root_table}),
    ("4-forward", "forward", "add_noise uses alpha_t where it needs the product alpha-bar_t (Ho et "
     "al. eq. 4): almost no noise", "index alpha_bar, not alpha", {"add_noise": _alpha_forward}),
    ("7", "schedule",
     "betas are linear in their square root (scaled_linear) where linear was asked",
     "linspace(beta_start, beta_end, T)", {"betas": _betas(beta_schedule="scaled_linear")}),
    ("7-inverse", "schedule", "betas are linear where scaled_linear was asked",
     "linspace(sqrt(beta_start), sqrt(beta_end), T) ** 2",
     {"betas": lambda s: right.betas(replace(s, beta_schedule="linear")
                                    if s.beta_schedule == "scaled_linear" else s)}),
    ("8", "schedule", "beta_end is 0.012, not what was asked for", "use the beta_end that is given",
     {"betas": _betas(beta_end=0.012)}),
    ("8-tenfold", "schedule", "beta_end is 0.002, ten times too small",
     "use the beta_end that is given", {"betas": _betas(beta_end=0.002)}),
    ("10-square", "schedule", "the cosine is not squared: f = cos(...), should be cos^2(...) "
     "(Nichol & Dhariwal eq. 17)", "square the cosine", {"betas": _cosine(power=1)}),
    ("10-offset", "schedule", "the cosine schedule lacks its offset s = 0.008 (Nichol & Dhariwal "
     "eq. 17): beta_0 is 17 times too small", "f = cos^2((t/T + s)/(1 + s) pi/2) with s = 0.008",
     {"betas": _cosine(s=0.0)}),
    ("10-linear", "schedule", "betas are linear where the cosine was asked for (Nichol & Dhariwal "
     "eq. 17)", "let the name choose the curve", {"betas": _linear_for_cosine}),
    ("10-early", "schedule", "the cosine schedule is read one step early, so that alpha-bar_0 is "
     "1: with t from 0 it is f(t+1) / f(0) (Nichol & Dhariwal eq. 17 counts t from 1)",
     "beta_t = 1 - f(t+1) / f(t) for t = 0..T-1", {"betas": _early_cosine}),
    ("10-cap", "schedule", "cosine betas are capped at 0.02, should be at 0.999 (Nichol & "
     "Dhariwal, below eq. 17)", "min(beta, 0.999)", {"betas": _cosine(cap=0.02)}),
    ("11", "schedule", "cosine betas are not capped at 0.999: alpha-bar_T is 0 and 1/sqrt of it "
     "infinite", "min(beta, 0.999)", {"betas": _uncapped}),
    ("13-float16", "schedule", "the cumulative product is taken in float16: 1 - alpha-bar is 0 at "
     "small t", "take it in float64 or float32 and cast the result",
     {"table": _half_product(torch.float16)}),
    ("13-bfloat16", "schedule", "the cumulative product is taken in bfloat16: 1 - alpha-bar is 0 "
     "at small t", "take it in float64 or float32 and cast the result",
     {"table": _half_product(torch.bfloat16)}),
    ("5", "forward", "add_noise multiplies x_0 by alpha-bar, should be sqrt(alpha-bar) (Ho et al. "
     "eq. 4)", "sqrt(alpha_bar) * x_0", {"add_noise": _forward(lambda a: a, _noise_level)}),
    ("6", "forward", "add_noise multiplies the noise by 1 - alpha-bar, the variance, should be its "
     "square root (Ho et al. eq. 4)", "sqrt(1 - alpha_bar) * noise",
     {"add_noise": _forward(_root, lambda a: 1 - a)}),
    ("5-6", "forward", "add_noise uses alpha-bar and 1 - alpha-bar without square roots (Ho et al. "
     "eq. 4)", "sqrt(alpha_bar) * x_0 + sqrt(1 - alpha_bar) * noise",
     {"add_noise": _forward(lambda a: a, lambda a: 1 - a)}),
    ("5-swapped", "forward", "the two coefficients of add_noise are swapped (Ho et al. eq. 4)",
     "sqrt(alpha_bar) goes with x_0", {"add_noise": _forward(_noise_level, _root)}),
    ("2-forward", "forward", "add_noise reads alpha-bar[t-1] as alpha-bar_t",
     "index the table with t", {"add_noise": _shifted_forward}),
    ("17-forward", "forward", "add_noise draws uniform noise of its own and ignores the noise it "
     "is given", "use the noise argument (drawn by randn)", {"add_noise": _own_uniform}),
    ("18-forward", "forward", "add_noise draws noise of its own and ignores the noise it is given, "
     "so that the loss has another target", "use the noise argument", {"add_noise": _own_normal}),
    ("21", "forward", "the (b,) coefficients multiply the last axis of the image, not the batch",
     "reshape them to (b, 1, 1, 1)", {"add_noise": _last_axis}),
    ("22", "forward", "t is not flattened before its coefficients are reshaped, so an unusual "
     "shape of t meets the wrong axis", "alpha_bar[t].flatten() before unsqueezing",
     {"add_noise": _not_flattened}),
    ("31", "forward",
     "1 - alpha-bar is computed after the cast to half precision: no noise at t = 0",
     "compute the coefficients in float32 and cast them", {"add_noise": _cast_first}),
    ("24-velocity", "forward", "the velocity target has the wrong sign, should be sqrt(alpha-bar) "
     "noise - sqrt(1 - alpha-bar) x_0 (Salimans & Ho, section 4)", "flip the sign",
     {"velocity": _velocity_sign}),
    ("25-velocity", "forward", "signal and noise level are swapped in the velocity target "
     "(Salimans & Ho, section 4)",
     "sqrt(alpha_bar) goes with the noise", {"velocity": _velocity_swapped}),
    ("70", "timesteps", "in a strided chain the step goes to t-1, should go to the next timestep "
     "of the list", "take alpha_bar_prev at the next timestep of the list",
     {"previous": _to_previous_number}),
    ("72", "timesteps", "the step goes to t - T//n, which is off the list",
     "take the next timestep of the list", {"previous": _by_stride}),
    ("73", "timesteps", "trailing steps come from a range of floats: for some n there is an extra "
     "step -1", "round(T - i T/n) - 1 for i = 0..n-1", {"timesteps": _float_range}),
    ("74", "timesteps", "leading steps come from range(0, T, T//n), which has more than n entries "
     "where n does not divide T", "i * (T // n) for i = 0..n-1", {"timesteps": _float_stride}),
    ("76", "timesteps", "an offset that passes T-1 is accepted: the table has no such t",
     "refuse it, or hold the list inside 0..T-1", {"refuses_past_end": False}),
    ("24", "prediction", "v is read with the wrong sign: x0-hat = sqrt(ab) x_t + sqrt(1-ab) v, "
     "should be minus (Salimans & Ho, appendix D)", "sqrt(ab) x_t - sqrt(1-ab) v",
     {"x_0": _x_0(v_prediction=_v_sign)}),
    ("25", "prediction", "signal and noise level are swapped in x0-hat from v (Salimans & Ho, "
     "appendix D)", "sqrt(ab) x_t - sqrt(1-ab) v", {"x_0": _x_0(v_prediction=_v_swapped)}),
    ("26", "prediction",
     "the model output is taken for x0-hat although the model predicts the noise",
     "x0-hat = (x_t - sqrt(1-ab) eps) / sqrt(ab) (Ho et al. eq. 15)",
     {"x_0": _x_0(epsilon=_read_as_x_0)}),
    ("27", "prediction", "the model output is taken for the noise although the model predicts x_0",
     "use it as x0-hat", {"x_0": _x_0(sample=_read_as_eps)}),
    ("26-v", "prediction", "the model output is taken for the noise although the model predicts v",
     "x0-hat = sqrt(ab) x_t - sqrt(1-ab) v", {"x_0": _x_0(v_prediction=_read_as_eps)}),
    ("28", "prediction", "the noise derived from x0-hat has the wrong sign, should be (x_t - "
     "sqrt(ab) x_0) / sqrt(1-ab)",
     "subtract x_0 from x_t, not the reverse", {"ddim_eps": _eps_sign}, "ddim"),
    ("28-root", "prediction", "the noise derived from x0-hat is divided by 1-ab, should be by its "
     "square root", "(x_t - sqrt(ab) x_0) / sqrt(1-ab)", {"ddim_eps": _eps_over_ab}, "ddim"),
    ("42", "prediction", "x0-hat is divided by alpha-bar, should be by sqrt(alpha-bar) (Ho et al. "
     "eq. 15)", "(x_t - sqrt(1-ab) eps) / sqrt(ab)", {"x_0": _x_0(epsilon=_over_alpha_bar)}),
    ("6-x0", "prediction",
     "x0-hat subtracts (1-ab) eps, should be sqrt(1-ab) eps (Ho et al. eq. 15)",
     "(x_t - sqrt(1-ab) eps) / sqrt(ab)", {"x_0": _x_0(epsilon=_variance_of_noise)}),
    ("42-minus-one", "prediction", "x0-hat subtracts sqrt(1/ab) eps, should be sqrt(1/ab - 1) eps "
     "(Ho et al. eq. 15)", "sqrt(1/ab) x_t - sqrt(1/ab - 1) eps",
     {"x_0": _x_0(epsilon=_no_minus_one)}),
    ("47-x0", "prediction", "x0-hat adds the noise, should subtract it (Ho et al. eq. 15)",
     "(x_t - sqrt(1-ab) eps) / sqrt(ab)", {"x_0": _x_0(epsilon=_plus_noise)}),
    ("42-bracket", "prediction", "only x_t is divided by sqrt(ab) in x0-hat, the noise is not (Ho "
     "et al. eq. 15)", "divide the whole bracket", {"x_0": _x_0(epsilon=_signal_on_x_only)}),
    ("65", "prediction", "x0-hat is not clipped although clip_sample is on: at high noise it is "
     "far outside the data", "clamp x0-hat to the range", {"limit": _no_clip}),
    ("65-range", "prediction", "x0-hat is clipped to 1 whatever clip_sample_range says",
     "clamp to the range that is given", {"limit": _always_one}),
    ("34-clip", "prediction", "x0-hat is clipped to [0, 1], but the data are in [-1, 1]",
     "clamp to [-range, range]", {"limit": _clip_to_unit}),
    ("68", "prediction", "the thresholding quantile is taken over the batch, should be per image "
     "(Saharia et al., section 2.3)", "flatten each image by itself", {"limit": _batch_quantile}),
    ("68-divide", "prediction", "dynamic thresholding clips to s but does not divide by s (Saharia "
     "et al., section 2.3)", "clamp(-s, s) / s", {"limit": _not_divided}),
    ("64", "mean", "x_{t-1} is clipped where x0-hat should be: the chain is bent at every step",
     "clamp x0-hat before the mean, leave x_{t-1} alone",
     {"limit": lambda x, s: x, "finish": _finish_clipped}),
    ("64-too", "mean", "x_{t-1} is clipped as well as x0-hat", "leave x_{t-1} alone",
     {"finish": _finish_clipped}),
    ("37", "mean", "the two coefficients of the posterior mean are swapped (Ho et al. eq. 7)",
     "sqrt(ab_prev) beta / (1-ab) goes with x0-hat", {"mean": _posterior(_c_t, _c_0)}),
    ("38", "mean",
     "the coefficient of x0-hat has ab_prev, should be sqrt(ab_prev) (Ho et al. eq. 7)",
     "sqrt(ab_prev) beta / (1-ab)",
     {"mean": _posterior(lambda ab, p, a, b: p * b / (1 - ab), _c_t)}),
    ("39", "mean", "the coefficient of x_t has alpha, should be sqrt(alpha) (Ho et al. eq. 7)",
     "sqrt(alpha) (1-ab_prev) / (1-ab)",
     {"mean": _posterior(_c_0, lambda ab, p, a, b: a * (1 - p) / (1 - ab))}),
    ("40", "mean",
     "the coefficient of x0-hat has sqrt(ab), should be sqrt(ab_prev) (Ho et al. eq. 7)",
     "sqrt(ab_prev) beta / (1-ab)",
     {"mean": _posterior(lambda ab, p, a, b: ab.sqrt() * b / (1 - ab), _c_t)}),
    ("41", "mean", "the coefficient of x_t has 1-ab, should be 1-ab_prev (Ho et al. eq. 7)",
     "sqrt(alpha) (1-ab_prev) / (1-ab)", {"mean": _posterior(_c_0, lambda ab, p, a, b: a.sqrt())}),
    ("40-unshifted", "mean", "both weights of the posterior mean take alpha-bar_t for that of the "
     "step before: the table is not shifted (Ho et al. eq. 7)",
     "alphas_cumprod_prev is 1 and then alphas_cumprod without its last entry",
     {"mean": _posterior(lambda ab, p, a, b: ab.sqrt() * b / (1 - ab),
                         lambda ab, p, a, b: a.sqrt())}),
    ("3-wraps", "mean", "at t = 0 the table is read at -1, which is its last entry, "
     "alpha-bar_{T-1}; before the first step stands 1 (Ho et al. eq. 7)",
     "alpha_bar_prev = 1 if prev < 0 else alpha_bar[prev]", {"level": _wraps}),
    ("3-rolled", "mean", "at t = 0 the weights of the posterior mean take the last entry of the "
     "table, alpha-bar_{T-1}, for the one before it, which is 1 (Ho et al. eq. 7): the table was "
     "rolled", "put 1 in front and drop the last entry: cat([1, alpha_bar[:-1]])",
     {"mean": _weights_wrapped}),
    ("3-weights", "mean", "at t = 0 the weights of the posterior mean take alpha-bar_0 for the one "
     "before it, which is 1 (Ho et al. eq. 7)", "alphas_cumprod_prev starts with 1",
     {"mean": _weights_without_one}),
    ("37-beta", "mean",
     "the coefficient of x0-hat has sqrt(beta), should be beta (Ho et al. eq. 7)",
     "sqrt(ab_prev) beta / (1-ab)",
     {"mean": _posterior(lambda ab, p, a, b: (p * b).sqrt() / (1 - ab), _c_t)}),
    ("41-root", "mean", "the coefficient of x_t has sqrt(ab_prev), should be sqrt(alpha) (Ho et "
     "al. eq. 7)", "sqrt(alpha) (1-ab_prev) / (1-ab)",
     {"mean": _posterior(_c_0, lambda ab, p, a, b: p.sqrt() * (1 - p) / (1 - ab))}),
    ("39-alpha-bar", "mean", "the coefficient of x_t has sqrt(ab), should be sqrt(alpha) (Ho et "
     "al. eq. 7)", "sqrt(alpha) (1-ab_prev) / (1-ab)",
     {"mean": _posterior(_c_0, lambda ab, p, a, b: ab.sqrt() * (1 - p) / (1 - ab))}),
    ("43", "mean", "the noise is scaled by beta / (1-ab), should be beta / sqrt(1-ab) (Ho et al. "
     "eq. 11)", "(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
     {"mean": _by_eps(lambda x, e, ab, a, b: (x - b / (1 - ab) * e) / a.sqrt())}),
    ("44", "mean", "the noise is scaled by sqrt(beta) / sqrt(1-ab), should be beta / sqrt(1-ab) "
     "(Ho et al. eq. 11)", "(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
     {"mean": _by_eps(lambda x, e, ab, a, b: (x - b.sqrt() / (1 - ab).sqrt() * e) / a.sqrt())}),
    ("44-bare", "mean", "the noise is scaled by sqrt(beta), should be beta / sqrt(1-ab) (Ho et al. "
     "eq. 11)", "(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
     {"mean": _by_eps(lambda x, e, ab, a, b: (x - b.sqrt() * e) / a.sqrt())}),
    ("45", "mean", "the bracket is divided by alpha, should be by sqrt(alpha) (Ho et al. eq. 11)",
     "(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
     {"mean": _by_eps(lambda x, e, ab, a, b: (x - b / (1 - ab).sqrt() * e) / a)}),
    ("45-none", "mean", "the bracket is not divided by sqrt(alpha) (Ho et al. eq. 11)",
     "(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
     {"mean": _by_eps(lambda x, e, ab, a, b: x - b / (1 - ab).sqrt() * e)}),
    ("46", "mean", "only x_t is divided by sqrt(alpha), should be the whole bracket (Ho et al. eq. "
     "11)", "(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
     {"mean": _by_eps(lambda x, e, ab, a, b: x / a.sqrt() - b / (1 - ab).sqrt() * e)}),
    ("47", "mean", "the noise is added, should be subtracted (Ho et al. eq. 11)",
     "(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
     {"mean": _by_eps(lambda x, e, ab, a, b: (x + b / (1 - ab).sqrt() * e) / a.sqrt())}),
    ("48", "mean", "the whole predicted noise is subtracted, should be beta / sqrt(1-ab) of it (Ho "
     "et al. eq. 11)", "(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
     {"mean": _by_eps(lambda x, e, ab, a, b: (x - e) / a.sqrt())}),
    ("48-level", "mean", "sqrt(1-ab) of the noise is subtracted, should be beta / sqrt(1-ab) of it "
     "(Ho et al. eq. 11)", "(x_t - beta / sqrt(1-ab) eps) / sqrt(alpha)",
     {"mean": _by_eps(lambda x, e, ab, a, b: (x - (1 - ab).sqrt() * e) / a.sqrt())}),
    ("71-mean", "mean", "in a strided chain the weight of x0-hat, and the variance, take beta_t of "
     "the full chain, should take 1 - ab/ab_prev", "beta = 1 - ab / ab_prev",
     {"mean": _tables_alpha(True), "std": _tables_beta}),
    ("71-alpha", "mean", "in a strided chain alpha_t and beta_t are those of the full chain, "
     "should be ab/ab_prev and 1 - ab/ab_prev", "alpha = ab / ab_prev, beta = 1 - alpha",
     {"mean": _tables_alpha(False), "std": _tables_beta}),
    ("67", "mean", "with use_clipped_model_output the noise is not derived again from the clipped "
     "x0-hat", "eps = (x_t - sqrt(ab) x0-hat) / sqrt(1-ab) after clipping", {"rederived": None},
     "ddim"),
    ("82", "mean", "DDIM's direction lacks - sigma^2, should be sqrt(1 - ab_prev - sigma^2) (Song "
     "et al. eq. 12)",
     "sqrt(1 - ab_prev - sigma^2) eps", {"ddim_mean": _ddim_without_sigma}, "ddim"),
    ("82-square", "mean", "DDIM's direction subtracts sigma, should subtract sigma^2 (Song et al. "
     "eq. 12)", "sqrt(1 - ab_prev - sigma^2) eps", {"ddim_mean": _ddim_sigma_unsquared}, "ddim"),
    ("83", "mean", "DDIM's direction is scaled by sigma, should be by sqrt(1 - ab_prev - sigma^2) "
     "(Song et al. eq. 12)", "sqrt(1 - ab_prev - sigma^2) eps",
     {"ddim_mean": _ddim_sigma_as_direction}, "ddim"),
    ("84", "mean", "DDIM's direction uses the model output although the model does not predict the "
     "noise", "derive eps from x0-hat first", {"ddim_eps": _ddim_output_as_eps}, "ddim"),
    ("49", "variance", "the standard deviation is the variance itself (also: exp(log-variance), "
     "mistake 50): its square root is missing",
     "sigma = sqrt(variance), or exp(0.5 * log-variance)",
     {"std": _std(lambda s, at: s**2)}),
    ("50-unlogged", "variance", "the variance is taken for its logarithm: exp(variance / 2) is "
     "near 1", "sigma = exp(0.5 * log-variance), or sqrt(variance)", {"std": _unlogged}),
    ("49-beta", "variance", "in sqrt((1-ab_prev)/(1-ab)) sqrt(beta) the second root is missing "
     "(Ho et al. eq. 7; Song et al. eq. 16)", "sqrt((1-ab_prev)/(1-ab)) sqrt(beta)",
     {"std": _beta_unrooted}),
    ("51", "variance", "the square root of a log-variance is taken: NaN",
     "sigma = exp(0.5 * log-variance)", {"std": _log_of_variance}),
    ("52", "variance", "learned_range interpolates the variances, should interpolate their "
     "logarithms (Nichol & Dhariwal eq. 15)",
     "exp(v log beta + (1-v) log beta-tilde)", {"std": _without_log},
     "learned_range"),
    ("53", "variance", "the square root is taken twice", "sigma = sqrt(variance)",
     {"std": _std(lambda s, at: s.sqrt())}),
    ("54", "variance",
     "the variance is 1-ab, should be beta or beta-tilde (Ho et al., section 3.2)",
     "beta_t, or (1-ab_prev)/(1-ab) beta_t",
     {"std": _std(lambda s, at: (1 - at.alpha_bar).sqrt() + 0 * s)}),
    ("54-previous", "variance", "the variance is 1-ab_prev, should be beta or beta-tilde (Ho et "
     "al., section 3.2)", "beta_t, or (1-ab_prev)/(1-ab) beta_t",
     {"std": _std(lambda s, at: (1 - at.alpha_bar_prev).sqrt() + 0 * s)}),
    ("55", "variance", "no noise is added at any step: the pictures collapse to the mean",
     "x_prev = mean + sigma * z", {"noisy": _never_noisy}),
    ("56", "variance", "noise is added at the last step, where no previous step exists (Ho et al. "
     "algorithm 2, line 3)", "z = 0 where prev < 0", {"noisy": _noisy_always}),
    ("56-clipped", "variance", "noise is added at the last step, of the size that clipping the "
     "log-variance gives it there (Ho et al. algorithm 2, line 3)", "z = 0 where prev < 0",
     {"noisy": _noisy_always, "std": _clipped_below}),
    ("56-inverted", "variance", "the mask of the last step is upside down: noise is added there "
     "and nowhere else (Ho et al. algorithm 2, line 3)", "z = 0 where prev < 0",
     {"noisy": _only_at_the_end, "std": _clipped_below}),
    ("57", "variance", "no noise is added at t = 1, where a previous step still exists (Ho et al. "
     "algorithm 2, line 3, counts from 1)", "add noise while t > 0", {"noisy": _noisy_above(1)}),
    ("57-mask", "variance", "the mask of the last step is one step off: no noise at t = 1, but at "
     "t = 0, where no previous step exists (Ho et al. algorithm 2, line 3, counts from 1)",
     "z = 0 where prev < 0, and nowhere else", {"noisy": _not_at_one, "std": _clipped_below}),
    ("58", "variance", "beta and beta-tilde are exchanged: variance_type says the other",
     "fixed_small is beta-tilde, fixed_large is beta", {"std": _other_kind}),
    ("58-large", "variance", "the variance is beta whatever variance_type says",
     "fixed_small is beta-tilde = (1-ab_prev)/(1-ab) beta", {"std": _always("fixed_large")}),
    ("58-small", "variance", "the variance is beta-tilde whatever variance_type says",
     "fixed_large is beta", {"std": _always("fixed_small")}),
    ("59", "variance", "the ratio in beta-tilde is upside down, should be (1-ab_prev)/(1-ab) (Ho "
     "et al. eq. 7)", "(1-ab_prev)/(1-ab) beta", {"std": _inverted}),
    ("59-root", "variance", "the ratio in beta-tilde is outside the square root, should be inside "
     "(Ho et al. eq. 7)", "sqrt((1-ab_prev)/(1-ab) beta)", {"std": _small_without_ratio_root}),
    ("60", "variance", "the predicted noise takes the place of a fresh z", "z = randn_like(x)",
     {"noise_of": _output_as_noise}),
    ("61", "variance", "every step adds the same z: the generator is made again with the same seed "
     "inside", "draw from the generator that is given", {"draw": _same_every_call}),
    ("62", "variance", "all images of the batch get the same z", "randn of the whole shape",
     {"draw": _one_for_all}),
    ("62-channel", "variance", "all pixels of a channel get the same z", "randn of the whole shape",
     {"draw": _one_per_channel}),
    ("63", "variance", "z is uniform in [0, 1) (rand), should be normal (randn)", "randn, not rand",
     {"draw": _uniform}),
    ("63-centred", "variance", "z is uniform in [-1, 1), should be normal (randn)",
     "randn, not rand",
     {"draw": _centred_uniform}),
    ("71", "variance", "in a strided chain the variance still takes beta_t of the full chain, "
     "should take 1 - ab/ab_prev", "beta = 1 - ab / ab_prev", {"std": _tables_beta}),
    ("71-tilde", "variance", "in a strided chain the variance is that of the full chain at t, "
     "should be that of the stride", "beta = 1 - ab / ab_prev, with ab_prev of the list",
     {"std": _tables_beta_tilde}),
    ("61-loop", "sampling", "every step of the loop adds the same z: the generator is made again "
     "in the loop",
     "make the generator once, before the loop", {"loop": Loop(reseeds=True)}, "sample"),
    ("63-start", "sampling", "x_T is uniform (rand), should be normal (randn)",
     "x_T = randn(shape)",
     {"loop": Loop(start="uniform")}, "sample"),
    ("69", "sampling", "pictures are cut off to integers, not rounded: half a grey level darker",
     "((x + 1) * 127.5).round().clamp(0, 255)", {"loop": Loop(codec="floor")}, "uint8"),
    ("69-clamp", "sampling", "pictures are not clamped before they become bytes: 256 wraps to 0",
     "clamp to [0, 255] first", {"loop": Loop(codec="wrap")}, "uint8"),
    ("78", "sampling", "the model is told the position in the list, not the timestep",
     "model(x, t) with the t of the list", {"loop": Loop(tells="index")}, "strided"),
    ("79", "sampling", "the loop stops before t = 0: the last step is missing",
     "visit t = T-1, ..., 1, 0", {"loop": Loop(stops_at=1)}, "sample"),
    ("80", "sampling",
     "the loop runs from t = 0 up, should run from T-1 down (Ho et al. algorithm 2)",
     "for t in reversed(range(T))", {"loop": Loop(falls=False)}, "sample"),
    ("95", "sampling", "the model samples in training mode: dropout is on",
     "model.eval() before sampling, and back after it", {"loop": Loop(evaluates=False)}, "sample"),
    ("106", "sampling", "with one generator for each image, the noise of an image still depends on "
     "its batch-mates",
     "draw image i from generator i", {"loop": Loop(own_streams=False)}, "sample"),
    ("17", "loss", "the noise is uniform in [0, 1) (rand), should be normal (randn)",
     "noise = randn_like(x_0)", {"loss": Loss(noise="uniform")}, "loss"),
    ("18", "loss",
     "the noise is drawn again for the target: a perfect model would have loss 2, not 0",
     "use one noise tensor for x_t and for the target", {"loss": Loss(redrawn=True)}, "loss"),
    ("19", "loss", "one t is drawn for the whole batch", "t = randint(0, T, (b,))",
     {"loss": Loss(per_image=False)}, "loss"),
    ("20", "loss", "t = T-1, where sampling starts, is never trained", "t = randint(0, T, (b,))",
     {"loss": Loss(high=1)}, "loss"),
    ("20-first", "loss", "t = 0 is never trained", "t = randint(0, T, (b,))", {"loss": Loss(low=1)},
     "loss"),
    ("23", "loss",
     "weights of shape (b, 1) meet losses of shape (b,): every image gets the mean weight",
     "weights and losses both (b,)", {"loss": Loss(crossed=True)}, "loss"),
    ("26-loss", "loss", "the target is x_0 although the model predicts the noise",
     "loss = mean((noise - model(x_t, t))^2)", {"loss": Loss(target="sample")}, "loss"),
    ("27-loss", "loss", "the target is the noise although the model predicts something else",
     "compare with what the model predicts", {"loss": Loss(target="epsilon")}, "loss"),
    ("47-loss", "loss", "the target is minus the noise: output and noise are added before they are "
     "squared", "loss = mean((noise - model(x_t, t))^2)", {"loss": Loss(target="minus")}, "loss"),
    ("24-loss", "loss", "in the velocity target x_0 is added, should be subtracted (Salimans & Ho, "
     "section 4)", "sqrt(ab) noise - sqrt(1-ab) x_0", {"loss": Loss(target="v_sum")}, "v_loss"),
    ("24-minus", "loss", "the whole velocity target has the wrong sign (Salimans & Ho, section 4)",
     "sqrt(ab) noise - sqrt(1-ab) x_0", {"loss": Loss(target="v_minus")}, "v_loss"),
    ("25-loss", "loss", "the loss swaps signal and noise level in its velocity target (Salimans & "
     "Ho, section 4)", "sqrt(ab) noise - sqrt(1-ab) x_0", {"loss": Loss(target="v_swapped")},
     "v_loss"),
    ("26-v-loss", "loss", "the target is the velocity although the model predicts something else",
     "compare with what the model predicts", {"loss": Loss(target="v_prediction")}, "loss"),
    ("32-before", "loss", "errors are averaged before they are squared, so that they cancel",
     "((noise - output) ** 2).mean(), not (noise - output).mean() ** 2",
     {"loss": Loss(reduce="before")}, "loss"),
    ("32-first", "loss", "the loss is that of the first image alone", "mean over everything",
     {"loss": Loss(reduce="first")}, "loss"),
    ("32", "loss", "the loss is summed over the batch and its pixels, should be their mean",
     "mean over everything", {"loss": Loss(reduce="sum")}, "loss"),
    ("32-batch", "loss", "the loss is summed over pixels, should be their mean",
     "mean over everything",
     {"loss": Loss(reduce="batch")}, "loss"),
    ("34", "loss", "images are moved to [0, 1], but sampling assumes [-1, 1]",
     "leave x_0 in [-1, 1]",
     {"loss": Loss(scale=0.5, shift=0.5)}, "loss"),
    ("35", "loss", "images are halved to [-0.5, 0.5], but sampling assumes [-1, 1]",
     "leave x_0 in [-1, 1]", {"loss": Loss(scale=0.5)}, "loss"),
    ("36", "loss", "images in [-1, 1] are normalised a second time, to [-3, 1]", "normalise once",
     {"loss": Loss(scale=2.0, shift=-1.0)}, "loss"),
]  # fmt: skip

MISTAKES = tuple(Mistake(*row) for row in _MISTAKES)
BY_ID = {mistake.id: mistake for mistake in MISTAKES}
assert len(BY_ID) == len(MISTAKES)
