"""DDPM's step: built from the formulas, with its noise in the right places and no others."""

import math
from itertools import pairwise

import pytest
import torch
from torch.testing import assert_close

from scratch import DDPMScheduler, reverse

X = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
OUT = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n", [None, 50])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_a_step_is_the_four_formulas_by_hand(n: int | None, variance: str) -> None:
    """What a reader would write with `scratch.reverse`, at every timestep of the chain."""
    scheduler = DDPMScheduler(variance_type=variance)
    if n:
        scheduler.set_timesteps(n)
    for t, t_prev in pairwise([*scheduler.timesteps.tolist(), -1]):
        alpha_bar = float(scheduler.alpha_bar[t])
        alpha_bar_prev = float(scheduler.alpha_bar[t_prev]) if t_prev >= 0 else 1.0
        x_0 = reverse.x_0_from_eps(X, OUT, alpha_bar).clamp(-1, 1)
        x_prev = reverse.posterior_mean(x_0, X, alpha_bar, alpha_bar_prev)
        if t_prev >= 0:
            sigma2 = reverse.posterior_variance(alpha_bar, alpha_bar_prev)
            if variance == "fixed_large":
                sigma2 = 1 - alpha_bar / alpha_bar_prev
            x_prev = x_prev + math.sqrt(sigma2) * torch.randn(X.shape, generator=seeded(t))
        step = scheduler.step(OUT, t, X, generator=seeded(t))
        assert torch.equal(step.prev_sample, x_prev), t
        assert torch.equal(step.pred_original_sample, x_0), t


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("fixed_small", "fixed_small_log", True),
        ("fixed_large", "fixed_large_log", True),
        ("fixed_small", "fixed_large", False),
    ],
)
def test_variance_types_are_two_laws_under_four_names(a: str, b: str, same: bool) -> None:
    steps = [
        DDPMScheduler(variance_type=kind).step(OUT, 500, X, generator=seeded(0)) for kind in (a, b)
    ]
    assert torch.equal(steps[0].prev_sample, steps[1].prev_sample) == same


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_noise_is_drawn_once_while_a_previous_step_exists(spacing: str, variance: str) -> None:
    scheduler = DDPMScheduler(timestep_spacing=spacing, variance_type=variance)
    scheduler.set_timesteps(10)
    *inner, last = scheduler.timesteps.tolist()
    for t in inner:
        generator = seeded(3)
        a = scheduler.step(OUT, t, X, generator=generator).prev_sample
        assert not torch.equal(a, scheduler.step(OUT, t, X, generator=seeded(4)).prev_sample)
        once = seeded(3)
        torch.randn(X.shape, generator=once)
        assert torch.equal(generator.get_state(), once.get_state())
    generator = seeded(3)
    final = scheduler.step(OUT, last, X, generator=generator)
    assert torch.equal(generator.get_state(), seeded(3).get_state())
    assert_close(final.prev_sample, final.pred_original_sample, rtol=1e-6, atol=1e-6)  # mean is x_0


