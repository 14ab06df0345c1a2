"""Loops as strangers write them: what they share, and what is told of a fault in each."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from compare import Adapter, Report, run
from tests.often import each

T = 120
BETAS = torch.linspace(1e-3, 0.1, T)
ALPHA_BAR = (1 - BETAS).cumprod(0)
SHIFTED = torch.cat([torch.ones(1), ALPHA_BAR[:-1]])
Ask = Callable[[Any, Tensor, int], Tensor]


def asked(model: Any, x: Tensor, t: int) -> Tensor:
    out: Tensor = model(x, torch.full((len(x),), t))
    return out


def ddpm(
    ask: Ask = asked,
    table: Callable[[int], Tensor] = lambda t: ALPHA_BAR[t],
    quiet: tuple[int, ...] = (0,),
    end: Callable[[Tensor], Tensor] = lambda x: x,
    betas: Tensor = BETAS,
) -> Adapter:
    """Algorithm 2 with sigma^2 = beta."""

    def sample(model, shape):
        model.eval()
        x = torch.randn(shape)
        for t in reversed(range(T)):
            x = (x - betas[t] / (1 - table(t)).sqrt() * ask(model, x, t)) / (1 - betas[t]).sqrt()
            if t not in quiet:
                x = x + betas[t].sqrt() * torch.randn_like(x)
        return end(x)

    return Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample)


def ddim(
    listed: list[int],
    before: Callable[[int], Tensor] = lambda prev: ALPHA_BAR[prev] if prev >= 0 else torch.ones(()),
    sigma: Callable[[int], Tensor | float] = lambda t: 0.0,
    of_x_0: bool = False,
    table: Tensor = ALPHA_BAR,
) -> Adapter:
    """Song et al.'s eq. 12 on a list, the last of which is where it ends."""

    def sample(model, shape):
        model.eval()
        x = torch.randn(shape)
        for t, prev in pairwise(listed):
            out, ab, a = asked(model, x, t), table[t], before(prev)
            x_0 = out if of_x_0 else (x - (1 - ab).sqrt() * out) / ab.sqrt()
            eps = (x - ab.sqrt() * out) / (1 - ab).sqrt() if of_x_0 else out
            s = torch.as_tensor(sigma(t))
            x = a.sqrt() * x_0 + (1 - a - s**2).sqrt() * eps + s * torch.randn_like(x)
        return x

    return Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample)


QUADRATIC = [int(118 * (i / 39) ** 2) for i in reversed(range(40))]  # 118, ..., 2, 1, 1, 0, 0, 0, 0
STRIDED = [*range(T - 5, 0, -5)]


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (ddim([*QUADRATIC, -1]), "with 4 steps from 0"),
        (ddim([*(t + 1 for t in QUADRATIC), -1]), "with 4 steps from 1"),
    ],
)
def test_a_step_that_stays_where_it_is_is_a_convention(candidate: Adapter, words: str) -> None:
    report = run(candidate)
    assert report.passed, str(report)
    assert words in report.conventions["list"]
    assert "guidance" not in report.conventions


@pytest.mark.parametrize(
    "ask",
    [lambda model, x, t: model(x, [t]), lambda model, x, t: model(x, [t] * len(x))],
    ids=["one number", "one for each image"],
)
def test_t_may_be_a_list(ask: Ask) -> None:
    report = run(ddpm(ask))
    assert report.passed, str(report)


