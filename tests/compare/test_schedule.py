"""Stage schedule: tables in log-SNR, families by name, betas beside them."""

import math

import pytest
import torch

from compare.candidate.from_oracle import scheduler
from compare.measure.tolerances import log_snr
from compare.oracle import Oracle, Setting
from compare.stages.schedule import bound
from compare.verdict.judge import judge

SHORT = Setting(num_train_timesteps=60, beta_end=0.2)


def judged(candidate):
    return judge(candidate, "quick", 0, only="schedule", beside=False, base=SHORT)


def test_log_snr_by_hand() -> None:
    found = log_snr(torch.tensor([0.5, 0.8], dtype=torch.float64))
    assert found.tolist() == pytest.approx([0.0, math.log(4)], abs=1e-12)


def test_a_float32_table_is_within_the_bound_and_a_tenth_more_noise_at_one_step_is_not() -> None:
    setting = Setting()
    right = Oracle().alpha_bar(setting)
    single = (1 - Oracle().betas(setting).float()).cumprod(0).double()
    allowed = bound(setting, Oracle())
    assert bool(((log_snr(single) - log_snr(right)).abs() <= allowed).all())
    other = 1 - (1 - right) * torch.where(torch.arange(1000) == 700, 1.0001, 1.0)
    assert bool(((log_snr(other) - log_snr(right)).abs() > allowed).any())


def test_each_family_that_is_named_is_judged_by_its_name() -> None:
    report = judged(scheduler(Oracle()))
    names = {c.id.split("/")[1] for c in report.checks}
    assert names >= {"linear", "scaled_linear", "sigmoid", "squaredcos_cap_v2", "given", "T=50"}
    assert report.passed


def test_one_wrong_family_among_right_ones() -> None:
    def betas(setting):
        found = Oracle().betas(setting)
        return found * 1.01 if setting.beta_schedule == "sigmoid" else found

    report = judged(scheduler(Oracle(betas=betas)))
    failing = [c.id for c in report.checks if not c.passed]
    assert failing == ["schedule/sigmoid", "schedule/zero-snr-sigmoid"]


def test_betas_that_do_not_belong_to_their_table() -> None:
    class Shown(scheduler(Oracle())):
        @property
        def betas(self):
            return Oracle().betas(self.setting).sqrt()

    report = judged(Shown)
    assert "schedule/linear/betas" in [c.id for c in report.checks if not c.passed]


def test_a_table_of_another_length_is_told() -> None:
    class Longer(scheduler(Oracle())):
        def __init__(self, num_train_timesteps=60, beta_end=0.2):
            super().__init__(num_train_timesteps, beta_end=beta_end)
            self.alphas_cumprod = torch.cat([self.alphas_cumprod, self.alphas_cumprod[-1:] / 2])

    report = judged(Longer)
    assert "has 61 entries, should have 60" in report.checks[0].message
    assert report.exit_status == 1
