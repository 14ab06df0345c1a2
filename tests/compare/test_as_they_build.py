"""Right classes that were blamed or not run for what they are built with and hold, with a slip."""

from pathlib import Path

import pytest

from tests.compare.written import Slip, judged_file

HEAD = """import torch
import torch.nn as nn

T = 50
betas = torch.linspace(1e-3, 0.15, T)
abar = torch.cumprod(1 - betas, 0)
"""
FROM_ONE = """
class Chain(nn.Module):
    def __init__(self, eps_net, T=50):
        super().__init__()
        self.eps_net, self.T = eps_net, T
        alpha = torch.ones(T + 1, dtype=torch.float64)
        alpha[1:] = 1 - torch.linspace(1e-3, 0.15, T, dtype=torch.float64)
        self.register_buffer("alpha", alpha)
        self.register_buffer("alpha_bar", torch.cumprod(alpha, 0))

    def like(self, c, x):
        return c.view(-1, *([1] * (x.dim() - 1))).to(x.dtype)

    def back(self, x, t):
        a, ab = self.alpha[t], self.alpha_bar[t]
        eps = self.eps_net(x, t)
        mean = self.like(a.rsqrt(), x) * (x - self.like((1 - a) / (1 - ab).sqrt(), x) * eps)
        var = (1 - a) * (1 - self.alpha_bar[t - 1]) / (1 - ab)
        return mean + self.like(var.sqrt(), x) * torch.randn_like(x)

    @torch.no_grad()
    def sample(self, *shape):
        x = torch.randn(*shape)
        for t in range(self.T, 0, -1):
            x = self.back(x, torch.full((len(x),), t))
        return x
"""
LISTS = """import math
import torch

class Prozess:
    def __init__(self, T=50):
        self.T, self.beta, self.quer = T, [0.0], [1.0]
        for t in range(1, T + 1):
            self.beta.append(0.001 + 0.149 * (t - 1) / (T - 1))
            self.quer.append(self.quer[-1] * (1 - self.beta[t]))

    def spalte(self, t, x):
        werte = [self.quer[int(k)] for k in t]
        return torch.tensor(werte).view(-1, *[1] * (x.dim() - 1))

    def verrauschen(self, x0, t, eps):
        q = self.spalte(t, x0)
        return torch.sqrt(q) * x0 + torch.sqrt(1 - q) * eps

    def verlust(self, netz, x0):
        t = torch.randint(1, self.T + 1, (len(x0),))
        eps = torch.randn_like(x0)
        return ((eps - netz(self.verrauschen(x0, t, eps), t)) ** 2).mean()
"""
NOISED = """
class Module(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net
        for name, table in {"root_abar": abar.sqrt(), "root_rest": (1 - abar).sqrt()}.items():
            self.register_buffer(name, table)

    def answer(self, x, t):
        return self.net(x, t)

    def forward(self, x0, t=None, noise=None):
        t = torch.randint(T, (len(x0),)) if t is None else t
        noise = torch.randn_like(x0) if noise is None else noise
        a, b = self.root_abar[t].view(-1, 1, 1, 1), self.root_rest[t].view(-1, 1, 1, 1)
        return (self.answer(a * x0 + b * noise, t) - noise).square().mean()
"""
ROOTS = """
class Roots(nn.Module):
    def __init__(self, backbone, num_steps=40):
        super().__init__()
        self.backbone, self.num_steps = backbone, num_steps
        angle = torch.linspace(0, 1.5, num_steps + 1, dtype=torch.float64)
        self.alpha, self.sigma = angle.cos(), angle.sin()

    def both(self, step, x):
        shape = (-1,) + (1,) * (x.dim() - 1)
        return self.alpha[step].to(x.dtype).view(shape), self.sigma[step].to(x.dtype).view(shape)

    def forward(self, x):
        step = torch.randint(1, self.num_steps + 1, (len(x),))
        alpha, sigma = self.both(step, x)
        eps = torch.randn_like(x)
        out = self.backbone(alpha * x + sigma * eps, step / self.num_steps)
        return nn.functional.mse_loss(out, alpha * eps - sigma * x)

    @torch.no_grad()
    def sample(self, *size):
        z = torch.randn(size)
        for t in range(self.num_steps, 0, -1):
            alpha, sigma = self.both(torch.full((len(z),), t), z)
            x = alpha * z - sigma * self.backbone(z, torch.full((len(z),), t / self.num_steps))
            a, s = float(self.alpha[t] / self.alpha[t - 1]), float(self.sigma[t - 1]) ** 2
            var = float(self.sigma[t]) ** 2
            own = var - a**2 * s
            z = a * s / var * z + float(self.alpha[t - 1]) * own / var * x
            z = z + (own * s / var) ** 0.5 * torch.randn_like(z)
        return z
"""
BACK = """
        for t in reversed(range(T)):
            eps = self.net(x, torch.full((len(x),), t))
            x = (x - betas[t] / (1 - abar[t]).sqrt() * eps) / (1 - betas[t]).sqrt()
            x = x + (t > 0) * betas[t].sqrt() * torch.randn_like(x)
        return x
"""
CLOUD = (
    """
class Cloud(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def sample(self, batch_size, num_points, point_dim=3):
        x = torch.randn(batch_size, num_points, point_dim)"""
    + BACK
)
COLUMNS = """
class Columns(nn.Module):
    def __init__(self, num_numerical_features, denoise_fn):
        super().__init__()
        self.num_numerical_features, self.denoise_fn = num_numerical_features, denoise_fn

    def sample(self, num_samples):
        x = torch.randn((num_samples, self.num_numerical_features))""" + BACK.replace(
    "net", "denoise_fn"
)
WAVES = """
class Waves(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def infer(self, n_samples=None, batch=1):
        x = torch.randn(batch, n_samples)""" + BACK.replace("net", "network")
