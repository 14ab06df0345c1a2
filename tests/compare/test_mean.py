"""Stage mean: the linear part of a step, given the candidate's own x0-hat, table and noise."""

from dataclasses import replace

import pytest
import torch

from compare.candidate.from_oracle import scheduler
from compare.mistakes import BY_ID
from compare.oracle import Oracle, Setting
from compare.verdict.judge import judge

SHORT = Setting(num_train_timesteps=30, beta_end=0.4)


def judged(oracle: Oracle, only: str = ""):
    return judge(scheduler(oracle, only), "quick", 0, beside=False, base=SHORT)


def stages(report) -> set[str]:
    return {c.stage for c in report.checks if not c.passed}


@pytest.mark.parametrize("t", [0, 1, 29])
def test_a_per_mille_at_one_step_is_found_and_pointed_at(t) -> None:
    def mean(x_0, x_t, level):
        return Oracle().mean(x_0, x_t, level) * torch.where(level.t == t, 1.001, 1.0)

    candidate = scheduler(replace(Oracle(), mean=mean))
    report = judge(candidate, "quick", 0, only="mean", beside=False, base=SHORT)
    assert stages(report) == {"mean"}
    assert f"t={t}" in report.diagnoses[0].fix


def test_a_wrong_x_0_that_is_shown_is_no_fault_of_the_mean() -> None:
    assert stages(judged(BY_ID["42"].oracle())) == {"prediction"}


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_ddims_mean_is_judged_by_the_noise_that_the_step_has(share) -> None:
    def std(kind, level, out=None):
        return share * Oracle().std(kind, level, out)

    assert stages(judged(replace(Oracle(), std=std), "ddim")) == {"variance"}


def test_ddims_direction_is_judged_all_the_same() -> None:
    report = judged(BY_ID["82"].oracle(), "ddim")
    assert [(d.bug, d.stage) for d in report.diagnoses] == [("82", "mean")]
