"""The beta curves: what defines each, checked in other words, and their ranges."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from scratch import DDPMScheduler, schedule

EXACT = {"rtol": 1e-12, "atol": 1e-15}  # float64 arithmetic, some hundred roundings of 1e-16
counts = st.integers(2, 1200)
betas_in_range = st.floats(1e-6, 0.3)


@given(counts, betas_in_range, betas_in_range)
@settings(max_examples=40)
def test_curves_go_from_start_to_end_and_stay_between(T: int, start: float, end: float) -> None:
    low, high = sorted([start, end])
    slack = 1e-12 * high
    for curve in (schedule.linear, schedule.scaled_linear, schedule.sigmoid):
        betas = curve(T, start, end)
        assert betas.shape == (T,)
        assert betas.dtype == torch.float64
        assert low - slack <= betas.min()
        assert betas.max() <= high + slack
    for curve in (schedule.linear, schedule.scaled_linear):
        ends = torch.tensor([start, end], dtype=torch.float64)
        assert_close(curve(T, start, end)[[0, -1]], ends, **EXACT)


def test_linear_has_equal_steps_and_scaled_linear_equal_steps_of_the_root() -> None:
    for values in (
        schedule.linear(1000, 1e-4, 0.02),
        schedule.scaled_linear(1000, 1e-4, 0.02).sqrt(),
    ):
        steps = values.diff()
        assert_close(steps, steps.mean().expand(999), rtol=1e-9, atol=0)  # 1e-16 of 0.1 each


def test_sigmoid_is_the_logistic_curve_from_minus_6_to_6() -> None:
    start, end = 1e-4, 0.02
    betas = schedule.sigmoid(1000, start, end)
    assert_close(betas + betas.flip(0), torch.full_like(betas, start + end), **EXACT)  # odd
    logits = ((betas - start) / (end - start)).logit()
    # The logit grows roundings of 1e-16 by 1 / (p (1 - p)), 400 at the ends.
    assert_close(logits, torch.linspace(-6, 6, 1000, dtype=torch.float64), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("T", [1, 2, 10, 1000])
def test_cosine_alpha_bar_is_a_squared_cosine_until_the_cap(T: int) -> None:
    betas = schedule.cosine(T)
    # cos^2 is (1 + cos of twice the angle) / 2; time goes from 0 to 1 in T steps.
    time = torch.arange(1, T + 1, dtype=torch.float64) / T
    twice = (time + 0.008) / 1.008 * math.pi
    at_start = 1 + math.cos(0.008 / 1.008 * math.pi)
    expected = (1 + twice.cos()) / at_start
    # Up to 1,000 factors of 0.25 and more, each with a rounding of 1e-16
    assert_close((1 - betas).cumprod(0)[:-1], expected[:-1], rtol=1e-9, atol=0)
    assert betas[-1] == 0.999
    assert (betas[:-1] < 0.999).all()


def test_cosine_without_the_cap_ends_at_no_signal() -> None:
    betas = schedule.cosine(10, max_beta=1.0)
    # The cosine of the rounded pi / 2 is 6e-17.
    assert betas[-1] == pytest.approx(1, abs=1e-15)
    assert_close(betas[:-1], schedule.cosine(10)[:-1], **EXACT)


@given(counts, betas_in_range, betas_in_range)
@settings(max_examples=40)
def test_rescaling_moves_the_root_of_alpha_bar_along_a_line(
    T: int, start: float, end: float
) -> None:
    before = schedule.linear(T, start, end)
    after = schedule.zero_terminal_snr(before)
    old, new = ((1 - b).cumprod(0).sqrt() for b in (before, after))
    assert after[-1] == 1
    assert new[-1] == 0
    # The root of alpha_bar is `slope * old + shift`: two points fix the line, all others lie on it.
    slope = old[0] / (old[0] - old[-1])
    # beta = 1 - alpha rounds at 1e-16: 1e-6 of an alpha of 1e-10, as the last ones can be.
    assert_close(new, slope * (old - old[-1]), rtol=1e-6, atol=1e-14)
    assert_close(new[0], old[0], **EXACT)
    assert ((after > 0) & (after <= 1)).all()


def test_rescaling_twice_changes_nothing_more() -> None:
    once = schedule.zero_terminal_snr(schedule.linear(1000, 1e-4, 0.02))
    # a few roundings of 1e-16, relative to betas of 1e-4 and more
    assert_close(schedule.zero_terminal_snr(once), once, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("curve", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
def test_the_schedules_are_different_ones(curve: str) -> None:
    own = DDPMScheduler(beta_schedule=curve).alpha_bar
    others = {"linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"} - {curve}
    for other in others:
        distance = (own - DDPMScheduler(beta_schedule=other).alpha_bar).abs().max()
        assert distance > 0.05, (curve, other)
