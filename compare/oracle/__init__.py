"""The closed forms of the papers in float64: what every verdict is measured against.

Written apart from both backends, so that two which share a mistake are not taken for right. The
files are named as those of `scratch`. Every formula is a field of `Oracle`, its seams; a mistake of
the catalogue is an `Oracle` with one of them replaced.

`alpha_bar` counts from t = 0 (one step of noise) to T-1; the papers count the same steps 1..T.
Sources: Ho et al. 2020 (arXiv:2006.11239), Nichol & Dhariwal 2021 (arXiv:2102.09672), Song et al.
2020 (arXiv:2010.02502), Salimans & Ho 2022 (arXiv:2202.00512), Lin et al. 2023 (arXiv:2305.08891),
Saharia et al. 2022 (arXiv:2205.11487), Lu et al. 2022 (arXiv:2211.01095).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from compare.oracle.algorithms import KINDS, LOOP, LOSS, NORMAL, Loop, Loss
from compare.oracle.embedding import Angles, Waves, embedding
from compare.oracle.forward import add_noise, velocity
from compare.oracle.samplers import BY_NAME, Sampler
from compare.oracle.samplers.ddim import ddim_eps, ddim_mean, rederived
from compare.oracle.samplers.ddpm import mean
from compare.oracle.samplers.dpm_solver import extrapolated, solver_mean
from compare.oracle.samplers.sampler import Inputs
from compare.oracle.schedule import before, betas, cosine_betas, table, zero_terminal_snr
from compare.oracle.setting import F64, UNIT, Setting
from compare.oracle.step import (
    LEARNED,
    Level,
    draw,
    eps_from_x_0,
    finish,
    halves,
    level,
    limit,
    log_variance,
    noise_of,
    noisy,
    std,
    x_0,
)
from compare.oracle.tables import TABLES, Formula, Steps
from compare.oracle.timesteps import previous, timesteps

__all__ = [
    "ALPHA_BAR",
    "F64",
    "KINDS",
    "LEARNED",
    "STEP",
    "TABLES",
    "UNIT",
    "Angles",
    "Inputs",
    "Level",
    "Loop",
    "Loss",
    "Oracle",
    "Setting",
    "Steps",
    "Waves",
    "add_noise",
    "before",
    "betas",
    "cosine_betas",
    "ddim_eps",
    "ddim_mean",
    "draw",
    "embedding",
    "eps_from_x_0",
    "extrapolated",
    "finish",
    "halves",
    "level",
    "limit",
    "log_variance",
    "mean",
    "noise_of",
    "noisy",
    "previous",
    "rederived",
    "solver_mean",
    "std",
    "table",
    "timesteps",
    "velocity",
    "x_0",
    "zero_terminal_snr",
]


ALPHA_BAR = ("betas", "table", "before")
_OF_DDIM = ("ddim_eps", "ddim_mean", "rederived")
_OF_SOLVER = ("extrapolated", "solver_mean")
_OF_NOISE = ("std", "halves", "noisy", "draw", "noise_of")
STEP = ("previous", "level", "x_0", "limit", "mean", *_OF_NOISE, *_OF_DDIM, *_OF_SOLVER, "finish")


@dataclass(frozen=True)
class Oracle:
    """The formulas of a scheduler, one field each; a mistake replaces one of them."""

    betas: Callable[[Setting], Tensor] = betas
    table: Callable[[Tensor], Tensor] = table
    before: Callable[[Setting], float] = before
    add_noise: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = add_noise
    velocity: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = velocity
    timesteps: Callable[[Setting, int], tuple[Tensor, int]] = timesteps
    previous: Callable[[Tensor, Tensor, int, Setting], Tensor] = previous
    level: Callable[[Tensor, Tensor, Tensor, Setting], Level] = level
    x_0: Callable[[str, Tensor, Tensor, Level], Tensor] = x_0
    limit: Callable[[Tensor, Setting], Tensor] = limit
    mean: Callable[[Tensor, Tensor, Level], Tensor] = mean
    std: Callable[..., Tensor] = std
    halves: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = halves
    noisy: Callable[[Level], Tensor] = noisy
    draw: Callable[..., Tensor] = draw
    noise_of: Callable[[Tensor, Tensor], Tensor] = noise_of
    ddim_eps: Callable[[Tensor, Tensor, Tensor, Level, Setting], Tensor] = ddim_eps
    ddim_mean: Callable[[Tensor, Tensor, Level, Tensor], Tensor] = ddim_mean
    rederived: Callable[[Tensor, Tensor, Level], Tensor] | None = rederived
    extrapolated: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = extrapolated
    solver_mean: Callable[[Tensor, Tensor, Level], Tensor] = solver_mean
    finish: Callable[[Tensor, Setting], Tensor] = finish
    refuses_past_end: bool = True
    loop: Loop = LOOP
    loss: Loss = LOSS
    # By name; those that a mistake gives here replace these and leave the others.
    tables: Mapping[str, Formula] = field(default_factory=lambda: TABLES, hash=False)
    embedding: Callable[[Tensor, int, Waves], Angles] = embedding

    def alpha_bar(self, setting: Setting) -> Tensor:
        """(T,) float64 alpha-bars of a setting."""
        alpha_bar = self.before(setting) * self.table(self.betas(setting))
        return zero_terminal_snr(alpha_bar) if setting.rescale_betas_zero_snr else alpha_bar

    def only(self, *names: str) -> "Oracle":
        """The right one with these of its formulas: oracles that are equal there become equal."""
        return replace(Oracle(), **{name: getattr(self, name) for name in names})

    def start(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        """x_T of a loop, float32."""
        if self.loop.start is NORMAL:
            return self.draw(shape, generator, torch.float32)
        return self.loop.start.draw(shape, generator=generator)

    def of_steps(self) -> "Oracle":
        """The same with the noise of a loop's steps for its `draw`."""
        return self if self.loop.noise is None else replace(self, draw=self.loop.noise)

    def sampler(self, setting: Setting) -> Sampler:
        """Whose step it is."""
        return BY_NAME[setting.sampler]

    def place(
        self, table: Tensor, t: Tensor, prev: Tensor, before: Tensor, setting: Setting
    ) -> Level:
        """The level of steps, with that of the steps `before` them (-1: none) if they remember."""
        level = self.level(table, t, prev, setting)
        if not self.sampler(setting).remembers:
            return level
        return replace(level, before=self.level(table, before, t, setting))

    def sigma(self, level: Level, setting: Setting) -> Tensor:
        """The standard deviation that a fixed-variance step adds at this level."""
        size = self.sampler(setting).sigma(self, level, setting)
        return torch.where(self.noisy(level), size, torch.zeros_like(size))

    def step_mean(
        self,
        out: Tensor,
        x_t: Tensor,
        level: Level,
        setting: Setting,
        given: Tensor | None = None,
        memory: Any = None,
    ) -> Tensor:
        """x_{t-1} before noise; see `Inputs`. Without a memory the step before was on zeros."""
        if memory is None and level.before is not None:
            memory = self.kept(0 * out, 0 * x_t, level, setting)
        at = Inputs(out, x_t, level, setting, given, memory)
        return self.sampler(setting).mean(self, at)

    def step(self, at: Inputs, z: Tensor) -> Tensor:
        """One whole reverse step, with the noise z ~ N(0, 1)."""
        noise = self.sigma(at.level, at.setting) * self.noise_of(z, at.out)
        return self.finish(self.sampler(at.setting).mean(self, at) + noise, at.setting)

    def learned_step(self, at: Inputs, second: Tensor, z: Tensor) -> Tensor:
        """The same where the model returns `at.out` and, beside it, `second` for the variance."""
        out, said = self.halves(at.out, second)
        size = self.std(at.setting.variance_type, at.level, said)
        size = torch.where(self.noisy(at.level), size, torch.zeros_like(size))
        mean = self.step_mean(out, at.x_t, at.level, at.setting, at.given)
        return self.finish(mean + size * self.noise_of(z, out), at.setting)

    def keep(self, at: Inputs) -> Any:
        """What the next step of a chain is told of this one."""
        return self.sampler(at.setting).keep(self, at)

    def kept(self, out: Tensor, x_t: Tensor, level: Level, setting: Setting) -> Any:
        """What the steps of this level are told of those before them, which were given this."""
        return None if level.before is None else self.keep(Inputs(out, x_t, level.before, setting))
