"""The exact network of a finite set of pictures: the best answer that any network could give.

>>> two = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
>>> float(best_x_0(two, torch.tensor([[0.0]], dtype=torch.float64), 0.5))  # it may be either
0.0
"""

import torch
from torch import Tensor

from scratch import DDPMScheduler


def weights(points: Tensor, x_t: Tensor, alpha_bar: float) -> Tensor:
    """How likely each point is to be the x_0 of each x_t: points (n, d), x_t (b, d) to (b, n)."""
    distance = torch.cdist(x_t, alpha_bar**0.5 * points)
    return (-(distance**2) / (2 * (1 - alpha_bar))).softmax(dim=1)


def best_x_0(points: Tensor, x_t: Tensor, alpha_bar: float) -> Tensor:
    """E[x_0 | x_t], the mean of the points by these weights: (b, d)."""
    return weights(points, x_t, alpha_bar) @ points


def best_eps(points: Tensor, x_t: Tensor, alpha_bar: float) -> Tensor:
    """E[eps | x_t], from equation 4 solved for the noise: (b, d)."""
    x_0 = best_x_0(points, x_t, alpha_bar)
    return (x_t - alpha_bar**0.5 * x_0) / (1 - alpha_bar) ** 0.5


def chain(points: Tensor, scheduler: DDPMScheduler, x: Tensor, seed: int = 0) -> list[Tensor]:
    """Every x_t of a chain that starts at x (b, d) and asks the exact network."""
    generator = torch.Generator().manual_seed(seed)
    states = [x]
    for t in scheduler.timesteps.tolist():
        eps = best_eps(points, x, float(scheduler.alpha_bar[t]))
        x = scheduler.step(eps, t, x, generator=generator).prev_sample
        states.append(x)
    return states
