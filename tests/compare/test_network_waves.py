"""The sinusoids that a network makes of t: any convention is right, slips are named."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compare import Adapter, run
from compare.verdict.report import Report

HALF = 8
PLACE = torch.arange(HALF).float()
FALLING = torch.exp(-math.log(10000) * PLACE / HALF)


class Network(nn.Module):
    """Convolutions, to which a layer on the waves of t is added."""

    image_size = 8

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 1, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(2 * HALF, 12), nn.SiLU(), nn.Linear(12, 6))

    def waves(self, t: Tensor) -> Tensor:
        """(b, 2 HALF) what is told of t (b,)."""
        angle = t[:, None] * FALLING
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        told = self.time(self.waves(t.float()))
        return self.last(F.silu(self.first(x) + told[:, :, None, None]))


def network_of(angles_of: object) -> type[Network]:
    """A network of which the sines and the cosines are taken of these."""

    class Made(Network):
        def waves(self, t: Tensor) -> Tensor:
            sine, cosine = angles_of(t[:, None])  # type: ignore[operator]
            return torch.cat([torch.sin(sine), torch.cos(cosine)], dim=1)

    return Made


def both(f: Tensor) -> object:
    return lambda t: (t * f, t * f)


def judged(network: type[nn.Module]) -> Report:
    return run(Adapter(network=network))


class Alternating(Network):
    def waves(self, t: Tensor) -> Tensor:
        told = torch.zeros(len(t), 2 * HALF)
        told[:, 0::2] = torch.sin(t[:, None] * FALLING)
        told[:, 1::2] = torch.cos(t[:, None] * FALLING)
        return told


class CosinesFirst(Network):
    def waves(self, t: Tensor) -> Tensor:
        angle = torch.outer(t + 1, FALLING)
        return torch.stack([angle.cos(), angle.sin()], dim=2).flatten(1)


RIGHT = {
    "falling": Network,
    "alternating": Alternating,
    "cosines first, from t + 1": CosinesFirst,
    "over half - 1": network_of(both(torch.exp(-math.log(10000) * PLACE / (HALF - 1)))),
    "another period": network_of(both(200.0 ** (-PLACE / HALF))),
    "of t / T, times 1000": network_of(lambda t: (t / 1000 * 1000 * FALLING,) * 2),
    "octaves": network_of(both(math.pi / 1000 * 2.0**PLACE)),
    "from slow to fast": network_of(both(FALLING.flip(0))),
}


@pytest.mark.parametrize("name", RIGHT)
def test_any_convention_is_right(name: str) -> None:
    report = judged(RIGHT[name])
    assert report.exit_status == 0
    assert [c.status for c in report.checks if c.id == "network/waves"] == ["equal"]


class Drawn(Network):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("f", torch.randn(HALF))

    def waves(self, t: Tensor) -> Tensor:
        angle = 2 * math.pi * t[:, None] / 1000 * self.f
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class OfTheNoise(Network):
    """What tells it the size of the noise, as the DDIM example of Keras does."""

    def waves(self, t: Tensor) -> Tensor:
        angle = (0.5 * math.pi * t / 1000).sin()[:, None] * torch.linspace(
            1, 1000, HALF
        ).log().exp()
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class Table(Network):
    """No sines at all."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(1000, 2 * HALF)

    def waves(self, t: Tensor) -> Tensor:
        return self.table(t.long())


class OneWave(Network):
    def waves(self, t: Tensor) -> Tensor:
        return torch.cat([torch.sin(t[:, None] / 700), (t[:, None] / 1000).expand(-1, 15)], dim=1)


@pytest.mark.parametrize("network", [Drawn, OfTheNoise, Table, OneWave])
def test_of_another_kind_nothing_is_said(network: type[Network]) -> None:
    report = judged(network)
    assert report.exit_status == 0
    assert not [c for c in report.checks if c.id == "network/waves"]


ALL = torch.exp(-math.log(10000) * torch.arange(2 * HALF) / (2 * HALF))
STEEP = torch.exp(-math.log(10000) * torch.arange(2 * HALF) / HALF)
WRONG = {
    "88-rising": both(10000.0 ** (PLACE / HALF)),
    "88-exp": both(-math.log(10000) * PLACE / HALF),
    "88-linear": both(torch.linspace(1, 1e-4, HALF)),
    "88-divided": lambda t: (t / 1000 * FALLING,) * 2,
    "88-odd": lambda t: (t * ALL[0::2], t * ALL[1::2]),
    "88-running": lambda t: (t * STEEP[:HALF], t * STEEP[HALF:]),
}


@pytest.mark.parametrize("bug", WRONG)
def test_a_slip_is_named(bug: str) -> None:
    report = judged(network_of(WRONG[bug]))
    assert report.exit_status == 1
    assert [c.id for c in report.checks if not c.passed] == ["network/waves"]
    assert [diagnosis.bug for diagnosis in report.diagnoses] == [bug]


class SinesTwice(Network):
    def waves(self, t: Tensor) -> Tensor:
        angle = t[:, None] * FALLING
        return torch.cat([angle.sin(), torch.sin(angle)], dim=1)


class CosinesTwice(Network):
    def waves(self, t: Tensor) -> Tensor:
        angle = t[:, None] * FALLING
        return torch.cat([angle.cos(), torch.cos(angle)], dim=1)


@pytest.mark.parametrize(("network", "kind"), [(SinesTwice, "sines"), (CosinesTwice, "cosines")])
def test_one_kind_twice_is_named(network: type[Network], kind: str) -> None:
    report = judged(network)
    assert [diagnosis.bug for diagnosis in report.diagnoses] == [f"88-{kind}"]
    assert f"both halves of its waves are {kind}" in report.verdict


def test_frequencies_without_a_name_are_told() -> None:
    """Powers cut to whole numbers; and cosines of other frequencies by no rule."""
    report = judged(network_of(both(FALLING.long().float())))
    assert report.exit_status == 1
    assert "its frequencies are 1, 0, 0, ..., 0, should be 1, 0.3162, 0.1, ..." in report.verdict
    report = judged(network_of(lambda t: (t * FALLING, t * FALLING * 1.1)))
    assert "its sines have the frequencies 1, 0.3162, 0.1, ..." in report.verdict
    assert "its cosines 1.1, 0.3479, 0.11, ..." in report.verdict
    assert [diagnosis.bug for diagnosis in report.diagnoses] == [None]
