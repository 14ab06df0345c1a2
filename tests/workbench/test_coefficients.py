"""The numbers of a step, read off the scheduler: held to the papers' formulas."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import scratch
import with_diffusers
from workbench.coefficients import NotLinear, coefficients_of, reverse_step

PACKAGES = {"scratch": scratch, "diffusers": with_diffusers}
# Diffusers keeps its tables in float32; ours are float64, and the probes lose 1e-10.
CLOSE = {"scratch": {"rtol": 1e-8, "atol": 1e-9}, "diffusers": {"rtol": 1e-3, "atol": 1e-6}}


def alpha_bars(T: int) -> torch.Tensor:
    return (1 - torch.linspace(1e-4, 0.02, T, dtype=torch.float64)).cumprod(0)


@pytest.mark.parametrize("backend", PACKAGES)
@pytest.mark.parametrize("clip", [True, False])
def test_ddpms_numbers_are_equations_7_and_15(backend: str, clip: bool) -> None:
    make = PACKAGES[backend].DDPMScheduler
    found = coefficients_of(make(num_train_timesteps=50, clip_sample=clip), 10)
    here = alpha_bars(50)[found.timesteps]
    before = torch.cat([here[1:], torch.ones(1, dtype=torch.float64)])
    beta, alpha = 1 - here / before, here / before
    of_x, of_out = here**-0.5, -((1 / here - 1) ** 0.5)
    c = before**0.5 * beta / (1 - here)
    d = alpha**0.5 * (1 - before) / (1 - here)
    sigma = ((1 - before) / (1 - here) * beta) ** 0.5
    zeros = torch.zeros_like(c)
    if not clip:
        c, d, e = zeros, d + c * of_x, c * of_out
    expected = [of_x, of_out, c, d, zeros if clip else e, sigma]
    torch.testing.assert_close(found.table, torch.stack(expected, 1), **CLOSE[backend])
    assert found.limit == (1.0 if clip else float("inf"))
    assert found.noisy == 9  # the last step draws nothing


@pytest.mark.parametrize("backend", PACKAGES)
@pytest.mark.parametrize("sampler", ["DDPMScheduler", "DDIMScheduler"])
@pytest.mark.parametrize("predicts", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("limit", [0.5, None])
def test_the_numbers_take_the_step_that_the_scheduler_takes(
    backend: str, sampler: str, predicts: str, limit: float | None
) -> None:
    clip = {"clip_sample": limit is not None, "clip_sample_range": limit or 1.0}
    scheduler = getattr(PACKAGES[backend], sampler)(
        num_train_timesteps=40, prediction_type=predicts, **clip
    )
    options = {"eta": 0.6} if sampler == "DDIMScheduler" else {}
    found = coefficients_of(scheduler, 8, **options)
    x, out = torch.randn(2, 3, 2, 4, 4, dtype=torch.float64)
    for t, numbers in zip(scheduler.timesteps, found.table, strict=True):
        seeds = [torch.Generator().manual_seed(4) for _ in range(2)]
        z = torch.randn(x.shape, generator=seeds[0], dtype=x.dtype)
        expected = scheduler.step(out, t, x, generator=seeds[1], **options).prev_sample
        made = reverse_step(x, out, z, numbers, found.limit)
        torch.testing.assert_close(made, expected, rtol=1e-8, atol=1e-8)


def test_no_noise_where_eta_is_zero() -> None:
    assert coefficients_of(scratch.DDIMScheduler(), 10, eta=0.0).noisy == 0


def test_the_larger_variance_is_beta() -> None:
    found = coefficients_of(scratch.DDPMScheduler(variance_type="fixed_large"), 1000)
    table = alpha_bars(1000).flip(0)
    before = torch.cat([table[1:], torch.ones(1, dtype=torch.float64)])
    expected = (1 - table / before) ** 0.5
    torch.testing.assert_close(found.table[:-1, -1], expected[:-1], rtol=1e-8, atol=1e-9)


class Squares(scratch.DDPMScheduler):
    """A step that is no sum of its inputs."""

    def step(self, *given: Any, **options: Any) -> Any:
        taken = super().step(*given, **options)
        return SimpleNamespace(
            prev_sample=taken.prev_sample + given[2] ** 2,
            pred_original_sample=taken.pred_original_sample,
        )


def test_what_is_no_such_step_is_refused_with_the_reason() -> None:
    with pytest.raises(NotLinear, match="dynamic thresholding looks at whole pictures"):
        coefficients_of(scratch.DDPMScheduler(thresholding=True), 5)
    with pytest.raises(NotLinear, match="Squares is a scheduler of its own"):
        coefficients_of(Squares(), 5)
    Squares.__name__, Squares.__module__ = "DDPMScheduler", "scratch.ddpm"
    with pytest.raises(NotLinear, match="the step of DDPMScheduler at t=800 is not linear"):
        coefficients_of(Squares(), 5)
