"""The reverse formulas against what probability says: Bayes on a Gaussian, and round trips."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from scratch import schedule
from scratch.ddim import ddim_mean, ddim_sigma
from scratch.forward import add_noise, velocity
from scratch.reverse import (
    dynamic_threshold,
    eps_from_v,
    eps_from_x_0,
    posterior_mean,
    posterior_variance,
    x_0_from_eps,
    x_0_from_v,
)

LINEAR = (1 - schedule.linear(1000, 1e-4, 0.02)).cumprod(0)
one = torch.ones(1, dtype=torch.float64)
zero = torch.zeros(1, dtype=torch.float64)


@st.composite
def two_levels(draw: st.DrawFn) -> tuple[float, float]:
    """(alpha_bar, alpha_bar_prev), the second nearer to 1, neither at an end."""
    alpha_bar = draw(st.floats(1e-4, 0.99))
    return alpha_bar, draw(st.floats(alpha_bar + 1e-3, 0.9999))


def coefficients(alpha_bar: float, alpha_bar_prev: float) -> tuple[float, float]:
    """What the posterior mean gives to x_0 and to x_t."""
    of_x_0 = posterior_mean(one, zero, alpha_bar, alpha_bar_prev).item()
    return of_x_0, posterior_mean(zero, one, alpha_bar, alpha_bar_prev).item()


@given(two_levels(), st.floats(-1, 1), st.floats(-3, 3))
@settings(max_examples=100)
def test_posterior_is_bayes(levels: tuple[float, float], x_0: float, x_t: float) -> None:
    """Prior q(x_prev|x_0) times likelihood q(x_t|x_prev): precisions add, means weigh by them."""
    alpha_bar, alpha_bar_prev = levels
    alpha = alpha_bar / alpha_bar_prev
    prior_mean, prior_precision = math.sqrt(alpha_bar_prev) * x_0, 1 / (1 - alpha_bar_prev)
    # x_t = sqrt(alpha) x_prev + noise: seen from x_prev, a measurement of x_t / sqrt(alpha).
    measured, precision = x_t / math.sqrt(alpha), alpha / (1 - alpha)
    both = prior_precision + precision
    mean = (prior_precision * prior_mean + precision * measured) / both
    # 1e-9: precisions lose up to 1e4 * 1e-16 / 1e-3 where 1 - alpha is smallest
    assert posterior_variance(alpha_bar, alpha_bar_prev) == pytest.approx(1 / both, rel=1e-9)
    ours = posterior_mean(one * x_0, one * x_t, alpha_bar, alpha_bar_prev).item()
    assert ours == pytest.approx(mean, rel=1e-9, abs=1e-9)


@given(two_levels())
@settings(max_examples=100)
def test_posterior_of_a_noisy_image_is_the_forward_law_one_step_back(levels) -> None:
    """Averaged over x_t, q(x_prev|x_t,x_0) must be q(x_prev|x_0)."""
    alpha_bar, alpha_bar_prev = levels
    of_x_0, of_x_t = coefficients(alpha_bar, alpha_bar_prev)
    mean = of_x_0 + of_x_t * math.sqrt(alpha_bar)
    variance = of_x_t**2 * (1 - alpha_bar) + posterior_variance(alpha_bar, alpha_bar_prev)
    assert mean == pytest.approx(math.sqrt(alpha_bar_prev), rel=1e-9)
    assert variance == pytest.approx(1 - alpha_bar_prev, rel=1e-9)


@given(two_levels(), st.floats(-3, 3), st.floats(-3, 3))
@settings(max_examples=100)
def test_unclipped_it_is_the_printed_epsilon_form(levels, x_t: float, eps: float) -> None:
    """Ho et al. 2020, equation 11."""
    alpha_bar, alpha_bar_prev = levels
    alpha = alpha_bar / alpha_bar_prev
    printed = (x_t - (1 - alpha) / math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha)
    x_0 = x_0_from_eps(one * x_t, one * eps, alpha_bar)
    ours = posterior_mean(x_0, one * x_t, alpha_bar, alpha_bar_prev).item()
    assert ours == pytest.approx(printed, rel=1e-9, abs=1e-9)


def test_both_variances_are_right_for_the_data_they_are_right_for() -> None:
    """Ho et al. 2020, Section 3.2, by recursion: a chain ends at its data's variance."""
    point, normal = 1 - float(LINEAR[-1]), 1.0  # the variances of q(x_T) for these data
    for t in range(999, -1, -1):
        alpha_bar, prev = float(LINEAR[t]), float(LINEAR[t - 1]) if t else 1.0
        of_x_0, of_x_t = coefficients(alpha_bar, prev)
        # Data that are the point 0: the right x_0 is 0 whatever x_t is.
        point = of_x_t**2 * point + posterior_variance(alpha_bar, prev)
        # Data that are N(0, 1): the best guess of x_0 is sqrt(alpha_bar) x_t.
        gain = of_x_0 * math.sqrt(alpha_bar) + of_x_t
        normal = gain**2 * normal + (1 - alpha_bar / prev)
        assert point == pytest.approx(1 - prev, rel=1e-9, abs=1e-12), t
        assert normal == pytest.approx(1, rel=1e-9), t