WORDS = """
class Words(nn.Module):
    def __init__(self, denoiser):
        super().__init__()
        self.denoiser = denoiser
        prev = torch.cat([torch.ones(1), abar[:-1]])
        of_z0, of_z = prev.sqrt() * betas / (1 - abar), (1 - betas).sqrt() * (1 - prev) / (1 - abar)
        std = (betas * (1 - prev) / (1 - abar)).sqrt()
        self.tab = torch.stack([abar.sqrt(), (1 - abar).sqrt(), of_z0, of_z, std])

    def c(self, row, t):
        return self.tab[row, t][:, None, None]

    def corrupt(self, z0, t, noise=None):
        noise = torch.randn_like(z0) if noise is None else noise
        return self.c(0, t) * z0 + self.c(1, t) * noise

    def forward(self, emb):
        t = torch.randint(T, (len(emb),))
        return (self.denoiser(self.corrupt(emb, t), t) - emb).pow(2).mean()

    @torch.no_grad()
    def generate(self, shape):
        z = torch.randn(shape)
        for i in range(T - 1, -1, -1):
            t = torch.full((shape[0],), i)
            mean = self.c(2, t) * self.denoiser(z, t) + self.c(3, t) * z
            z = mean + self.c(4, t) * torch.randn_like(z)
        return z
"""
REVERSE = """
class Forward(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("beta", betas)
        self.register_buffer("alpha_bar", abar)

    def coef(self, table, t):
        return table[t - 1].view(-1, 1, 1, 1)

class Reverse(nn.Module):
    def __init__(self, network, forward_diffusion=None):
        super().__init__()
        self.network, self.fwd = network, forward_diffusion or Forward()

    def step(self, xt, t):
        b, a = self.fwd.coef(self.fwd.beta, t), self.fwd.coef(self.fwd.alpha_bar, t)
        mean = (xt - b / (1 - a).sqrt() * self.network(xt, t)) / (1 - b).sqrt()
        return mean + (t > 1).view(-1, 1, 1, 1) * b.sqrt() * torch.randn_like(xt)

    @torch.no_grad()
    def sample(self, shape, keep_every=None):
        x, frames = torch.randn(shape), []
        for step in range(T, 0, -1):
            x = self.step(x, torch.full((shape[0],), step))
            if keep_every is not None and (step - 1) % keep_every == 0:
                frames.append(x)
        return (x, frames) if keep_every is not None else x
"""
PLACES = """
class Places(nn.Module):
    def __init__(self, eps_model, n=10):
        super().__init__()
        self.eps_model, self.alpha_bar = eps_model, abar
        self.time_steps = torch.arange(T - 1, -1, -T // n).flip(0)
        self.a = abar[self.time_steps]
        self.p = torch.cat([torch.ones(1), self.a[:-1]])

    @torch.no_grad()
    def sample(self, shape):
        x = torch.randn(shape)
        for index in reversed(range(len(self.time_steps))):
            step = int(self.time_steps[index])
            x = self.p_sample(x, torch.full((shape[0],), step), step, index)
        return x

    @torch.no_grad()
    def p_sample(self, x, ts, step, index):
        e, a, p = self.eps_model(x, ts), self.a[index], self.p[index]
        return p.sqrt() * (x - (1 - a).sqrt() * e) / a.sqrt() + (1 - p).sqrt() * e
"""
FEWER = """
class Fewer:
    def __init__(self, model, keep=10):
        self.model, self.abar = model, abar
        self.kept = [*range(0, T, T // keep)]
        self.a = abar[self.kept]
        self.p = torch.cat([torch.ones(1), self.a[:-1]])

    def p_sample(self, x, i):
        a, p = self.a[i], self.p[i]
        x0 = self.model(x, torch.full((len(x),), self.kept[i]))
        b = 1 - a / p
        mean = p.sqrt() * b / (1 - a) * x0 + (a / p).sqrt() * (1 - p) / (1 - a) * x
        return mean + (b * (1 - p) / (1 - a)).sqrt() * torch.randn_like(x)

    def sample(self, *shape):
        x = torch.randn(shape)
        for i in reversed(range(len(self.kept))):
            x = self.p_sample(x, i)
        return x
"""
ENDS = """
class Trainer(nn.Module):
    def __init__(self, model, beta, T: int):
        super().__init__()
        self.model, self.T = model, T
        table = torch.cumprod(1 - torch.linspace(*beta, T), dim=0)
        self.register_buffer("signal_rate", table.sqrt())
        self.register_buffer("noise_rate", (1 - table).sqrt())

    def forward(self, x_0):
        t, eps = torch.randint(self.T, (len(x_0),)), torch.randn_like(x_0)
        a, b = self.signal_rate[t].view(-1, 1, 1, 1), self.noise_rate[t].view(-1, 1, 1, 1)
        return (self.model(a * x_0 + b * eps, t) - eps).square().mean()
"""
LESS = ("* betas[t].sqrt() *", "* 0.8 * betas[t].sqrt() *", "your z has 0.8 * sqrt(beta_t)")
CLASSES = {
    "a loop that is told its axes": Slip(
        HEAD + FROM_ONE,
        "Chain",
        "(1 - a) / (1 - ab).sqrt()",
        "(1 - a) / (1 - ab)",
        "your model output has -beta_t / (1 - ab_t)",
    ),
    "lists from 1, behind an entry of no step": Slip(
        LISTS,
        "Prozess",
        "torch.sqrt(1 - q) * eps",
        "(1 - q) * eps",
        "your noise has 1 - ab_t",
    ),
    "a loss that may be handed t and noise, and asks by another method": Slip(
        HEAD + NOISED, "Module", "(1 - abar).sqrt()", "1 - abar", "1 - ab"
    ),
    "roots behind one of no step, told t / T": Slip(
        HEAD + ROOTS,
        "Roots",
        "(own * s / var) ** 0.5",
        "0.8 * (own * s / var) ** 0.5",
        "your z has 0.8",
    ),
    "how many points, and of how many numbers": Slip(HEAD + CLOUD, "Cloud", *LESS),
    "how many columns, in the constructor": Slip(HEAD + COLUMNS, "Columns", *LESS),
    "how long, and how many": Slip(HEAD + WAVES, "Waves", *LESS),
    "a loop from T that looks at t - 1 for what it keeps": Slip(
        HEAD + REVERSE,
        "Reverse",
        "* b.sqrt() *",
        "* 0.8 * b.sqrt() *",
        "your z has 0.8 * sqrt(beta_t)",
    ),
    "a step that is told t and its place": Slip(
        HEAD + PLACES, "Places", "+ (1 - p).sqrt()", "+ 0.9 * (1 - p).sqrt()", "your eps has 0.9 *"
    ),
    "a step that is told its place alone": Slip(
        HEAD + FEWER, "Fewer", "mean = p.sqrt()", "mean = 0.9 * p.sqrt()", "your x0-hat has 0.9 *"
    ),
    "betas of two ends": Slip(
        HEAD + ENDS, "Trainer", "a * x_0", "a**2 * x_0", "your x_0 in x_t has ab_t"
    ),
    "sequences of a shape that is told": Slip(
        HEAD + WORDS,
        "Words",
        "(1 - abar).sqrt(), of_z0",
        "1 - abar, of_z0",
        "your noise has 1 - ab_t",
    ),
}


