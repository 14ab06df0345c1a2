"""The reverse steps of a chain as numbers, read off the scheduler that takes them.

Each step of DDPM and of DDIM is, whatever the network predicts,

    x_0    = clamp(of_x x_t + of_out out, -limit, limit)
    x_prev = c x_0 + d x_t + e out + sigma z

No formula is written a second time here: the scheduler's own `step` is asked in float64 with inputs
that show one number each, and then with others that show whether it is such a step at all.
"""

from dataclasses import dataclass
from typing import Any

import torch

SMALL, LARGE = 2.0**-20, 2.0**16  # below any clip, though x_0 may be 1e4 times x_t; above any
CLOSE = 1e-6  # a step that is not such a step is off by far more; float64 by 1e-9
SAMPLERS = ("DDPMScheduler", "DDIMScheduler")
LIBRARIES = ("scratch", "diffusers")


class NotLinear(Exception):
    """Why the steps of a scheduler cannot be written as numbers, in a line."""


@dataclass(frozen=True)
class Coefficients:
    """A chain of n steps.

    Attributes:
        timesteps: (n,) int64, falling.
        table: (n, 6) float64: of_x, of_out, c, d, e, sigma of each step.
        limit: of the clip of x_0; infinite where there is none.
    """

    timesteps: torch.Tensor
    table: torch.Tensor
    limit: float

    @property
    def noisy(self) -> int:
        """How many steps draw noise: they are the first ones."""
        return int((self.table[:, -1] > 0).sum())


def coefficients_of(scheduler: Any, steps: int, **options: Any) -> Coefficients:
    """The numbers of a chain.

    Args:
        scheduler: DDPM's or DDIM's, of either backend; its timesteps are set.
        steps: n in 1..T.
        options: more keyword arguments for its `step`, such as `eta=0.5`.

    Raises:
        NotLinear: a step is none of this kind.

    >>> from workbench import backends
    >>> ddim = backends.load("scratch").DDIMScheduler(num_train_timesteps=10)
    >>> coefficients_of(ddim, 5).table.shape
    torch.Size([5, 6])
    """
    kind, library = type(scheduler).__name__, type(scheduler).__module__.split(".")[0]
    if kind not in SAMPLERS or library not in LIBRARIES:
        raise NotLinear(f"{kind} is a scheduler of its own")
    if scheduler.config.thresholding:
        raise NotLinear("dynamic thresholding looks at whole pictures")
    scheduler.set_timesteps(steps)
    limit = scheduler.config.clip_sample_range if scheduler.config.clip_sample else float("inf")
    x, out = (value * (limit if limit < float("inf") else 1.0) for value in _probes())
    rows = [_step(scheduler, t, x, out, limit, options) for t in scheduler.timesteps.cpu()]
    found = Coefficients(scheduler.timesteps.cpu(), torch.stack(rows), limit)
    if not (found.table[: found.noisy, -1] > 0).all():
        raise NotLinear(f"{kind} draws noise after a step that draws none")
    return found


def _probes() -> tuple[torch.Tensor, torch.Tensor]:
    """Five pictures of one pixel, and what the network says of them: (5, 1, 1, 1) float64 each.

    x_t alone, the output alone, clipped, nothing at all, and both at once.
    """
    x = torch.tensor([SMALL, 0, 0, 0, 0.7], dtype=torch.float64)
    out = torch.tensor([0, SMALL, LARGE, 0, -0.4], dtype=torch.float64)
    return x.reshape(-1, 1, 1, 1), out.reshape(-1, 1, 1, 1)


def _step(
    scheduler: Any,
    t: torch.Tensor,
    x: torch.Tensor,
    out: torch.Tensor,
    limit: float,
    options: dict[str, Any],
) -> torch.Tensor:
    """(6,) float64: the numbers of one step, from its answers to the probes `x` and `out`."""
    same = [torch.Generator().manual_seed(0) for _ in x]
    z = torch.randn(1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    taken = scheduler.step(out, t, x, generator=same, **options)
    x, out = x.flatten(), out.flatten()
    x_0, x_prev = (made.flatten() for made in (taken.pred_original_sample, taken.prev_sample))

    noise = x_prev[3]
    mean = x_prev - noise
    of_x, of_out = x_0[0] / x[0], x_0[1] / out[1]
    all_x, all_out = mean[0] / x[0], mean[1] / out[1]  # with what x_0 adds
    c = torch.zeros_like(of_x)
    if limit < float("inf"):
        c = (mean[2] - all_out * out[2]) / (x_0[2] - of_out * out[2])
    numbers = torch.stack([of_x, of_out, c, all_x - c * of_x, all_out - c * of_out, noise / z[0]])

    again = reverse_step(x, out, z, numbers, limit)
    if not (again - x_prev).abs().max() <= CLOSE * x_prev.abs().max():
        raise NotLinear(f"the step of {type(scheduler).__name__} at t={int(t)} is not linear")
    return numbers


def reverse_step(
    x_t: torch.Tensor, out: torch.Tensor, z: torch.Tensor, numbers: torch.Tensor, limit: float
) -> torch.Tensor:
    """x_prev by the numbers of a step.

    Args:
        x_t: (b, c, h, w).
        out: what the network says of it, like `x_t`.
        z: noise, like `x_t`.
        numbers: (6,), a row of `Coefficients.table`.
        limit: of the clip.
    """
    of_x, of_out, c, d, e, sigma = numbers.unbind()
    x_0 = (of_x * x_t + of_out * out).clamp(-limit, limit)
    return c * x_0 + d * x_t + e * out + sigma * z
