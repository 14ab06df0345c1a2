"""Tables that begin with exactly 1 or end at 0, as people write them; and what each form hides.

A leading 1 is of no step, so that there are T + 1 entries; a table that ends at 0 is right where
the model does not predict noise.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import compare
from compare import Adapter, Report
from compare.candidate.door.reading import told_by
from compare.verdict.judge import judge
from tests.often import each


def judged(candidate: Any, *words: str) -> Report:
    return judge(candidate, "quick", 0, beside=False, reading=told_by(words))


def quarter(T: int) -> Tensor:
    """(T + 1,) float64 cos^2 of a quarter turn: from exactly 1 to what float makes of 0."""
    return torch.linspace(0, math.pi / 2, T + 1, dtype=torch.float64).cos() ** 2


def nichol(T: int) -> Tensor:
    """(T + 1,) float64 f(t) / f(0) of Nichol & Dhariwal's eq. 17, whose betas are not capped."""
    u = torch.arange(T + 1, dtype=torch.float64) / T
    f = ((u + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    return f / f[0]


def padded(T: int, last: float) -> Tensor:
    """(T + 1,) float64 1 and then the product of 1 - beta."""
    betas = torch.linspace(1e-3, last, T, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])


def as_targets(kind: str, x: Tensor, e: Tensor, a: Tensor) -> Tensor:
    if kind == "v":
        return a.sqrt() * e - (1 - a).sqrt() * x
    return e if kind == "eps" else x


def both(kind: str, out: Tensor, x: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """x0-hat and the noise by a model's output of this kind."""
    if kind == "v":
        return a.sqrt() * x - (1 - a).sqrt() * out, (1 - a).sqrt() * x + a.sqrt() * out
    if kind == "eps":
        return (x - (1 - a).sqrt() * out) / a.sqrt(), out
    return out, (x - a.sqrt() * out) / (1 - a).sqrt()


def whole(i: Tensor, base: int, T: int) -> Tensor:
    return i + base


def share(i: Tensor, base: int, T: int) -> Tensor:
    return (i + base) / T


def program(
    table: Any,
    kind: str,
    base: int,
    roles: str = "sample loss",
    tells: Callable = whole,
    ddim: bool = False,
    entry: int = 1,
    loss_tells: int | None = None,
    steps: int | None = None,
) -> Adapter:
    """A loop and a loss on a table whose entry i + `entry` is the level after i + 1 steps.

    Args:
        table: as it is handed over and read.
        kind: of the prediction.
        base: the model is told i + `base` for i = 0..T-1.
        roles: that are there.
        tells: how that number is told.
        ddim: whose step it is.
        entry: where the first step stands.
        loss_tells: base of the loss, if it is another.
        steps: T, if it is not one less than the entries.
    """
    levels = torch.as_tensor(table, dtype=torch.float32)
    T = steps or len(levels) - 1

    def level(i: int) -> Tensor:
        return levels[i + entry] if i >= 0 else torch.ones(())

    def loss(model, x_0):
        i = torch.randint(0, T, (len(x_0),))
        a, e = levels[i + entry].reshape(-1, 1, 1, 1), torch.randn_like(x_0)
        told = tells(i, base if loss_tells is None else loss_tells, T)
        guess = model(a.sqrt() * x_0 + (1 - a).sqrt() * e, told)
        return (guess - as_targets(kind, x_0, e, a)).square().mean()

    def sample(model, shape):
        model.eval()
        x = torch.randn(shape)
        for i in reversed(range(T)):
            a, p = level(i), level(i - 1)
            guess = model(x, tells(torch.full(shape[:1], i), base, T))
            x_0, e = both(kind, guess, x, a)
            if ddim:
                x = p.sqrt() * x_0 + (1 - p).sqrt() * e
                continue
            x = p.sqrt() * (1 - a / p) / (1 - a) * x_0 + (a / p).sqrt() * (1 - p) / (1 - a) * x
            if i:
                x = x + ((1 - a / p) * (1 - p) / (1 - a)).sqrt() * torch.randn_like(x)
        return x

    known = {"sample": sample, "loss": loss}
    return Adapter(alpha_bar=lambda: table, **{role: known[role] for role in roles.split()})


class Padded:
    """A class of methods whose table has a 1 in front, which they read at t + 1."""

    def __init__(self) -> None:
        self.betas = torch.linspace(1e-3, 0.4, 30)
        self.alphas_cumprod = F.pad((1 - self.betas).cumprod(0), (1, 0), value=1.0)

    def add_noise(self, x_0, noise, t):
        a = self.alphas_cumprod[t + 1].reshape(-1, 1, 1, 1)
        return a.sqrt() * x_0 + (1 - a).sqrt() * noise

    def step(self, model_output, t, x_t):
        a, p = self.alphas_cumprod[t + 1], self.alphas_cumprod[t]
        mean = (x_t - (1 - a / p) / (1 - a).sqrt() * model_output) / (a / p).sqrt()
        return mean + ((1 - a / p) * (1 - p) / (1 - a)).sqrt() * torch.randn_like(x_t)


class PaddedEarly(Padded):
    """Its step reads the entries of the step before."""

    def step(self, model_output, t, x_t):
        a, p = self.alphas_cumprod[t], self.alphas_cumprod[max(t - 1, 0)]
        noise = (1 - a).clamp(min=1e-8)
        mean = (x_t - (1 - a / p) / noise.sqrt() * model_output) / (a / p).sqrt()
        return mean + ((1 - a / p) * (1 - p) / noise).sqrt() * torch.randn_like(x_t)


class ToNothing:
    """Steps by v on 51 levels, from exactly 1 to 0, with t from 1; no list says so."""

    def __init__(self) -> None:
        self.alphas_cumprod = quarter(50).float()

    def add_noise(self, x_0, noise, t):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return a.sqrt() * x_0 + (1 - a).sqrt() * noise

    def step(self, out, t, x_t):
        a, p = self.alphas_cumprod[t], self.alphas_cumprod[t - 1]
        x_0, _ = both("v", out, x_t, a)
        x = p.sqrt() * (1 - a / p) / (1 - a) * x_0 + (a / p).sqrt() * (1 - p) / (1 - a) * x_t
        return x + ((1 - a / p) * (1 - p) / (1 - a)).sqrt() * torch.randn_like(x_t)


class ToNothingAhead(ToNothing):
    """The same with t from 0."""

    def add_noise(self, x_0, noise, t):
        return super().add_noise(x_0, noise, t + 1)

    def step(self, out, t, x_t):
        return super().step(out, t + 1, x_t)


class ToNothingEarly(ToNothing):
    """Its step counts t from 0, its `add_noise` from 1."""

    def step(self, out, t, x_t):
        return super().step(out, t + 1, x_t)


class Uncapped:
    """Steps by v on T levels, the last of them 0."""

    T, last = 50, "v"

    def __init__(self) -> None:
        self.alphas_cumprod = nichol(self.T)[1:].float()

    def add_noise(self, x_0, noise, t):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return a.sqrt() * x_0 + (1 - a).sqrt() * noise

    def step(self, out, t, x_t):
        a = self.alphas_cumprod[t]
        p = self.alphas_cumprod[t - 1] if t > 0 else torch.ones(())
        x_0, _ = both(self.last, out, x_t, a)
        x = p.sqrt() * (1 - a / p) / (1 - a) * x_0 + (a / p).sqrt() * (1 - p) / (1 - a) * x_t
        return x + ((1 - a / p) * (1 - p) / (1 - a)).sqrt() * torch.randn_like(x_t)


class UncappedNoise(Uncapped):
    last = "eps"


class UncappedEarly(Uncapped):
    """One entry early: its first level is no step, its last is missing."""

    def __init__(self) -> None:
        self.alphas_cumprod = nichol(self.T)[:-1].float()
        self.timesteps = list(range(self.T - 1, -1, -1))


RIGHT = {  # {what: (a program, what is read of its table, what its model predicts)}
    "from 1 to 0, a list": (program(quarter(20).tolist(), "v", 1), "t_base", "v_prediction"),
    "from 1 to 0, an array, DDIM": (
        program(quarter(1000).numpy(), "v", 1, "sample", ddim=True),
        "t_base",
        "v_prediction",
    ),
    "from 1 to 0, float32, x_0": (program(quarter(100).float(), "x_0", 1), "t_base", "sample"),
    "from 1 to 0, told t / T": (
        program(quarter(64).float(), "v", 1, tells=share),
        "t_base",
        "v_prediction",
    ),
    "from 1 to 0, a table alone": (
        Adapter(alpha_bar=lambda: np.sin(np.linspace(np.pi / 2, 0, 51)) ** 2),
        "t_base",
        "epsilon",
    ),
    "read at i + 1, a list": (program(padded(20, 0.6).tolist(), "eps", 0), "entry", "epsilon"),
    "read at i + 1, an array, DDIM": (
        program(padded(200, 0.08).numpy(), "eps", 0, "sample", ddim=True),
        "entry",
        "epsilon",
    ),
    "read at i + 1, by methods": (Padded, "entry", "epsilon"),
    "read at i + 1, told i / T": (
        program(padded(1000, 0.02).float(), "eps", 0, "loss", tells=share),
        "entry",
        "epsilon",
    ),
    "read at i + 1, to 0": (program(quarter(100).float(), "v", 0), "entry", "v_prediction"),
    "from 1 to 0, by methods": (ToNothing, "t_base", "v_prediction"),
    "read at i + 1, to 0, by methods": (ToNothingAhead, "entry", "v_prediction"),
    "no cap, a loss": (
        program(nichol(1000)[1:].float(), "v", 0, "loss", entry=0, steps=1000),
        "",
        "v_prediction",
    ),
    "no cap, an array": (
        program(nichol(100)[1:].numpy(), "v", 0, "sample", entry=0, steps=100),
        "",
        "v_prediction",
    ),
    "no cap, a list, x_0": (
        program(nichol(20)[1:].tolist(), "x_0", 0, ddim=True, entry=0, steps=20),
        "",
        "sample",
    ),
    "no cap, by methods": (Uncapped, "", "v_prediction"),
    "no cap, behind a 1": (program(nichol(400).float(), "v", 1), "t_base", "v_prediction"),
}


@pytest.mark.parametrize("what", each(3, list(RIGHT)))
def test_a_right_program_is_right(what: str) -> None:
    candidate, read, kind = RIGHT[what]
    report = judged(candidate)
    assert report.passed, str(report)
    said = {name for name, fact in report.readings.items() if fact["words"]}
    assert said & {"t_base", "entry"} == ({read} if read else set())
    assert report.readings["prediction"]["value"] == kind
    if read and what != "from 1 to 0, by methods":  # which values show
        assert "entries, the first of them 1" in report.readings[read]["evidence"]


EARLY = torch.cat([torch.ones(1), padded(60, 0.3)[1:-1].float()])  # T entries, each one early
WRONG = {
    "from 1 to 0, read one early": program(quarter(100).float(), "v", 1, entry=0),
    "from 1 to 0, the loss tells i": program(quarter(100).float(), "v", 1, loss_tells=0),
    "from 1 to 0, noise": program(quarter(100).float(), "eps", 1),
    "from 1 to 0, noise, a loop alone": program(quarter(50).float(), "eps", 1, "sample"),
    "read at i": program(padded(200, 0.08).float(), "eps", 0, entry=0),
    "read at i, a loss": program(padded(200, 0.08).float(), "eps", 0, "loss", entry=0),
    "read at i + 1, the loss tells i + 1": program(padded(60, 0.3), "eps", 0, loss_tells=1),
    "read at i + 1, the loop tells i + 1": program(padded(60, 0.3), "eps", 1, loss_tells=0),
    "read at i + 1, to 0, noise": program(quarter(100).float(), "eps", 0),
    "read one early, by methods": PaddedEarly,
    "from 1 to 0, by methods that part": ToNothingEarly,
    "one early, T entries": program(EARLY, "eps", 0, "loss", entry=0, steps=60),
    "no cap, noise": program(nichol(100)[1:].float(), "eps", 0, entry=0, steps=100),
    "no cap, noise, by methods": UncappedNoise,
    "no cap, one early, by methods": UncappedEarly,
    "no cap, the loss tells i + 1": program(
        nichol(100)[1:].float(), "v", 0, entry=0, steps=100, loss_tells=1
    ),
    "no cap, one early": program(nichol(100)[:-1].float(), "v", 0, entry=0, steps=100),
}


@pytest.mark.parametrize("what", each(3, list(WRONG)))
def test_a_wrong_one_beside_it_is_found(what: str) -> None:
    report = judged(WRONG[what])
    assert report.exit_status == 1, str(report)


def test_a_word_on_what_t_counts_from_helps_a_table_alone() -> None:
    table = Adapter(alpha_bar=lambda: quarter(30))
    assert judged(table, "t=1").passed
    assert judged(table).verdict.endswith("Tables alone were judged.")
    assert judged(table).conventions["T"] == "30 (read off)"


def test_a_loop_on_a_list_that_may_be_of_either_count_is_told_both() -> None:
    """Every fifth t, neither 0 nor T among them: entry t or entry t + 1."""
    levels = padded(60, 0.3).float()

    def ending(entry: int) -> Adapter:
        def sample(model, shape):
            model.eval()
            x = torch.randn(shape)
            for t in range(59, 0, -5):
                a = levels[t + entry]
                p = levels[t - 5 + entry] if t > 5 else torch.ones(())
                x_0, e = both("eps", model(x, torch.full(shape[:1], t)), x, a)
                x = p.sqrt() * x_0 + (1 - p).sqrt() * e
            return x

        return Adapter(alpha_bar=lambda: levels, sample=sample)

    report = judged(ending(1))
    assert report.exit_status == 2, str(report)
    assert "--reading t=0" in report.verdict
    assert judged(ending(1), "t=0").passed
    assert not judged(ending(1), "t=1").passed


def test_a_loss_of_noise_on_a_table_to_0_is_judged_and_its_steps_are_not() -> None:
    """Nothing divides in it; a wrong one used to pass unseen."""
    right = program(quarter(50)[1:].float(), "eps", 0, "loss", entry=0, steps=50)
    report = judged(right)
    assert report.passed, str(report)
    assert "loss" in report.judged

    def loss(model, x_0):
        return (model(x_0, torch.randint(0, 50, (len(x_0),))) - x_0).square().mean()

    wrong = Adapter(alpha_bar=right.alpha_bar, loss=loss)
    assert not judged(wrong).passed


def test_steps_of_noise_from_0_are_blamed_with_what_to_do() -> None:
    report = compare.run(program(quarter(50)[1:].float(), "eps", 0, entry=0, steps=50))
    assert (
        "alpha-bar is 0 at some t, where noise that a model predicts says nothing" in report.verdict
    )
    assert "predict v" in report.diagnoses[0].fix


def test_who_does_not_begin_at_0_is_not_blamed_for_it_and_not_passed() -> None:
    levels = quarter(50).float()

    def sample(model, shape):
        model.eval()
        x = torch.randn(shape)
        for t in range(49, 0, -3):
            x_0, e = both("eps", model(x, torch.full(shape[:1], t)), x, levels[t])
            p = levels[max(t - 3, 0)]
            x = p.sqrt() * x_0 + (1 - p).sqrt() * e
        return x

    def loss(model, x_0):
        t = torch.randint(1, 51, (len(x_0),))
        a, e = levels[t].reshape(-1, 1, 1, 1), torch.randn_like(x_0)
        return (model(a.sqrt() * x_0 + (1 - a).sqrt() * e, t) - e).square().mean()

    report = judged(Adapter(alpha_bar=lambda: levels, sample=sample, loss=loss))
    assert report.exit_status == 2, str(report)
    assert "where noise that a model predicts says nothing" in report.verdict