def noise_images(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    eps = torch.randn_like(x)
    ab = ALPHA_BAR[t].reshape(-1, 1, 1, 1)
    return ab.sqrt() * x + (1 - ab).sqrt() * eps, eps


def noised_too_little(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    eps = torch.randn_like(x)
    ab = ALPHA_BAR[t].reshape(-1, 1, 1, 1)
    return ab.sqrt() * x + (1 - ab) * eps, eps


@pytest.mark.parametrize(("add_noise", "bugs"), [(noise_images, []), (noised_too_little, ["6"])])
def test_an_adapter_s_add_noise_may_draw_its_noise(add_noise: Callable, bugs: list[str]) -> None:
    report = run(Adapter(alpha_bar=lambda: ALPHA_BAR, add_noise=add_noise))
    assert report.readings["add_noise"]["value"] == "x_0,t"
    assert [d.bug for d in report.diagnoses] == bugs, str(report)


def by_labels(model: Any, x: Tensor, t: int) -> Tensor:
    labels = torch.arange(len(x)) % 10
    known, free = model(x, torch.full((len(x),), t), labels), model(x, labels, None)
    return 3 * known - 2 * free


OWN = torch.linspace(1e-3, 0.08, T)
ITS = (1 - OWN).cumprod(0)
ANOTHER = "your loop is right by another table than the one that is shown: at t="
MEAN, Z = "beta_t / sqrt(1 - ab_prev) / sqrt(alpha_t)", "z has sqrt(beta_t * (1 - ab_prev)"
TOLD: dict[str, tuple[Adapter, list[str | None], list[str]]] = {
    "labels for t": (ddpm(by_labels), [None], ["another t for each image (0, 1, 2, 3, ...)"]),
    "NaN": (
        ddpm(end=lambda x: x + torch.where(x > 0, torch.nan, 0.0)),
        [None],
        ["numbers of the result are NaN"],
    ),
    "another table, and no noise at t = 1": (
        ddpm(table=lambda t: ALPHA_BAR[max(t - 1, 0)], quiet=(0, 1)),
        [None],
        [MEAN, Z, "as it should, but not everywhere: at t=1 it is 0"],
    ),
    "a shifted table": (
        ddim([*STRIDED, 0], lambda prev: SHIFTED[prev]),
        [None],
        ["x0-hat has sqrt(ab[prev - 1])", "eps has sqrt(1 - ab[prev - 1])"],
    ),
    "another table": (ddpm(table=lambda t: ITS[t], betas=OWN), [None], [ANOTHER]),
    "another table, of DDIM": (
        ddim(
            [*STRIDED, 0, -1],
            lambda prev: ITS[prev] if prev >= 0 else torch.ones(()),
            table=ITS,
        ),
        [None],
        [f"{ANOTHER}50 its alpha-bar is {float(ITS[50]):.6f}"],
    ),
    "x_0, and the last step is missing": (ddim([*STRIDED, 0], of_x_0=True), ["79"], []),
}


@pytest.mark.parametrize(("candidate", "bugs", "words"), each(4, TOLD.values()), ids=TOLD)
def test_a_fault_is_told_by_what_it_is(
    candidate: Adapter, bugs: list[str | None], words: list[str]
) -> None:
    report = run(candidate)
    assert report.exit_status == 1
    assert [d.bug for d in report.diagnoses] == bugs, str(report)
    assert all(each in report.verdict for each in words), report.verdict


def judged_as(candidate: Adapter, *reading: str) -> Report:
    return run(candidate, reading=reading)


def test_a_loop_that_clamps_to_0_and_1_may_be_one_of_data_that_are_never_mapped() -> None:
    cut = ddpm(end=lambda x: x.clamp(0, 1))
    report = judged_as(cut)
    assert report.exit_status == 2
    assert "the result is the last step, clamped to [0, 1]" in report.verdict
    assert "Say --reading pictures=[-1,1] or --reading pictures=unmapped" in report.verdict
    assert judged_as(cut, "pictures=[-1,1]").exit_status == 1
    assert judged_as(cut, "pictures=unmapped").passed


@pytest.mark.long
def test_what_pictures_are_may_be_said_by_the_adapter_and_the_command_overrules_it() -> None:
    cut = ddpm(end=lambda x: x.clamp(0, 1))
    assert run(replace(cut, reading="pictures=unmapped")).passed
    assert run(lambda: replace(cut, reading="pictures=unmapped")).passed  # made by a function
    assert judged_as(replace(cut, reading="pictures=unmapped"), "pictures=[-1,1]").exit_status == 1
    unknown = run(replace(cut, reading="pictures=bright"))
    assert unknown.exit_status == 2
    assert "its reading=pictures=bright is not known" in unknown.verdict
    assert not judged_as(ddpm(end=lambda x: (x + 1) / 2), "pictures=unmapped").passed
    assert judged_as(ddpm(), "pictures=unmapped").passed


def from_one(offset: int) -> Adapter:
    """DDIM in T / 5 steps, its list ending at 1: what is told, less the offset, is read."""
    listed = [*range(1, T + 1, 5)]

    def sample(model: Any, shape: tuple[int, ...]) -> Tensor:
        model.eval()
        x = torch.randn(shape)
        for t, prev in pairwise([*listed[::-1], None]):
            eps = model(x, torch.full((len(x),), t))
            ab = ALPHA_BAR[t - offset]
            before = torch.ones(()) if prev is None else ALPHA_BAR[prev - offset]
            x_0 = (x - (1 - ab).sqrt() * eps) / ab.sqrt()
            x = before.sqrt() * x_0 + (1 - before).sqrt() * eps
        return x

    return Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample)


def test_a_list_that_ends_at_1_is_one_with_an_offset_or_counts_from_1() -> None:
    """The first is the contract's; the second is undecided, as mistake 2 has its numbers."""
    assert judged_as(from_one(0)).passed
    report = judged_as(from_one(1))
    assert report.exit_status == 2
    assert "what its t counts from is not sure" in report.verdict
    assert "Say --reading t=0 or --reading t=1" in report.verdict
    assert judged_as(from_one(1), "t=1").passed
    assert [d.bug for d in judged_as(from_one(1), "t=0").diagnoses] == ["2"]
    assert not judged_as(from_one(0), "t=1").passed


def test_x_0_is_read_off_the_steps_whatever_the_end_is() -> None:
    report = run(ddim([*STRIDED, 0], of_x_0=True))
    assert report.readings["prediction"]["value"] == "sample"


def test_who_leaves_z_out_at_the_end_is_not_sure_of_a_step_that_is_handed_it() -> None:
    """The step's caller, or the step; the first is right, the second is mistake 56."""

    def step(out: Tensor, t: int, x: Tensor, z: Tensor) -> Tensor:
        mean = (x - BETAS[t] / (1 - ALPHA_BAR[t]).sqrt() * out) / (1 - BETAS[t]).sqrt()
        return mean + BETAS[t].sqrt() * z

    adapter = Adapter(alpha_bar=lambda: ALPHA_BAR, step=step)
    report = run(adapter)
    assert report.exit_status == 2
    assert "Say --reading z=1 or --reading z=0" in report.verdict
    assert run(replace(adapter, reading="z=0")).passed
    assert [d.bug for d in run(replace(adapter, reading="z=1")).diagnoses] == ["56"]
