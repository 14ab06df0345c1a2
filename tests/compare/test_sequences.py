"""Rows of numbers (b, l, d) in the place of pictures: judged in every role, each slip named."""

from itertools import count
from pathlib import Path

import pytest

from compare import run

PROGRAM = """
import torch
from torch.nn import functional as F


class Motion:
    def __init__(self, timesteps=60):
        self.timesteps = timesteps
        self.betas = torch.linspace(1e-4, 0.03, timesteps)
        self.alpha_bar = (1 - self.betas).cumprod(0)

    def q_sample(self, x_0, t, noise):
        ab = self.alpha_bar[t][:, None, None]
        return ab.sqrt() * x_0 + (1 - ab).sqrt() * noise

    def p_losses(self, model, x_0):
        b, l, d = x_0.shape
        t, noise = torch.randint(0, self.timesteps, (b,)), torch.randn_like(x_0)
        return F.mse_loss(model(self.q_sample(x_0, t, noise), t), noise)

    @torch.no_grad()
    def p_sample(self, model, x, t):
        b, l, d = x.shape
        at = torch.full((b,), t)
        beta, ab = (table[at][:, None, None] for table in (self.betas, self.alpha_bar))
        mean = (x - beta / (1 - ab).sqrt() * model(x, at)) / (1 - beta).sqrt()
        return mean + beta.sqrt() * torch.randn_like(x) if t > 0 else mean

    @torch.no_grad()
    def sample(self, model, batch_size, seq_len, dim):
        x = torch.randn(batch_size, seq_len, dim)
        for t in reversed(range(self.timesteps)):
            x = self.p_sample(model, x, t)
        return x
"""
SLIPS = {  # {a slip: what is written, what should be, what is told of it}
    "x_0": ("ab.sqrt() * x_0", "ab * x_0", "x_0 has ab_t, should have sqrt(ab_t)"),
    "sigma": ("beta.sqrt() * torch", "beta * torch", "the standard deviation is the variance"),
    "loss": ("self.q_sample(x_0, t, noise), t)", "x_0, t)", "x_0"),
}
files = count()


def judged(folder: Path, text: str):
    file = folder / f"motion_{next(files)}.py"
    file.write_text(text)
    return run(f"{file}:Motion")


def test_every_role_is_judged(tmp_path: Path) -> None:
    report = judged(tmp_path, PROGRAM)
    assert report.passed, report.verdict
    assert {"forward", "mean", "variance", "sampling", "loss"} <= {*report.judged}
    assert "is right for sequences (b, l, d)" in report.verdict
    notes = {check.message for check in report.checks if check.id.endswith("/shape")}
    assert notes == {f"judged with sequences of shape {n}" for n in ((8, 8), (24, 8))}


@pytest.mark.parametrize(("right", "wrong", "said"), SLIPS.values(), ids=SLIPS)
def test_a_slip_is_named(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    assert right in PROGRAM
    report = judged(tmp_path, PROGRAM.replace(right, wrong))
    assert report.exit_status == 1
    assert said in str(report)
