"""The face that both samplers share: tables, shapes of t, lists of timesteps, refusals."""

import re

import diffusers
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from scratch import DDIMScheduler, DDPMScheduler

BOTH = pytest.mark.parametrize("scheduler_class", [DDPMScheduler, DDIMScheduler])


@BOTH
def test_tables_and_attributes(scheduler_class) -> None:
    scheduler = scheduler_class(num_train_timesteps=500)
    assert len(scheduler) == 500
    assert (scheduler.order, scheduler.init_noise_sigma) == (1, 1.0)
    assert scheduler.num_inference_steps is None
    assert scheduler.alpha_bar.dtype == torch.float64
    assert_close(scheduler.alpha_bar.float(), scheduler.alphas_cumprod, rtol=0, atol=0)
    assert torch.equal(scheduler.timesteps, torch.arange(499, -1, -1))
    x = torch.randn(2, 3)
    assert scheduler.scale_model_input(x, 3) is x


@pytest.mark.parametrize("formula", ["add_noise", "get_velocity"])
@pytest.mark.parametrize("shape", [(), (1,), (4,), (4, 1)])
def test_every_shape_of_t_also_where_batch_is_width(formula: str, shape: tuple) -> None:
    scheduler = DDPMScheduler()
    x_0, noise = torch.randn(2, 4, 3, 4, 4)  # b = h = w: a t on the wrong axis would go unnoticed
    t = torch.tensor([999, 0, 500, 7])[: max(1, int(np.prod(shape)))].reshape(shape)
    result = getattr(scheduler, formula)(x_0, noise, t)
    for i, each in enumerate(t.flatten().expand(4)):
        ours = getattr(scheduler, formula)(x_0[i : i + 1], noise[i : i + 1], each)
        assert torch.equal(result[i : i + 1], ours)
    theirs = getattr(diffusers.DDPMScheduler(), formula)(x_0, noise, t)
    # Near t = 0 one float32 rounding of alpha_bar is 3e-4 of the noise's 0.01; 4 of them.
    assert_close(result, theirs, rtol=1e-5, atol=1.2e-5)


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64], ids=str
)
def test_any_integer_t(dtype: torch.dtype) -> None:
    scheduler, x = DDPMScheduler(), torch.randn(3, 1, 2, 2)
    t = torch.tensor([0, 1, 100])
    assert torch.equal(scheduler.add_noise(x, x, t.to(dtype)), scheduler.add_noise(x, x, t))


def test_images_of_any_rank_have_one_t_each() -> None:
    scheduler, t = DDPMScheduler(), torch.tensor([0, 999])
    for shape in [(2,), (2, 5), (2, 3, 4, 4), (2, 3, 4, 4, 4)]:
        x_t = scheduler.add_noise(torch.ones(shape), torch.zeros(shape), t)
        assert_close(x_t.reshape(2, -1)[:, 0], scheduler.alphas_cumprod[t].sqrt())


@pytest.mark.parametrize(
    ("t", "message"),
    [
        ([-1, 0, 0, 0], "timesteps must lie in 0..999, got [-1, 0, 0, 0]"),
        ([0, 0, 0, 1000], "timesteps must lie in 0..999, got [0, 0, 0, 1000]"),
        ([0, 1], "one for each of 4 images, got shape (2,)"),
        ([[0, 1, 2, 3]], "one for each of 4 images, got shape (1, 4)"),
        ([[0, 1], [2, 3]], "one for each of 4 images, got shape (2, 2)"),
        ([0.0, 1.0, 2.0, 3.0], "timesteps must be integers, got torch.float32"),
        ([True, False, True, True], "timesteps must be integers, got torch.bool"),
    ],
)
@pytest.mark.parametrize("formula", ["add_noise", "get_velocity"])
def test_wrong_t_is_refused(formula: str, t: list, message: str) -> None:
    x = torch.randn(4, 3, 4, 4)
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(DDPMScheduler(), formula)(x, x, torch.tensor(t))


