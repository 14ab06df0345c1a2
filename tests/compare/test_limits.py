"""A step that limits something else than x0-hat, or by another size, is told what it limits."""

import pytest
import torch

from compare.verdict.judge import judge
from tests.compare.written import TABLES

T = 100


def clipping(x_0, most=None):
    """A class that makes x0-hat by `x_0` (x_t, out, ab), and clamps x_prev to [-most, most]."""
    betas = TABLES["linear"](T)

    class Clipping:
        def __init__(self):
            self.alphas_cumprod = (1 - betas).cumprod(0)

        def step(self, model_output, t, sample, generator=None):
            t, one = int(t), torch.ones((), dtype=torch.float64)
            ab, p = self.alphas_cumprod[t], self.alphas_cumprod[t - 1] if t else one
            b = 1 - ab / p
            shown = x_0(sample, model_output, ab)
            mean = p.sqrt() * b / (1 - ab) * shown
            mean = mean + (1 - b).sqrt() * (1 - p) / (1 - ab) * sample
            if t:
                z = torch.randn(sample.shape, generator=generator)
                mean = mean + (b * (1 - p) / (1 - ab)).sqrt() * z
            mean = mean if most is None else mean.clamp(-most, most)
            return mean.to(sample.dtype)

    return Clipping


def hat(x, out, ab):
    return (x - (1 - ab).sqrt() * out) / ab.sqrt()


def quantile(values):
    return torch.quantile(values.flatten(1), 0.99, dim=1).clamp(min=1).reshape(-1, 1, 1, 1)


def by_size(x, out, ab):
    """Dynamic thresholding."""
    s = quantile(hat(x, out, ab).abs().float())
    return hat(x, out, ab).clamp(-s, s) / s


def undivided(x, out, ab):
    s = quantile(hat(x, out, ab).abs().float())
    return hat(x, out, ab).clamp(-s, s)


def signed(x, out, ab):
    s = quantile(hat(x, out, ab).float())
    return hat(x, out, ab).clamp(-s, s) / s


@pytest.mark.parametrize("x_0", [hat, by_size, lambda x, out, ab: hat(x, out, ab).clamp(-1, 1)])
def test_a_right_limit_is_right(x_0):
    assert judge(clipping(x_0), "quick", 0, beside=False).passed


@pytest.mark.parametrize(
    ("x_0", "words"),
    [
        (lambda x, out, ab: hat(x.clamp(-1, 1), out, ab), "is made of clamp(x_t, -1, 1), should"),
        (lambda x, out, ab: hat(x, out.clamp(-1, 1), ab), "is made of clamp(model output, -1, 1)"),
        (lambda x, out, ab: hat(x, out, ab).clamp(min=-1), "is clamp(x0-hat, min=-1), should be"),
        (lambda x, out, ab: hat(x, out, ab).clamp(max=1), "is clamp(x0-hat, max=1), should be"),
        (undivided, "is clamp(x0-hat, -s, s), s the 0.99 quantile of |x0-hat|, should be divided"),
        (signed, "is the 0.99 quantile of x0-hat, should be that of |x0-hat|"),
    ],
)
def test_a_wrong_limit_is_told(x_0, words):
    report = judge(clipping(x_0), "quick", 0, beside=False)
    assert report.exit_status == 1
    assert words in (report.diagnoses[0].formula or ""), str(report)


def test_another_limit_gets_no_words():
    report = judge(clipping(lambda x, out, ab: hat(x, out, ab).tanh()), "quick", 0, beside=False)
    assert report.diagnoses[0].formula is None


class Clamped:
    most = 1.0

    def __init__(self):
        self.betas = torch.linspace(1e-4, 0.02, 1000)
        self.alphas_cumprod = (1 - self.betas).cumprod(0)

    def step(self, model_output, t, sample):
        ab, b = self.alphas_cumprod[t], self.betas[t]
        p = self.alphas_cumprod[t - 1] if t > 0 else torch.tensor(1.0)
        x_0 = hat(sample, model_output, ab)
        prev = p.sqrt() * b / (1 - ab) * x_0 + (1 - b).sqrt() * (1 - p) / (1 - ab) * sample
        if t > 0:
            prev = prev + (b * (1 - p) / (1 - ab)).sqrt() * torch.randn_like(sample)
        return prev.clamp(-self.most, self.most)


class ClampedWider(Clamped):
    most = 2.5


@pytest.mark.parametrize("wrong", [Clamped, ClampedWider])
def test_a_clamped_x_prev_is_told(wrong):
    found = judge(wrong, "quick", 0, beside=False).diagnoses[0]
    words = f"your x_prev is clamp(x_prev, -{wrong.most:g}, {wrong.most:g}), should be x_prev as it"
    assert words in (found.formula or ""), found.explanation


@pytest.mark.parametrize("most", [1, 2.5])
def test_or_is_named_where_all_else_is_as_exact_as_the_oracle(most):
    assert judge(clipping(hat, most), "quick", 0, beside=False).diagnoses[0].bug == "64"
