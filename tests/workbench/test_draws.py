"""The random numbers of a step: functions of (seed, k), with the laws they promise."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.draws import (
    DROPOUT,
    PICTURES,
    WEIGHTS,
    WHAT_NOISE,
    WHICH_IMAGES,
    Draws,
    batch_draws,
    global_generator_at,
    image_indices,
    seed_of,
)

SHAPE = (1, 2, 2)
FIELDS = ("indices", "timesteps", "noise", "uniform")
seeds = st.integers(0, 2**63)
steps = st.integers(0, 10**6)


def draws_of(seed: int, step: int, batch: int = 6, images: int = 10, T: int = 50) -> Draws:
    return batch_draws(seed, step, batch, images, T, SHAPE)


def same(one: Draws, other: Draws) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in FIELDS)


@given(seeds, steps, steps)
@settings(max_examples=30)
def test_nothing_but_seed_and_step_decides(seed: int, step: int, before: int) -> None:
    expected = draws_of(seed, step)
    torch.manual_seed(before)
    draws_of(seed, before)
    assert same(draws_of(seed, step), expected)


def test_drawing_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    draws_of(0, 0)
    assert torch.equal(torch.rand(4), expected)


def test_every_step_and_every_seed_has_its_own_noise() -> None:
    noises = [draws_of(seed, k).noise for seed in range(5) for k in range(20)]
    assert len({noise.numpy().tobytes() for noise in noises}) == len(noises)


def test_shapes_dtypes_and_ranges() -> None:
    drawn = batch_draws(0, 3, 2000, 10, 3, SHAPE)
    assert drawn.indices.shape == drawn.timesteps.shape == (2000,)
    assert drawn.indices.dtype == drawn.timesteps.dtype == torch.int64
    assert drawn.noise.shape == (2000, *SHAPE)
    assert drawn.uniform.shape == (2, 2000)
    assert drawn.noise.dtype == drawn.uniform.dtype == torch.float32
    # Of 2,000 draws of three values, one is missing with a probability of 3 (2/3)^2000 < 1e-350.
    assert drawn.timesteps.unique().tolist() == [0, 1, 2]
    assert 0 <= drawn.uniform.min() < drawn.uniform.max() < 1


@given(st.integers(0, 99), st.integers(1, 30), st.integers(1, 12))
@settings(max_examples=50)
def test_every_image_is_seen_equally_often(seed: int, batch: int, images: int) -> None:
    """After any number of steps, counts differ by at most one: pass follows pass."""
    seen = Counter(dict.fromkeys(range(images), 0))
    for k in range(8):
        indices = batch_draws(seed, k, batch, images, 5, SHAPE).indices
        assert len(indices) == batch
        seen.update(indices.tolist())
        assert set(seen) == set(range(images))
        assert max(seen.values()) - min(seen.values()) <= 1


def test_each_pass_has_its_own_order() -> None:
    orders = [tuple(batch_draws(0, k, 50, 50, 5, SHAPE).indices.tolist()) for k in range(10)]
    assert len(set(orders)) == 10


def test_a_batch_may_be_larger_than_the_set() -> None:
    indices = batch_draws(0, 1, 25, 10, 5, SHAPE).indices  # images 25..49 of the stream
    counts = torch.bincount(indices[5:], minlength=10)
    assert counts.tolist() == [2] * 10


@given(seeds, steps, st.integers(1, 4), st.integers(1, 9))
@settings(max_examples=30)
def test_parts_are_the_batch_without_gap_or_overlap(
    seed: int, step: int, count: int, batch: int
) -> None:
    whole = draws_of(seed, step, batch=batch)
    parts = whole.parts(count)
    assert [part.number for part in parts] == list(range(count))
    sizes = [len(part.indices) for part in parts]
    assert sum(sizes) == batch
    assert max(sizes) - min(sizes) <= 1
    for name in FIELDS:
        for i, part in enumerate(parts):
            values = getattr(whole, name)
            mine = values[:, i::count] if name == "uniform" else values[i::count]
            assert torch.equal(getattr(part.to(torch.device("cpu")), name), mine)


def standard_normal_quantile(false_alarm: float) -> float:
    """z with P(|Z| > z) = false_alarm for Z from N(0, 1), by bisection."""
    low, high = 0.0, 40.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(middle / 2**0.5) > false_alarm else (low, middle)
    return high


# The seeds below are fixed, so a test passes always or never; this is how likely it was, for right
# laws, that the one look at each statistic would have failed. Errors of 5 % in a scale fail surely.
LIMIT = standard_normal_quantile(1e-6)


def test_noise_is_standard_normal() -> None:
    noise = torch.cat([batch_draws(7, k, 100, 10, 50, (1, 8, 8)).noise for k in range(20)]).double()
    n = noise.numel()  # 128,000
    assert abs(noise.mean()) * n**0.5 < LIMIT
    assert abs((noise**2).mean() - 1) * (n / 2) ** 0.5 < LIMIT  # Var(Z^2) = 2
    assert abs((noise**4).mean() - 3) * (n / 96) ** 0.5 < LIMIT  # Var(Z^4) = 105 - 9
    neighbours = (noise[1:] * noise[:-1]).mean()  # between images, and between steps
    assert abs(neighbours) * n**0.5 < LIMIT


def test_timesteps_are_uniform() -> None:
    T, n = 10, 20_000
    t = torch.cat([batch_draws(7, k, 1000, 10, T, SHAPE).timesteps for k in range(20)])
    for count in torch.bincount(t, minlength=T).tolist():
        assert abs(count - n / T) / (n / T * (1 - 1 / T)) ** 0.5 < LIMIT


def test_uniform_decides_each_of_its_two_things_apart() -> None:
    uniform = torch.cat([batch_draws(7, k, 1000, 10, 5, SHAPE).uniform for k in range(20)], dim=1)
    n = uniform.shape[1]
    for row in uniform.double():
        assert abs(row.mean() - 0.5) * (12 * n) ** 0.5 < LIMIT
    product = ((uniform[0] - 0.5) * (uniform[1] - 0.5)).double().mean()
    assert abs(product) * 12 * n**0.5 < LIMIT


@given(st.integers(0, 2**70), st.lists(st.integers(0, 2**40), max_size=3))
def test_a_seed_fits_a_generator(seed: int, path: list[int]) -> None:
    torch.Generator().manual_seed(seed_of(seed, *path))


def test_streams_do_not_meet() -> None:
    """A path is not the same as a longer one that ends in 0, nor a large seed as two small ones."""
    streams = (WHICH_IMAGES, WHAT_NOISE, WEIGHTS, DROPOUT, PICTURES)
    paths = [(s, *path) for s in streams for path in ((), (0,), (0, 0), (1,), (1, 0), (0, 1))]
    large = 2**32  # in words of 32 bits: 0, 1
    made = [seed_of(seed, *path) for seed in (0, 1, large, large + 1) for path in paths]
    assert len(set(made)) == len(made)


def test_the_global_generator_is_borrowed() -> None:
    cpu = torch.device("cpu")
    torch.manual_seed(5)
    expected = torch.rand(3), torch.rand(3)
    torch.manual_seed(5)
    first = torch.rand(3)
    with global_generator_at(cpu, 9):
        inside = torch.rand(3)
    with global_generator_at(cpu, 9):
        assert torch.equal(torch.rand(3), inside)
    with pytest.raises(KeyError), global_generator_at(cpu, 9):
        raise KeyError
    assert torch.equal(first, expected[0])
    assert torch.equal(torch.rand(3), expected[1])


@given(st.integers(0, 2**32), st.integers(0, 50), st.integers(1, 40), st.integers(1, 15))
def test_which_images_a_step_sees_is_known_before_it_draws(
    seed: int, step: int, batch_size: int, num_images: int
) -> None:
    """Also of a batch larger than the set."""
    indices = image_indices(seed, step, batch_size, num_images)
    drawn = batch_draws(seed, step, batch_size, num_images, 5, (1, 2, 2))
    assert torch.equal(indices, drawn.indices)
    seen = [image_indices(seed, k, batch_size, num_images) for k in range(step + 1)]
    counts = torch.cat(seen).bincount(minlength=num_images)
    assert counts.max() - counts.min() <= 1
