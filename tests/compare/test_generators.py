"""Generators that a candidate keeps: what they draw is replayed, a seed inside is found."""

from pathlib import Path

import pytest

from tests.compare.written import Slip, judged_file

TABLES = """import numpy as np
import torch

T = 60
betas = torch.linspace(1e-3, 0.15, T)
alphas_cumprod = torch.cumprod(1 - betas, 0)
"""
MEAN = "(x - betas[t] / (1 - alphas_cumprod[t]).sqrt() * eps) / (1 - betas[t]).sqrt()"
SLIP = ("+ betas[t].sqrt()", "+ 0.8 * betas[t].sqrt()", "your z has 0.8 * sqrt(beta_t)")


def loop(normal: str) -> str:
    """The lines of a loop, its numbers drawn so."""
    return f"""x = {normal}
    for t in reversed(range(T)):
        eps = model(x, torch.full((shape[0],), t))
        x = {MEAN}
        if t > 0:
            x = x + betas[t].sqrt() * {normal}
    return x
"""


def of_class(seed: str, normal: str) -> str:
    """A class that keeps a generator, and takes steps with its numbers."""
    return f"""{TABLES}
class Process:
    def __init__(self):
        self.alphas_cumprod = alphas_cumprod
        self.gen = {seed}

    def q_sample(self, x0, t, noise):
        a = self.alphas_cumprod[t].view(-1, 1, 1, 1)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise

    def p_sample(self, x, t, eps):
        mean = {MEAN}
        if t == 0:
            return mean
        return mean + betas[t].sqrt() * {normal}
"""


IN_TORCH = "torch.randn(x.shape, generator=self.gen, dtype=x.dtype)"
IN_NUMPY = "torch.from_numpy(self.gen.standard_normal(tuple(x.shape))).to(x.dtype)"
OF_NUMPY = "torch.from_numpy(rng.standard_normal(shape)).float()"
PROGRAMS = {
    "an object's, of torch": Slip(
        of_class("torch.Generator().manual_seed(0)", IN_TORCH), "Process", *SLIP
    ),
    "an object's, of NumPy, of no seed": Slip(
        of_class("np.random.default_rng()", IN_NUMPY), "Process", *SLIP[:2], "std of z is 0.8"
    ),
    "of a base of its class": Slip(
        of_class("torch.Generator().manual_seed(0)", IN_TORCH).replace("Process:", "Base:")
        + "\nclass Process(Base):\n    pass\n",
        "Process",
        *SLIP,
    ),
    "of an object that its adapter builds again": Slip(
        f"""{TABLES}
class Sampler:
    def __init__(self, model, seed=0):
        self.model, self.gen = model, torch.Generator().manual_seed(seed)
        self.alphas_cumprod = alphas_cumprod

    @torch.no_grad()
    def sample(self, n):
        shape, model = (n, 1, 8, 8), self.model
        {loop("torch.randn(shape, generator=self.gen)").replace(chr(10), chr(10) + "    ")}
""",
        "Sampler",
        *SLIP,
    ),
    "at the top of a file": Slip(
        f"{TABLES}GEN = torch.Generator().manual_seed(42)\n\ndef sample(model, shape):\n    "
        + loop("torch.randn(shape, generator=GEN)"),
        "sample",
        *SLIP,
    ),
    "around a function": Slip(
        f"{TABLES}\ndef make():\n    rng = torch.Generator()\n    rng.seed()\n"
        + "    def sample(model, shape):\n        "
        + loop("torch.randn(shape, generator=rng)").replace("\n", "\n    ")
        + "\n    return sample\n\nsample = make()\n",
        "sample",
        *SLIP,
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_drawn_from_a_generator_that_is_kept_is_replayed(name: str, tmp_path: Path) -> None:
    PROGRAMS[name].judged(tmp_path)


def test_one_of_numpy_s_that_is_made_inside_of_no_seed_is_replayed(tmp_path: Path) -> None:
    text = f"{TABLES}\ndef sample(model, shape):\n    rng = np.random.default_rng()\n    "
    report = judged_file(tmp_path, "sample", text + loop(OF_NUMPY))
    assert report.exit_status == 0, str(report)
    wider = loop(OF_NUMPY).replace("+ betas[t].sqrt()", "+ 1.5 * betas[t].sqrt()")
    assert judged_file(tmp_path, "sample", text + wider).exit_status == 1


@pytest.mark.parametrize(
    "line", ["gen = torch.Generator().manual_seed(1)", "gen = GEN.manual_seed(1)"]
)
def test_a_seed_that_is_set_inside_is_found(line: str, tmp_path: Path) -> None:
    text = f"{TABLES}GEN = torch.Generator()\n\ndef sample(model, shape):\n    {line}\n    "
    report = judged_file(tmp_path, "sample", text + loop("torch.randn(shape, generator=gen)"))
    assert report.exit_status == 1
    assert "a seed is set inside sample" in str(report)


def test_a_seed_is_set_inside_too_by_what_is_built_there(tmp_path: Path) -> None:
    text = f"{TABLES}\nclass Normal:\n    def __init__(self, seed=0):\n"
    text += "        self.gen = torch.Generator().manual_seed(seed)\n"
    text += "\ndef sample(model, shape):\n    gen = Normal().gen\n    "
    report = judged_file(tmp_path, "sample", text + loop("torch.randn(shape, generator=gen)"))
    assert report.exit_status == 1
    assert "a seed is set inside sample" in str(report)


def test_numbers_of_the_system_s_own_seed_are_left_open(tmp_path: Path) -> None:
    text = f"{TABLES}\ndef sample(model, shape):\n    gen = torch.Generator()\n    gen.seed()\n    "
    report = judged_file(tmp_path, "sample", text + loop("torch.randn(shape, generator=gen)"))
    assert report.exit_status == 2
    assert "what draws from no seed" in str(report)
