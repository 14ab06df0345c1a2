"""From failing checks to names: one cause is one diagnosis, two are two, root cause first."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compare.candidate.from_oracle import scheduler
from compare.mistakes import BY_ID
from compare.oracle import Oracle, Setting
from compare.verdict.judge import judge
from tests.compare.written import judged_file
from tests.often import each

SHORT = Setting(num_train_timesteps=30, beta_end=0.4)


def judged(oracle: Oracle, only: str = "", setting: Setting = SHORT):
    return judge(scheduler(oracle, only), "quick", 0, beside=False, base=setting)


def weak(kind, level, out=None):
    return 0.97 * Oracle().std(kind, level, out)


def faint(x_0, x_t, level):
    return 0.97 * Oracle().mean(x_0, x_t, level)


def test_the_words_say_at_which_t_it_shows_first():
    report = judged(BY_ID["57"].oracle())
    assert "(first seen at t=1, variance/fixed_small)" in report.diagnoses[0].explanation
    law = judged(BY_ID["62"].oracle())
    assert law.diagnoses[0].explanation == BY_ID["62"].words  # a law has no t


@pytest.mark.parametrize(
    ("first", "second"), each(3, [("5", "38"), ("39", "53"), ("6", "49"), ("24-velocity", "61")])
)
def test_two_mistakes_are_both_named_the_earlier_first(first, second):
    report = judged(BY_ID[second].oracle(BY_ID[first].oracle()))
    assert [d.bug for d in report.diagnoses] == [first, second], str(report)


def test_a_named_fault_does_not_hide_one_without_a_name():
    report = judged(replace(BY_ID["39"].oracle(), std=weak))
    assert [(d.bug, d.stage) for d in report.diagnoses] == [("39", "mean"), (None, "variance")]


def test_what_comes_after_a_fault_without_a_name_is_named_or_left():
    """Two wrong curves may be one cause that has no name; those that are read are told both."""
    report = judged(replace(Oracle(), mean=faint, std=weak))
    assert [(d.bug, d.stage) for d in report.diagnoses] == [(None, "mean"), (None, "variance")]
    assert all(d.formula for d in report.diagnoses)
    named = judged(replace(BY_ID["53"].oracle(), mean=faint))
    assert [(d.bug, d.stage) for d in named.diagnoses] == [(None, "mean"), ("53", "variance")]


def test_a_wrong_size_of_ddims_noise_is_no_fault_of_its_mean():
    report = judged(replace(Oracle(), std=weak), only="ddim")
    assert [(d.bug, d.stage) for d in report.diagnoses] == [(None, "variance")], str(report)
    assert {c.stage for c in report.checks if not c.passed} == {"variance"}


def test_a_list_without_a_step_is_the_fault_of_its_own_stage():
    def timesteps(setting, n):
        exact, unit = Oracle().timesteps(setting, n)
        return exact + unit, unit  # `trailing` that forgets its minus one leaves T for n = 1

    report = judged(replace(Oracle(), timesteps=timesteps, refuses_past_end=False))
    assert {d.stage for d in report.diagnoses} == {"timesteps"}, str(report)


def test_nan_fails_the_stage_that_made_it():
    def mean(x_0, x_t, level):
        return Oracle().mean(x_0, x_t, level) * torch.where(level.t == 0, torch.nan, 1.0)

    report = judged(replace(Oracle(), mean=mean))
    assert report.diagnoses[0].stage == "mean"


def test_a_fault_without_a_name_is_not_explained_by_an_earlier_stage_afterwards():
    """Reading the table beside its place would explain the noise, but not the mean before it."""
    early = BY_ID["2-early"].oracle()

    def std(kind, level, out=None):
        table = level.table.reshape(-1, SHORT.num_train_timesteps)[0]  # the first of a stack
        return early.std(kind, early.level(table, level.t, level.prev, SHORT))

    report = judged(replace(Oracle(), mean=faint, std=std))
    assert [(d.bug, d.stage) for d in report.diagnoses] == [(None, "mean"), (None, "variance")]
    assert all(d.formula for d in report.diagnoses)


def test_a_line_that_raises_in_two_stages_is_one_fault() -> None:
    def extract(values, t, shape):
        return values[t].expand(shape)  # (b,) where (b, 1, 1, 1) is meant

    class Scheduler:
        def __init__(self):
            self.alphas_cumprod = (1 - torch.linspace(1e-3, 0.2, 100)).cumprod(0)

        def add_noise(self, x_0, noise, t):
            ab = extract(self.alphas_cumprod, t, x_0.shape)
            return ab.sqrt() * x_0 + (1 - ab).sqrt() * noise

        def step(self, out, t, x, generator=None):
            at = torch.full(x.shape[:1], t)
            ab = extract(self.alphas_cumprod, at, x.shape)
            beta = extract(torch.linspace(1e-3, 0.2, 100), at, x.shape)
            mean = (x - beta / (1 - ab).sqrt() * out) / (1 - beta).sqrt()
            return mean + beta.sqrt() * torch.randn(x.shape, generator=generator) * (t > 0)

    report = judge(Scheduler, "quick", 0, beside=False)
    assert [(d.bug, d.stage) for d in report.diagnoses] == [("21", "forward")], str(report)


class Plain:
    """A step in the epsilon form, or by an x0-hat that is clipped; only x_{t-1} is returned."""

    clips, wrong = False, 0.5

    def __init__(self):
        self.betas = torch.linspace(1e-3, 0.2, 60, dtype=torch.float64)
        self.alphas_cumprod = (1 - self.betas).cumprod(0)

    def add_noise(self, x_0, noise, t):
        ab = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return (ab.sqrt() * x_0 + (1 - ab).sqrt() * noise).to(x_0.dtype)

    def step(self, out, t, x, generator=None):
        ab, beta, prev = self.alphas_cumprod[t], self.betas[t], self.alphas_cumprod[t - 1]
        prev = prev if t else torch.ones(())
        mean = (x - beta / (1 - ab) ** self.wrong * out) / (1 - beta).sqrt()
        if self.clips:
            x_0 = (x - (1 - ab) ** (self.wrong - 0.5) * out) / ab.sqrt()
            x_0 = x_0.clamp(-1, 1)
            mean = (prev.sqrt() * beta * x_0 + (1 - beta).sqrt() * (1 - prev) * x) / (1 - ab)
        z = torch.randn(x.shape, generator=generator) if t else 0
        return (mean + ((1 - prev) / (1 - ab) * beta).sqrt() * z).to(x.dtype)


@pytest.mark.parametrize(
    ("clips", "told"), [(False, ("43", "42-minus-one")), (True, ("42-minus-one", None))]
)
def test_where_an_x0_hat_is_clipped_twins_part(clips: bool, told: tuple) -> None:
    wrong = type("Wrong", (Plain,), {"clips": clips, "wrong": 0.5 if clips else 1.0})
    report = judge(wrong, "quick", 0, beside=False)
    assert [(d.bug, d.twin) for d in report.diagnoses] == [told], str(report)


@pytest.mark.parametrize(
    ("sampler", "source"), [("", "Ho et al. eq. 7"), ("ddim", "Song et al. eq. 12")]
)
def test_what_is_right_is_said_of_the_candidates_own_sampler(sampler: str, source: str) -> None:
    """A mean that is bent is no coefficient: it has neither a name nor a formula."""
    right = Oracle()
    field = "ddim_mean" if sampler else "mean"
    bent = {field: lambda *given: getattr(right, field)(*given).tanh()}
    candidate = scheduler(replace(right, **bent), sampler)
    report = judge(candidate, "quick", 0, only="mean", beside=False, base=SHORT)
    found = next(d for d in report.diagnoses if d.stage == "mean")
    assert (found.bug, found.formula) == (None, None), str(report)
    assert source in found.fix


HIDDEN = """
import torch

n = 400
f = torch.cos((torch.arange(n + 1, dtype=torch.float64) / n + 0.008) / 1.008 * torch.pi / 2) ** 2
beta = (1 - f[1:] / f[:-1]).clamp(max=0.999).float()
abar = (1 - beta).cumprod(0)


@torch.no_grad()
def sample(net, shape):
    y = torch.randn(shape)
    for k in range(n - 1, -1, -1):
        y = (y - beta[k] / abar[k].sqrt() * net(y, torch.full(shape[:1], k))) / (1 - beta[k]).sqrt()
        y = y + beta[k].sqrt() * torch.randn_like(y) if k else y
    return y
"""


def test_no_mistake_is_named_for_steps_that_cannot_be_seen(tmp_path: Path) -> None:
    """They are divided by the wrong root, so that x_t grows until it hides its noise."""
    report = judged_file(tmp_path, "sample", HIDDEN)
    assert report.exit_status != 0
    assert [d.bug for d in report.diagnoses if d.bug] == []
    assert "whose rounding hides every step" in str(report)
