"""DDIM's step: eta from none to DDPM's noise, and the previous step that the list says."""

import re

import pytest
import torch
from torch.testing import assert_close

from scratch import DDIMScheduler, DDPMScheduler

X = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
OUT = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("n", [2, 10, 61, 1000])
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_eta_one_is_ddpm_with_the_small_variance(spacing: str, n: int, prediction: str) -> None:
    """Unclipped, or with eps computed anew from the clipped x_0; to the rounding of float64."""
    for rederive, clip in ((False, False), (True, True)):
        options = {
            "prediction_type": prediction,
            "timestep_spacing": spacing,
            "clip_sample": clip,
        }
        ddim, ddpm = DDIMScheduler(**options), DDPMScheduler(**options)
        ddim.set_timesteps(n)
        ddpm.set_timesteps(n)
        for t in ddim.timesteps[:: max(1, n // 5)]:
            steps = [
                ddim.step(
                    OUT.double(),
                    t,
                    X.double(),
                    eta=1.0,
                    use_clipped_model_output=rederive,
                    generator=seeded(0),
                ),
                ddpm.step(OUT.double(), t, X.double(), generator=seeded(0)),
            ]
            # 1e-7: what is left under the root is small where alpha_bar is, and x_0 large.
            assert_close(steps[0].prev_sample, steps[1].prev_sample, rtol=1e-7, atol=1e-9)
            assert torch.equal(steps[0].pred_original_sample, steps[1].pred_original_sample)


def test_with_clipping_the_networks_own_eps_is_kept_unless_asked() -> None:
    scheduler, ddpm = DDIMScheduler(), DDPMScheduler()
    kept, anew = (
        scheduler.step(
            OUT, 900, X, eta=1.0, use_clipped_model_output=rederive, generator=seeded(0)
        ).prev_sample
        for rederive in (False, True)
    )
    step = ddpm.step(OUT, 900, X, generator=seeded(0)).prev_sample
    # eps anew is a difference of float32 numbers near 1, and is scaled by at most 1 afterwards.
    assert_close(anew, step, rtol=1e-4, atol=1e-5)
    assert (kept - step).abs().max() > 0.1


def test_eta_zero_draws_nothing_and_takes_no_noise() -> None:
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(10)
    generator = seeded(0)
    first = scheduler.step(OUT, 500, X, generator=generator).prev_sample
    assert torch.equal(generator.get_state(), seeded(0).get_state())
    assert torch.equal(first, scheduler.step(OUT, 500, X).prev_sample)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("to_one", [True, False])
def test_the_last_step_draws_nothing_whatever_eta(spacing: str, to_one: bool) -> None:
    scheduler = DDIMScheduler(timestep_spacing=spacing, set_alpha_to_one=to_one)
    scheduler.set_timesteps(10)
    *_, before, last = scheduler.timesteps
    steps = [
        scheduler.step(OUT, last, X, eta=1.0, generator=seeded(seed)).prev_sample for seed in (0, 1)
    ]
    assert torch.equal(*steps)
    steps = [
        scheduler.step(OUT, before, X, eta=1.0, generator=seeded(seed)).prev_sample
        for seed in (0, 1)
    ]
    assert not torch.equal(*steps)


def test_where_the_chain_ends() -> None:
    """At x_0, or at the noise level of t = 0 with `set_alpha_to_one=False`."""
    for to_one, alpha_bar in ((True, 1.0), (False, DDIMScheduler().alpha_bar[0].item())):
        scheduler = DDIMScheduler(set_alpha_to_one=to_one, timestep_spacing="trailing")
        scheduler.set_timesteps(10)
        assert scheduler.final_alpha_bar == alpha_bar
        step = scheduler.step(OUT, 99, X)
        expected = alpha_bar**0.5 * step.pred_original_sample + (1 - alpha_bar) ** 0.5 * OUT
        assert_close(step.prev_sample, expected)


@pytest.mark.parametrize("spacing", ["linspace", "trailing"])
@pytest.mark.parametrize("n", [3, 7, 10, 61])
def test_a_chain_with_the_exact_network_lands_on_the_data(spacing: str, n: int) -> None:
    """N(0.4, 0.5^2) data: at eta = 0 the chain is a map, x -> 0.4 + gain (x - ...), seen exactly.

    With Diffusers' previous step `t - T // n` ten linspace steps end at std 0.419; with the list's
    own at 0.362, as the same map with exact levels gives.
    """
    mean, std = 0.4, 0.5
    scheduler = DDIMScheduler(timestep_spacing=spacing, clip_sample=False)
    scheduler.set_timesteps(n)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    x, slope = ends.clone(), 1.0
    levels = [*scheduler.alpha_bar[scheduler.timesteps].tolist(), 1.0]
    for i, t in enumerate(scheduler.timesteps):
        alpha_bar, alpha_bar_prev = levels[i], levels[i + 1]
        total = alpha_bar * std**2 + 1 - alpha_bar  # the variance of x_t
        eps = (1 - alpha_bar) ** 0.5 * (x - alpha_bar**0.5 * mean) / total
        x = scheduler.step(eps, t, x).prev_sample
        # The same map from the covariance of x_t with x_0 and with eps.
        slope *= (
            alpha_bar_prev**0.5 * alpha_bar**0.5 * std**2
            + (1 - alpha_bar_prev) ** 0.5 * (1 - alpha_bar) ** 0.5
        ) / total
    assert (x[1] - x[0]).item() == pytest.approx(slope, rel=1e-9)
    if (spacing, n) == ("linspace", 10):
        assert slope == pytest.approx(0.362, abs=5e-4)


def test_noise_may_be_given() -> None:
    scheduler = DDIMScheduler()
    z = torch.randn(X.shape, generator=seeded(0))
    given = scheduler.step(OUT, 500, X, eta=0.5, variance_noise=z).prev_sample
    drawn = scheduler.step(OUT, 500, X, eta=0.5, generator=seeded(0)).prev_sample
    assert torch.equal(given, drawn)
    both = [scheduler.step(OUT, 500, X, eta=eta, variance_noise=z)[0] for eta in (0.5, 1.0)]
    assert not torch.equal(*both)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eta": 1.5}, "eta must lie in [0, 1] (0 draws no noise, 1 is DDPM), got 1.5"),
        ({"eta": -0.1}, "eta must lie in [0, 1]"),
        ({"eta": True}, "eta must lie in [0, 1]"),
        ({"eta": float("nan")}, "eta must lie in [0, 1]"),
        ({"variance_noise": X, "generator": seeded(0)}, "give either generator or variance_noise"),
        ({"variance_noise": X[:1]}, "variance_noise has shape (1, 3, 4, 4), expected (2, 3, 4, 4)"),
    ],
)
def test_wrong_noise_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DDIMScheduler().step(OUT, 500, X, **arguments)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_the_dtype_of_the_image_is_kept(dtype: torch.dtype, prediction: str) -> None:
    scheduler = DDIMScheduler(prediction_type=prediction)
    for t in (999, 500, 1, 0):
        for rederive in (False, True):
            step = scheduler.step(OUT.to(dtype), t, X.to(dtype), 0.5, rederive, seeded(0))
            assert step.prev_sample.dtype == step.pred_original_sample.dtype == dtype
            assert step.prev_sample.isfinite().all()


def test_before_set_timesteps_the_whole_chain_is_walked() -> None:
    scheduler = DDIMScheduler(num_train_timesteps=20)
    assert [scheduler.previous_timestep(t) for t in range(20)] == list(range(-1, 19))
    ours = scheduler.step(OUT, 7, X).prev_sample
    scheduler.set_timesteps(20)
    assert torch.equal(ours, scheduler.step(OUT, 7, X).prev_sample)
