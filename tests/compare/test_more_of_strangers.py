"""Programs as people write them: what they count from, call their model, and hand their steps."""

from pathlib import Path

import pytest

from compare import Report
from tests.compare.written import judged_file
from tests.often import each

HEAD = """
import torch
from torch.nn import functional as F

"""
FROM_ONE = """
class Diffuser:
    def __init__(self, T=60):
        self.T = T
        self.beta = torch.linspace(1e-4, 0.03, T)
        self.alpha_bar = torch.cumprod(1 - self.beta, 0)

    def add_noise(self, x_0, t):
        assert (t >= 1).all() and (t <= self.T).all()
        ab = self.alpha_bar[t - 1].view(-1, 1, 1, 1)
        noise = torch.randn_like(x_0)
        return ab.sqrt() * x_0 + (1 - ab).sqrt() * noise, noise

    def denoise(self, model, x, t):
        beta, ab = (v[t - 1].view(-1, 1, 1, 1) for v in (self.beta, self.alpha_bar))
        eps = model(x, t)
        noise = torch.randn_like(x)
        noise[t == 1] = 0
        return (x - beta / (1 - ab).sqrt() * eps) / (1 - beta).sqrt() + beta.sqrt() * noise

    @torch.no_grad()
    def sample(self, model, num_samples=4):
        x = torch.randn(num_samples, 1, 8, 8)
        for i in range(self.T, 0, -1):
            x = self.denoise(model, x, torch.full((num_samples,), i))
        return x
"""
Z_GIVEN = """
T = 60
b_t = torch.cat([torch.zeros(1), torch.linspace(1e-4, 0.03, T)])
a_t = 1 - b_t
ab_t = torch.cumprod(a_t, dim=0)


def denoise_add_noise(x, t, pred_noise, z=None):
    if z is None:
        z = torch.randn_like(x)
    mean = (x - pred_noise * ((1 - a_t[t]) / (1 - ab_t[t]).sqrt())) / a_t[t].sqrt()
    return mean + b_t.sqrt()[t] * z


def sample_ddpm(model, n):
    x = torch.randn(n, 3, 16, 16)
    for i in range(T, 0, -1):
        z = torch.randn_like(x) if i > 1 else 0
        x = denoise_add_noise(x, i, model(x, torch.full((n,), i / T)), z)
    return x
"""
OF_X_0 = """
class X0Diffusion:
    def __init__(self, model, T=60):
        self.model, self.T = model, T
        b = torch.linspace(1e-4, 0.03, T)
        self.alpha_bar = torch.cumprod(1 - b, 0)
        prev = F.pad(self.alpha_bar[:-1], (1, 0), value=1.0)
        self.c1 = b * prev.sqrt() / (1 - self.alpha_bar)
        self.c2 = (1 - prev) * (1 - b).sqrt() / (1 - self.alpha_bar)
        self.sigma = (b * (1 - prev) / (1 - self.alpha_bar)).sqrt()

    @torch.no_grad()
    def p_sample(self, x, t: int):
        x_start = self.model(x, torch.full((x.shape[0],), t)).clamp(-1, 1)
        return self.c1[t] * x_start + self.c2[t] * x + self.sigma[t] * torch.randn_like(x)

    def p_losses(self, x_start):
        t = torch.randint(0, self.T, (x_start.shape[0],))
        ab = self.alpha_bar[t].view(-1, 1, 1, 1)
        x = ab.sqrt() * x_start + (1 - ab).sqrt() * torch.randn_like(x_start)
        return F.mse_loss(self.model(x, t), x_start)
"""
HIDDEN = """
class DDPM(torch.nn.Module):
    def __init__(self, net, T=70):
        super().__init__()
        self.net, self.T = net, T
        self.b = torch.cat([torch.zeros(1), torch.linspace(1e-4, 0.02, T)])
        ab = torch.cumprod(1 - self.b, 0)
        self.signal, self.noise = ab.sqrt(), (1 - ab).sqrt()

    def forward(self, x):
        t = torch.randint(1, self.T + 1, (len(x),))
        eps = torch.randn_like(x)
        a, b = (v[t, None, None, None] for v in (self.signal, self.noise))
        return F.mse_loss(self.net(a * x + b * eps, t / self.T), eps)

    @torch.no_grad()
    def sample(self, n, size):
        x = torch.randn(n, *size)
        for i in range(self.T, 0, -1):
            z = torch.randn_like(x) if i > 1 else 0
            eps = self.net(x, torch.full((n,), i / self.T))
            x = (x - self.b[i] / self.noise[i] * eps) / (1 - self.b[i]).sqrt()
            x = x + self.b[i].sqrt() * z
        return x
"""
POINTS = """
class Sched:
    def __init__(self, T=60):
        self.T = T
        self.beta = torch.linspace(1e-4, 0.03, T)
        self.alpha = 1 - self.beta
        self.alpha_bar = torch.cumprod(self.alpha, 0)

    def denoise(self, x, k, eps_hat):
        b, ab = self.beta[k], self.alpha_bar[k]
        mean = (x - b / (1 - ab).sqrt() * eps_hat) / self.alpha[k].sqrt()
        return mean if k == 0 else mean + b.sqrt() * torch.randn_like(x)

    @torch.no_grad()
    def sample(self, mlp, n_points=1000):
        x = torch.randn(n_points, 2)
        for k in range(self.T - 1, -1, -1):
            x = self.denoise(x, k, mlp(x, torch.full((n_points,), k)))
        return x
"""
BUFFER = """
class Sampler(torch.nn.Module):
    def __init__(self, model, T=60):
        super().__init__()
        self.model, self.T = model, T
        self.register_buffer("betas", torch.linspace(1e-4, 0.05, T))

    @torch.no_grad()
    def sample(self, n):
        x = torch.randn(n, 1, 8, 8)
        rest = (1 - (1 - self.betas).cumprod(0)).sqrt()
        for t in reversed(range(self.T)):
            eps = self.model(x, torch.full((n,), t))
            x = (x - self.betas[t] / rest[t] * eps) / (1 - self.betas[t]).sqrt()
            if t > 0:
                x = x + self.betas[t].sqrt() * torch.randn_like(x)
        return x
"""
PROGRAMS = {  # {what: (name, the program, what is written, what is wrong, what is said of that)}
    "t from 1": ("Diffuser", FROM_ONE, "beta.sqrt() * noise", "beta * noise", "49"),
    "z of its file": ("denoise_add_noise", Z_GIVEN, "b_t.sqrt()[t]", "b_t[t]", "49"),
    "x_0 by its name": ("X0Diffusion", OF_X_0, "b * prev.sqrt()", "b * self.alpha_bar.sqrt()", ""),
    "steps told as t / T": ("DDPM", HIDDEN, "self.b[i].sqrt() * z", "self.b[i] * z", "49"),
    "mlp and k": ("Sched", POINTS, "b.sqrt() * torch", "b * torch", "49"),
    "a buffer of betas": ("Sampler", BUFFER, "if t > 0:", "if True:", "56"),
}


def judged(folder: Path, name: str, text: str) -> Report:
    return judged_file(folder, name, HEAD + text)


@pytest.mark.parametrize("what", PROGRAMS)
def test_it_is_right(tmp_path: Path, what: str) -> None:
    name, text, *_ = PROGRAMS[what]
    report = judged(tmp_path, name, text)
    assert report.passed, report.verdict
    assert "Tables alone" not in report.verdict


@pytest.mark.parametrize("what", each(2, PROGRAMS))
def test_its_slip_is_named(tmp_path: Path, what: str) -> None:
    name, text, right, wrong, bug = PROGRAMS[what]
    assert right in text
    report = judged(tmp_path, name, text.replace(right, wrong))
    assert report.exit_status == 1, report.verdict
    found = [d.bug for d in report.diagnoses]
    assert bug in found if bug else "sqrt(ab_prev)" in report.verdict, report.verdict
    assert all(d.stage != "loss" for d in report.diagnoses)
