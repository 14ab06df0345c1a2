"""What both schedulers refuse: arguments, images, t and lists, each in one line."""

import re

import pytest
import torch

from scratch import DDIMScheduler, DDPMScheduler

BOTH = pytest.mark.parametrize("scheduler_class", [DDPMScheduler, DDIMScheduler])


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
        (
            torch.zeros(2, 3, dtype=torch.uint8),
            torch.zeros(2, 3),
            "original_samples must be a tensor (b, c, h, w) of",
        ),
        (torch.zeros(2, 3).numpy(), torch.zeros(2, 3), "floats, got ndarray; bring pixels to"),
        (torch.zeros(2, 3), None, "noise must be a tensor (b, c, h, w) of floats, got NoneType"),
        (torch.zeros(2, 3), torch.zeros(2, 1), "noise has shape (2, 1), expected (2, 3)"),
        (torch.zeros(2, 3), torch.zeros(2, 3).double(), "noise is torch.float64, expected torch.f"),
        (
            torch.zeros(()),
            torch.zeros(()),
            "original_samples must be a tensor (b, c, h, w) of floats, got ()",
        ),
    ],
)
def test_wrong_images_are_refused(x_0: torch.Tensor, noise: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DDPMScheduler().add_noise(x_0, noise, torch.tensor(3))


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
        ({"timesteps": 5}, "whole numbers that fall from at most 499 to at least 0, got 5"),
        (
            {"timesteps": {5: 1}},
            "whole numbers that fall from at most 499 to at least 0, got {5: 1}",
        ),
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
@pytest.mark.parametrize(
    ("model_output", "sample", "name"),
    [
        (torch.zeros(2, 3).long(), torch.zeros(2, 3), "model_output"),
        (torch.zeros(2, 3), torch.zeros(2, 3).long(), "sample"),
        (None, torch.zeros(2, 3), "model_output"),
    ],
)
def test_a_step_takes_floats(scheduler_class, model_output, sample, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a tensor .* of floats, got "):
        scheduler_class().step(model_output, 0, sample)


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
