"""How often a right implementation is blamed by chance: counted, and held against the table."""

import re

import pytest
from scipy import stats

from compare import Adapter
from compare.candidate.from_oracle import scheduler
from compare.candidate.spy import loss_of, sample_of
from compare.measure import noise_law
from compare.measure.tolerances import RATE, TOLERANCES, of_a_step
from compare.oracle import Oracle, Setting
from compare.verdict.judge import judge
from compare.verdict.report import Check

SHORT = Setting(num_train_timesteps=60, beta_end=0.3)
FAMILY = 1e-6  # of false alarms in a run


def at_random(checks: list[Check]) -> list[Check]:
    """The checks that look at random draws; their reason says how often they are wrong."""
    return [c for c in checks if re.search("false alarm|standard error|probability", c.reason)]


@pytest.mark.parametrize("only", ["", "ddim"])
def test_a_run_at_full_level_is_wrong_once_in_a_million_at_most(only: str) -> None:
    report = judge(scheduler(Oracle(), only), "full", 0, beside=False, base=SHORT)
    assert report.passed, str(report)
    found = at_random(report.checks)
    assert {c.stage for c in found} == {"variance", "sampling"}
    assert len(found) * RATE <= FAMILY


def loop_and_loss() -> Adapter:
    return Adapter(
        alpha_bar=lambda: Oracle().alpha_bar(SHORT),
        sample=sample_of(Oracle(), SHORT),
        loss=loss_of(Oracle(), SHORT),
    )


def test_a_loop_and_a_loss_are_wrong_once_in_a_million_at_most() -> None:
    report = judge(loop_and_loss(), "full", 0, beside=False)
    assert report.passed, str(report)
    found = at_random(report.checks)
    assert {c.stage for c in found} == {"sampling", "loss"}
    assert len(found) * RATE <= FAMILY


@pytest.mark.long
@pytest.mark.parametrize("seed", range(200))
def test_two_hundred_seeds_of_a_loop_and_a_loss_never_alarm(seed: int) -> None:
    assert judge(loop_and_loss(), "quick", seed, beside=False).passed


def test_two_seeds_of_a_loop_draw_other_pictures() -> None:
    measured = []
    for seed in (0, 1):
        report = judge(loop_and_loss(), "quick", seed, beside=False)
        measured.append({c.id: c.measured for c in report.checks})
    assert measured[0].keys() == measured[1].keys()
    assert measured[0]["sampling/loop/steps-std"] != measured[1]["sampling/loop/steps-std"]


def test_every_check_that_says_a_rate_says_that_of_the_table() -> None:
    for name in ("law", "chain", "two samples"):
        row = TOLERANCES[name]
        stated = re.findall(r"1e-\d+", f"{row.bound} {row.reason}")
        assert f"{RATE:.0e}".replace("e-0", "e-") in stated, row


@pytest.mark.parametrize("shape", [noise_law.LARGE, noise_law.LARGER])
def test_the_bounds_of_the_variance_stage_are_no_more_often_wrong(shape: tuple[int, ...]) -> None:
    """Six and a bit standard errors, a Kolmogorov-Smirnov distance of 3.3 over the root."""
    n = 1
    for size in shape:
        n *= size
    assert 2 * stats.norm.sf(noise_law.SIX) <= RATE
    assert stats.kstwo.sf(3.3 * n**-0.5, n) <= RATE
    wide = noise_law.SIX * (0.5 / n) ** 0.5  # of the std: its square is chi-square
    assert stats.chi2.sf(n * (1 + wide) ** 2, n) + stats.chi2.cdf(n * (1 - wide) ** 2, n) <= RATE


def test_the_bounds_of_a_loop_share_the_rate_among_a_thousand_steps() -> None:
    n = 32 * 2 * 8 * 8
    allowed = of_a_step(n)
    assert 1000 * 2 * stats.norm.sf(allowed * n**0.5) <= RATE * (1 + 1e-6)
    both = stats.chi2.sf(n * (1 + allowed) ** 2, n) + stats.chi2.cdf(n * (1 - allowed) ** 2, n)
    assert 1000 * both <= RATE
