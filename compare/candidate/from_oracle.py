"""A whole scheduler in Diffusers' words made from an oracle: right, or with one formula wrong.

It computes in float32 from its own tables and is called like any candidate; `mistakes.mutant`
makes one with each mistake of the catalogue.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from compare.candidate.spy import per_image
from compare.oracle import F64, LEARNED, Inputs, Level, Oracle, Setting, Steps, Waves, samplers
from compare.oracle import timesteps as right_timesteps
from compare.oracle.algorithms import TARGETS, Loop, Loss, min_snr


@dataclass
class Step:
    """What a step returns."""

    prev_sample: Tensor
    pred_original_sample: Tensor


class _List(list):
    """The steps that are visited, and what is known of them: a copy of a scheduler shares it."""

    def __init__(self, visited: list[int]):
        super().__init__(visited)
        self.known: dict = {}

    def __deepcopy__(self, memo: dict) -> "_List":
        return self


class Scheduler:
    """A scheduler over `oracle`, an attribute that `scheduler()` sets in a subclass."""

    oracle = Oracle()
    learned = False

    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Any = None,
        variance_type: str = "fixed_small",
        clip_sample: bool = True,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        clip_sample_range: float = 1.0,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
        set_alpha_to_one: bool = True,
    ):
        if variance_type in LEARNED and not self.learned:
            raise ValueError(f"variance_type={variance_type!r} is not built")
        given = {k: v for k, v in locals().items() if k in Setting.__dataclass_fields__}
        if trained_betas is not None:
            given["trained_betas"] = tuple(trained_betas)
        self.setting = Setting(**given)
        self.table = self.oracle.alpha_bar(self.setting)  # (T,) float64
        self.alphas_cumprod = self.table.float()
        self._visit(torch.arange(num_train_timesteps - 1, -1, -1))

    def _visit(self, visited: Tensor) -> None:
        self.timesteps, self._listed = visited, _List(visited.tolist())
        self._kept: Any = None  # what the next step is told of this one

    def set_timesteps(self, num_inference_steps: int) -> None:
        """Chooses n steps; an offset that passes T-1 is refused unless the oracle lets it pass."""
        exact, unit = self.oracle.timesteps(self.setting, num_inference_steps)
        visited = (exact.to(F64) / unit).round().long()
        inside = int(right_timesteps(self.setting, num_inference_steps)[0][0]) / unit
        if self.oracle.refuses_past_end and inside >= self.setting.num_train_timesteps:
            raise ValueError(f"steps_offset={self.setting.steps_offset} passes T-1")
        self._visit(visited)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t of each image."""
        return self.oracle.add_noise(original_samples, noise, self.table, timesteps)

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """v of each image."""
        return self.oracle.velocity(sample, noise, self.table, timesteps)

    def step(
        self, model_output: Tensor, timestep: int, sample: Tensor, generator: Any = None
    ) -> Step:
        """One reverse step."""
        return self._step(model_output, timestep, sample, generator, self.setting)

    def _step(
        self, out: Tensor, timestep: int, sample: Tensor, generator: Any, setting: Setting
    ) -> Step:
        oracle, shape = self.oracle, sample.shape
        v = None
        if setting.variance_type in LEARNED:
            out, v = oracle.halves(*out.chunk(2, dim=1))
        level, sigma, noisy = self._at(int(timestep), setting)
        flat = (shape[0], -1)
        out_64, x_64 = out.to(F64).reshape(flat), sample.to(F64).reshape(flat)
        x_0 = oracle.limit(oracle.x_0(setting.prediction_type, out_64, x_64, level), setting)
        prev = oracle.step_mean(out_64, x_64, level, setting, x_0, self._kept).float()
        self._kept = oracle.keep(Inputs(out_64, x_64, level, setting))
        if noisy:
            z = oracle.draw(shape, generator, torch.float32).reshape(flat)
            size = sigma if v is None else self._learned(level, v, setting)
            prev = prev + size * oracle.noise_of(z, out.reshape(flat))
        prev = oracle.finish(prev, setting)
        return Step(prev.reshape(shape).to(sample.dtype), x_0.reshape(shape).to(sample.dtype))

    def _learned(self, level: Level, v: Tensor, setting: Setting) -> Tensor:
        flat = v.to(F64).reshape(v.shape[0], -1)
        return self.oracle.std(setting.variance_type, level, flat).float()

    def _at(self, t: int, setting: Setting) -> tuple[Level, Tensor, bool]:
        """The level of t in the list, the size of its noise, and whether there is any."""
        key, known = (t, setting), self._listed.known
        if key not in known:
            listed = [-1, *self._listed, -1]
            i = listed.index(t)
            at, n = torch.tensor([t]), len(self._listed)
            before, after = torch.tensor([listed[i - 1]]), torch.tensor([listed[i + 1]])
            prev = self.oracle.previous(after, at, n, setting)
            level = self.oracle.place(self.table, at, prev, before, setting)
            sigma = self.oracle.sigma(level, setting).float()
            known[key] = level, sigma, bool(self.oracle.noisy(level))
        return known[key]