@given(two_levels())
@settings(max_examples=50)
def test_the_small_variance_is_below_the_large_one(levels) -> None:
    alpha_bar, alpha_bar_prev = levels
    small, large = posterior_variance(alpha_bar, alpha_bar_prev), 1 - alpha_bar / alpha_bar_prev
    assert 0 < small < large


def test_the_last_step_gives_x_0_and_no_variance() -> None:
    x_0, x_t = torch.randn(2, 3), torch.randn(2, 3)
    assert torch.equal(posterior_mean(x_0, x_t, 0.9999, 1.0), x_0)
    assert posterior_variance(0.9999, 1.0) == 0


def test_no_signal_left_is_no_trouble() -> None:
    """After zero-terminal-SNR rescaling alpha_bar is 0 at T-1: the mean forgets x_t."""
    x_0, x_t = torch.randn(2, 3), torch.randn(2, 3)
    assert_close(posterior_mean(x_0, x_t, 0.0, 0.36), 0.6 * x_0)
    assert posterior_variance(0.0, 0.36) == pytest.approx(0.64)
    assert_close(x_0_from_v(x_t, -x_0, 0.0), x_0)


@given(st.floats(1e-3, 0.999), st.integers(0, 99))
@settings(max_examples=50)
def test_round_trips_between_x_0_eps_and_v(alpha_bar: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x_0, eps = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    x_t, v = add_noise(x_0, eps, alpha_bar), velocity(x_0, eps, alpha_bar)
    close = {"rtol": 1e-12, "atol": 1e-12}  # at worst 1e-16 divided by sqrt(1e-3) a few times
    assert_close(x_0_from_eps(x_t, eps, alpha_bar), x_0, **close)
    assert_close(x_0_from_v(x_t, v, alpha_bar), x_0, **close)
    assert_close(eps_from_x_0(x_t, x_0, alpha_bar), eps, **close)
    assert_close(eps_from_v(x_t, v, alpha_bar), eps, **close)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_dtype_of_the_image_is_kept_for_one_t_and_for_many(dtype: torch.dtype) -> None:
    x, y = torch.randn(2, 5, 3, 4, 4).to(dtype)
    many = LINEAR[[10, 200, 500, 700, 900]].reshape(-1, 1, 1, 1)
    before = LINEAR[[9, 100, 499, 500, 800]].reshape(-1, 1, 1, 1)
    for formula in (x_0_from_eps, x_0_from_v, eps_from_x_0, eps_from_v):
        together = formula(x, y, many)
        apart = torch.cat([formula(x[i : i + 1], y[i : i + 1], many[i].item()) for i in range(5)])
        assert together.dtype == apart.dtype == dtype
        # Casting a coefficient to `dtype` first, or multiplying by a Python number, differ by it.
        assert_close(
            together, apart, rtol=8 * torch.finfo(dtype).eps, atol=64 * torch.finfo(dtype).eps
        )
    together = posterior_mean(x, y, many, before)
    assert together.dtype == dynamic_threshold(x, 0.9, 2.0).dtype == dtype
    assert ddim_mean(x, y, 0.5, 0.1).dtype == dtype
    assert posterior_variance(many, before).dtype == torch.float64


def test_dynamic_threshold_by_hand() -> None:
    """Saharia et al. 2022, Section 2.3, image by image, with Python's own sorting."""
    x_0 = 3 * torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)).double()
    x_0[0] /= 100  # an image within [-1, 1] stays as it is
    result = dynamic_threshold(x_0, ratio=0.9, max_value=4.0)
    for image, ours in zip(x_0, result, strict=True):
        sizes = sorted(image.abs().flatten().tolist())
        place = 0.9 * (len(sizes) - 1)
        low = math.floor(place)
        s = sizes[low] + (place - low) * (sizes[low + 1] - sizes[low])
        s = min(max(s, 1.0), 4.0)
        assert_close(ours, image.clamp(-s, s) / s, rtol=1e-12, atol=0)
    assert torch.equal(result[0], x_0[0])