def test_a_list_of_generators_gives_each_picture_its_own_noise() -> None:
    scheduler = DDPMScheduler()
    both = scheduler.step(OUT, 500, X, generator=[seeded(1), seeded(2)]).prev_sample
    for i in range(2):
        alone = scheduler.step(OUT[i : i + 1], 500, X[i : i + 1], generator=seeded(i + 1))
        assert torch.equal(both[i : i + 1], alone.prev_sample)
    with pytest.raises(ValueError, match="1 generators for 2 images"):
        scheduler.step(OUT, 500, X, generator=[seeded(1)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("limit", [{}, {"clip_sample": False}, {"thresholding": True}])
def test_the_dtype_of_the_image_is_kept(dtype, prediction: str, limit: dict) -> None:
    scheduler = DDPMScheduler(prediction_type=prediction, **limit)
    for t in (999, 500, 1, 0):
        step = scheduler.step(OUT.to(dtype), t, X.to(dtype), generator=seeded(0))
        assert step.prev_sample.dtype == step.pred_original_sample.dtype == dtype
        assert step.prev_sample.isfinite().all()


def test_half_precision_output_in_a_float32_chain() -> None:
    """As under autocast: the network answers in bfloat16, the picture stays float32."""
    step = DDPMScheduler().step(OUT.bfloat16(), 500, X, generator=seeded(0))
    assert step.prev_sample.dtype == torch.float32


def test_clipping_thresholding_and_neither_are_three_results() -> None:
    options = [
        {"clip_sample": False},
        {"clip_sample": True},
        {"clip_sample": True, "clip_sample_range": 0.5},
        {"thresholding": True, "sample_max_value": 9.0},
        {"thresholding": True, "sample_max_value": 2.0},
        {"thresholding": True, "sample_max_value": 9.0, "dynamic_thresholding_ratio": 0.5},
    ]
    x_0 = [DDPMScheduler(**o).step(OUT, 500, X).pred_original_sample for o in options]
    assert [float(x.abs().max()) for x in x_0[1:]] == [1.0, 0.5, 1.0, 1.0, 1.0]
    assert x_0[0].abs().max() > 9
    for i, first in enumerate(x_0):
        assert not any(torch.equal(first, other) for other in x_0[i + 1 :])
    both = DDPMScheduler(clip_sample=True, thresholding=True, sample_max_value=9.0)
    assert torch.equal(both.step(OUT, 500, X).pred_original_sample, x_0[3])  # instead of clipping


@pytest.mark.parametrize("n", [1000, 50, 10])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_a_chain_with_the_exact_network_for_one_point_ends_there(spacing: str, n: int) -> None:
    """Data that are the point c: eps = (x_t - sqrt(alpha_bar) c) / sqrt(1 - alpha_bar)."""
    scheduler = DDPMScheduler(timestep_spacing=spacing)
    scheduler.set_timesteps(n)
    c, generator = torch.full((64,), 0.3, dtype=torch.float64), seeded(0)
    x = torch.randn(64, generator=generator, dtype=torch.float64)
    for t in scheduler.timesteps:
        alpha_bar = scheduler.alpha_bar[t]
        eps = (x - alpha_bar.sqrt() * c) / (1 - alpha_bar).sqrt()
        x = scheduler.step(eps, t, x, generator=generator).prev_sample
    assert_close(x, c, rtol=0, atol=1e-10)  # the last step divides 1e-16 by sqrt(1 - alpha_bar_0)


def variances_along_a_chain(variance_type: str, n: int) -> float:
    """What `step` makes of N(0, 1) data's variance, read off the step itself: no sampling error."""
    scheduler = DDPMScheduler(variance_type=variance_type, clip_sample=False)
    scheduler.set_timesteps(n)
    one, variance = torch.ones(1, dtype=torch.float64), 1.0
    for t in scheduler.timesteps:
        eps = (1 - scheduler.alpha_bar[t]).sqrt() * one  # the best guess of eps at x_t = 1
        gain = scheduler.step(eps, t, one, generator=seeded(0)).prev_sample
        still = scheduler.step(0 * one, t, 0 * one, generator=seeded(0)).prev_sample
        z = torch.randn(1, generator=seeded(0), dtype=torch.float64)
        variance = (gain - still).item() ** 2 * variance + (still / z).item() ** 2
    return variance


@pytest.mark.parametrize("n", [1000, 50, 10])
def test_normal_data_keep_their_variance_with_fixed_large(n: int) -> None:
    """Exact for all but the last step, which adds no noise and loses 1 - alpha_bar_0 = 1e-4."""
    assert variances_along_a_chain("fixed_large", n) == pytest.approx(1 - 1e-4, abs=1e-9)
    assert variances_along_a_chain("fixed_small", n) < 1 - 1e-3


def test_the_argument_of_the_tutorial() -> None:
    assert len(DDPMScheduler(500)) == len(DDPMScheduler(num_train_timesteps=500)) == 500
