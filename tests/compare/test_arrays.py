"""Programs in NumPy: called with arrays, judged as those in torch are."""

from pathlib import Path

import numpy as np
import pytest
import torch

from compare.candidate import arrays
from tests.compare.written import judged_file
from tests.often import each

FUNCTIONS = """
import numpy as np

T = 100
beta = np.linspace(1e-3, 0.08, T)
alpha = 1 - beta
abar = np.cumprod(alpha)
rng = np.random.default_rng(0)


def q_sample(x0, t, noise):
    a = abar[t][:, None]
    return np.sqrt(a) * x0 + np.sqrt(1 - a) * noise


def p_sample(x, t, eps, rng):
    mean = (x - beta[t] / np.sqrt(1 - abar[t]) * eps) / np.sqrt(alpha[t])
    if t == 0:
        return mean
    return mean + np.sqrt(beta[t]) * rng.standard_normal(x.shape)


def sample(predict, n, dim, rng):
    x = rng.standard_normal((n, dim))
    for t in range(T - 1, -1, -1):
        x = p_sample(x, t, predict(x, np.full(n, t)), rng)
    return x


def loss(predict, x0):
    t = rng.integers(0, T, size=len(x0))
    noise = rng.standard_normal(x0.shape)
    return np.mean((predict(q_sample(x0, t, noise), t) - noise) ** 2)
"""
CLASS = """
import math

import numpy as np


class Diffusion:
    def __init__(self, network, T=60):
        self.network, self.T = network, T
        self.betas = np.linspace(1e-4, 0.1, T)
        self.alphas_cumprod = np.cumprod(1.0 - self.betas)

    def add_noise(self, x0, noise, t):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return np.sqrt(a) * x0 + np.sqrt(1 - a) * noise

    def predicted(self, x, t):
        return self.network.forward(x, np.array([t] * len(x)))

    def sample(self, n):
        x = np.random.normal(size=(n, 3, 8, 8))
        for t in reversed(range(self.T)):
            a, b = self.alphas_cumprod[t], self.betas[t]
            x = (x - b / math.sqrt(1 - a) * self.predicted(x, t)) / math.sqrt(1 - b)
            if t > 0:
                x += math.sqrt(b) * np.random.normal(size=x.shape)
        return x
"""
PARTS = ["q_sample", "p_sample", "sample", "loss"]
SLIPS = [  # (part, what is written, what is in its place, the stage and the mistake that is named)
    ("q_sample", "np.sqrt(1 - a) * noise", "(1 - a) * noise", "forward", "6"),
    ("p_sample", "np.sqrt(beta[t]) *", "beta[t] *", "variance", "49"),
    ("sample", "np.sqrt(1 - abar[t])", "(1 - abar[t])", "mean", "43"),
    ("sample", "range(T - 1, -1, -1)", "range(T - 1, 0, -1)", "sampling", "79"),
    ("loss", "rng.integers(0, T,", "rng.integers(0, T - 1,", "loss", "20"),
    ("loss", "t) - noise)", "t) + noise)", "loss", "47-loss"),
]


@pytest.mark.parametrize("part", PARTS)
def test_functions_in_numpy_are_judged(tmp_path: Path, part: str) -> None:
    report = judged_file(tmp_path, part, FUNCTIONS)
    assert report.passed, str(report)
    assert not any("eval()" in c.message for c in report.checks)


@pytest.mark.parametrize(("part", "right", "wrong", "stage", "bug"), each(2, SLIPS))
def test_their_slips_are_named(tmp_path, part, right, wrong, stage, bug) -> None:
    assert right in FUNCTIONS
    report = judged_file(tmp_path, part, FUNCTIONS.replace(right, wrong))
    assert report.exit_status == 1, str(report)
    assert (report.diagnoses[0].stage, report.diagnoses[0].bug) == (stage, bug)


def test_a_class_in_numpy_is_judged_and_its_slip_is_told(tmp_path: Path) -> None:
    right = judged_file(tmp_path, "Diffusion", CLASS)
    assert right.passed, str(right)
    assert {"forward", "sampling"} <= {*right.judged}
    wrong = judged_file(tmp_path, "Diffusion", CLASS.replace("if t > 0", "if t > 1"))
    assert wrong.exit_status == 1, str(wrong)
    assert (wrong.diagnoses[0].stage, wrong.diagnoses[0].bug) == ("variance", "57")


def test_what_comes_in_as_arrays_goes_out_as_arrays() -> None:
    double = arrays.translated(lambda x, rng=None: 2 * x)
    assert isinstance(double(np.ones(2)), np.ndarray)
    assert torch.equal(double(torch.ones(2)), torch.full((2,), 2.0))
    inner = arrays.translated(lambda x: type(double(x)))
    assert inner(torch.ones(2)) is np.ndarray


def test_a_tensor_is_changed_where_its_array_is() -> None:
    def in_place(x, y):
        x *= 2
        return x + y

    x, y = torch.ones(2), torch.ones(2)
    assert arrays.translated(in_place)(x, y).tolist() == [3, 3]
    assert (x.tolist(), x._version, y._version) == ([2, 2], 1, 0)


def test_a_generator_of_torch_stands_for_one_of_numpy_that_goes_on() -> None:
    draw = arrays.translated(lambda rng: rng.standard_normal(2))
    one, other = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    first, second = draw(one), draw(one)
    assert not torch.equal(first, second)
    assert torch.equal(first, draw(other))


def test_things_in_things_are_changed_too() -> None:
    back = arrays.to_tensors({"a": (np.float32(1), [np.ones(1)]), "b": "word"})
    assert back == {"a": (1.0, [torch.ones(1, dtype=torch.float64)]), "b": "word"}
