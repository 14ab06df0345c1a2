"""DDPM's scheduler: one reverse step, built from the formulas."""

from collections.abc import Sequence
from typing import Literal, overload

import torch

from scratch.compat.config import config_from_arguments
from scratch.compat.scheduler_checks import check_choice, check_one_timestep, check_step
from scratch.noise import Generators, draw_noise_like
from scratch.prediction import PredictionType, predict_x_0
from scratch.reverse import posterior_mean, posterior_variance
from scratch.schedule import BetaSchedule
from scratch.scheduler import Scheduler, SchedulerOutput
from scratch.timesteps import Spacing

VarianceType = Literal["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"]


class DDPMScheduler(Scheduler):
    """The noise schedule and Algorithm 2's reverse step (Ho et al. 2020, arXiv:2006.11239).

    Args:
        num_train_timesteps: T, at least 1.
        beta_start, beta_end: the ends of beta, in (0, 1).
        beta_schedule: which curve; see `scratch.schedule`. `squaredcos_cap_v2` is the cosine.
        trained_betas: T betas in (0, 1) given one by one, instead of a curve.
        variance_type: sigma^2 of a step: `fixed_small` is beta-tilde, `fixed_large` is beta
            (Section 3.2). The `_log` names have the same law: they say how other code computes it.
        clip_sample: clip the prediction of x_0 to +-`clip_sample_range`, as the authors' code does.
        prediction_type: what the network predicts: eps, x_0 (`sample`) or v.
        thresholding: dynamic thresholding instead of clipping, with its quantile
            `dynamic_thresholding_ratio` and its largest divisor `sample_max_value`.
        timestep_spacing: which timesteps a shorter chain visits; see `scratch.timesteps`.
        steps_offset: added to `leading` timesteps.
        rescale_betas_zero_snr: make x_T pure noise (Lin et al. 2023, arXiv:2305.08891).

    Raises:
        ValueError: an argument is out of range, or two contradict each other.

    >>> scheduler = DDPMScheduler(num_train_timesteps=500)
    >>> scheduler.set_timesteps(num_inference_steps=4)
    >>> scheduler.timesteps
    tensor([375, 250, 125,   0])
    """

    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: BetaSchedule = "linear",
        trained_betas: Sequence[float] | torch.Tensor | None = None,
        variance_type: VarianceType = "fixed_small",
        clip_sample: bool = True,
        prediction_type: PredictionType = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        clip_sample_range: float = 1.0,
        sample_max_value: float = 1.0,
        timestep_spacing: Spacing = "leading",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        check_choice("variance_type", variance_type, VarianceType)
        super().__init__(config_from_arguments(DDPMScheduler, locals()))

    @overload
    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        generator: Generators = ...,
        return_dict: Literal[True] = ...,
    ) -> SchedulerOutput: ...
    @overload
    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        generator: Generators = ...,
        *,
        return_dict: Literal[False],
    ) -> tuple[torch.Tensor, torch.Tensor]: ...
    @overload
    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        generator: Generators = ...,
        return_dict: bool = ...,
    ) -> SchedulerOutput | tuple[torch.Tensor, torch.Tensor]: ...

    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[torch.Tensor, torch.Tensor]:
        """One reverse step, x_t -> x_prev (Ho et al. 2020, Algorithm 2 and equation 7).

        Args:
            model_output: eps, x_0 or v by `prediction_type`, (b, c, h, w) float.
            timestep: t, one of `self.timesteps`.
            sample: x_t, like `model_output`.
            generator: where the step's noise comes from: one, or one for each image.
            return_dict: False returns the tuple (prev_sample, pred_original_sample).

        Raises:
            ValueError: the shapes differ, one is no floats, or `timestep` was not chosen by
                `set_timesteps`.
        """
        check_step(model_output, sample)
        t = check_one_timestep(timestep)
        # region: step
        # 1. the previous timestep, and alpha_bar here and there
        t_prev = self.previous_timestep(t)
        alpha_bar = self._alpha_bar_at(t)
        alpha_bar_prev = self._alpha_bar_at(t_prev)

        # 2. what the model says x_0 is
        kind = self.config.prediction_type
        x_0 = predict_x_0(kind, model_output, sample, alpha_bar)

        # 3. clip or threshold it
        x_0 = self._clip(x_0)

        # 4. the mean of q(x_prev | x_t, x_0)
        x_prev = posterior_mean(x_0, sample, alpha_bar, alpha_bar_prev)

        # 5. noise, while a previous step exists
        if t_prev >= 0:
            variance = self._variance(alpha_bar, alpha_bar_prev)
            z = draw_noise_like(model_output, generator)
            x_prev = x_prev + variance**0.5 * z
        # endregion: step
        return SchedulerOutput(x_prev, x_0) if return_dict else (x_prev, x_0)

    def _variance(self, alpha_bar: float, alpha_bar_prev: float) -> float:
        if self.config.variance_type.startswith("fixed_large"):
            return 1 - alpha_bar / alpha_bar_prev  # the beta of this step
        return float(posterior_variance(alpha_bar, alpha_bar_prev))