@pytest.mark.parametrize(
    ("x_0", "noise", "message"),
    [
        (torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(2, 3), "floats in [-1, 1], got (2, 3)"),
        (torch.zeros(2, 3), torch.zeros(2, 1), "noise has shape (2, 1), expected (2, 3)"),
        (torch.zeros(2, 3), torch.zeros(2, 3).double(), "noise is torch.float64, expected torch.f"),
        (torch.zeros(()), torch.zeros(()), "images must be (b, c, h, w) floats"),
    ],
)
def test_wrong_images_are_refused(x_0: torch.Tensor, noise: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DDPMScheduler().add_noise(x_0, noise, torch.tensor(3))


@BOTH
@pytest.mark.parametrize("n", [1, 2, 10, 61, 250, 500])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_each_timestep_leads_to_the_next_of_the_list(scheduler_class, spacing: str, n: int) -> None:
    scheduler = scheduler_class(num_train_timesteps=500, timestep_spacing=spacing)
    scheduler.set_timesteps(n)
    visited = scheduler.timesteps.tolist()
    assert scheduler.num_inference_steps == len(visited) == n
    assert [scheduler.previous_timestep(t) for t in visited] == [*visited[1:], -1]
    assert [scheduler.previous_timestep(t) for t in scheduler.timesteps] == [*visited[1:], -1]


@BOTH
def test_a_list_of_ones_own(scheduler_class) -> None:
    scheduler = scheduler_class()
    for own in ([900, 20, 3], np.array([900, 20, 3]), torch.tensor([900, 20, 3])):
        scheduler.set_timesteps(timesteps=own)
        assert scheduler.timesteps.tolist() == [900, 20, 3]
        assert scheduler.previous_timestep(20) == 3
    scheduler.set_timesteps(np.int64(4), device="cpu")
    assert scheduler.timesteps.tolist() == [750, 500, 250, 0]


@BOTH
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"num_inference_steps": 1000},
            "in 1..500, since the scheduler has 500 timesteps, got 10",
        ),
        ({"num_inference_steps": 0}, "num_inference_steps must be a whole number in 1..500"),
        ({"num_inference_steps": 2.5}, "got 2.5; say num_inference_steps=500 or fewer"),
        ({"num_inference_steps": True}, "got True"),
        ({}, "give either num_inference_steps or timesteps, and not both"),
        ({"num_inference_steps": 2, "timesteps": [1]}, "and not both"),
        ({"timesteps": []}, "fall from at most 499 to at least 0, got []"),
        ({"timesteps": [3, 3]}, "fall from at most 499 to at least 0, got [3, 3]"),
        ({"timesteps": [3, 4]}, "got [3, 4]"),
        ({"timesteps": [500, 4]}, "got [500, 4]"),
        ({"timesteps": [5, -1]}, "got [5, -1]"),
        ({"timesteps": [5, 0.5]}, "whole numbers that fall"),
    ],
)
def test_wrong_lists_are_refused_and_the_old_one_stays(
    scheduler_class, arguments: dict, message: str
) -> None:
    scheduler = scheduler_class(num_train_timesteps=500)
    scheduler.set_timesteps(5)
    with pytest.raises(ValueError, match=re.escape(message)):
        scheduler.set_timesteps(**arguments)
    assert scheduler.timesteps.tolist() == [400, 300, 200, 100, 0]
    assert scheduler.num_inference_steps == 5


@BOTH
@pytest.mark.parametrize(
    ("timestep", "message"),
    [
        (7, "timestep 7 is not one of the 10 that set_timesteps chose; call step with the values"),
        (-1, "timestep -1 is not one of the 10"),
        (torch.tensor([0, 0]), "step takes one timestep for the whole batch, got 2"),
        (0.0, "timestep must be a whole number, got 0.0"),
        (torch.tensor(0.0), "timestep must be a whole number, got tensor(0.)"),
    ],
)
def test_a_step_from_elsewhere_is_refused(scheduler_class, timestep, message: str) -> None:
    scheduler = scheduler_class()
    scheduler.set_timesteps(10)
    x = torch.randn(2, 3, 4, 4)
    with pytest.raises(ValueError, match=re.escape(message)):
        scheduler.step(x, timestep, x)
    with pytest.raises(ValueError, match=r"model_output has shape \(2, 6, 4, 4\), expected \(2, 3"):
        scheduler.step(torch.cat([x, x], dim=1), 0, x)


@BOTH
@pytest.mark.parametrize("timestep", [900, torch.tensor(900), torch.tensor([900]), np.int64(900)])
def test_one_timestep_in_any_dress(scheduler_class, timestep) -> None:
    scheduler = scheduler_class()
    scheduler.set_timesteps(10)
    x = torch.randn(2, 3, 4, 4)
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    first = scheduler.step(x, timestep, x, generator=generators[0])
    again = scheduler.step(x, 900, x, generator=generators[1], return_dict=False)
    assert type(again) is tuple
    assert torch.equal(first.prev_sample, again[0])
    assert torch.equal(first.pred_original_sample, again[1])


