"""How often a right implementation is blamed by chance: counted, and held against the table."""

import re

import pytest

from compare import Adapter
from compare.candidate.from_oracle import loss_of, sample_of, scheduler
from compare.measure.tolerances import RATE, TOLERANCES, once_in
from compare.oracle import Oracle, Setting
from compare.verdict.judge import judge
from compare.verdict.report import Check

SHORT = Setting(num_train_timesteps=60, beta_end=0.3)
FAMILY = 1e-6  # of false alarms in a run


def at_random(checks: list[Check]) -> list[Check]:
    """The checks that look at random draws; their reason says how often they are wrong."""
    found = [c for c in checks if re.search("false alarm|by chance", c.reason)]
    assert all(once_in(RATE) in c.reason for c in found)
    return found


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
    assert once_in(RATE) == "1e-9"
    for name in ("count", "law", "chain", "two samples"):
        assert once_in(RATE) in TOLERANCES[name].why
