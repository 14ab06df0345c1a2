"""What is declared decides: an eta, a target that is called v, betas that a subclass makes; and
tables and pictures that stand elsewhere than usual. Each right program, and a slip in it."""

from pathlib import Path

import pytest

from tests.compare.written import Slip, judged_file

HEAD = """
import math
from types import MappingProxyType

import torch
from diffusers import DDPMScheduler
from torch import nn
from torch.nn import functional as F

T = 60
betas = torch.linspace(1e-3, 0.1, T, dtype=torch.float64)
alpha_bar = (1 - betas).cumprod(0)
"""
ETA = """
class Sched:
    def __init__(self, eta=1.0):
        self.eta, self.betas, self.alphas_cumprod = eta, betas, alpha_bar

    def step(self, eps, t, x):
        ab = float(self.alphas_cumprod[t])
        p = float(self.alphas_cumprod[t - 1]) if t > 0 else 1.0
        x_0 = (x - (1 - ab) ** 0.5 * eps) / ab**0.5
        sigma = self.eta * ((1 - p) / (1 - ab) * (1 - ab / p)) ** 0.5
        mean = p**0.5 * x_0 + (1 - p - sigma**2) ** 0.5 * eps
        return mean + sigma * torch.randn_like(x) if t > 0 else mean
"""
DDIM = """
def sample(model, shape, eta=1.0):
    model.eval()
    x, listed = torch.randn(shape), [*range(0, T, 4)][::-1]
    for t, prev in zip(listed, [*listed[1:], -1]):
        eps, ab = model(x, torch.full(shape[:1], t)), alpha_bar[t]
        p = alpha_bar[prev] if prev >= 0 else torch.ones(())
        x_0 = (x - (1 - ab) ** 0.5 * eps) / ab**0.5
        sigma = eta * ((1 - p) / (1 - ab) * (1 - ab / p)) ** 0.5
        x = p**0.5 * x_0 + (1 - p - sigma**2) ** 0.5 * eps
        x = x + sigma * torch.randn_like(x) if prev >= 0 else x
    return x
"""
LARGE = """
class Sched:
    def __init__(self):
        self.betas, self.alphas_cumprod = betas, alpha_bar

    def step(self, eps, t, x):
        b, ab = float(self.betas[t]), float(self.alphas_cumprod[t])
        mean = (x - b / (1 - ab) ** 0.5 * eps) / (1 - b) ** 0.5
        return mean + b**0.5 * torch.randn_like(x) if t > 0 else mean
"""
STRIDED = """
def sample(model, shape):
    model.eval()
    x, listed = torch.randn(shape), [*range(0, T, 4)][::-1]
    for t, prev in zip(listed, [*listed[1:], -1]):
        eps, ab = model(x, torch.full(shape[:1], t)), alpha_bar[t]
        p = alpha_bar[prev] if prev >= 0 else torch.ones(())
        a = ab / p
        x = (x - (1 - a) / (1 - ab) ** 0.5 * eps) / a**0.5
        x = x + (1 - a) ** 0.5 * torch.randn_like(x) if prev >= 0 else x
    return x
"""
VELOCITY = """
def loss(model, x_0):
    t, noise = torch.randint(0, T, x_0.shape[:1]), torch.randn_like(x_0)
    ab = alpha_bar[t].to(x_0.dtype).reshape(-1, 1, 1, 1)
    v = ab.sqrt() * noise - (1 - ab).sqrt() * x_0
    return F.mse_loss(model(ab.sqrt() * x_0 + (1 - ab).sqrt() * noise, t), v)
"""
MADE_BY = (
    VELOCITY.replace("    v = ab.sqrt() * noise - (1 - ab).sqrt() * x_0\n", "").replace(
        "t), v)", "t), velocity(x_0, noise, ab))"
    )
    + """

def velocity(x_0, noise, ab):
    return ab.sqrt() * noise - (1 - ab).sqrt() * x_0
"""
)
SUBCLASS = """
class Sched(DDPMScheduler):
    def __init__(self, num_train_timesteps=1000):
        own = torch.logspace(-4, -1.7, num_train_timesteps)
        super().__init__(num_train_timesteps=num_train_timesteps, trained_betas=own.tolist())

    def add_noise(self, original_samples, noise, timesteps):
        a = self.alphas_cumprod[timesteps].reshape(-1, 1, 1, 1)
        return a.sqrt() * original_samples + (1 - a).sqrt() * noise
"""
PARTS = """
class Sched:
    def __init__(self, network, T=100):
        self.network, self.T = network, T
        self.alpha_bar = torch.cumprod(1 - torch.linspace(1e-3, 0.1, T), 0)

    def denoise(self, noisy, t):
        a = self.alpha_bar[t].view(-1, 1, 1, 1)
        pred_noises = self.network(noisy, t)
        return pred_noises, (noisy - (1 - a).sqrt() * pred_noises) / a.sqrt()

    @torch.no_grad()
    def generate(self, n):
        x = torch.randn(n, 3, 16, 16)
        for t in range(self.T - 5, -1, -5):
            pred_noises, pred_images = self.denoise(x, torch.full((n,), t))
            a = self.alpha_bar[t - 5] if t else torch.tensor(1.0)
            x = a.sqrt() * pred_images + (1 - a).sqrt() * pred_noises
        return x
"""
RATES = (
    PARTS.replace("torch.linspace(1e-3, 0.1, T), 0)", "torch.linspace(1e-3, 0.05, T), 0)")
    .replace("self.alpha_bar = ", "levels = ")
    .replace(
        "    def denoise",
        "        self.signal_rates = levels.sqrt()\n"
        "        self.noise_rates = (1 - levels).sqrt()\n\n    def denoise",
    )
    .replace(
        "        a = self.alpha_bar[t].view(-1, 1, 1, 1)\n",
        "        s, n = (v[t].view(-1, 1, 1, 1) for v in (self.signal_rates, self.noise_rates))\n",
    )
    .replace("(noisy - (1 - a).sqrt() * pred_noises) / a.sqrt()", "(noisy - n * pred_noises) / s")
    .replace("self.alpha_bar[t - 5]", "self.signal_rates[t - 5] ** 2")
)
VOLUMES = """
class Sched(nn.Module):
    def __init__(self, unet3d, num_steps=60, size=(4, 8, 8)):
        super().__init__()
        self.unet3d, self.num_steps, self.size = unet3d, num_steps, size
        self.register_buffer("beta", torch.linspace(1e-3, 0.1, num_steps))
        self.register_buffer("alpha_bar", torch.cumprod(1.0 - self.beta, 0))

    def forward(self, volume):
        t = torch.randint(0, self.num_steps, (volume.shape[0],))
        noise, ab = torch.randn_like(volume), self.alpha_bar[t].view(-1, 1, 1, 1, 1)
        return F.mse_loss(self.unet3d(ab.sqrt() * volume + (1 - ab).sqrt() * noise, t), noise)

    @torch.no_grad()
    def sample(self, n):
        x = torch.randn(n, 1, *self.size)
        for t in range(self.num_steps - 1, -1, -1):
            eps = self.unet3d(x, torch.full((n,), t))
            beta, ab = self.beta[t], self.alpha_bar[t]
            x = (x - beta / (1 - ab).sqrt() * eps) / (1 - beta).sqrt()
            x = x + (t > 0) * beta.sqrt() * torch.randn_like(x)
        return x
"""
KEPT = """
STATE = MappingProxyType({"beta": betas, "alpha_bar": alpha_bar})
del betas, alpha_bar


def loss(model, x_0):
    t, noise = torch.randint(0, T, x_0.shape[:1]), torch.randn_like(x_0)
    ab = STATE["alpha_bar"][t].to(x_0.dtype).reshape(-1, 1, 1, 1)
    return F.mse_loss(model(ab.sqrt() * x_0 + (1 - ab).sqrt() * noise, t), noise)
"""
LENGTH = """
class Sched:
    def __init__(self, *, betas=None):
        self.betas = torch.linspace(1e-3, 0.1, 60) if betas is None else betas
        self.alphas_cumprod, self.T = (1 - self.betas).cumprod(0), len(self.betas)

    def training_losses(self, model, x_start, t):
        noise, ab = torch.randn_like(x_start), self.alphas_cumprod[t].view(-1, 1, 1, 1)
        x_t = ab.sqrt() * x_start + (1 - ab).sqrt() * noise
        return {"loss": ((noise - model(x_t, t)) ** 2).mean(dim=(1, 2, 3))}
"""
SLIPS = {  # {what: (program, its name, what is right in it, the slip, what is said)}
    "eta, a factor": (
        ETA,
        "Sched",
        "sigma = self.eta *",
        "sigma = 0.9 * self.eta *",
        "its steps are those of eta = 0.9, and its eta is 1",
    ),
    "eta, a root": (
        ETA.replace("eta=1.0", "eta=0.5"),
        "Sched",
        "(1 - ab) * (1 - ab / p)",
        "(1 - ab) * (1 - p)",
        "your z has 0.5 * (1 - ab_prev) / sqrt(1 - ab_t)",
    ),
    "direction": (
        DDIM,
        "sample",
        "- sigma**2)",
        "- 0.5 * sigma**2)",
        "your eps has sqrt(1 - ab_prev - 0.5 * sigma_t^2)",
    ),
    "half of a direction": (
        DDIM.replace("eta=1.0", "eta=0.5"),
        "sample",
        "- sigma**2)",
        "- 2 * sigma**2)",
        "your eps has sqrt(1 - ab_prev - 2 * sigma_t^2)",
    ),
    "a number in a root": (
        DDIM,
        "sample",
        "/ (1 - ab) * (",
        "/ (1 - 0.9 * ab) * (",
        "your z has sqrt(beta_t * (1 - ab_prev) / (1 - 0.9 * ab_t))",
    ),
    "large": (
        LARGE,
        "Sched",
        "(x - b",
        "(x - 0.9 * b",
        "your model output has -0.9 * beta_t / sqrt(1 - ab_t) / sqrt(alpha_t)",
    ),
    "of the next": (
        STRIDED,
        "sample",
        "x + (1 - a) ** 0.5",
        "x + betas[prev] ** 0.5",
        "your z has sqrt(betas[prev])",
    ),
    "a small number": (
        STRIDED,
        "sample",
        "(1 - ab) ** 0.5 * eps",
        "(1 - ab + 0.05) ** 0.5 * eps",
        "your model output has -beta_t / sqrt(1 - ab_t + 0.05) / sqrt(alpha_t)",
    ),
    "no formula": (
        STRIDED,
        "sample",
        "(1 - ab) ** 0.5 * eps",
        "torch.sin(1 - ab) * eps",
        "your model output should have -beta_t / sqrt(1 - ab_t) / sqrt(alpha_t)",
    ),
    "v": (
        VELOCITY,
        "loss",
        "- (1 - ab).sqrt() * x_0",
        "- (1 - ab) * x_0",
        "your x_0 in the target has -(1 - ab_t), should have -sqrt(1 - ab_t)",
    ),
    "v, made": (
        MADE_BY,
        "loss",
        "- (1 - ab).sqrt() * x_0",
        "- (1 - ab) * x_0",
        "your x_0 in the target has -(1 - ab_t), should have -sqrt(1 - ab_t)",
    ),
    "subclass": (
        SUBCLASS,
        "Sched",
        "(1 - a).sqrt()",
        "(1 - a.sqrt())",
        "your noise has 1 - sqrt(ab_t)",
    ),
    "parts": (
        PARTS,
        "Sched",
        "a.sqrt() * pred_images",
        "a * pred_images",
        "your x0-hat has ab_prev",
    ),
    "rates": (
        RATES,
        "Sched",
        "a.sqrt() * pred_images",
        "a * pred_images",
        "your x0-hat has ab_prev",
    ),
    "volumes": (
        VOLUMES,
        "Sched",
        "torch.randint(0, ",
        "torch.randint(1, ",
        "t = 0 is never trained",
    ),
    "volumes, loop": (
        VOLUMES,
        "Sched",
        "* beta.sqrt()",
        "* beta",
        "the standard deviation is the variance itself",
    ),
    "kept": (KEPT, "loss", "(1 - ab).sqrt()", "(1 - ab)", "noise in x_t has 1 - ab_t"),
    "length": (LENGTH, "Sched", "(1 - ab).sqrt()", "(1 - ab)", "noise in x_t has 1 - ab_t"),
}


@pytest.mark.parametrize("what", SLIPS)
def test_it_is_right_and_its_slip_is_told(what: str, tmp_path: Path) -> None:
    text, *more = SLIPS[what]
    Slip(HEAD + text, *more).judged(tmp_path)


def test_v_that_is_called_target_is_named_as_the_kind_with_the_fewest_wrong(tmp_path: Path) -> None:
    text = VELOCITY.replace("v = ", "goal = ").replace("t), v)", "t), goal)")
    report = judged_file(tmp_path, "loss", HEAD + text)
    assert report.exit_status == 2  # right for a model of v, wrong for one of noise
    wrong = text.replace("ab.sqrt() * noise -", "1.1 * ab.sqrt() * noise -")
    said = "your noise in the target has 1.1 * sqrt(ab_t), should have sqrt(ab_t)"
    assert said in judged_file(tmp_path, "loss", HEAD + wrong).verdict


def test_what_makes_a_target_is_no_add_noise(tmp_path: Path) -> None:
    report = judged_file(tmp_path, "velocity", HEAD + MADE_BY.replace("noise, ab)", "noise, t)"))
    assert report.exit_status == 2
    assert "none of add_noise(x_0, noise, t)" in report.verdict
