"""What Diffusers lacks or gets wrong, each function with its finding (seen in 0.42.1)."""

from itertools import pairwise
from typing import Any


def chain_problem(scheduler: Any, num_inference_steps: int) -> str | None:
    """What the library gets wrong in a chain of so many steps, or None.

    Finding 1: `trailing` counts down with a fraction of a timestep, whose rounding errors add a
    step -1 for 62 of 1,000 counts, such as 61. A negative index then reads the other end of the
    table.

    Finding 2: `DDIMScheduler.step` takes `t - T // n` for the previous timestep and does not look
    at its list, whose next timestep is another one for most `linspace` and `trailing` counts.
    `DDPMScheduler` looks it up.

    Args:
        scheduler: a `DDPMScheduler` or `DDIMScheduler` of Diffusers; it is not changed.
        num_inference_steps: n in 1..T.

    >>> from diffusers import DDIMScheduler
    >>> chain_problem(DDIMScheduler(num_train_timesteps=1000), 50)
    >>> chain_problem(DDIMScheduler(num_train_timesteps=10, timestep_spacing="linspace"), 4)
    'DDIM in Diffusers steps from 9 to 7, but the next of its 4 linspace timesteps is 6'
    """
    own = type(scheduler).from_config(scheduler.config)
    own.set_timesteps(num_inference_steps)
    visited = own.timesteps.tolist()
    spacing = own.config.timestep_spacing
    if visited[-1] < 0:
        return (
            f"Diffusers makes {len(visited)} {spacing} timesteps for {num_inference_steps} steps, "
            f"and the last is {visited[-1]}"
        )
    if not hasattr(own, "final_alpha_cumprod"):  # only DDIM's has it
        return None
    stride = own.config.num_train_timesteps // num_inference_steps
    for t, following in pairwise([*visited, -1]):
        previous = max(t - stride, -1)
        if previous != following:
            return (
                f"DDIM in Diffusers steps from {t} to {previous}, but the next of its "
                f"{len(visited)} {spacing} timesteps is {following}"
            )
    return None
