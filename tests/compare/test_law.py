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
@pytest.mark.parametrize("n", [4, 100, 8192, 4_000_000])
def test_the_chi_square_bounds_hold_and_are_not_wide(n: int, rate: float) -> None:
    low, high = laws.chi_square_bounds(n, rate)
    below = stats.chi2.cdf(n * low, n) if low > 0 else 0.0
    assert below + stats.chi2.sf(n * high, n) <= rate
    exact = stats.chi2.isf(rate / 2, n) / n
    assert high - 1 < 2.2 * (exact - 1)


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
    measured, allowed = laws.distance_to_normal(z, rate)
    assert measured == pytest.approx(stats.kstest(z.double().numpy(), "norm").statistic, abs=1e-9)
    assert stats.kstwo.sf(allowed, 1000) <= rate


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
