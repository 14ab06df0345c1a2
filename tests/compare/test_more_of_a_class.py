"""Classes of which one or two methods have the contract's names, and the rest is known by its own
words: all of it is judged, and what is wrong in any of it is found."""

from itertools import count
from pathlib import Path

import pytest

from compare import Report, run

HEAD = """
import copy
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

B = torch.linspace(1e-4, 0.02, 50)
AB = (1 - B).cumprod(0)


class Net(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.time = nn.Embedding(50, channels)
        self.last = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, t):
        return self.last(x + self.time(t)[:, :, None, None])

"""
TRAINS_ITSELF = """
class LitDDPM(nn.Module):
    def __init__(self, n_steps=50, lr=2e-4):
        super().__init__()
        self.n_steps, self.lr, self.net = n_steps, lr, Net(1)
        self.register_buffer("alpha_bar", AB)

    def training_step(self, batch, batch_idx):
        x, _ = batch
        t, eps = torch.randint(0, self.n_steps, (len(x),)), torch.randn_like(x)
        ab = self.alpha_bar[t].view(-1, 1, 1, 1)
        return F.mse_loss(self.net(ab.sqrt() * x + (1 - ab).sqrt() * eps, t), eps)

    @torch.no_grad()
    def sample(self, n=16, shape=(1, 8, 8)):
        self.eval()
        x = torch.randn(n, *shape)
        for i in range(self.n_steps - 1, -1, -1):
            eps = self.net(x, torch.full((n,), i))
            x = (x - B[i] / (1 - AB[i]).sqrt() * eps) / (1 - B[i]).sqrt()
            if i > 0:
                x = x + B[i].sqrt() * torch.randn_like(x)
        return x.clamp(-1, 1)
"""
HANDS_ITS_BATCH_ON = TRAINS_ITSELF.replace(
    "def training_step(self, batch, batch_idx):",
    """def training_step(self, batch, batch_idx):
        return self._step(batch, "train")

    def _step(self, both, stage):""",
).replace("x, _ = batch", "x, _ = both")
DRAWS_BY_A_COPY = TRAINS_ITSELF.replace(
    """        self.register""",
    """        self.average = copy.deepcopy(self.net).requires_grad_(False)
        self.register""",
).replace("eps = self.net(x", "eps = self.average(x")
DRAWS_BY_AN_AVERAGE = """
class Average:
    def __init__(self, net):
        self.copy = copy.deepcopy(net).requires_grad_(False)

""" + TRAINS_ITSELF.replace(
    """        self.register""",
    """        self.average = Average(self.net)
        self.register""",
).replace("eps = self.net(x", "eps = self.average.copy(x")
KEEPS_ITS_OWN = """
class Digits(nn.Module):
    def __init__(self, image_size, in_channels):
        super().__init__()
        self.image_size, self.in_channels = image_size, in_channels
        self.register_buffer("alphas_cumprod", AB)
        self.model = Net(in_channels)

    def _forward_diffusion(self, x_0, t, noise):
        ab = AB[t].reshape(-1, 1, 1, 1)
        return ab.sqrt() * x_0 + (1 - ab).sqrt() * noise

    @torch.no_grad()
    def sampling(self, n_samples, device="cuda"):
        side = self.image_size
        x_t = torch.randn((n_samples, self.in_channels, side, side)).to(device)
        for i in range(49, -1, -1):
            noise = torch.randn_like(x_t)
            x_t = self._reverse_diffusion(x_t, torch.full((n_samples,), i), noise)
        return x_t

    @torch.no_grad()
    def _reverse_diffusion(self, x_t, t, noise):
        b, ab = B[t].reshape(-1, 1, 1, 1), AB[t].reshape(-1, 1, 1, 1)
        mean = (x_t - b / (1 - ab).sqrt() * self.model(x_t, t)) / (1 - b).sqrt()
        return mean + (b.sqrt() if t.min() > 0 else 0.0) * noise
"""
A_STEP_OF_ITS_OWN_NAME = """
class Diffusion:
    def __init__(self):
        self.betas, self.alpha_bars = B, AB

    def diffuse(self, x0, t, eps):
        ab = self.alpha_bars[t][:, None, None, None]
        return ab.sqrt() * x0 + (1 - ab).sqrt() * eps

    def reverse_step(self, x_t, t, eps_hat):
        beta, ab = self.betas[t], self.alpha_bars[t]
        mean = (x_t - beta / (1 - ab).sqrt() * eps_hat) / (1 - beta).sqrt()
        return mean + (t > 0) * beta.sqrt() * torch.randn_like(x_t)

    def loss(self, model, x0):
        t, eps = torch.randint(50, (len(x0),)), torch.randn_like(x0)
        return ((model(self.diffuse(x0, t, eps), t) - eps) ** 2).mean()

    def generate(self, model, n, c=1, size=8):
        x = torch.randn(n, c, size, size)
        for t in reversed(range(50)):
            x = self.reverse_step(x, t, model(x, torch.full((n,), t)))
        return x
"""
OF_NUMPY = """
class GaussianDiffusionModel:
    def __init__(self, img_size, betas):
        self.alphas_cumprod = np.cumprod(1 - betas, axis=0)
        self.alphas_cumprod_prev = np.append(1.0, self.alphas_cumprod[:-1])

    def sample_q(self, x_0, t, noise):
        a = torch.from_numpy(self.alphas_cumprod)[t].float().reshape(-1, 1, 1, 1)
        return a.sqrt() * x_0 + (1 - a).sqrt() * noise

    def calc_loss(self, model, x_0, t):
        noise = torch.randn_like(x_0)
        x_t = self.sample_q(x_0, t, noise)
        estimate_noise = model(x_t, t)
        loss = {}
        loss["loss"] = (estimate_noise - noise).square().mean(dim=(1, 2, 3))
        return loss, x_t, estimate_noise
"""
A_STEP_CALLED_SAMPLE = """
class Sampler:
    def __init__(self):
        self.beta, self.alpha_bar = B, AB

    def sample(self, eps_theta_t, t, x_t):
        mean = (x_t - self.beta[t] / (1 - self.alpha_bar[t]).sqrt() * eps_theta_t)
        mean = mean / (1 - self.beta[t]).sqrt()
        return mean + (t > 0) * self.beta[t].sqrt() * torch.randn_like(x_t)

    def clean(self, eps, t, x_t):
        return (x_t - (1 - self.alpha_bar[t]).sqrt() * eps) / self.alpha_bar[t].sqrt()
"""
YIELDS = """
def generate(model, n):
    x = torch.randn(n, 1, 8, 8)
    for t in reversed(range(50)):
        out = model(x, torch.full((n,), t))
        x = (x - B[t] / (1 - AB[t]).sqrt() * out) / (1 - B[t]).sqrt()
        x = x + (t > 0) * B[t].sqrt() * torch.randn_like(x)
        yield x
"""
FROM_NOISE = """
def denoise_all(model, init_noise):
    x = init_noise
    for t in reversed(range(50)):
        ab, before = AB[t], AB[t - 1] if t else torch.ones(())
        eps = model(x, torch.full((len(x),), t))
        x = before.sqrt() * (x - (1 - ab).sqrt() * eps) / ab.sqrt() + (1 - before).sqrt() * eps
    return x
"""
ONE_PICTURE = """
def forward_diffusion_sample(x_0: torch.Tensor, t: int, alpha_bar: torch.Tensor):
    noise = torch.randn_like(x_0)
    return alpha_bar[t].sqrt() * x_0 + (1 - alpha_bar[t]).sqrt() * noise, noise
"""
OF_FIELDS = """
@dataclass(frozen=True)
class Coefficients:
    steps: int = 50

    @property
    def alpha_bar_list(self):
        return [float(each) for each in AB]


@dataclass
class Ddim:
    noisePredictor: nn.Module
    stride: int = 5
    table: Coefficients = field(default_factory=Coefficients)

    @torch.no_grad()
    def sample(self, n, c=1, size=8):
        x, kept = torch.randn(n, c, size, size), self.table.alpha_bar_list
        for t in reversed(range(0, self.table.steps, self.stride)):
            ab, prev = kept[t], kept[t - self.stride] if t else 1.0
            eps = self.noisePredictor(x, torch.full((n,), t))
            x = prev**0.5 * (x - (1 - ab) ** 0.5 * eps) / ab**0.5 + (1 - prev) ** 0.5 * eps
        return x
"""
IN_PLACE = """
class Ddpm(nn.Module):
    def __init__(self, gt, n_T=50):
        super().__init__()
        self.gt, self.n_T, self.scalars = gt, n_T, {"beta": B, "alpha_bar": AB}

    def forward(self, x):
        t, eps = torch.randint(0, self.n_T, (len(x),)), torch.randn_like(x)
        a = self.scalars["alpha_bar"][t, None, None, None]
        return F.mse_loss(eps, self.gt(a.sqrt() * x + (1 - a).sqrt() * eps, t / self.n_T))

    def sample(self, n_sample, size, device):
        z, one = torch.randn(n_sample, *size, device=device), torch.ones(n_sample)
        for i in range(self.n_T - 1, -1, -1):
            b = self.scalars["beta"][i]
            z -= b / (1 - self.scalars["alpha_bar"][i]).sqrt() * self.gt(z, i / self.n_T * one)
            z /= (1 - b).sqrt()
            if i > 0:
                z += b.sqrt() * torch.randn_like(z)
        return z
"""
PARTIAL = """
def _sample(table, model, n):
    x = torch.randn(n, 1, 8, 8)
    for t in reversed(range(0, len(table), 5)):
        a, b = table[t], table[t - 5] if t else torch.ones(())
        e = model(x, torch.full((n,), t))
        x = b.sqrt() * (x - (1 - a).sqrt() * e) / a.sqrt() + (1 - b).sqrt() * e
    return x


sample = partial(_sample, AB)
"""
OF_LAYERS = """
class Tabular(nn.Module):
    def __init__(self, n_features=6, hidden=16):
        super().__init__()
        self.time, self.first = nn.Embedding(50, hidden), nn.Linear(n_features, hidden)
        self.n_features, self.last = n_features, nn.Linear(hidden, n_features)
        self.register_buffer("alpha_bar", AB)

    def predict_noise(self, x, t):
        return self.last(F.silu(self.first(x) + self.time(t)))

    def loss(self, x):
        t, noise = torch.randint(0, 50, (len(x),)), torch.randn_like(x)
        a = self.alpha_bar[t].unsqueeze(1)
        return ((self.predict_noise(a.sqrt() * x + (1 - a).sqrt() * noise, t) - noise) ** 2).mean()
"""
SEEDED = """
def sample(model, n, seed=None):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.standard_normal((n, 1, 8, 8))).float()
    for t in reversed(range(50)):
        eps = model(x, torch.full((n,), t))
        x = (x - B[t] / (1 - AB[t]).sqrt() * eps) / (1 - B[t]).sqrt()
        if t:
            x = x + B[t].sqrt() * torch.from_numpy(rng.standard_normal(x.shape)).float()
    return x
"""
OF_LIT = [("if i > 0", "if i > -1", "variance"), ("t), eps)", "t), x)", "prediction")]
PROGRAMS = {  # {what it is: (its source, the name, [(what is put wrong, by what, its stage)])}
    "one that trains itself": (
        TRAINS_ITSELF,
        "LitDDPM",
        OF_LIT,
    ),
    "one that hands its batch on": (
        HANDS_ITS_BATCH_ON,
        "LitDDPM",
        [("(1 - ab).sqrt() * eps, t)", "(1 - ab) * eps, t)", "forward")],
    ),
    "one that draws by a copy": (
        DRAWS_BY_A_COPY,
        "LitDDPM",
        OF_LIT,
    ),
    "one that draws by an average": (
        DRAWS_BY_AN_AVERAGE,
        "LitDDPM",
        OF_LIT,
    ),
    "one that draws by a copy that is made elsewhere": (
        "\ndef averaged(net):\n    return copy.deepcopy(net)\n"
        + DRAWS_BY_A_COPY.replace("copy.deepcopy(self.net)", "averaged(self.net)"),
        "LitDDPM",
        [("if i > 0", "if i > -1", "variance")],
    ),
    "one that keeps a network of its own": (
        KEEPS_ITS_OWN,
        "Digits",
        [("if t.min() > 0 else 0.0", "", "variance"), ("b / (1 - ab)", "b / (2 - ab)", "mean")],
    ),
    "a step of its own name": (
        A_STEP_OF_ITS_OWN_NAME,
        "Diffusion",
        [("eps_hat) / (1 - beta).sqrt()", "eps_hat) / (1 - beta)", "mean")],
    ),
    "NumPy, and more than a loss": (
        OF_NUMPY,
        "GaussianDiffusionModel",
        [("estimate_noise - noise", "estimate_noise + noise", "")],
    ),
    "a step called sample": (
        A_STEP_CALLED_SAMPLE,
        "Sampler",
        [("beta[t].sqrt() *", "beta[t] *", "")],
    ),
    "a generator of pictures": (YIELDS, "generate", [("B[t].sqrt()", "B[t]", "variance")]),
    "a loop that is handed its noise": (
        FROM_NOISE,
        "denoise_all",
        [("AB[t - 1] if", "AB[t] if", "")],
    ),
    "a dataclass": (OF_FIELDS, "Ddim", [("(1 - prev) ** 0.5 * eps", "(1 - ab) ** 0.5 * eps", "")]),
    "in place": (IN_PLACE, "Ddpm", [("z /= (1 - b).sqrt()", "z /= 1 - b", "mean")]),
    "a partial": (PARTIAL, "sample", [("(1 - b).sqrt() * e", "(1 - a).sqrt() * e", "")]),
    "made of layers": (OF_LAYERS, "Tabular", [("a.sqrt() * x", "a * x", "forward")]),
    "a seed": (SEEDED, "sample", [("B[t].sqrt() *", "B[t] *", "variance")]),
    "a seed that has to be a number": (SEEDED.replace("g(seed)", "g(int(seed))"), "sample", []),
    "one picture alone": (
        ONE_PICTURE,
        "forward_diffusion_sample",
        [("(1 - alpha_bar[t]).sqrt()", "(1 - alpha_bar[t])", "forward")],
    ),
}
NUMBER = count()


def judged(folder: Path, source: str, name: str) -> Report:
    file = folder / f"program{next(NUMBER)}.py"  # a stale .pyc is not read of a new one
    file.write_text(HEAD + source)
    return run(f"{file}:{name}")


@pytest.mark.parametrize("what", PROGRAMS)
def test_it_is_right(what: str, tmp_path: Path) -> None:
    source, name, _ = PROGRAMS[what]
    report = judged(tmp_path, source, name)
    assert report.passed, str(report)


SLIPS = [(what, *slip) for what, (_, _, slips) in PROGRAMS.items() for slip in slips]


@pytest.mark.parametrize(("what", "was", "becomes", "stage"), SLIPS)
def test_a_slip_in_it_is_found(
    what: str, was: str, becomes: str, stage: str, tmp_path: Path
) -> None:
    source, name, _ = PROGRAMS[what]
    assert was in source
    report = judged(tmp_path, source.replace(was, becomes), name)
    assert report.exit_status == 1, str(report)
    assert stage in ("", report.diagnoses[0].stage)
