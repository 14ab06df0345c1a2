"""A condition beside x_t in the channels, as of a model that makes large pictures of small ones."""

import ast
from pathlib import Path

import pytest

from compare.candidate.text.own.condition import conditions
from tests.compare.written import judged_file

CLASS = """
import torch
import torch.nn as nn
import torch.nn.functional as F

class SuperResolution(nn.Module):
    def __init__(self, denoise_fn, T=60):
        super().__init__()
        self.denoise_fn, self.T = denoise_fn, T
        betas = torch.linspace(1e-3, 0.2, T)
        self.register_buffer("betas", betas)
        self.register_buffer("alphas_cumprod", (1 - betas).cumprod(0))

    def q_sample(self, x_start, t, noise):
        ab = self.alphas_cumprod[t][:, None, None, None]
        return ab.sqrt() * x_start + (1 - ab).sqrt() * noise

    def p_losses(self, hr, low):
        t, noise = torch.randint(0, self.T, (len(hr),)), torch.randn_like(hr)
        out = self.denoise_fn(torch.cat([low, self.q_sample(hr, t, noise)], dim=1), t)
        return F.mse_loss(out, noise)

    @torch.no_grad()
    def p_sample(self, x, t, low):
        b, ab = self.betas[t], self.alphas_cumprod[t]
        eps = self.denoise_fn(torch.cat([low, x], dim=1), torch.full((len(x),), t))
        mean = (x - b / (1 - ab).sqrt() * eps) / (1 - b).sqrt()
        return mean + (b.sqrt() * torch.randn_like(x) if t > 0 else 0)

    @torch.no_grad()
    def super_resolution(self, low):
        x = torch.randn(low.shape)
        for t in reversed(range(self.T)):
            x = self.p_sample(x, t, low)
        return x
"""
FUNCTIONS = """
import torch
import torch.nn.functional as F

T = 60
betas = torch.linspace(1e-3, 0.2, T)
ab = (1 - betas).cumprod(0)

def loss(model, x0, low_res):
    t, noise = torch.randint(0, T, (len(x0),)), torch.randn_like(x0)
    a = ab[t].view(-1, 1, 1, 1)
    return F.mse_loss(model(a.sqrt() * x0 + (1 - a).sqrt() * noise, t, low_res), noise)

@torch.no_grad()
def sample(model, low_res):
    x = torch.randn_like(low_res)
    for i in reversed(range(T)):
        eps = model(x, torch.full((len(x),), i), low_res)
        x = (x - betas[i] / (1 - ab[i]).sqrt() * eps) / (1 - betas[i]).sqrt()
        x = x + (betas[i].sqrt() * torch.randn_like(x) if i else 0)
    return x
"""
SLIPS = {
    "the loss gives them the other way round": (
        "torch.cat([low, self.q_sample(hr, t, noise)], dim=1)",
        "torch.cat([self.q_sample(hr, t, noise), low], dim=1)",
        "a condition stands after x_t in the channels that the loss gives its model, before it",
    ),
    "a root": ("(1 - ab).sqrt() * noise", "(1 - ab) * noise", "should have sqrt(1 - ab_t)"),
    "a bracket": ("b / (1 - ab).sqrt()", "b / (1 - ab)", "should have"),
}


def test_a_class_that_conditions_is_right(tmp_path: Path) -> None:
    report = judged_file(tmp_path, "SuperResolution", CLASS)
    assert report.exit_status == 0, str(report)
    judged = {check.stage for check in report.checks}
    assert {"forward", "mean", "variance", "sampling", "loss"} <= judged
    assert "before x_t in the channels" in report.conventions["condition"]


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_of_it_is_told(slip: str, tmp_path: Path) -> None:
    right, wrong, words = SLIPS[slip]
    assert right in CLASS
    text = CLASS.replace(right, wrong)
    report = judged_file(tmp_path, "SuperResolution", text)
    assert report.exit_status == 1
    assert words in str(report)


@pytest.mark.parametrize("name", ["loss", "sample"])
def test_a_condition_of_its_own_argument_is_right(name: str, tmp_path: Path) -> None:
    report = judged_file(tmp_path, name, FUNCTIONS)
    assert report.exit_status == 0, str(report)
    wrong = FUNCTIONS.replace("(1 - a).sqrt() * noise", "(1 - a) * noise")
    wrong = wrong.replace("/ (1 - ab[i]).sqrt()", "/ (1 - ab[i])")
    assert judged_file(tmp_path, name, wrong).exit_status == 1


def test_what_a_network_joins_is_no_condition() -> None:
    network = "def forward(self, x, skip):\n return self.up(torch.cat([x, skip], dim=1))"
    assert [*conditions(ast.parse(network))] == []
    rows = "def loss(model, x, y):\n return model(torch.cat([x, y], dim=0), t)"
    assert [*conditions(ast.parse(rows))] == []
