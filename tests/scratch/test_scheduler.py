"""The face that both samplers share: tables, shapes of t, lists of timesteps."""

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
def test_the_previous_timestep_of_a_tensor_is_one(scheduler_class) -> None:
    """As the library's of a list: it has `.item()`, lies where the timesteps lie, and is ()."""
    scheduler = scheduler_class()
    theirs = diffusers.DDPMScheduler()
    for each in (scheduler, theirs):
        each.set_timesteps(timesteps=[100, 87, 0])
        of_tensors = [each.previous_timestep(t) for t in each.timesteps]
        assert [t.item() for t in of_tensors] == [87, 0, -1]
        assert {(t.shape, t.dtype) for t in of_tensors} == {((), torch.int64)}
    assert type(scheduler.previous_timestep(87)) is int
    assert type(scheduler.previous_timestep(np.int64(87))) is int


@BOTH
def test_a_result_is_a_tuple_that_has_values_too(scheduler_class) -> None:
    x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    result = scheduler_class().step(0.1 * x, 0, x)
    assert all(a is b for a, b in zip(result.values(), tuple(result), strict=True))
    theirs = getattr(diffusers, scheduler_class.__name__)()
    theirs.set_timesteps(1000)
    for ours, other in zip(result.values(), theirs.step(0.1 * x, 0, x).values(), strict=True):
        assert_close(ours, other)


@BOTH
def test_compatibles_take_the_config(scheduler_class) -> None:
    scheduler = scheduler_class(num_train_timesteps=30, beta_schedule="squaredcos_cap_v2")
    assert {cls.__name__ for cls in scheduler.compatibles} == {"DDPMScheduler", "DDIMScheduler"}
    for cls in scheduler.compatibles:
        assert torch.equal(cls.from_config(scheduler.config).alpha_bar, scheduler.alpha_bar)


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


@BOTH
def test_a_step_clips_thresholds_or_leaves_what_the_network_says(scheduler_class) -> None:
    x_0 = torch.tensor([[[[-3.0, -0.5, 0.5, 3.0]]], [[[-0.9, -0.5, 0.5, 0.9]]]])  # (2, 1, 1, 4)

    def clipped(**options) -> list:
        scheduler = scheduler_class(prediction_type="sample", **options)
        return scheduler.step(x_0, 0, x_0).pred_original_sample[:, 0, 0].tolist()

    inside = [-0.9, -0.5, 0.5, 0.9]
    as_given = pytest.approx  # float32 lists
    assert clipped(clip_sample=False) == [as_given([-3, -0.5, 0.5, 3]), as_given(inside)]
    assert clipped() == [as_given([-1, -0.5, 0.5, 1]), as_given(inside)]
    assert clipped(clip_sample_range=2.0) == [as_given([-2, -0.5, 0.5, 2]), as_given(inside)]
    # Dynamic thresholding goes first: each image is clipped to its own quantile and divided by it.
    halved = clipped(thresholding=True, dynamic_thresholding_ratio=1.0, sample_max_value=3.0)
    assert halved == [as_given([-1, -1 / 6, 1 / 6, 1]), as_given(inside)]
