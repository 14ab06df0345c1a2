"""What noises pictures: by the noise that it draws where it is handed none, and by whatever it and
what it is handed are called."""

from pathlib import Path

import pytest

from tests.compare.written import judged_file

TABLES = """
import torch

T = 60
betas = torch.linspace(1e-3, 0.2, T)
alphas_cumprod = torch.cumprod(1 - betas, 0)
"""
FUNCTION = (
    TABLES
    + """
def q_sample(x0, t, noise=None):
    noise = torch.randn_like(x0) if noise is None else noise
    ab = alphas_cumprod[t][:, None, None, None]
    return ab.sqrt() * x0 + (1 - ab).sqrt() * noise
"""
)
CLASS = """
import torch


class Noiser:
    def __init__(self, T=60):
        self.betas = torch.linspace(1e-3, 0.2, T)
        self.levels = torch.cumprod(1 - self.betas, 0)

    def METHOD
"""
DRAWS = """corrupt(self, pics, amount):
        dirt, a = torch.randn_like(pics), self.levels[amount][:, None, None, None]
        return a.sqrt() * pics + (1 - a).sqrt() * dirt, dirt
"""
IS_HANDED = """corrupt(self, pics, dirt, amount):
        a = self.levels[amount][:, None, None, None]
        return a.sqrt() * pics + (1 - a).sqrt() * dirt
"""
FROM_NOTHING = """add_noise(self, x_0, noise=None, timesteps=None):
        noise = torch.randn(x_0.shape) if noise is None else noise
        a = self.levels[timesteps].reshape(-1, 1, 1, 1)
        return a.sqrt() * x_0 + (1 - a).sqrt() * noise
"""
MODULE = (
    CLASS.replace("class Noiser:", "class Noiser(torch.nn.Module):")
    .replace("(self, T=60):", "(self, T=60):\n        super().__init__()")
    .replace("METHOD", FROM_NOTHING.replace("add_noise", "forward"))
)
SLIPS = {
    "a module": (MODULE, "Noiser", "a.sqrt() *", "a *", "mistake 5"),
    "uniform": (FUNCTION, "q_sample", "randn_like", "rand_like", "mean of the noise"),
    "half as large": (
        FUNCTION,
        "q_sample",
        "torch.randn_like(x0) if",
        "0.5 * torch.randn_like(x0) if",
        "std of the noise",
    ),
    "one for all": (
        CLASS.replace("METHOD", FROM_NOTHING),
        "Noiser",
        "torch.randn(x_0.shape)",
        "torch.randn(x_0.shape[1:]).expand(x_0.shape)",
        "the noise that add_noise draws",
    ),
    "without root": (CLASS.replace("METHOD", DRAWS), "Noiser", "a.sqrt() *", "a *", "mistake 5"),
}


@pytest.mark.parametrize(("text", "name"), [each[:2] for each in SLIPS.values()])
def test_a_right_one_is_right(text: str, name: str, tmp_path: Path) -> None:
    """Its noise too, of which eight statistics are looked at."""
    report = judged_file(tmp_path, name, text)
    assert report.exit_status == 0, str(report)
    assert any("/noise/" in check.id for check in report.checks)


@pytest.mark.parametrize("slip", SLIPS)
def test_its_slip_is_told(slip: str, tmp_path: Path) -> None:
    """The statistic that is off, or the mistake."""
    text, name, right, wrong, told = SLIPS[slip]
    assert right in text
    report = judged_file(tmp_path, name, text.replace(right, wrong))
    assert report.exit_status == 1
    assert told in str(report)


def test_one_that_nobody_can_call_is_not_passed(tmp_path: Path) -> None:
    """No name and no draw says which of the pictures is noise."""
    report = judged_file(tmp_path, "Noiser", CLASS.replace("METHOD", IS_HANDED))
    assert report.exit_status == 2
    assert "its corrupt, which makes something of pictures and alpha-bar" in str(report)
