"""DDIM's scheduler: the same training, another reverse step, good with few steps."""

from collections.abc import Sequence
from typing import Literal, overload

import torch

from scratch.compat.config import config_from_arguments
from scratch.compat.scheduler_checks import check_one_timestep, check_step, check_step_noise
from scratch.noise import Generators, draw_noise_like
from scratch.prediction import PredictionType, predict_eps, predict_x_0
from scratch.reverse import eps_from_x_0, posterior_variance
from scratch.schedule import BetaSchedule
from scratch.scheduler import Scheduler, SchedulerOutput
from scratch.timesteps import Spacing


# region: ddim_sigma
def ddim_sigma(
    eta: float,
    alpha_bar: float,
    alpha_bar_prev: float,
) -> float:
    """sigma = eta sqrt((1 - alpha_bar_prev) / (1 - alpha_bar))
                 sqrt(1 - alpha_bar / alpha_bar_prev).

    `eta` times the std of DDPM's `fixed_small` step.

    Source: Song et al. 2020 (arXiv:2010.02502), equation 16.

    Args:
        eta: 0 for DDIM, 1 for DDPM.
        alpha_bar: in [0, 1), at this timestep.
        alpha_bar_prev: in (0, 1], at the previous one.

    Returns:
        sigma: std of this step's noise.

    >>> round(ddim_sigma(1.0, 0.36, 0.72) ** 2, 6)
    0.21875
    """
    variance = posterior_variance(alpha_bar, alpha_bar_prev)
    return eta * variance**0.5


# endregion: ddim_sigma


# region: ddim_mean
def ddim_mean(
    x_0: torch.Tensor,
    eps: torch.Tensor,
    alpha_bar_prev: float,
    sigma: float,
) -> torch.Tensor:
    """x_prev without its noise: x_0, noised again with eps.

    mean = sqrt(alpha_bar_prev) x_0
           + sqrt(1 - alpha_bar_prev - sigma^2) eps

    Source: Song et al. 2020 (arXiv:2010.02502), equation 12.

    Args:
        x_0: the (clipped) prediction, any shape, float.
        eps: the noise that belongs to it, like `x_0`.
        alpha_bar_prev: in (0, 1], at the previous timestep.
        sigma: std of this step's noise, at least 0 and at most
            sqrt(1 - alpha_bar_prev).

    Returns:
        mean: like `x_0`.

    >>> ddim_mean(torch.ones(1), torch.ones(1), 0.36, sigma=0.0)
    tensor([1.4000])
    """
    # Rounding can leave -1e-17 where the right value is 0.
    left = max(1 - alpha_bar_prev - sigma**2, 0.0)
    return alpha_bar_prev**0.5 * x_0 + left**0.5 * eps


# endregion: ddim_mean


class DDIMScheduler(Scheduler):
    """The noise schedule and DDIM's reverse step (Song et al. 2020, arXiv:2010.02502).

    `eta=0` draws no noise: the start decides the picture. `eta=1` is DDPM with `fixed_small`,
    exactly so where x_0 is not clipped or `use_clipped_model_output=True`.

    Differs from Diffusers 0.42.1 in the previous timestep of a step: the next one of the list.
    Diffusers takes `t - T // n`, which is off the list for most `linspace` and `trailing` counts.

    Args:
        set_alpha_to_one: whether the step after the last timestep ends at alpha_bar = 1, or at the
            alpha_bar of t = 0 (pictures that keep a little noise).
        others: as in `DDPMScheduler`.

    Raises:
        ValueError: an argument is out of range, or two contradict each other.

    >>> scheduler = DDIMScheduler(num_train_timesteps=1000)
    >>> scheduler.set_timesteps(num_inference_steps=50)
    >>> scheduler.previous_timestep(980)
    960
    """

    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: BetaSchedule = "linear",
        trained_betas: Sequence[float] | torch.Tensor | None = None,
        clip_sample: bool = True,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        prediction_type: PredictionType = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        clip_sample_range: float = 1.0,
        sample_max_value: float = 1.0,
        timestep_spacing: Spacing = "leading",
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        super().__init__(config_from_arguments(DDIMScheduler, locals()))
        self.final_alpha_bar = 1.0 if set_alpha_to_one else float(self.alpha_bar[0])

    @overload
    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        eta: float = ...,
        use_clipped_model_output: bool = ...,
        generator: Generators = ...,
        variance_noise: torch.Tensor | None = ...,
        return_dict: Literal[True] = ...,
    ) -> SchedulerOutput: ...
    @overload
    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        eta: float = ...,
        use_clipped_model_output: bool = ...,
        generator: Generators = ...,
        variance_noise: torch.Tensor | None = ...,
        *,
        return_dict: Literal[False],
    ) -> tuple[torch.Tensor, torch.Tensor]: ...
    @overload
    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        eta: float = ...,
        use_clipped_model_output: bool = ...,
        generator: Generators = ...,
        variance_noise: torch.Tensor | None = ...,
        return_dict: bool = ...,
    ) -> SchedulerOutput | tuple[torch.Tensor, torch.Tensor]: ...

    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        eta: float = 0.0,
        use_clipped_model_output: bool = False,
        generator: Generators = None,
        variance_noise: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[torch.Tensor, torch.Tensor]:
        """One reverse step, x_t -> x_prev (Song et al. 2020, equations 12 and 16).

        Args:
            model_output: eps, x_0 or v by `prediction_type`, (b, c, h, w) float.
            timestep: t, one of `self.timesteps`.
            sample: x_t, like `model_output`.
            eta: how much noise a step draws, in [0, 1].
            use_clipped_model_output: compute eps anew from the clipped x_0, so that the two belong
                together; otherwise the network's own eps is kept.
            generator: where the noise comes from: one, or one for each image.
            variance_noise: the noise itself, like `sample`, instead of `generator`.
            return_dict: False returns the tuple (prev_sample, pred_original_sample).

        Raises:
            ValueError: the shapes differ, one is no floats, eta is outside [0, 1], both `generator`
                and `variance_noise` are given, or `timestep` was not chosen by `set_timesteps`.
        """
        check_step(model_output, sample)
        check_step_noise(eta, generator, variance_noise, sample)
        t = check_one_timestep(timestep)
        # region: ddim_step
        # 1. the previous timestep, and alpha_bar here and there
        t_prev = self.previous_timestep(t)
        alpha_bar = self._alpha_bar_at(t)
        alpha_bar_prev = self._alpha_bar_at(t_prev)

        # 2. what the model says x_0 and eps are
        kind = self.config.prediction_type
        x_0 = predict_x_0(kind, model_output, sample, alpha_bar)
        eps = predict_eps(kind, model_output, sample, alpha_bar)

        # 3. clip or threshold x_0; eps follows only if asked to
        x_0 = self._clip(x_0)
        if use_clipped_model_output:
            eps = eps_from_x_0(sample, x_0, alpha_bar)

        # 4. sigma, equation 16; the last step draws nothing
        sigma = 0.0
        if t_prev >= 0:
            sigma = ddim_sigma(eta, alpha_bar, alpha_bar_prev)

        # 5. the mean, equation 12, and the noise
        x_prev = ddim_mean(x_0, eps, alpha_bar_prev, sigma)
        if sigma > 0:
            z = variance_noise
            if z is None:
                z = draw_noise_like(model_output, generator)
            x_prev = x_prev + sigma * z
        # endregion: ddim_step
        return SchedulerOutput(x_prev, x_0) if return_dict else (x_prev, x_0)
