"""A slip in x0-hat behind a clip: where the clip acts a step is no sum, and is judged as well."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from compare import Adapter
from compare.verdict.judge import judge
from compare.verdict.report import Report
from tests.compare.written import Slip
from tests.often import each

T = 100
BETAS = torch.linspace(1e-4, 0.12, T, dtype=torch.float64)
ALPHA_BAR = (1 - BETAS).cumprod(0)
BEFORE = torch.cat([torch.ones(1, dtype=torch.float64), ALPHA_BAR[:-1]])


def of_noise(x: Tensor, out: Tensor, ab: Tensor, before: Tensor) -> Tensor:
    return (x - (1 - ab).sqrt() * out) / ab.sqrt()


def loop(x_0: Callable[..., Tensor] = of_noise, ddim: bool = False, half: bool = False) -> Adapter:
    """Ho et al. eq. 7 and 15, or DDIM's step, with x0-hat clipped to [-1, 1]."""

    def sample(model, shape, generator):
        model.eval()
        x = torch.randn(shape, generator=generator)
        for t in reversed(range(T)):
            ab, before, b = ALPHA_BAR[t], BEFORE[t], BETAS[t]
            seen = x.bfloat16() if half else x
            out = model(seen, torch.full(shape[:1], t)).double()
            known = x_0(x.double(), out, ab, before).clamp(-1, 1)
            if ddim:
                x = (before.sqrt() * known + (1 - before).sqrt() * out).float()
                continue
            x = before.sqrt() * b * known + (1 - b).sqrt() * (1 - before) * x
            x = (x / (1 - ab)).float()
            if t:
                z = torch.randn(shape, generator=generator)
                x = x + (b * (1 - before) / (1 - ab)).sqrt().float() * z
        return x

    return Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample)


def judged(adapter: Adapter) -> Report:
    return judge(adapter, "quick", 0, beside=False)


def over_alpha_bar(x, out, ab, before):
    return (x - (1 - ab).sqrt() * out) / ab


def plus(x, out, ab, before):
    return (x + (1 - ab).sqrt() * out) / ab.sqrt()


def one_early(x, out, ab, before):
    return x / before.sqrt() - (1 / ab - 1).sqrt() * out


def larger(x, out, ab, before):
    return 1.1 * x / ab.sqrt() - (1 / ab - 1).sqrt() * out


@pytest.mark.parametrize("ddim", [False, True])
def test_a_clip_that_never_acts_hides_nothing(ddim: bool) -> None:
    report = judged(loop(ddim=ddim))
    assert report.passed, str(report)
    assert "sampling/loop/steps" in {c.id for c in report.checks}


@pytest.mark.parametrize(
    ("x_0", "ddim", "bug"),
    each(
        3,
        [
            (over_alpha_bar, False, "42"),
            (plus, False, "47-x0"),
            (over_alpha_bar, True, "42"),
            (plus, True, "47-x0"),
        ],
    ),
)
def test_a_slip_of_the_catalogue_is_named(x_0, ddim: bool, bug: str) -> None:
    report = judged(loop(x_0, ddim))
    assert report.exit_status == 1, str(report)
    assert [d.bug for d in report.diagnoses] == [bug], str(report)


@pytest.mark.parametrize(
    ("x_0", "formula"),
    each(2, [(one_early, "x_t in x0-hat has 1 / sqrt(ab_prev)"), (larger, "1.1 / sqrt(ab_t)")]),
)
def test_another_is_read_off_the_steps_at_which_the_clip_does_not_act(x_0, formula: str) -> None:
    report = judged(loop(x_0))
    assert report.exit_status == 1, str(report)
    assert any(formula in str(d.formula) for d in report.diagnoses), str(report)


def test_what_is_rounded_to_half_of_the_digits_is_not_blamed_for_it() -> None:
    report = judged(loop(half=True))
    assert "sampling/loop/steps" not in {c.id for c in report.checks}


THRESHOLD = """
import torch

ab = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)


@torch.no_grad()
def sample(model, shape):
    x = torch.randn(shape)
    for t in range(980, -1, -20):
        a, b = ab[t], ab[t - 20] if t else torch.tensor(1.0)
        x0 = (x - (1 - a).sqrt() * model(x, torch.full((shape[0],), t))) / a.sqrt()
        s = torch.quantile(x0.flatten(1).abs(), 0.995, dim=1).clamp(min=1.0).view(-1, 1, 1, 1)
        x0 = x0.clamp(-s, s) / s
        e = (x - a.sqrt() * x0) / (1 - a).sqrt()
        x = b.sqrt() * x0 + (1 - b).sqrt() * e
    return x
"""


def test_a_threshold_is_read_where_the_noise_is_derived_again(tmp_path: Path) -> None:
    Slip(THRESHOLD, "sample", "(-s, s) / s", "(-s, s)", "does not divide by s").judged(tmp_path)