class DDIM(Scheduler):
    """The same with DDIM's step."""

    def step(  # type: ignore[override]
        self,
        model_output: Tensor,
        timestep: int,
        sample: Tensor,
        eta: float = 0.0,
        use_clipped_model_output: bool = False,
        generator: Any = None,
    ) -> Step:
        """One reverse step with sigma = eta sqrt(beta-tilde)."""
        setting = replace(self.setting, sampler=samplers.DDIM.name, eta=eta)
        setting = replace(setting, use_clipped_model_output=use_clipped_model_output)
        return self._step(model_output, timestep, sample, generator, setting)


class DPMSolver(Scheduler):
    """The same with the step of DPM-Solver++(2M), which goes by the one before it."""

    def step(
        self, model_output: Tensor, timestep: int, sample: Tensor, generator: Any = None
    ) -> Step:
        """One reverse step, without noise."""
        setting = replace(self.setting, sampler=samplers.DPMSolver.name)
        return self._step(model_output, timestep, sample, generator, setting)


def scheduler(oracle: Oracle, only: str = "", name: str = "Mutant") -> type:
    """A scheduler class over this oracle; `only` may be the sampler whose step it has."""
    kinds = {samplers.DDIM.name: DDIM, samplers.DPMSolver.name: DPMSolver}
    parent = kinds.get(only, Scheduler)
    return type(name, (parent,), {"oracle": oracle, "learned": only == "learned_range"})


def sample_of(oracle: Oracle, setting: Setting, n: int | None = None, uint8: bool = False) -> Any:
    """A sampling loop over an oracle's formulas, right or with its mistake."""
    table, T, loop = oracle.alpha_bar(setting), setting.num_train_timesteps, oracle.loop
    noise = partial(oracle.of_steps().draw, dtype=torch.float32)
    exact, unit = oracle.timesteps(setting, n or T)
    visited = (exact.to(F64) / unit).round().long().tolist()
    following = dict(zip(visited, [*visited[1:], -1], strict=True))
    visited = [t for t in visited if t >= loop.stops_at]
    if not loop.falls:
        visited = visited[::-1]

    def sample(model: nn.Module, shape: Any, generator: Any) -> Tensor:
        training = model.training
        if loop.evaluates:
            model.eval()
        generator = _reseeded(generator) if loop.fixed == "x_T" else generator
        x = _drawn(oracle.start, loop, shape, generator)
        generator = _reseeded(generator) if loop.fixed == "noise" else generator
        memory, before = None, -1
        for i, t in enumerate(visited):
            told = t if loop.tells == "t" else i
            told += max(-oracle.loss.ahead, 0)
            out = model(x, torch.full((shape[0],), told)).to(F64)
            at = torch.full((shape[0], 1, 1, 1), t)
            prev = oracle.previous(torch.full_like(at, following[t]), at, len(following), setting)
            level = oracle.place(table, at, prev, torch.full_like(at, before), setting)
            stream = _reseeded(generator) if loop.reseeds else generator
            z = _drawn(noise, loop, shape, stream).to(F64) if following[t] >= 0 else torch.zeros(())
            given = Inputs(out, x.to(F64), level, setting, memory=memory)
            if following[t] >= 0 or loop.keeps_last:
                x, memory, before = oracle.step(given, z).float(), oracle.keep(given), t
        model.train(training)
        return loop.codec(x).to(torch.uint8) if uint8 else x

    return sample


