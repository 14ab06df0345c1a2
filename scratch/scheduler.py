"""What every sampler shares: the schedule's tables, the forward process, the list of timesteps.

`DDPMScheduler` and `DDIMScheduler` add their reverse step. The classes speak Diffusers' words, so
that either library's parts fit into the other; the formulas they call speak the paper's. t runs
0..T-1, and t = 0 is one step of noise.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, overload

import torch

from scratch import forward, reverse, schedule, timesteps
from scratch.compat import hub, not_built, saving, showing
from scratch.compat import scheduler_checks as checks
from scratch.compat.config import Config, build_from_config


class SchedulerOutput(NamedTuple):
    """What one reverse step returns.

    Attributes:
        prev_sample: x_prev, (b, c, h, w).
        pred_original_sample: the prediction of x_0, clipped if clipping is on, (b, c, h, w).
    """

    prev_sample: torch.Tensor
    pred_original_sample: torch.Tensor

    def values(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Both, as of Diffusers' output, which is a mapping."""
        return (self.prev_sample, self.pred_original_sample)


class Scheduler:
    """Tables, forward process and timesteps of one config; a sampler adds `step`.

    Attributes:
        config: every constructor argument, read-only.
        alpha_bar: (T,) float64, what everything here computes with.
        final_alpha_bar: alpha_bar after the last step: 1, an image without noise.
        betas, alphas, alphas_cumprod: (T,) float32, as Diffusers keeps them.
        timesteps: (n,) int64, falling; all T of them until `set_timesteps` is called.
        num_inference_steps: n, or None until then.
        order, init_noise_sigma: 1; Diffusers' pipelines ask for them.
    """

    order = 1
    init_noise_sigma = 1.0
    final_alpha_bar = 1.0

    def __init__(self, config: Config) -> None:
        betas = betas_of(config)
        self.config = config
        # region: tables
        self.alpha_bar = (1 - betas).cumprod(0)  # (T,) float64
        self.betas = betas.float()
        self.alphas = (1 - betas).float()
        self.alphas_cumprod = self.alpha_bar.float()
        # endregion: tables
        self._alpha_bars: list[float] = self.alpha_bar.tolist()
        self.num_inference_steps: int | None = None
        self._visit(list(reversed(range(len(self)))))

    def __len__(self) -> int:
        return self.config.num_train_timesteps

    def __repr__(self) -> str:
        return showing.scheduler_line(self, list(self._previous))

    if not TYPE_CHECKING:  # a checker would take it that every name is there
        __getattr__ = not_built.missing

    @property
    def compatibles(self) -> list[type["Scheduler"]]:
        """The classes that take this config by `from_config`."""
        return Scheduler.__subclasses__()

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **changes: Any) -> Self:
        """A scheduler from a config, ours or Diffusers', with some entries changed.

        Raises:
            ValueError: an entry is unknown, out of range, or not built here.
        """
        return build_from_config(cls, config, changes)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, subfolder: str | None = None
    ) -> Self:
        """A scheduler from a folder, or from a Hub repository by name.

        Raises:
            ValueError: a file is missing, cannot be read, or holds something else.
        """
        return saving.load_scheduler(cls, pretrained_model_name_or_path, subfolder)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
    ) -> None:
        """Write `scheduler_config.json` into a folder, as Diffusers does.

        Args:
            save_directory: the folder.
            push_to_hub: also into a repository on the Hub.
            repo_id: its name; None for that of the folder.
        """
        saving.save_scheduler(self.config, save_directory)
        if push_to_hub:
            self.push_to_hub(repo_id or Path(save_directory).name)

    save_config = save_pretrained

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
    ) -> str:
        """`save_pretrained` into a repository on the Hub: `scratch.compat.hub.push`."""
        return hub.push(self.save_pretrained, repo_id, commit_message, private, token)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[int] | torch.Tensor | None = None,
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
        if timesteps is None:
            visited = self._spaced(checks.check_step_count(num_inference_steps, len(self)))
        else:
            visited = checks.check_visited(timesteps, len(self))
        self.num_inference_steps = len(visited)
        self._visit(visited, device)

    def _spaced(self, n: int) -> list[int]:
        if self.config.timestep_spacing == "leading":
            return timesteps.leading(len(self), n, self.config.steps_offset)
        if self.config.timestep_spacing == "trailing":
            return timesteps.trailing(len(self), n)
        return timesteps.linspace(len(self), n)

    def _visit(self, visited: list[int], device: str | torch.device | None = None) -> None:
        self._previous = dict(zip(visited, [*visited[1:], -1], strict=True))
        self.timesteps = torch.tensor(visited, dtype=torch.int64, device=device)

    @overload
    def previous_timestep(self, timestep: int) -> int: ...
    @overload
    def previous_timestep(self, timestep: torch.Tensor) -> torch.Tensor: ...

    def previous_timestep(self, timestep: int | torch.Tensor) -> int | torch.Tensor:
        """The next timestep to visit after `timestep`; -1 after the last.

        Returns:
            An int of an int, and of a tensor a tensor (), int64 on the device of `self.timesteps`.

        Raises:
            ValueError: `timestep` is not one of `self.timesteps`.
        """
        t = checks.check_one_timestep(timestep)
        checks.check_chosen(t, self._previous)
        previous = self._previous[t]
        is_tensor = isinstance(timestep, torch.Tensor)
        return self.timesteps.new_tensor(previous) if is_tensor else previous

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
            ValueError: integer images, noise of another shape or dtype, t that are no integers in
                0..T-1 (not checked on an accelerator, which would wait) or not one for each image.
        """
        alpha_bar = self._alpha_bar_of_images(
            timesteps, original_samples, noise, "original_samples"
        )
        return forward.add_noise(original_samples, noise, alpha_bar)

    def get_velocity(
        self, sample: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """v of clean images: `scratch.forward.velocity`; arguments and errors as `add_noise`."""
        alpha_bar = self._alpha_bar_of_images(timesteps, sample, noise, "sample")
        return forward.velocity(sample, noise, alpha_bar)

    def _alpha_bar_of_images(
        self, timesteps: torch.Tensor, x_0: torch.Tensor, noise: torch.Tensor, name: str
    ) -> torch.Tensor:
        checks.check_images(name, x_0, noise)
        t = checks.check_timesteps(timesteps, len(x_0), len(self))
        # The table follows t, so that a training loop copies it once. MPS has no float64.
        device = torch.device("cpu") if t.device.type == "mps" else t.device
        if self.alpha_bar.device != device:
            self.alpha_bar = self.alpha_bar.to(device)
        alpha_bar = self.alpha_bar[t.flatten().to(device, torch.int64)]
        return alpha_bar.reshape(-1, *[1] * (x_0.ndim - 1))  # (b, 1, 1, 1)

    def _alpha_bar_at(self, t: int) -> float:
        """alpha_bar at a visited timestep, or after the last one (t = -1)."""
        return self._alpha_bars[t] if t >= 0 else self.final_alpha_bar

    def _clip(self, x_0: torch.Tensor) -> torch.Tensor:
        """Keep the prediction of x_0 in the range of images, if the config says so."""
        # region: clip
        config = self.config
        if config.thresholding:  # goes before clip_sample
            ratio = config.dynamic_thresholding_ratio
            largest = config.sample_max_value
            return reverse.dynamic_threshold(x_0, ratio, largest)
        if config.clip_sample:
            limit = config.clip_sample_range
            return x_0.clamp(-limit, limit)
        return x_0
        # endregion: clip


def betas_of(config: Config) -> torch.Tensor:
    """(T,) float64 betas of a scheduler's config, in (0, 1); the last is 1 if rescaled.

    Raises:
        ValueError: an argument is out of range, or two contradict each other.
    """
    checks.check_arguments(config)
    T, start, end = config.num_train_timesteps, config.beta_start, config.beta_end
    if config.trained_betas is not None:
        betas = torch.tensor(config.trained_betas, dtype=torch.float64)
    elif config.beta_schedule == "squaredcos_cap_v2":
        betas = schedule.cosine(T)
    else:
        curves = {
            "linear": schedule.linear,
            "scaled_linear": schedule.scaled_linear,
            "sigmoid": schedule.sigmoid,
        }
        betas = curves[config.beta_schedule](T, start, end)
    checks.check_signal_is_left(betas)
    return schedule.zero_terminal_snr(betas) if config.rescale_betas_zero_snr else betas