@pytest.mark.parametrize("what", CLASSES)
def test_it_is_right_and_its_slip_is_told(what: str, tmp_path: Path) -> None:
    CLASSES[what].judged(tmp_path)


KEYED = (
    HEAD
    + """
class Keyed:
    def __init__(self, net, seed=None):
        self.net, self.tab = net, dict(abar=abar, beta=betas)
        self.g = torch.Generator()
        if seed is not None:
            self.g.manual_seed(seed)

    def __getitem__(self, key_t):
        key, t = key_t
        return self.tab[key][t].view(-1, 1, 1, 1)

    def diffuse(self, x0, t):
        z, a = torch.randn(x0.shape, generator=self.g), self["abar", t]
        return a.sqrt() * x0 + (1 - a).sqrt() * z, z

    def loss(self, x0):
        t = torch.randint(0, T, (len(x0),), generator=self.g)
        x_t, z = self.diffuse(x0, t)
        return (self.net(x_t, t) - z).pow(2).mean()
"""
)


def test_a_generator_that_is_made_anew_for_each_call_goes_on(tmp_path: Path) -> None:
    """An adapter builds the object for each call: what it keeps is no seed that is set inside."""
    report = judged_file(tmp_path, "Keyed", KEYED)
    assert report.exit_status == 0, str(report)
    inside = KEYED.replace("z, a = torch.", "self.g.manual_seed(0)\n        z, a = torch.")
    report = judged_file(tmp_path, "Keyed", inside)
    assert report.exit_status == 1, str(report)
