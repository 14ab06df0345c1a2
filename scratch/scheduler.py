"""What every sampler shares: the schedule's tables, the forward process, the list of timesteps.

`DDPMScheduler` and `DDIMScheduler` add their reverse step. The classes speak Diffusers' words, so
that either library's parts fit into the other; the formulas they call speak the paper's. t runs
0..T-1, and t = 0 is one step of noise.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self, get_args

import torch

from scratch import forward, reverse, saving, schedule, timesteps

Generators = torch.Generator | list[torch.Generator] | None
BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"]
PredictionType = Literal["epsilon", "sample", "v_prediction"]
Spacing = Literal["linspace", "leading", "trailing"]
BETA_CURVES = {
    "linear": schedule.linear,
    "scaled_linear": schedule.scaled_linear,
    "sigmoid": schedule.sigmoid,
}


@dataclass
class SchedulerOutput:
    """What one reverse step returns.

    Attributes:
        prev_sample: x_prev, (b, c, h, w).
        pred_original_sample: the prediction of x_0, clipped if clipping is on, (b, c, h, w).
    """

    prev_sample: torch.Tensor
    pred_original_sample: torch.Tensor


class Scheduler:
    """Tables, forward process and timesteps of one config; a sampler adds `step`.

    Attributes:
        config: every constructor argument, read-only.
        alpha_bar: (T,) float64, what every step computes with.
        betas, alphas, alphas_cumprod: (T,) float32, as Diffusers keeps them.
        timesteps: (n,) int64, falling; all T of them until `set_timesteps` is called.
        num_inference_steps: n, or None until then.
    """

    order = 1
    init_noise_sigma = 1.0

    def __init__(self, config: saving.Config) -> None:
        _check_config(config)
        betas = _betas(config)
        self.config = config
        # region: tables
        self.alpha_bar = (1 - betas).cumprod(0)  # (T,) float64
        self.betas = betas.float()
        self.alphas = (1 - betas).float()
        self.alphas_cumprod = self.alpha_bar.float()
        # endregion: tables
        self._alpha_bars: list[float] = self.alpha_bar.tolist()
        self.num_inference_steps: int | None = None
        self._visit(list(reversed(range(len(betas)))))

    def __len__(self) -> int:
        return self.config.num_train_timesteps

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **changes: Any) -> Self:
        """A scheduler from a config, ours or Diffusers', with some entries changed."""
        return saving.build_from_config(cls, config, changes)

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike, subfolder: str | None = None) -> Self:
        """A scheduler from a folder, or from a Hub repository by name."""
        return saving.load_scheduler(cls, name_or_path, subfolder)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write `scheduler_config.json` into `folder`, as Diffusers does."""
        saving.save_scheduler(self.config, folder)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Choose the timesteps of the chain: `num_inference_steps` by the spacing, or a list.

        Args:
            num_inference_steps: n in 1..T.
            device: where `self.timesteps` lies; on the CPU a step needs no synchronisation.
            timesteps: a falling list in 0..T-1 instead.

        Raises:
            ValueError: both or neither are given, n is not in 1..T, or the list does not fall.
        """
        if (num_inference_steps is None) == (timesteps is None):
            raise ValueError("give either num_inference_steps or timesteps, and not both")
        if timesteps is not None:
            visited = [int(t) for t in timesteps]
            falling = all(a > b for a, b in pairwise(visited))
            if not visited or not falling or visited[0] >= len(self) or visited[-1] < 0:
                raise ValueError(
                    f"timesteps must fall from at most {len(self) - 1} to at least 0, got {visited}"
                )
        else:
            visited = _spaced(self.config, num_inference_steps)
        self.num_inference_steps = len(visited)
        self._visit(visited, device)

    def _visit(self, visited: list[int], device: str | torch.device | None = None) -> None:
        self._previous = dict(zip(visited, [*visited[1:], -1], strict=True))
        self.timesteps = torch.tensor(visited, dtype=torch.int64, device=device)

    def previous_timestep(self, timestep: int | torch.Tensor) -> int:
        """The next timestep to visit after `timestep`; -1 after the last.

        Raises:
            ValueError: `timestep` is not one of `self.timesteps`.
        """
        t = _one_timestep(timestep)
        if t not in self._previous:
            raise ValueError(
                f"timestep {t} is not one of the {len(self._previous)} that set_timesteps chose; "
                "call step with the values of scheduler.timesteps"
            )
        return self._previous[t]

    def scale_model_input(
        self, sample: torch.Tensor, timestep: int | torch.Tensor | None = None
    ) -> torch.Tensor:
        """DDPM feeds x_t to the network as it is: returns `sample`."""
        return sample

    def add_noise(
        self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """x_t from x_0 in one jump: `scratch.forward.add_noise` with the alpha_bar of each image.

        Args:
            original_samples: x_0, (b, c, h, w) float, in [-1, 1].
            noise: eps, like x_0, from N(0, I).
            timesteps: t, integers in 0..T-1, shape (), (1,), (b,) or (b, 1).

        Returns:
            x_t: like x_0.

        Raises:
            ValueError: an integer image, noise of another shape, a t outside 0..T-1 or of a length
                that is not the batch's.
        """
        alpha_bar = self._alpha_bar_at(timesteps, original_samples, noise)
        return forward.add_noise(original_samples, noise, alpha_bar)

    def get_velocity(
        self, sample: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """v of the clean image `sample`: `scratch.forward.velocity`; arguments as `add_noise`."""
        alpha_bar = self._alpha_bar_at(timesteps, sample, noise)
        return forward.velocity(sample, noise, alpha_bar)

    def _alpha_bar_at(
        self, timesteps: torch.Tensor, x_0: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        _check_images(x_0, noise)
        t = torch.as_tensor(timesteps)
        if t.dtype not in (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8):
            raise ValueError(f"timesteps must be integers, got {t.dtype}")
        t = t.flatten()
        if len(t) not in (1, len(x_0)):
            raise ValueError(f"timesteps must be one, or one per image ({len(x_0)}), got {len(t)}")
        if t.device.type == "cpu" and not (t.min() >= 0 and t.max() < len(self)):
            raise ValueError(f"timesteps must lie in 0..{len(self) - 1}, got {t.tolist()}")
        # The table follows t, so that a training loop copies it once. MPS has no float64.
        device = torch.device("cpu") if t.device.type == "mps" else t.device
        if self.alpha_bar.device != device:
            self.alpha_bar = self.alpha_bar.to(device)
        alpha_bar = self.alpha_bar[t.to(device, torch.int64)]
        return alpha_bar.reshape(-1, *[1] * (x_0.ndim - 1))  # (b, 1, 1, 1)

    def _alpha_bar_pair(self, timestep: int | torch.Tensor) -> tuple[float, float]:
        """alpha_bar at `timestep` and at the previous one, which is 1 after the last."""
        previous = self.previous_timestep(timestep)
        alpha_bar = self._alpha_bars[int(timestep)]
        return alpha_bar, self._alpha_bars[previous] if previous >= 0 else 1.0


def predict_x_0(
    config: saving.Config,
    model_output: torch.Tensor,
    x_t: torch.Tensor,
    alpha_bar: float,
) -> torch.Tensor:
    """The x_0 behind x_t, from what the network was trained to predict.

    Args:
        config: its `prediction_type` says what `model_output` is.
        model_output: eps, x_0 or v, (b, c, h, w).
        x_t: noisy image, like `model_output`.
        alpha_bar: at this timestep.

    Returns:
        x_0: like `x_t`, not clipped.
    """
    if config.prediction_type == "epsilon":
        return reverse.x_0_from_eps(x_t, model_output, alpha_bar)
    if config.prediction_type == "v_prediction":
        return reverse.x_0_from_v(x_t, model_output, alpha_bar)
    return model_output


def clip_x_0(config: saving.Config, x_0: torch.Tensor) -> torch.Tensor:
    """Keep the prediction of x_0 in the range of images, as the scheduler's config says."""
    if config.thresholding:
        return reverse.dynamic_threshold(
            x_0, config.dynamic_thresholding_ratio, config.sample_max_value
        )
    if config.clip_sample:
        return x_0.clamp(-config.clip_sample_range, config.clip_sample_range)
    return x_0


def draw_noise(
    shape: Sequence[int], generator: Generators, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Noise from N(0, I), from one generator or from one for each image.

    A CPU generator draws on the CPU whatever `device` is, so that a seed gives one picture.

    Args:
        shape: (b, c, h, w).
        generator: None draws from the device's global generator.
        device, dtype: of the result.

    Raises:
        ValueError: a list of generators whose length is not b.
    """
    if isinstance(generator, list):
        if len(generator) != shape[0]:
            raise ValueError(
                f"{len(generator)} generators for {shape[0]} images; give one for each"
            )
        one = [draw_noise((1, *shape[1:]), each, device, dtype) for each in generator]
        return torch.cat(one)
    source = generator.device if generator is not None else device
    return torch.randn(shape, generator=generator, device=source, dtype=dtype).to(device)


def draw_noise_like(x: torch.Tensor, generator: Generators) -> torch.Tensor:
    """`draw_noise` with the shape, device and dtype of `x`."""
    return draw_noise(x.shape, generator, x.device, x.dtype)


def _betas(config: saving.Config) -> torch.Tensor:
    """(T,) float64 betas of a config, checked."""
    T, start, end = config.num_train_timesteps, config.beta_start, config.beta_end
    if not isinstance(T, int) or T < 1:
        raise ValueError(f"num_train_timesteps must be a whole number of at least 1, got {T!r}")
    check_choice("beta_schedule", config.beta_schedule, BetaSchedule)
    if config.trained_betas is not None:
        betas = torch.tensor(config.trained_betas, dtype=torch.float64)
        if betas.shape != (T,):
            raise ValueError(
                f"trained_betas must hold num_train_timesteps={T} betas, got {betas.numel()}"
            )
    elif config.beta_schedule == "squaredcos_cap_v2":
        betas = schedule.cosine(T)
    else:
        if not (0 < start < 1 and 0 < end < 1):
            raise ValueError(
                f"beta_start and beta_end must lie between 0 and 1, got {start} and {end}"
            )
        betas = BETA_CURVES[config.beta_schedule](T, start, end)
    if not ((betas > 0) & (betas < 1)).all():
        t = int((~((betas > 0) & (betas < 1))).nonzero()[0])
        raise ValueError(f"every beta must lie between 0 and 1, got {betas[t]:g} at t={t}")
    return schedule.zero_terminal_snr(betas) if config.rescale_betas_zero_snr else betas


def _check_config(config: saving.Config) -> None:
    check_choice("prediction_type", config.prediction_type, PredictionType)
    check_choice("timestep_spacing", config.timestep_spacing, Spacing)
    if config.rescale_betas_zero_snr and config.prediction_type == "epsilon":
        raise ValueError(
            "rescale_betas_zero_snr=True leaves no signal at the last timestep, and x_0 cannot be "
            "found from eps there; use prediction_type='v_prediction' or 'sample'"
        )
    if config.rescale_betas_zero_snr and config.num_train_timesteps < 2:
        raise ValueError(
            "rescale_betas_zero_snr=True needs num_train_timesteps of at least 2, got 1"
        )
    for name in ("clip_sample_range", "sample_max_value"):
        least = 1 if name == "sample_max_value" else 0
        if not config[name] >= least or config[name] == 0:
            raise ValueError(f"{name} must be positive and at least {least}, got {config[name]}")
    if not 0 <= config.dynamic_thresholding_ratio <= 1:
        raise ValueError(
            "dynamic_thresholding_ratio must lie in [0, 1], got "
            f"{config.dynamic_thresholding_ratio}"
        )


def check_choice(name: str, value: Any, choices: Any) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {value!r}")


def _spaced(config: saving.Config, num_inference_steps: Any) -> list[int]:
    T, n = config.num_train_timesteps, num_inference_steps
    if not isinstance(n, int) or not 1 <= n <= T:
        raise ValueError(
            f"num_inference_steps must be a whole number in 1..{T}, the number of timesteps the "
            f"model was trained on, got {n!r}"
        )
    if config.timestep_spacing == "leading":
        return timesteps.leading(T, n, config.steps_offset)
    if config.timestep_spacing == "trailing":
        return timesteps.trailing(T, n)
    return timesteps.linspace(T, n)


def _one_timestep(timestep: int | torch.Tensor) -> int:
    if isinstance(timestep, torch.Tensor) and timestep.numel() != 1:
        raise ValueError(
            f"step takes one timestep for the whole batch, got {timestep.numel()}; "
            "images at different timesteps need a step each"
        )
    return int(timestep)


def _check_images(x_0: torch.Tensor, noise: torch.Tensor) -> None:
    if not x_0.dtype.is_floating_point:
        raise ValueError(f"images must be floats in [-1, 1], got {x_0.dtype}; scale them first")
    check_same_shape("noise", noise, x_0)


def check_same_shape(name: str, x: torch.Tensor, like: torch.Tensor) -> None:
    if x.shape != like.shape:
        raise ValueError(f"{name} has shape {tuple(x.shape)}, expected {tuple(like.shape)}")