def test_dynamic_threshold_judges_images_one_by_one_and_can_be_plain_clipping() -> None:
    x_0 = 2 * torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([dynamic_threshold(image[None], 0.95, 3.0) for image in x_0])
    assert torch.equal(dynamic_threshold(x_0, 0.95, 3.0), alone)
    assert torch.equal(dynamic_threshold(x_0, 0.95, 1.0), x_0.clamp(-1, 1))
    assert not torch.equal(dynamic_threshold(x_0, 0.95, 3.0), dynamic_threshold(x_0, 0.5, 3.0))


@given(two_levels())
@settings(max_examples=100)
def test_ddim_at_eta_one_is_the_ddpm_step(levels) -> None:
    """Song et al. 2020, Section 4.1: with sigma^2 = beta-tilde both steps are one."""
    alpha_bar, alpha_bar_prev = levels
    x_t, eps = 0.7 * one, -1.3 * one
    x_0 = x_0_from_eps(x_t, eps, alpha_bar)
    sigma = ddim_sigma(1.0, alpha_bar, alpha_bar_prev)
    assert sigma**2 == pytest.approx(posterior_variance(alpha_bar, alpha_bar_prev), rel=1e-12)
    ddpm = posterior_mean(x_0, x_t, alpha_bar, alpha_bar_prev)
    # 1e-7: at the ends sqrt(1 - alpha_bar_prev - sigma^2) is the root of a small difference
    assert_close(ddim_mean(x_0, eps, alpha_bar_prev, sigma), ddpm, rtol=1e-7, atol=1e-7)


@given(two_levels(), st.floats(0, 1))
@settings(max_examples=100)
def test_ddim_keeps_the_forward_law_for_every_eta(levels, eta: float) -> None:
    """Lemma 1 of Song et al. 2020: x_prev is N(sqrt(alpha_bar_prev) x_0, 1 - alpha_bar_prev)."""
    alpha_bar, alpha_bar_prev = levels
    sigma = ddim_sigma(eta, alpha_bar, alpha_bar_prev)
    of_x_0 = ddim_mean(one, zero, alpha_bar_prev, sigma).item()
    of_eps = ddim_mean(zero, one, alpha_bar_prev, sigma).item()
    assert of_x_0 == pytest.approx(math.sqrt(alpha_bar_prev), rel=1e-12)
    assert of_eps**2 + sigma**2 == pytest.approx(1 - alpha_bar_prev, rel=1e-9, abs=1e-12)
