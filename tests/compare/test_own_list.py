"""A class that holds a list of some of its steps, and sets none: its step goes along that list."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import compare
from compare.candidate.door.reading import ALL_STEPS, LISTED
from tests.compare.written import judged_file

T = 200


class OwnList:
    """DDIM's step along 20 of 200 steps; what may be wrong in it stands in methods of its own."""

    eta = 0.0
    alphas_cumprod = (1 - torch.linspace(1e-4, 0.02, T, dtype=torch.float64)).cumprod(0)
    stride = T // 20
    timesteps = torch.arange(0, T, T // 20).flip(0)

    def before(self, t: int) -> int:
        return t - self.stride

    def variance(self, ab: Tensor, ab_prev: Tensor) -> Tensor:
        return self.eta**2 * (1 - ab_prev) / (1 - ab) * (1 - ab / ab_prev)

    def direction(self, ab_prev: Tensor, variance: Tensor) -> Tensor:
        return (1 - ab_prev - variance).sqrt()

    def step(self, eps: Tensor, t: int, x: Tensor) -> Tensor:
        t = int(t)
        ab, prev = self.alphas_cumprod[t], self.before(t)
        ab_prev = self.alphas_cumprod[prev] if prev >= 0 else torch.ones((), dtype=ab.dtype)
        variance = self.variance(ab, ab_prev)
        x_0 = (x - (1 - ab).sqrt() * eps) / ab.sqrt()
        mean = ab_prev.sqrt() * x_0 + self.direction(ab_prev, variance) * eps
        return mean + variance.sqrt() * torch.randn_like(x)


class Noisy(OwnList):
    eta = 0.5


class Rising(OwnList):
    timesteps = range(0, T, T // 20)


class EveryStep(OwnList):
    """Its list is of another use: its step is that of the whole chain."""

    stride = 1


class Ancestral(OwnList):
    eta = 1.0
    timesteps = range(T - 1, -1, -4)
    stride = 4


@pytest.mark.parametrize("right", [OwnList, Noisy, Rising, EveryStep, Ancestral])
def test_a_step_along_a_list_of_its_own_is_right(right: type[OwnList]) -> None:
    report = compare.run(right)
    assert report.passed, report.verdict
    visits = report.readings["visits"]
    assert visits["value"] == (ALL_STEPS if right is EveryStep else LISTED)


class AtItself(OwnList):
    def direction(self, ab_prev: Tensor, variance: Tensor) -> Tensor:
        return 1 - ab_prev - variance


class Linear(Noisy):
    def variance(self, ab: Tensor, ab_prev: Tensor) -> Tensor:
        return self.eta * (1 - ab_prev) / (1 - ab) * (1 - ab / ab_prev)

    def direction(self, ab_prev: Tensor, variance: Tensor) -> Tensor:
        return (1 - ab_prev - self.eta * variance).sqrt()


class TooFar(OwnList):
    stride = T // 20 + 1


class EveryStepWrong(EveryStep):
    def direction(self, ab_prev: Tensor, variance: Tensor) -> Tensor:
        return (1 - ab_prev - variance).sqrt() * 1.01


@pytest.mark.parametrize("wrong", [AtItself, Linear, TooFar, EveryStepWrong])
def test_a_wrong_step_along_it_is_found(wrong: type[OwnList]) -> None:
    report = compare.run(wrong)
    assert report.exit_status == 1


@pytest.mark.parametrize(
    ("program", "word", "status"),
    [(OwnList, "listed", 0), (OwnList, "all", 1), (EveryStep, "all", 0), (EveryStep, "listed", 1)],
)
def test_a_word_decides_which_steps_are_visited(
    program: type[OwnList], word: str, status: int
) -> None:
    assert compare.run(program, reading=f"visits={word}").exit_status == status


BY_PLACE = """
import torch

class DDIM:
    def __init__(self, T=1000, eta=0.0):
        self.alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, T), 0)
        self.steps, self.eta = list(range(FIRST, T, 20)), eta

    @torch.no_grad()
    def p_sample(self, model, x, i):
        t = self.steps[i]
        a = self.alphas_cumprod[t]
        a_prev = self.alphas_cumprod[self.steps[i - 1]] if i > 0 else END
        eps = model(x, torch.full((x.shape[0],), t))
        x0 = (x - (1 - a).sqrt() * eps) / a.sqrt()
        s = self.eta * ((1 - a_prev) / (1 - a) * (1 - a / a_prev)).sqrt()
        return a_prev.sqrt() * x0 + (1 - a_prev - s**2).sqrt() * eps + s * torch.randn_like(x)

    @torch.no_grad()
    def sample(self, model, shape):
        model.eval()
        x = torch.randn(shape)
        for i in reversed(range(len(self.steps))):
            x = self.p_sample(model, x, i)
        return x
"""


def of_places(folder: Path, first: int, end: str, *slip: str) -> compare.Report:
    """The report on DDIM whose step is told a place in its list of steps."""
    text = BY_PLACE.replace("FIRST", str(first)).replace("END", end)
    return judged_file(folder, "DDIM", text.replace(*slip) if slip else text)


def test_a_step_that_is_told_a_place_in_its_list_is_judged_in_its_loop(tmp_path: Path) -> None:
    report = of_places(tmp_path, 0, "torch.tensor(1.0)")
    assert report.exit_status == 0, str(report)
    noisy = of_places(tmp_path, 0, "torch.tensor(1.0)", "eta=0.0", "eta=0.5")
    assert noisy.exit_status == 0, str(noisy)
    wrong = of_places(tmp_path, 0, "torch.tensor(1.0)", "(1 - a_prev - s**2)", "(1 - a)")
    assert wrong.exit_status == 1
    assert "should have sqrt(1 - ab_prev" in str(wrong)


def test_a_list_that_ends_above_0_may_end_its_last_step_there(tmp_path: Path) -> None:
    """As latent diffusion's does, and Diffusers' with `set_alpha_to_one=False`; with a step that is
    wrong, or that ends elsewhere, it is blamed."""
    report = of_places(tmp_path, 1, "self.alphas_cumprod[0]")
    assert report.exit_status == 0, str(report)
    assert "sampling/loop/last-alpha" in str(report)
    noisy = of_places(tmp_path, 1, "self.alphas_cumprod[0]", "eta=0.0", "eta=0.5")
    assert noisy.exit_status == 0, str(noisy)
    missing = of_places(tmp_path, 20, "self.alphas_cumprod[0]")
    assert [found.bug for found in missing.diagnoses] == ["79"], str(missing)
    for slip in (("a_prev.sqrt() * x0", "a.sqrt() * x0"), ("cumprod[0]", "cumprod[1]")):
        wrong = of_places(tmp_path, 1, "self.alphas_cumprod[0]", *slip)
        assert wrong.exit_status == 1, str(wrong)
