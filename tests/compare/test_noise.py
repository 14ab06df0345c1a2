"""The judge of noise: how often it blames right noise, counted, and what it finds."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from compare.measure import law as laws
from compare.measure.draw import LARGE, LARGER
from compare.measure.noise import (
    COSINE,
    Statistic,
    apart_from_x,
    cosine,
    has_right,
    mates,
    moments,
    neighbours,
    of_rows,
    reference,
    statistics,
)
from compare.measure.tolerances import RATE
from compare.mistakes import BY_ID
from compare.oracle import Oracle

SHAPE = (6, 3, 5, 4)
TRIALS, OFTEN = 2000, 0.01  # a rate at which false alarms can be counted
MOST = stats.binom.isf(1e-6, TRIALS, OFTEN)
LEAST = stats.binom.ppf(1e-6, TRIALS, OFTEN)
INEQUALITY = {"distance to N(0, 1)"}  # the others have their exact law


def draws(seed: int, k: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(k, *shape, generator=torch.Generator().manual_seed(seed))


def beyond(seen: dict[str, Statistic], rate: float, aims: dict[str, Statistic]) -> set[str]:
    """Which statistics are further off than is allowed at this rate."""
    return {
        name
        for name, value in seen.items()
        if abs(value.value - (aims[name].value if aims else value.right))
        > value.allowed(rate, reference=aims.get(name))
    }


def test_every_statistic_alarms_as_often_as_its_rate_says() -> None:
    alarms: Counter[str] = Counter()
    for seed in range(TRIALS):
        alarms.update(beyond(statistics(*draws(seed, 3)), OFTEN, {}))
    assert len(statistics(*draws(0, 3))) == 9
    for name in statistics(*draws(0, 3)):
        assert alarms[name] <= MOST, (name, alarms)
        assert name in INEQUALITY or alarms[name] >= LEAST, (name, alarms)


def test_steps_looked_at_together_share_their_rate() -> None:
    alarms: Counter[str] = Counter()
    for seed in range(TRIALS):
        z, x = draws(seed, 2, (7, 50))
        share = torch.zeros(7)
        seen = of_rows(z, share, OFTEN, str)
        alarms.update(name for name, evidence in seen.items() if not evidence.holds)
        alarms["x"] += not apart_from_x(z, x, share, OFTEN / 2, str).holds
    for name in ("mean", "std", "x"):
        assert LEAST <= alarms[name] <= MOST, alarms


@pytest.mark.parametrize(
    ("bug", "images"),
    [("62", 16), ("62-channel", 16), ("62-image", 64), ("63", 16), ("63-centred", 16)],
)
def test_a_wrong_law_is_no_further_from_itself_than_the_rate_says(bug: str, images: int) -> None:
    """Its statistics are those of another draw of it, and those of N(0, 1) are not."""
    oracle, shape = BY_ID[bug].oracle(), (images, 4, 16, 16)
    aims = reference(oracle, shape)
    for seed in range(50):
        stream = torch.Generator().manual_seed(100 + seed)
        three = [oracle.draw(shape, stream, torch.float32) for _ in range(3)]
        assert not beyond(statistics(*three), RATE, aims), seed
        assert beyond(statistics(*draws(seed, 3, shape)), RATE, aims), seed
        assert beyond(statistics(*three), RATE, {}), seed


@pytest.mark.parametrize("shape", [LARGE, LARGER])
def test_one_per_cent_of_the_std_is_found_in_a_large_draw(shape: tuple[int, ...]) -> None:
    n = torch.Size(shape).numel()
    for factor in (0.99, 1.01):
        low, high = ((1 + side * laws.of_std(n, RATE)) / factor for side in (-1, 1))
        missed = stats.chi2.cdf(n * high**2, n) - stats.chi2.cdf(n * low**2, n)
        assert missed < (0.2 if shape == LARGE else 1e-12)


@pytest.mark.parametrize("dim", [0, 1, 2, 3])
def test_a_correlation_of_neighbours_is_found_along_its_axis_alone(dim: int) -> None:
    """Of 0.05 in a draw of 65,536, where 0.025 is allowed."""
    z = draws(3, 1, (16, 4, 32, 32))[0].movedim(dim, 0)
    mixed = z.clone()
    for i in range(1, len(z)):  # each slice and the one before: correlation 0.05
        mixed[i] = 0.05 * mixed[i - 1] + (1 - 0.05**2) ** 0.5 * z[i]
    mixed = mixed.movedim(0, dim)
    for axis in range(4):
        seen = neighbours(mixed, axis)
        assert (abs(seen.value) > seen.allowed()) == (axis == dim), axis
        assert abs(seen.value - 0.05 * (axis == dim)) < 0.02


def test_what_is_all_the_same_is_told_from_what_is_alike() -> None:
    """A draw with itself has a correlation of 1 up to rounding; 0.99 is another law."""
    z = draws(4, 2, (4096,))
    wanted = replace(cosine(z[0], z[0]), draws=2.0)  # drawn so seldom, all would be allowed
    assert wanted.value == pytest.approx(1, abs=1e-12)
    near = cosine(z[0], 0.99 * z[0] + 0.01 * z[1])
    allowed = near.allowed(share=1e-6, reference=wanted)
    assert allowed < 1e-6
    assert abs(near.value - wanted.value) > allowed
    rounded = cosine(z[0], z[0] * (1 + 1e-6 * z[1]))
    assert abs(rounded.value - wanted.value) <= allowed


def test_float32s_share_moves_no_statistic_further_than_is_allowed() -> None:
    z, second, other, off = draws(5, 4, (8, 2, 16, 16))
    share = 0.01
    off = share * off / off.square().mean().sqrt()
    before = statistics(z, second, other)
    for sign in (-1, 1):
        after = statistics(z + sign * off, second + off, other)
        for name, seen in after.items():
            more = seen.allowed(share=share) - seen.allowed()
            assert abs(seen.value - before[name].value) <= more, name


def test_a_mean_and_a_std_that_are_off_are_found_at_their_step() -> None:
    z, share = draws(6, 20, (4096,)), torch.zeros(20)
    assert all(evidence.holds for evidence in of_rows(z, share, RATE, str).values())
    z[7] += 0.15
    z[11] *= 1.12
    seen = of_rows(z, share, RATE, lambda i: f"step {i + 1}")
    assert seen["mean"].message.startswith("z of step 8 has mean 0.1")
    assert seen["std"].message.startswith("z of step 12 has std 1.09")
    assert not any(evidence.holds for evidence in seen.values())
    wide = of_rows(z, share + 0.2, RATE, str)
    assert all(evidence.holds for evidence in wide.values())


def test_images_of_a_draw_are_compared_as_they_are_and_turned_over() -> None:
    stream = torch.Generator().manual_seed(0)
    drawn = [torch.randn(8, 2, 8, 8, generator=stream) for _ in range(TRIALS // 4)]
    alarms = sum(not mates(z, 0.0, OFTEN).holds for z in drawn)
    assert alarms <= stats.binom.ppf(1 - 1e-6, len(drawn), OFTEN)
    for turn, words in (
        (lambda z: -z, "like minus that of image 2"),
        (lambda z: z.flip(-1), "like that of image 2, mirrored"),
        (lambda z: z.flip(-2), "like that of image 2, upside down"),
    ):
        z = drawn[0].clone()
        z[5] = turn(z[2])
        seen = mates(z, 0.0)
        assert not seen.holds
        assert seen.message == f"the noise of image 5 is {words}"


def test_nan_is_never_right() -> None:
    z = torch.full((2, 50), torch.nan)
    assert not any(evidence.holds for evidence in of_rows(z, torch.zeros(2), RATE, str).values())
    seen = moments(z)["mean"]
    assert not abs(seen.value) <= seen.allowed()


def test_whether_an_oracle_draws_right_noise_is_one_question() -> None:
    assert has_right(Oracle(), "draw", "noise_of")
    assert has_right(BY_ID["37"].oracle(), "draw", "noise_of")
    assert not has_right(BY_ID["62"].oracle(), "draw")
    assert not has_right(BY_ID["60"].oracle(), "draw", "noise_of")


def test_a_check_says_its_law_its_draws_and_its_rate() -> None:
    seen = Statistic(0.1, 4096, COSINE)
    words = "the angle between normal vectors for n = 4096 draws: false alarm 1e-9"
    assert seen.reason() == words
    assert seen.reason(0.01).endswith("false alarm 1e-2")