def _drawn(draw: Callable[..., Tensor], loop: Loop, shape: Any, generator: Any) -> Tensor:
    """Noise of a loop, of each image from its own generator if there are several."""
    if not isinstance(generator, list):
        return draw(shape, generator)
    if not loop.own_streams:
        return draw(shape, generator[0])
    return torch.cat([draw((1, *shape[1:]), g) for g in generator])


def _reseeded(generator: Any) -> Any:
    if isinstance(generator, list):
        return [torch.Generator().manual_seed(3) for _ in generator]
    return torch.Generator().manual_seed(3)


def loss_of(oracle: Oracle, setting: Setting) -> Any:
    """A training loss over an oracle's formulas, right or with its mistake."""
    table, T, how = oracle.alpha_bar(setting), setting.num_train_timesteps, oracle.loss
    target = (how.target or TARGETS[setting.prediction_type])(table)
    weights = _weights(how, table, setting.prediction_type)

    def loss(model: nn.Module, x_0: Tensor, generator: torch.Generator) -> Tensor:
        b = len(x_0)
        count = b if how.per_image else 1
        t = torch.randint(how.low, T - how.high, (count,), generator=generator).expand(b)
        noise = how.noise.draw(x_0.shape, generator=generator)
        seen, held = how.scale * x_0 + how.shift, noise
        if how.bare_target:
            held = noise + 0.2 * torch.randn(*x_0.shape[:2], 1, 1, generator=generator)
        x_t = oracle.add_noise(seen, held, table, t)
        if how.redrawn:
            noise = torch.randn(x_0.shape, generator=generator)
        of_noise, of_image = (per_image(part[t], x_0).to(x_0.dtype) for part in target)
        told = t.flip(0) if how.others else t + max(how.ahead, 0)
        error = model(x_t, told) - (of_noise * noise + of_image * seen)
        if weights is None:
            value = how.reduce(error)
        else:
            weight = weights[t].reshape((-1, 1) if how.crossed else (-1,))
            value = (weight * error.square().mean(dim=(1, 2, 3))).mean()
        return value if how.learns else value.detach()

    return loss


def _weights(how: Loss, table: Tensor, kind: str) -> Tensor | None:
    """(T,) by which a loss weighs its images; None if it does not."""
    weight = how.weight or (min_snr if how.crossed else None)
    return None if weight is None else weight(table / (1 - table), kind).float()


def tables_of(oracle: Oracle, setting: Setting) -> dict[str, Tensor]:
    """Every derived table over an oracle's formulas, right or with its mistake, float32."""
    steps = Steps(oracle.betas(setting), oracle.alpha_bar(setting), oracle.tables)
    return {name: formula(steps).float() for name, formula in oracle.tables.items()}


def embedding_of(oracle: Oracle, waves: Waves | None = None) -> Any:
    """An embedding of timesteps over an oracle's formula, right or with its mistake."""

    def embedding(t: Tensor, dim: int) -> Tensor:
        angle, cosine = oracle.embedding(t.to(F64), dim, waves or Waves())
        return torch.where(cosine, angle.cos(), angle.sin()).float()

    return embedding
