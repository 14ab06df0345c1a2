"""Who draws what: generators alone and in lists, dtypes, and the same numbers as Diffusers."""

import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor

from scratch.noise import draw_noise, draw_noise_like

CPU = torch.device("cpu")
SHAPE = (3, 2, 4, 4)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_same_numbers_as_diffusers(dtype: torch.dtype) -> None:
    for ours, theirs in ((seeded(0)[0], seeded(0)[0]), (seeded(1, 2, 3), seeded(1, 2, 3))):
        drawn = draw_noise(SHAPE, ours, CPU, dtype)
        assert drawn.dtype == dtype
        assert torch.equal(drawn, randn_tensor(SHAPE, generator=theirs, device=CPU, dtype=dtype))


def test_a_picture_of_a_list_does_not_depend_on_its_neighbours() -> None:
    together = draw_noise(SHAPE, seeded(1, 2, 3), CPU, torch.float32)
    alone = draw_noise((1, *SHAPE[1:]), seeded(2), CPU, torch.float32)
    assert torch.equal(together[1:2], alone)


def test_without_a_generator_the_global_one_draws() -> None:
    torch.manual_seed(5)
    first = draw_noise_like(torch.zeros(SHAPE), None)
    torch.manual_seed(5)
    assert torch.equal(first, torch.randn(SHAPE))


def test_with_a_generator_the_global_one_is_left_alone() -> None:
    before = torch.get_rng_state()
    draw_noise(SHAPE, seeded(0)[0], CPU, torch.float32)
    draw_noise(SHAPE, seeded(0, 1, 2), CPU, torch.float32)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seeds", [(), (0,), (0, 1), (0, 1, 2, 3)])
def test_a_list_of_another_length_is_refused(seeds: tuple) -> None:
    with pytest.raises(
        ValueError, match=f"{len(seeds)} generators for 3 images; give one for each"
    ):
        draw_noise(SHAPE, seeded(*seeds), CPU, torch.float32)


@pytest.mark.parametrize("generator", [7, (torch.Generator(),), [7, 8, 9]])
def test_what_is_no_generator_is_refused(generator) -> None:
    with pytest.raises(
        ValueError, match=r"must be a torch\.Generator, a list of them or None, got"
    ):
        draw_noise(SHAPE, generator, CPU, torch.float32)


def test_a_cpu_generator_serves_another_device() -> None:
    """`meta` stands for any device that is not the CPU."""
    drawn = draw_noise(SHAPE, seeded(0)[0], torch.device("meta"), torch.float32)
    assert drawn.device.type == "meta"
    assert drawn.shape == SHAPE
