"""What Diffusers lacks or gets wrong for DDPM and DDIM, and what to do about it.

Each function stands for a finding, by the name that it has in `compare/verdict/diffusers.py`.
The findings were measured with Diffusers 0.42.1. Nothing in the library is changed.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch

VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large")  # those that give right pictures
VISIBLE = 1e-5  # a signal level or a noise that is off by less cannot be seen in 8 bits


def whole_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config that `from_config` copies whole.

    Arguments given by position, as in `DDPMScheduler(500)`, are listed as defaults in the config,
    and `from_config` sets them back to the defaults.

    Finding: positional-T-lost.

    >>> from diffusers import DDIMScheduler, DDPMScheduler
    >>> config = DDPMScheduler(500).config
    >>> len(DDIMScheduler.from_config(config)), len(DDIMScheduler.from_config(whole_config(config)))
    (1000, 500)
    """
    return {name: value for name, value in config.items() if name != "_use_default_values"}


def config_problem(scheduler: Any) -> str | None:
    """Why no chain of a scheduler can be right, or None: options that the library takes silently.

    Findings: fixed-large-log-nan, learned-nan, unknown-variance-type, beta-outside-range,
    zero-snr-epsilon.

    Args:
        scheduler: Diffusers' DDPMScheduler or DDIMScheduler.

    >>> from diffusers import DDPMScheduler
    >>> config_problem(DDPMScheduler(variance_type="fixed_largo"))
    "variance_type='fixed_largo' is not one of fixed_small, fixed_small_log, fixed_large"
    """
    config, betas = scheduler.config, scheduler.betas
    variance_type = config.get("variance_type", "fixed_small")
    last = betas[-1] <= 1 if config.rescale_betas_zero_snr else betas[-1] < 1
    if variance_type not in VARIANCES:
        return f"variance_type={variance_type!r} is not one of {', '.join(VARIANCES)}"
    if len(betas) != len(scheduler):
        return f"there are {len(betas)} betas for {len(scheduler)} timesteps"
    if not (last and (betas > 0).all() and (betas[:-1] < 1).all()):
        return f"betas must lie between 0 and 1, and go from {betas.min():g} to {betas.max():g}"
    if config.rescale_betas_zero_snr and config.prediction_type == "epsilon":
        return "with rescale_betas_zero_snr x_0 cannot be found from eps; train for v or x_0"
    return None


def chain_problem(scheduler: Any, num_inference_steps: int) -> str | None:
    """Why a chain of `num_inference_steps` goes wrong, or None.

    Measured, not assumed: a copy of the scheduler takes every step of the chain with x_0 = 1
    known and x_t = sqrt(alpha_bar), which any right step turns into sqrt(alpha_bar_prev), and with
    zeros, which leaves the noise that it adds. So a version that mends a finding has no problem.

    Findings: trailing-extra-step, offset-past-the-table, ddim-previous-step, noise-at-the-end.

    Args:
        scheduler: Diffusers' DDPMScheduler or DDIMScheduler; not changed.
        num_inference_steps: n in 1..T.

    >>> from diffusers import DDIMScheduler
    >>> chain_problem(DDIMScheduler(timestep_spacing="leading"), 10)
    >>> chain_problem(DDIMScheduler(timestep_spacing="linspace"), 10)
    "from t=999 DDIMScheduler does not step to t=888, the next timestep of its 'linspace' list"
    """
    problem = config_problem(scheduler)
    if problem is not None:
        return problem
    plain = {"prediction_type": "sample", "clip_sample": False, "thresholding": False}
    probe = type(scheduler).from_config(whole_config(scheduler.config), **plain)
    probe.set_timesteps(num_inference_steps)
    probe.alphas_cumprod = probe.alphas_cumprod.double()  # float32 would blur the steps near t = 0
    name, spacing = type(scheduler).__name__, f"{scheduler.config.timestep_spacing!r} list"
    visited, levels = probe.timesteps.tolist(), probe.alphas_cumprod
    if len(visited) != num_inference_steps or visited[0] >= len(levels) or visited[-1] < 0:
        return (
            f"{num_inference_steps} steps are {len(visited)} timesteps from {visited[0]} to "
            f"{visited[-1]} in the {spacing} of {name}"
        )
    final = getattr(probe, "final_alpha_cumprod", torch.tensor(1.0))
    known = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)  # x_0
    for t, t_prev in pairwise([*visited, -1]):
        # The same noise on both: their difference is what the step makes of x_0 = 1.
        one, noise = (
            probe.step(x_0, t, levels[t].sqrt() * x_0, generator=torch.Generator().manual_seed(0))
            for x_0 in known
        )
        level = levels[t_prev] if t_prev >= 0 else final
        off = (one.prev_sample - noise.prev_sample - level.sqrt()).abs()
        if not off <= VISIBLE:
            goal = f"step to t={t_prev}, the next timestep of" if t_prev >= 0 else "end at"
            return f"from t={t} {name} does not {goal} its {spacing}"
        if t_prev < 0 and not noise.prev_sample.abs() <= VISIBLE:
            return f"{name} adds noise in the last step of its {spacing}, at t={t}"
    return None