@BOTH
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_train_timesteps": 0}, "num_train_timesteps must be a whole number of at least 1"),
        ({"num_train_timesteps": 10.0}, "whole number of at least 1, got 10.0"),
        ({"num_train_timesteps": "10"}, "whole number of at least 1, got '10'"),
        ({"num_train_timesteps": True}, "whole number of at least 1, got True"),
        ({"beta_start": 0.0}, "beta_start and beta_end must lie between 0 and 1, got 0.0 and 0.02"),
        ({"beta_end": 1.0}, "must lie between 0 and 1, got 0.0001 and 1.0"),
        ({"beta_end": float("nan")}, "must lie between 0 and 1, got 0.0001 and nan"),
        ({"beta_end": "0.02"}, "must lie between 0 and 1, got 0.0001 and '0.02'"),
        (
            {"beta_start": 0.9, "beta_end": 0.9},
            "alpha_bar underflows to 0 before the last",
        ),
        ({"beta_schedule": "laplace"}, "one of linear, scaled_linear, squaredcos_cap_v2, sigmoid"),
        ({"prediction_type": "eps"}, "one of epsilon, sample, v_prediction, got 'eps'"),
        ({"timestep_spacing": "even"}, "one of linspace, leading, trailing, got 'even'"),
        ({"steps_offset": 0.5}, "steps_offset must be a whole number, got 0.5"),
        ({"trained_betas": [0.1]}, "must hold num_train_timesteps=1000 betas in a row, got 1"),
        ({"trained_betas": 0.1}, "must hold num_train_timesteps=1000 betas in a row, got 0"),
        (
            {"trained_betas": [0.1, 1.0], "num_train_timesteps": 2},
            "0 and 1, got 1.0 at t=1",
        ),
        (
            {"trained_betas": [0.0, 0.1], "num_train_timesteps": 2},
            "0 and 1, got 0.0 at t=0",
        ),
        ({"clip_sample": "False"}, "clip_sample must be True or False, got 'False'"),
        ({"thresholding": 1}, "thresholding must be True or False, got 1"),
        ({"clip_sample_range": 0}, "clip_sample_range must be above 0, got 0"),
        ({"clip_sample_range": None}, "clip_sample_range must be a number, got None"),
        ({"sample_max_value": 0.5}, "sample_max_value must be at least 1, got 0.5"),
        ({"dynamic_thresholding_ratio": 1.1}, "must lie in [0, 1], got 1.1"),
        ({"rescale_betas_zero_snr": True}, "use prediction_type='v_prediction' or 'sample'"),
        (
            {
                "rescale_betas_zero_snr": True,
                "prediction_type": "sample",
                "num_train_timesteps": 1,
            },
            "rescale_betas_zero_snr=True needs num_train_timesteps of at least 2",
        ),
    ],
)
def test_wrong_arguments_are_refused(scheduler_class, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        scheduler_class(**arguments)


@BOTH
def test_numbers_from_numpy(scheduler_class, tmp_path) -> None:
    scheduler = scheduler_class(
        num_train_timesteps=np.int64(20), beta_end=np.float32(0.5), clip_sample=np.bool_(False)
    )
    assert len(scheduler) == 20
    assert type(scheduler.config.num_train_timesteps) is int
    assert scheduler.config.clip_sample is False
    scheduler.save_pretrained(tmp_path)
    assert scheduler_class.from_pretrained(tmp_path).config == scheduler.config


@BOTH
@pytest.mark.parametrize(
    "kind", [list, tuple, np.array, torch.tensor], ids=lambda kind: kind.__name__
)
def test_given_betas_of_any_kind_are_copied_and_saved(scheduler_class, kind, tmp_path) -> None:
    numbers = [0.5, 0.25, 0.125]  # exact in every dtype
    given = kind(numbers)
    scheduler = scheduler_class(num_train_timesteps=3, trained_betas=given)
    if not isinstance(given, tuple):
        given[0] = 0.75  # a caller's later change reaches neither config nor tables
    assert scheduler.config.trained_betas == (0.5, 0.25, 0.125)
    assert scheduler.alpha_bar.tolist() == [0.5, 0.375, 0.328125]
    scheduler.save_pretrained(tmp_path)
    assert scheduler_class.from_pretrained(tmp_path).config == scheduler.config
    theirs = getattr(diffusers, scheduler_class.__name__).from_pretrained(tmp_path)
    assert torch.equal(theirs.betas, scheduler.betas)
