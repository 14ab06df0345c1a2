"""The forward process: one jump is the same law as many small steps, in every dtype and shape."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from scratch import DDPMScheduler, schedule
from scratch.forward import add_noise, velocity

ROUNDING = {"rtol": 1e-14, "atol": 1e-14}  # a handful of float64 operations on numbers near 1
alpha_bars = st.floats(0, 1)
# Unit roundoff: the coefficients, the two products and their sum are each rounded once.
UNITS = {torch.float16: 2**-11, torch.bfloat16: 2**-8, torch.float32: 2**-24}


def standard_normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(alpha_bars, st.integers(0, 999))
@settings(max_examples=50)
def test_x_t_and_v_are_x_0_and_eps_turned_by_an_angle(alpha_bar: float, seed: int) -> None:
    """x_t + iv = (x_0 + i eps) e^(-i phi), cos phi = sqrt(alpha_bar): no variance is lost."""
    x_0, eps = standard_normal(seed, 2, 5)
    phi = math.atan2(math.sqrt(1 - alpha_bar), math.sqrt(alpha_bar))
    turned = torch.complex(x_0, eps) * complex(math.cos(phi), -math.sin(phi))
    assert_close(add_noise(x_0, eps, alpha_bar), turned.real, **ROUNDING)
    assert_close(velocity(x_0, eps, alpha_bar), turned.imag, **ROUNDING)


@pytest.mark.parametrize("curve", [schedule.linear(1000, 1e-4, 0.02), schedule.cosine(1000)])
def test_a_thousand_small_steps_are_one_jump(curve: torch.Tensor) -> None:
    """x_s = sqrt(1 - beta) x + sqrt(beta) eps: mean and variance of all steps, without sampling."""
    alpha_bar = DDPMScheduler(trained_betas=curve).alpha_bar
    mean, variance = 1.0, 0.0
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for t, beta in enumerate(curve.tolist()):
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        # A thousand roundings of 1e-16; where alpha_bar is small, its own size counts.
        assert add_noise(one, zero, alpha_bar[t]).item() == pytest.approx(mean, rel=1e-12), t
        assert add_noise(zero, one, alpha_bar[t]).item() ** 2 == pytest.approx(variance, rel=1e-12)


@pytest.mark.parametrize("formula", [add_noise, velocity])
@pytest.mark.parametrize("dtype", UNITS)
@pytest.mark.parametrize("per_image", [False, True], ids=["one t", "one t per image"])
def test_any_dtype_in_is_the_dtype_out(formula, dtype: torch.dtype, per_image: bool) -> None:
    """Also where 1 - alpha_bar is far below what half precision can tell from 1."""
    x_0, eps = standard_normal(0, 2, 11, 3, 4, 4).to(dtype)
    levels = DDPMScheduler().alpha_bar[:11]
    if per_image:
        result = formula(x_0, eps, levels.reshape(-1, 1, 1, 1))
    else:
        result = torch.stack([formula(x_0[t], eps[t], float(levels[t])) for t in range(11)])
    assert result.dtype == dtype
    exact = formula(x_0.double(), eps.double(), levels.reshape(-1, 1, 1, 1))
    terms = x_0.double().abs() + levels.reshape(-1, 1, 1, 1).neg().add(1).sqrt() * eps.abs()
    if formula is velocity:
        terms = eps.double().abs() + (1 - levels).sqrt().reshape(-1, 1, 1, 1) * x_0.abs()
    assert ((result.double() - exact).abs() <= 4 * UNITS[dtype] * terms).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_first_timesteps_get_their_own_noise_in_half_precision(dtype: torch.dtype) -> None:
    scheduler = DDPMScheduler()
    x_0, eps = torch.zeros(11, 1, dtype=dtype), torch.ones(11, 1, dtype=dtype)
    sigma = scheduler.add_noise(x_0, eps, torch.arange(11)).flatten().double()
    assert_close(sigma, (1 - scheduler.alpha_bar[:11]).sqrt(), rtol=2 * UNITS[dtype], atol=0)
    assert (sigma.diff() > 0).all()


def test_gradients_flow_to_image_and_noise() -> None:
    x_0 = torch.randn(2, 3, requires_grad=True)
    eps = torch.randn(2, 3, requires_grad=True)
    add_noise(x_0, eps, 0.36).sum().backward()
    assert_close(x_0.grad, torch.full((2, 3), 0.6))
    assert_close(eps.grad, torch.full((2, 3), 0.8))
