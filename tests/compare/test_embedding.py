"""An embedding of timesteps: right in every convention, wrong ones named, other kinds undecided."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compare import Adapter, run
from compare.candidate.from_oracle import embedding_of
from compare.mistakes import MISTAKES, Mistake
from compare.oracle import Oracle, Waves
from compare.stages import embedding as stage
from compare.verdict.report import Report
from tests.often import each

WRONG = [m for m in MISTAKES if m.stage == "embedding"]


def frequencies(dim: int, shift: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    half = dim // 2
    return torch.exp(-math.log(10000) * torch.arange(half, dtype=dtype) / (half - shift))


def halves(t: Tensor, dim: int, shift: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    angle = t[:, None].to(dtype) * frequencies(dim, shift, dtype)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def cosines_first(t: Tensor, dim: int) -> Tensor:
    return halves(t, dim).roll(dim // 2, dims=1)


def paired(t: Tensor, dim: int) -> Tensor:
    rows = torch.zeros(len(t), dim)
    angle = t.unsqueeze(1) / 10000 ** (torch.arange(0, dim, 2) / dim)
    rows[:, 0::2], rows[:, 1::2] = angle.sin(), angle.cos()
    return rows


def looked_up(t: Tensor, dim: int) -> Tensor:
    return paired(torch.arange(1000), dim)[t]


def unit(t: Tensor, dim: int) -> Tensor:
    """Made for t of 0..1."""
    return halves(1000.0 * t, dim)


def axis_more(t: Tensor, dim: int) -> Tensor:
    angle = t @ frequencies(dim)[None]
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class SinusoidalPosEmb(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return halves(x, self.dim, shift=1)


RIGHT: dict[str, tuple[Callable[..., Any], str]] = {
    "sines": (halves, "sines first, in halves; exponents i / half, period 10000"),
    "cosines": (cosines_first, "cosines first, in halves; exponents i / half, period 10000"),
    "pairs": (paired, "sines first, in pairs; exponents i / half, period 10000"),
    "table": (looked_up, "sines first, in pairs"),
    "shift": (lambda t, dim: SinusoidalPosEmb(dim)(t), "exponents i / (half - 1), period 10000"),
    "float64": (lambda t, dim: halves(t, dim, 1, torch.float64), "exponents i / (half - 1)"),
    "t / T": (unit, "sines first, in halves; exponents i / half, period 10000, of 1000 t"),
    "axis": (axis_more, "sines first, in halves"),
    "half the answer": (lambda t, dim: halves(t, dim).bfloat16(), "period 10000"),
    "period": (embedding_of(Oracle(), Waves(period=300.0, shift=1)), "(half - 1), period 300"),
    "scale": (embedding_of(Oracle(), Waves(scale=0.25)), "period 10000, of 0.25 t"),
}


def judged(embedding: Callable[..., Any], seed: int = 0) -> Report:
    return run(Adapter(embedding=embedding), seed=seed)


@pytest.mark.parametrize("name", RIGHT)
def test_right_in_every_convention_which_the_card_says(name: str) -> None:
    function, card = RIGHT[name]
    report = judged(function)
    assert report.exit_status == 0, str(report)
    assert report.judged == ["embedding"]
    assert card in report.conventions["embedding"]


@pytest.mark.parametrize(("wrong", "seed"), each(3, [(m, seed) for m in WRONG for seed in (1, 2)]))
def test_every_mistake_is_named_in_other_conventions_too(wrong: Mistake, seed: int) -> None:
    waves = Waves(cosine_first=True, alternating=True, shift=1)
    report = judged(embedding_of(wrong.oracle(), waves), seed)
    assert report.exit_status == 1
    assert [d.bug for d in report.diagnoses] == [wrong.id], str(report)


@pytest.mark.parametrize("dim", each(3, [8, 32, 128]))
def test_every_mistake_is_named_at_each_dim(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "DIMS", (dim,))
    for wrong in WRONG:
        named = [d.bug for d in judged(embedding_of(wrong.oracle())).diagnoses]
        assert named == [wrong.id]


def test_all_in_half_precision_is_blamed() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        report = judged(lambda t, dim, dtype=dtype: halves(t, dim, 0, dtype).float())
        assert report.exit_status == 1, str(report)
        assert "float32" in report.diagnoses[0].fix


def test_another_kind_is_undecided_and_blamed_for_nothing() -> None:
    def fourier(t: Tensor, dim: int) -> Tensor:
        w = torch.randn(dim // 2, generator=torch.Generator().manual_seed(0)) * 16
        angle = 2 * math.pi * t[:, None] * w
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    report = judged(fourier)
    assert report.exit_status == 2
    assert not report.diagnoses
    assert "undecided: its embedding is no table of sinusoids" in report.verdict


def slow(t: Tensor, dim: int) -> Tensor:
    """Frequencies that fall otherwise."""
    i = torch.arange(dim // 2)
    angle = t.float()[:, None] / (1 + 10000.0 * i / len(i))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@pytest.mark.parametrize(
    ("function", "status", "said"),
    [
        (slow, 1, "its frequencies are 1, 0.001597, 0.0007994, ..., 0.0001067, should be 1, 0.562"),
        (
            lambda t, dim: halves(t.float().log1p(), dim),
            2,
            "its waves go by log(1 + t) and not by t",
        ),
        (lambda t, dim: halves(t + 1, dim), 2, "its waves go by t + 1 and not by t"),
        (lambda t, dim: halves(t + 7, dim), 2, "its waves go by t + 7 and not by t"),
        (
            lambda t, dim: halves(t + (0.1 * t).sin(), dim),
            2,
            "its waves go by 0, 1.1, 2.199, 3.296, ... at t = 0, 1, 2, 3, and not by t",
        ),
    ],
)
def test_other_frequencies_are_wrong_and_another_time_is_left_open(
    function, status: int, said: str
) -> None:
    report = judged(function)
    assert report.exit_status == status, str(report)
    assert said in report.verdict


def refuse(t: Tensor, dim: int) -> Tensor:
    raise RuntimeError("no")


@pytest.mark.parametrize(
    ("function", "status", "said"),
    [
        (lambda t, dim: halves(t, 2 * dim), 1, "is of shape (61, 64), should be (61, 32)"),
        (lambda t, dim: halves(t, dim) * float("nan"), 1, "there is NaN or infinity"),
        (lambda t, dim: [1.0], 1, "returned list, not a tensor"),
        (refuse, 2, "embedding(t (61,) int64, 32) raises RuntimeError: no"),
        (lambda t, dim: halves(t, dim) - halves(t, dim).mean(0), 1, "depends on its place"),
    ],
)
def test_what_is_no_embedding_is_one_line(function, status: int, said: str) -> None:
    report = judged(function)
    assert report.exit_status == status, str(report)
    assert said in report.verdict
    assert "\n" not in report.verdict


def test_a_function_alone_is_known_by_its_names() -> None:
    def timestep_embedding(timesteps, embedding_dim, max_period=10000):
        return halves(timesteps, embedding_dim)

    def wrong(timesteps, dim):
        return torch.cat([halves(timesteps, dim)[:, : dim // 2]] * 2, dim=1)

    assert run(timestep_embedding).judged == ["embedding"]
    assert [d.bug for d in run(wrong).diagnoses] == ["88-sines"]