def set_trailing_timesteps(scheduler: Any, num_inference_steps: int) -> None:
    """`trailing` timesteps in the right number, for Diffusers' DDPMScheduler.

    Its own list has a timestep -1 too many for 62 of the counts up to 1,000. DDIMScheduler takes
    no list.

    Finding: trailing-extra-step.

    >>> from diffusers import DDPMScheduler
    >>> scheduler = DDPMScheduler(timestep_spacing="trailing")
    >>> set_trailing_timesteps(scheduler, 61)
    >>> len(scheduler.timesteps), int(scheduler.timesteps[-1])
    (61, 15)
    """
    T, n = len(scheduler), num_inference_steps
    scheduler.set_timesteps(timesteps=[round(T - i * T / n) - 1 for i in range(n)])


def step_without_last_noise(
    scheduler: Any,
    model_output: torch.Tensor,
    timestep: int | torch.Tensor,
    sample: torch.Tensor,
    generator: torch.Generator | list[torch.Generator] | None = None,
) -> Any:
    """`scheduler.step` that leaves no noise in the finished picture.

    Diffusers' DDPMScheduler draws while t > 0, also where the list ends. There the mean is the
    prediction of x_0 itself, since alpha_bar_prev is 1.

    Finding: noise-at-the-end.

    Args:
        scheduler: Diffusers' DDPMScheduler.
        model_output, timestep, sample, generator: as for `step`.

    Returns:
        What `step` returns.
    """
    output = scheduler.step(model_output, timestep, sample, generator=generator)
    if timestep == scheduler.timesteps[-1]:
        output.prev_sample = output.pred_original_sample
    return output


def in_float32(
    method: Callable[..., torch.Tensor],
    images: torch.Tensor,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
) -> torch.Tensor:
    """`add_noise` or `get_velocity` for images in half precision.

    Diffusers casts alpha_bar to the dtype of the images *before* it takes 1 - alpha_bar: at t = 0
    nothing is left of the noise.

    Finding: half-precision-noise.

    Args:
        method: `scheduler.add_noise` or `scheduler.get_velocity`.
        images: (b, c, h, w), any float dtype.
        noise: like `images`.
        timesteps: (b,) int64.

    Returns:
        Like `images`.

    >>> from diffusers import DDPMScheduler
    >>> x_0, noise, t = torch.zeros(1).half(), torch.ones(1).half(), torch.tensor([0])
    >>> scheduler = DDPMScheduler()
    >>> scheduler.add_noise(x_0, noise, t), in_float32(scheduler.add_noise, x_0, noise, t)
    (tensor([0.], dtype=torch.float16), tensor([0.0100], dtype=torch.float16))
    """
    return method(images.float(), noise.float(), timesteps).to(images.dtype)
