"""A loss that is handed its t is judged by what draws it, and with the pictures that this takes."""

from pathlib import Path

import pytest

from tests.compare.written import judged_file

PROGRAM = """
import torch
import torch.nn.functional as F
from torch import nn

class GaussianDiffusion(nn.Module):
    def __init__(self, model, timesteps=60, image_size=8, channels=3):
        super().__init__()
        self.model, self.num_timesteps = model, timesteps
        self.image_size, self.channels = image_size, channels
        self.register_buffer("betas", torch.linspace(1e-3, 0.2, timesteps))
        self.register_buffer("alphas_cumprod", (1 - self.betas).cumprod(0))

    def p_losses(self, x_start, t):
        noise = torch.randn_like(x_start)
        a = self.alphas_cumprod[t].view(-1, 1, 1, 1)
        return F.mse_loss(self.model(a.sqrt() * x_start + (1 - a).sqrt() * noise, t), noise)

    def CALLED(self, img):
        t = torch.randint(0, self.num_timesteps, (len(img),))
        return self.p_losses(INSIDE, t)

    @torch.no_grad()
    def sample(self, batch_size=16):
        self.model.eval()
        x = torch.randn(batch_size, self.channels, self.image_size, self.image_size)
        for t in reversed(range(self.num_timesteps)):
            eps = self.model(x, torch.full((batch_size,), t))
            b, ab = self.betas[t], self.alphas_cumprod[t]
            x = (x - b / (1 - ab).sqrt() * eps) / (1 - b).sqrt()
            x = x + b.sqrt() * torch.randn_like(x) if t else x
        return OUTSIDE
"""
PICTURES = {  # {what they are: how the loss maps them, and the loop back, and what is said of it}
    "in [-1, 1]": ("img", "x", ""),
    "in [0, 1]": ("img * 2 - 1", "(x + 1) / 2", "[0, 1]"),
    "bytes": ("img / 127.5 - 1", "((x.clamp(-1, 1) + 1) * 127.5).round().byte()", "0..255"),
}
SLIPS = {
    "one t": ("(len(img),))", "(1,)).repeat(len(img))", "one t is drawn for the whole batch"),
    "few t": ("torch.randint(0, self.num_timesteps,", "torch.randint(0, 30,", "t covers 0..29"),
}


def written(pictures: str, called: str = "forward") -> str:
    inside, outside, _ = PICTURES[pictures]
    text = PROGRAM.replace("CALLED", called).replace("INSIDE", inside)
    return text.replace("OUTSIDE", outside)


@pytest.mark.parametrize("pictures", PICTURES)
def test_a_right_one_is_right_with_the_pictures_that_it_takes(
    pictures: str, tmp_path: Path
) -> None:
    report = judged_file(tmp_path, "GaussianDiffusion", written(pictures))
    assert report.exit_status == 0, str(report)
    assert PICTURES[pictures][2] in str(report)


@pytest.mark.parametrize("slip", SLIPS)
@pytest.mark.parametrize("called", ["forward", "training_step"])
def test_a_slip_in_how_t_is_drawn_is_told(called: str, slip: str, tmp_path: Path) -> None:
    right, wrong, words = SLIPS[slip]
    text = written("in [0, 1]", called)
    assert right in text
    report = judged_file(tmp_path, "GaussianDiffusion", text.replace(right, wrong))
    assert report.exit_status == 1
    assert [words in each.explanation for each in report.diagnoses] == [True], str(report)


def test_pictures_that_are_mapped_twice_are_told_as_such(tmp_path: Path) -> None:
    text = written("in [0, 1]").replace("img * 2 - 1", "(img * 2 - 1) * 2 - 1")
    report = judged_file(tmp_path, "GaussianDiffusion", text)
    assert [each.bug for each in report.diagnoses] == ["36"], str(report)


def test_a_loss_alone_that_takes_bytes_is_told_both_ways(tmp_path: Path) -> None:
    text = written("bytes").partition("    @torch.no_grad()")[0]
    report = judged_file(tmp_path, "GaussianDiffusion", text)
    assert report.exit_status == 2
    assert "pictures=bytes" in str(report)
