"""A loss and a loop that do not agree, and a loop that is not what it says of itself: each part may
be right by some reading, and none is read so that a mistake passes."""

import math

import pytest
import torch
from torch import Tensor

import compare
from compare import Adapter, Report

T = 100
BETAS = torch.linspace(1e-4, 0.05, T)
AB = (1 - BETAS).cumprod(0)


def level(t: int) -> Tensor:
    return AB[t] if t >= 0 else torch.ones(())


def loss_of(kind: str, told_more: int = 0, unit: float = 1):
    """The simple loss of a model that predicts `kind` and is told (t + told_more) / unit."""

    def loss(model, x_0):
        t, noise = torch.randint(0, T, (len(x_0),)), torch.randn_like(x_0)
        a, s = (v.sqrt().reshape(-1, 1, 1, 1) for v in (AB[t], 1 - AB[t]))
        target = {"noise": noise, "x_0": x_0, "v": a * noise - s * x_0}[kind]
        told = t + told_more if unit == 1 else t / unit
        return (model(a * x_0 + s * noise, told) - target).square().mean()

    return loss


def loop_of(kind: str, stride: int = 1, told_more: int = 0, clip: bool = False):
    """DDIM's loop without noise, of a model that predicts `kind`."""

    def sample(model, shape):
        model.eval()
        x = torch.randn(shape)
        for t in range(T - 1, -1, -stride):
            a, s = level(t).sqrt(), (1 - level(t)).sqrt()
            out = model(x, torch.full(shape[:1], t + told_more))
            x_0 = {"noise": (x - s * out) / a, "x_0": out, "v": a * x - s * out}[kind]
            x_0 = x_0.clamp(-1, 1) if clip else x_0
            b = level(t - stride)
            x = b.sqrt() * x_0 + (1 - b).sqrt() * (x - a * x_0) / s
        return x

    return sample


def judged(loss, sample) -> Report:
    return compare.run(Adapter(alpha_bar=lambda: AB, loss=loss, sample=sample))


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize(
    ("trained", "taken"), [("noise", "x_0"), ("v", "noise"), ("x_0", "v"), ("v", "v")]
)
def test_what_a_loss_trains_and_a_loop_reads(trained: str, taken: str, clip: bool) -> None:
    report = judged(loss_of(trained), loop_of(taken, clip=clip))
    if trained == taken:
        assert report.passed, report.verdict
        return
    assert report.exit_status == 1
    assert [d.stage for d in report.diagnoses][:1] == ["prediction"], report.verdict
    if report.diagnoses[0].bug is None:
        said = (
            f"the loss trains the model on {'the ' * (trained == 'noise')}{trained}, and the loop"
        )
        assert said in report.verdict


@pytest.mark.parametrize("stride", [1, 10])
@pytest.mark.parametrize(("loss", "loop", "bug"), [(0, 0, None), (1, 0, "77"), (0, 1, "77-loop")])
def test_a_strided_loop_that_tells_another_t(stride: int, loss: int, loop: int, bug: str) -> None:
    report = judged(loss_of("noise", loss), loop_of("noise", stride, loop))
    assert [d.bug for d in report.diagnoses] == ([] if bug is None else [bug]), report.verdict


def test_a_strided_loop_that_tells_t_where_the_loss_tells_a_share_of_it() -> None:
    report = judged(loss_of("noise", unit=T), loop_of("noise", 10))
    assert report.exit_status == 1
    assert "the loss tells the model t / T" in report.verdict


def test_a_strided_loop_whose_table_counts_from_1_is_no_other() -> None:
    report = judged(loss_of("noise", 1), loop_of("noise", 10, 1))
    assert report.passed, report.verdict


