"""A model that predicts the mean of x_prev: left open where all agree on it, else told."""

import pytest
import torch
from torch import Tensor, nn

from compare import Adapter, Report, run
from tests.often import each

T = 60
B = torch.linspace(1e-4, 0.03, T)
AB = (1 - B).cumprod(0)
PREV = torch.cat([torch.ones(1), AB[:-1]])
OF_X_0, OF_X_T = PREV.sqrt() * B / (1 - AB), (1 - B).sqrt() * (1 - PREV) / (1 - AB)


def loss_of(target: str, share: float = 1.0) -> Adapter:
    def loss(model: nn.Module, x_0: Tensor) -> Tensor:
        t, noise = torch.randint(0, T, (len(x_0),)), torch.randn_like(x_0)
        at = lambda table: table[t].view(-1, 1, 1, 1)  # noqa: E731
        x_t = at(AB).sqrt() * x_0 + (1 - at(AB)).sqrt() * noise
        mean = at(OF_X_0) * x_0 + share * at(OF_X_T) * x_t
        wanted = {"mean": mean, "noise": noise}[target]
        return (model(x_t, t) - wanted).square().mean()

    return Adapter(alpha_bar=lambda: AB, loss=loss)


def loop_of(sigma: Tensor, share: float = 1.0) -> Adapter:
    def sample(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
        x = torch.randn(shape)
        for t in reversed(range(T)):
            x = share * model(x, torch.full((len(x),), t))
            x = x + (t > 0) * sigma[t] * torch.randn_like(x)
        return x

    return Adapter(alpha_bar=lambda: AB, sample=sample)


def of_noise(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """The same by a name that says what the model predicts."""
    x = torch.randn(shape)
    for t in reversed(range(T)):
        predicted_noise = model(x, torch.full((len(x),), t))
        x = predicted_noise + (t > 0) * B[t].sqrt() * torch.randn_like(x)
    return x


def both(loss: Adapter, loop: Adapter) -> Adapter:
    return Adapter(alpha_bar=loss.alpha_bar, loss=loss.loss, sample=loop.sample)


TILDE = (B * (1 - PREV) / (1 - AB)).sqrt()
LOOPS = {"beta": loop_of(B.sqrt()), "beta tilde": loop_of(TILDE)}


def is_open(report: Report) -> bool:
    return report.exit_status == 2 and "the mean of x_prev" in report.verdict


@pytest.mark.parametrize("variance", each(2, LOOPS))
def test_a_loop_and_a_loss_of_it_are_left_open(variance: str) -> None:
    loss, loop = loss_of("mean"), LOOPS[variance]
    reports = [run(candidate) for candidate in (loss, loop, both(loss, loop))]
    for report in reports:
        assert is_open(report), report.verdict
        assert not report.diagnoses
    assert ["show the loss beside it" in r.verdict for r in reports] == [False, True, False]


WRONG = {
    "a loss of the noise": both(loss_of("noise"), LOOPS["beta"]),
    "a mean of the wrong weights": loss_of("mean", share=0.9),
    "more noise than is right": loop_of(1.1 * B.sqrt()),
    "twice the answer": loop_of(B.sqrt(), share=2.0),
    "the answer is called noise": Adapter(alpha_bar=lambda: AB, sample=of_noise),
}


@pytest.mark.parametrize("what", each(2, WRONG))
def test_what_is_wrong_is_told(what: str) -> None:
    report = run(WRONG[what])
    assert report.exit_status == 1, report.verdict
    assert report.diagnoses


def test_another_fault_beside_it_is_told() -> None:
    def wide(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
        x = 2 * torch.randn(shape)
        for t in reversed(range(T)):
            x = model(x, torch.full((len(x),), t))
            x = x + (t > 0) * B[t].sqrt() * torch.randn_like(x)
        return x

    report = run(Adapter(alpha_bar=lambda: AB, sample=wide))
    assert report.exit_status == 1
    assert "x_T has mean" in report.verdict
    assert "1 / sqrt(alpha_t)" not in str(report)
