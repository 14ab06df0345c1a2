"""Whose step is DDIM's, and with which eta, is read off its noise, not off its direction."""

import math

import pytest
import torch

from compare.verdict.judge import judge
from compare.verdict.report import Report
from tests.compare.written import TABLES, stated

F64 = torch.float64
T = 120


def ddim(eta, along, sigma=lambda small, **_: small, of_x_0=math.sqrt, table="linear"):
    """A class of DDIM's step, with its direction, sigma and weight of x0-hat as they are given."""
    betas = TABLES[table](T)

    class Ddim:
        def __init__(self):
            self.alphas_cumprod, self.eta = (1 - betas).cumprod(0), eta
            self.set_timesteps(T)

        def set_timesteps(self, n):
            self.stride = T // n
            self.timesteps = torch.arange(n).flip(0) * self.stride

        def step(self, eps, t, x, generator=None):
            prev = int(t) - self.stride
            ab = float(self.alphas_cumprod[int(t)])
            p = float(self.alphas_cumprod[prev]) if prev >= 0 else 1.0
            x_0 = (x - math.sqrt(1 - ab) * eps) / math.sqrt(ab)
            size = eta * sigma(small=math.sqrt((1 - p) / (1 - ab) * (1 - ab / p)))
            x = of_x_0(p) * x_0 + along(p, size) * eps
            if prev < 0:
                return x
            return x + size * torch.randn(x.shape, generator=generator, dtype=x.dtype)

    return Ddim


def right(p, size):
    return math.sqrt(1 - p - size**2)


def judged(candidate) -> Report:
    return judge(candidate, "quick", 0, beside=False)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_a_right_step_of_ddim_is_right_with_any_eta(eta):
    assert judged(ddim(eta, right)).passed


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_a_direction_without_sigma_says_no_eta(eta):
    (only,) = judged(ddim(eta, lambda p, size: math.sqrt(1 - p))).diagnoses
    assert (only.bug, only.stage) == ("82", "mean")
    ((what, has, should),) = stated(only.formula or "")
    assert (what, has) == ("eps", "sqrt(1 - ab_prev)")
    assert should == "sqrt(1 - ab_prev - sigma_t^2)"


def test_what_is_under_the_root_may_be_taken_by_its_size():
    (only,) = judged(ddim(0.6, lambda p, size: math.sqrt(abs(1 - p - size)))).diagnoses
    ((what, has, _),) = stated(only.formula or "")
    assert (what, has) == ("eps", "sqrt(|1 - ab_prev - sigma_t|)")


def test_a_wrong_sigma_that_its_direction_shares_is_no_wrong_direction():
    wrong = ddim(1.0, right, sigma=lambda small: small**2, of_x_0=lambda p: p)
    mean, variance = judged(wrong).diagnoses
    first = (mean.formula or "").partition("; the same, in other words")[0]
    assert [pair[:2] for pair in stated(first)] == [("x0-hat", "ab_prev")]
    assert (variance.bug, stated(variance.formula or "")[0][:2]) == (
        "49",
        ("z", "beta_t * (1 - ab_prev) / (1 - ab_t)"),
    )
