"""The bounds on false alarms, against the exact tails of scipy and by seeded trials."""

import pytest
import torch
from scipy import stats

from compare.measure import law as laws

RATES = (0.05, 1e-3, 1e-9, 1e-12)


@pytest.mark.parametrize("rate", RATES)
def test_the_normal_bound_is_the_quantile(rate: float) -> None:
    assert laws.normal_bound(rate) == pytest.approx(stats.norm.isf(rate / 2), rel=1e-9)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("n", [1, 4, 100, 8192, 4_000_000])
def test_the_chi_square_bounds_are_the_quantiles(n: int, rate: float) -> None:
    low, high = laws.chi_square_bounds(n, rate)
    assert high == pytest.approx(stats.chi2.isf(rate / 2, n) / n, rel=1e-9)
    assert low == pytest.approx(stats.chi2.ppf(rate / 2, n) / n, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("n", [4, 100, 8192, 1_048_576])
def test_mean_std_and_angle_are_beyond_their_bounds_no_more_often(n: int, rate: float) -> None:
    assert 2 * stats.norm.sf(laws.of_mean(n, rate), scale=n**-0.5) == pytest.approx(rate)
    off = laws.of_std(n, rate)
    below = stats.chi2.cdf((n - 1) * max(1 - off, 0) ** 2, n - 1)
    assert below + stats.chi2.sf((n - 1) * (1 + off) ** 2, n - 1) <= rate * (1 + 1e-6)
    angle = stats.beta.sf(laws.of_cosine(n, rate) ** 2, 0.5, (n - 1) / 2)
    assert angle <= (rate if rate < 0.05 else 1.3 * rate)  # below two standard errors it is no law


def test_the_std_of_one_number_says_nothing() -> None:
    assert laws.of_std(1, 0.05) == float("inf")


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("shift", [0.0, 0.6, 3.0])
def test_a_mean_of_squares_is_beyond_its_bound_no_more_often(shift: float, rate: float) -> None:
    """All alike they are chi-square, not central; at a small rate the bound is little wider."""
    n, mean = 6144, 1 + shift**2
    off = laws.of_squares(torch.ones(32), torch.full((32,), shift), n // 32, rate)
    law = stats.ncx2(n, n * shift**2) if shift else stats.chi2(n)
    assert law.cdf(n * (mean - off)) + law.sf(n * (mean + off)) <= rate
    wider = 1.5 if rate > 0.01 else 1.25
    assert off < wider * (law.isf(rate / 2) / n - mean)


def test_a_mean_of_unlike_squares_is_beyond_its_bound_no_more_often() -> None:
    generator, trials, rate = torch.Generator().manual_seed(6), 4000, 0.05
    scale, shift = torch.rand(2, 16, generator=generator, dtype=torch.float64)
    z = torch.randn(trials, 16, 12, generator=generator, dtype=torch.float64)
    means = (scale[:, None] * z + shift[:, None]).square().mean(dim=(1, 2))
    off = (means - (scale**2 + shift**2).mean()).abs()
    alarms = int((off > laws.of_squares(scale, shift, 12, rate)).sum())
    assert 0 < alarms <= stats.binom.isf(1e-6, trials, rate)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("n", [458, 1024])
def test_two_samples_as_far_apart_as_is_allowed_are_rarer_than_the_rate(
    n: int, rate: float
) -> None:
    a = torch.arange(n, dtype=torch.float64)
    _, allowed = laws.kolmogorov_smirnov(a[None], a[None], rate)
    b = a + int(allowed * n + 1) + 0.5
    measured, _ = laws.kolmogorov_smirnov(a[None], b[None], rate)
    known = stats.ks_2samp(a.numpy(), b.numpy(), method="exact")
    assert float(measured) == pytest.approx(known.statistic, abs=1e-12)
    assert float(measured) > allowed
    assert known.pvalue <= rate


def test_ties_are_counted_as_scipy_counts_them() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 500, generator=generator, dtype=torch.float64).clamp(-0.5, 0.5)
    measured, _ = laws.kolmogorov_smirnov(a[None], b[None], 0.1)
    assert float(measured) == pytest.approx(stats.ks_2samp(a.numpy(), b.numpy()).statistic)


@pytest.mark.parametrize("rate", RATES)
def test_the_distance_to_the_normal_law(rate: float) -> None:
    z = torch.randn(1000, generator=torch.Generator().manual_seed(2)) * 1.1
    measured, allowed = laws.distance_to_normal(z), laws.of_distance(1000, rate)
    assert measured == pytest.approx(stats.kstest(z.double().numpy(), "norm").statistic, abs=1e-9)
    assert stats.kstwo.sf(allowed, 1000) <= rate
    two = laws.kolmogorov_smirnov(z[None], z[None], rate)[1]
    assert two == pytest.approx(laws.of_distance(500, rate))


def test_pairs_have_the_energy_distance_as_their_mean() -> None:
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(2, 100_000, 1, generator=generator, dtype=torch.float64)
    pairs = laws.energy_of_pairs(a + 0.8, b * 1.5)
    squared = stats.energy_distance((a + 0.8).flatten().numpy(), (1.5 * b).flatten().numpy()) ** 2
    error = float(pairs.std()) * len(pairs) ** -0.5
    assert abs(float(pairs.mean()) - squared) < 5 * error
    assert squared > 20 * error


def test_exchanging_the_first_images_of_pairs_changes_the_sign() -> None:
    a, b = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    first = (torch.arange(50) % 2 == 0)[:, None]
    exchanged = torch.where(first, b, a), torch.where(first, a, b)
    torch.testing.assert_close(laws.energy_of_pairs(*exchanged), -laws.energy_of_pairs(a, b))


def _heavy(generator: torch.Generator) -> torch.Tensor:
    return torch.empty(64, dtype=torch.float64).cauchy_(generator=generator)


def _coins(generator: torch.Generator) -> torch.Tensor:
    return torch.randint(0, 2, (64,), generator=generator).double() * 2 - 1


def _normal(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(64, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("law", [_heavy, _coins, _normal], ids=lambda f: f.__name__)
def test_signs_alarm_no_more_often_than_the_rate_whatever_the_law(law) -> None:
    generator, rate, trials = torch.Generator().manual_seed(5), 0.05, 4000
    differences = torch.stack([law(generator) for _ in range(trials)], dim=1)
    measured, allowed = laws.signs(differences, rate)
    alarms = int((measured > allowed).sum())
    assert alarms <= stats.binom.isf(1e-6, trials, rate)
    assert alarms > 0  # the bound is not empty
