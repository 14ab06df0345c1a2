"""Stage forward: the law of x_t from single steps, and what is done to the arguments."""

import pytest
import torch

from compare import Adapter
from compare.mistakes import BY_ID, mutant
from compare.oracle import Oracle, Setting
from compare.stages.forward.steps import composed
from compare.verdict.judge import judge
from compare.verdict.report import Check, Report
from tests.often import each

SHORT = Setting(num_train_timesteps=60, beta_start=0.001, beta_end=0.2)


class Bare:
    """Tables and add_noise, nothing else."""

    def __init__(self):
        self.betas = Oracle().betas(SHORT)
        self.alphas_cumprod = (1 - self.betas).cumprod(0)

    def add_noise(self, x0, noise, t):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return (a.sqrt() * x0 + (1 - a).sqrt() * noise).to(x0.dtype)


def check(report: Report, name: str) -> Check:
    return next(c for c in report.checks if c.id == f"forward/{name}")


@pytest.mark.parametrize("family", ["linear", "scaled_linear", "sigmoid", "squaredcos_cap_v2"])
def test_single_steps_make_the_closed_form(family: str) -> None:
    setting = Setting(beta_schedule=family)
    signal, noise = composed(Oracle().betas(setting))
    alpha_bar = Oracle().alpha_bar(setting)
    torch.testing.assert_close(signal**2, alpha_bar, rtol=1e-10, atol=0)
    torch.testing.assert_close(noise**2, 1 - alpha_bar, rtol=1e-10, atol=0)


def test_single_steps_make_the_law_of_drawn_images() -> None:
    """By drawing: 60 noisings one after another of an image of ones."""
    generator = torch.Generator().manual_seed(0)
    x = torch.ones(200_000, dtype=torch.float64)
    for beta in Oracle().betas(SHORT).tolist():
        z = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        x = (1 - beta) ** 0.5 * x + beta**0.5 * z
    signal, noise = composed(Oracle().betas(SHORT))
    error = float(noise[-1]) * len(x) ** -0.5
    assert float(x.mean()) == pytest.approx(float(signal[-1]), abs=6 * error)
    assert float(x.std()) == pytest.approx(float(noise[-1]), abs=6 * error)


def test_a_right_one_has_the_law_of_its_single_steps() -> None:
    report = judge(Bare, "quick", 0, beside=False, base=SHORT)
    assert check(report, "composition").status in ("equal", "close")
    assert check(report, "inputs").status == "equal"


@pytest.mark.parametrize("bug", ["5", "6"])
def test_the_law_of_single_steps_follows_from_a_wrong_add_noise(bug: str) -> None:
    report = judge(mutant(BY_ID[bug], SHORT), "quick", 0, beside=False, base=SHORT)
    assert check(report, "composition").status == "follows"
    assert [d.bug for d in report.diagnoses] == [bug]


def test_a_table_that_is_not_made_of_its_betas_is_blamed_once() -> None:
    class Shifted(Bare):
        def __init__(self):
            super().__init__()
            self.alphas_cumprod = torch.cat(
                [self.alphas_cumprod[:1] ** 0.5, self.alphas_cumprod[:-1]]
            )

    report = judge(Shifted, "quick", 0, beside=False, base=SHORT)
    found = check(report, "composition")
    assert found.status == "follows"
    assert "t=0" in found.message
    assert {d.stage for d in report.diagnoses} == {"schedule"}, str(report)


@pytest.mark.parametrize("what", each(2, ["images", "noise"]))
def test_arguments_that_are_changed_in_place_are_found(what: str) -> None:
    class InPlace(Bare):
        def add_noise(self, x0, noise, t):
            result = super().add_noise(x0, noise, t)
            (x0 if what == "images" else noise).mul_(0.5)
            return result

    mine = InPlace()
    adapter = Adapter(alpha_bar=lambda: mine.alphas_cumprod, add_noise=mine.add_noise)
    report = judge(adapter, "quick", 0, beside=False)
    found = check(report, "inputs")
    assert found.status == "differs"
    assert f"add_noise changes the {what} in place" in found.message
    assert [(d.bug, d.stage) for d in report.diagnoses] == [(None, "forward")], str(report)


def test_betas_that_are_not_shown_are_those_of_the_table() -> None:
    class Hidden(Bare):
        def __init__(self):
            super().__init__()
            del self.betas

    found = check(judge(Hidden, "quick", 0, beside=False, base=SHORT), "composition")
    assert found.status in ("equal", "close")