def noisy(default: float, used: float):
    """DDIM's loop whose eta is `default` by name, and `used` in its steps."""

    def sample(model, n, eta=default):
        model.eval()
        x = torch.randn(n, 1, 8, 8)
        for t in range(T - 10, -1, -10):
            a, b = level(t), level(t - 10)
            out = model(x, torch.full((n,), t))
            var = used**2 * (1 - b) / (1 - a) * (1 - a / b)
            x_0 = (x - (1 - a).sqrt() * out) / a.sqrt()
            x = b.sqrt() * x_0 + (1 - b - var).sqrt() * out + var.sqrt() * torch.randn_like(x)
        return x

    return sample


@pytest.mark.parametrize(
    ("default", "used", "said"),
    [
        (0.7, 0.7, ""),
        (0.0, 0.0, ""),
        (1, 1.0, ""),
        (0.0, 1.0, ""),  # it may be of another way that the loop has
        (0.7, math.sqrt(0.7), "those of eta = 0.837, and its eta is 0.7: sigma^2 has eta"),
        (0.0, 0.5, "those of eta = 0.5, and its eta is 0"),
    ],
)
def test_the_eta_of_a_loop_is_the_one_that_it_names(default: float, used: float, said: str) -> None:
    loop = noisy(default, used)
    report = compare.run(Adapter(alpha_bar=lambda: AB, sample=loop))
    assert report.passed == (not said), report.verdict
    assert said in report.verdict


def test_a_loop_that_calls_its_output_v_and_reads_it_as_noise_is_told_both_ways() -> None:
    def sample(model, n):
        model.eval()
        x = torch.randn(n, 1, 8, 8)
        for t in range(T - 1, -1, -1):
            v_pred = model(x, torch.full((n,), t))
            x = (x - BETAS[t] / (1 - AB[t]).sqrt() * v_pred) / (1 - BETAS[t]).sqrt()
            x = x + (t > 0) * BETAS[t].sqrt() * torch.randn_like(x)
        return x

    adapter = Adapter(alpha_bar=lambda: AB, sample=sample)
    assert compare.run(adapter, reading="prediction=epsilon").passed
    report = compare.run(adapter)
    assert report.exit_status == 2
    assert "with a model that predicts v_prediction it differs" in report.verdict
    assert "--reading prediction=epsilon" in report.verdict


LEVELS = {
    "sqrt(alpha-bar_t)": lambda ab: ab.sqrt(),
    "alpha-bar_t": lambda ab: ab,
    "sqrt(1 - alpha-bar_t)": lambda ab: (1 - ab).sqrt(),
    "log SNR_t": lambda ab: (ab / (1 - ab)).log(),
    "sqrt(1 - alpha-bar_t) / sqrt(alpha-bar_t)": lambda ab: ((1 - ab) / ab).sqrt(),
}


@pytest.mark.parametrize(("trained", "sampled"), [(w, w) for w in LEVELS] + [tuple(LEVELS)[:2]])
def test_a_model_may_be_told_the_level_of_noise(trained: str, sampled: str) -> None:
    def loss(model, x_0):
        ab = AB[torch.randint(0, T, (len(x_0),))]
        a, s, noise = *(v.sqrt().reshape(-1, 1, 1, 1) for v in (ab, 1 - ab)), torch.randn_like(x_0)
        return (model(a * x_0 + s * noise, LEVELS[trained](ab)) - noise).square().mean()

    def sample(model, shape):
        model.eval()
        x = torch.randn(shape)
        for t in reversed(range(T)):
            out = model(x, LEVELS[sampled](AB[t]).expand(shape[0]))
            x = (x - BETAS[t] / (1 - AB[t]).sqrt() * out) / (1 - BETAS[t]).sqrt()
            x = x + (t > 0) * BETAS[t].sqrt() * torch.randn_like(x)
        return x

    report = judged(loss, sample)
    if trained == sampled:
        assert report.passed, report.verdict
        assert f"the model is told {trained}" in str(report)
    else:
        assert report.exit_status == 1
        assert f"the loss tells the model {trained} at the level of noise at" in report.verdict
