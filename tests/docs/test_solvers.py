"""The exact networks and the solvers that pages show: laws by drawing, orders by halving."""

import math
from collections.abc import Callable

import pytest
import torch
from exact_laws import Humps
from solvers import dpm_solver_2m, euler, heun

from scratch import DDIMScheduler

Method = Callable[..., torch.Tensor]
LAW = Humps((0.7, 0.3), (-0.5, 0.6), (0.15, 0.1))
STARTS = torch.special.ndtri((torch.arange(100, dtype=torch.float64) + 0.5) / 100)


def levels(n: int) -> list[float]:
    """n levels whose seventh roots of s are evenly spaced, as in Karras et al. 2022."""
    roots = torch.linspace(150 ** (1 / 7), 0.002 ** (1 / 7), n, dtype=torch.float64)
    return [*(1 / (1 + roots**14)).tolist(), 1.0]


@pytest.mark.parametrize("alpha_bar", [0.999, 0.5, 0.01])
def test_no_line_through_bins_is_nearer_than_the_exact_network(alpha_bar: float) -> None:
    """In each narrow bin of x_t the mean of the x_0 that were drawn is the network's answer."""
    generator = torch.Generator().manual_seed(0)
    x_0 = LAW.draw(200_000, generator)
    eps = torch.randn(x_0.shape, generator=generator, dtype=torch.float64)
    x_t = alpha_bar**0.5 * x_0 + (1 - alpha_bar) ** 0.5 * eps
    order = x_t.argsort().reshape(100, -1)
    off = (x_0 - LAW.x_0(x_t, alpha_bar))[order]
    # A mean of 2000 misses by its std / 45; five times that is one in a million.
    assert (off.mean(1).abs() < 5 * off.std(1) / 2000**0.5 + 1e-12).all()
    noise_off = (eps - LAW.eps(x_t, alpha_bar))[order]
    assert (noise_off.mean(1).abs() < 5 * noise_off.std(1) / 2000**0.5 + 1e-12).all()


def test_two_points_have_the_hyperbolic_tangent() -> None:
    points = Humps((0.5, 0.5), (-1.0, 1.0), (0.0, 0.0))
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    for a in (0.9999, 0.5, 1e-4):
        expected = torch.tanh(a**0.5 * x / (1 - a))
        torch.testing.assert_close(points.x_0(x, a), expected)


def test_density_share_and_quantile_belong_together() -> None:
    x = torch.linspace(-1.2, 1.2, 4001, dtype=torch.float64)
    below = LAW.share_below(x)
    summed = torch.cumulative_trapezoid(LAW.density(x, 1.0), x)
    torch.testing.assert_close(summed, below[1:] - below[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(LAW.quantile(below[1000:3000]), x[1000:3000], atol=1e-6, rtol=0)


def test_euler_is_the_schedulers_ddim() -> None:
    scheduler = DDIMScheduler(
        num_train_timesteps=1000, timestep_spacing="trailing", clip_sample=False
    )
    scheduler.set_timesteps(20)
    x, visited = STARTS, scheduler.timesteps.tolist()
    for t in visited:
        x = scheduler.step(LAW.eps(x, float(scheduler.alpha_bar[t])), t, x).prev_sample
    bars = [*(float(scheduler.alpha_bar[t]) for t in visited), 1.0]
    torch.testing.assert_close(euler(LAW.eps, STARTS, bars), x)


@pytest.mark.parametrize(("method", "order"), [(euler, 1), (heun, 2), (dpm_solver_2m, 2)])
def test_four_times_the_steps_show_the_order(method: Method, order: int) -> None:
    exact = LAW.quantile(LAW.share_below(STARTS, levels(2)[0]))
    few, many = (
        float((method(LAW.eps, STARTS, levels(n)) - exact).abs().mean()) for n in (50, 200)
    )
    assert math.log(few / many, 4) == pytest.approx(order, abs=0.35)


def test_the_first_step_of_dpm_solver_is_ddims() -> None:
    torch.testing.assert_close(
        dpm_solver_2m(LAW.eps, STARTS, [0.1, 0.5]), euler(LAW.eps, STARTS, [0.1, 0.5])
    )


def test_ddim_is_exact_where_the_guess_stands_still() -> None:
    """One point: whatever the steps, the path ends there."""
    point = Humps((1.0,), (0.4,), (0.0,))
    for method in (euler, heun, dpm_solver_2m):
        ends = method(point.eps, STARTS, [1e-4, 0.3, 1.0])
        torch.testing.assert_close(ends, torch.full_like(STARTS, 0.4))
