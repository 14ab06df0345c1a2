"""Tables, counts and names where strangers have them; and what is not passed for want of a name.
Each right program is judged, and a slip in it."""

from pathlib import Path

import pytest

from tests.compare.written import Slip, judged_file

HEAD = """
import torch
from torch import nn
from torch.nn import functional as F

T = 60
betas = torch.linspace(1e-3, 0.1, T)
"""
SPARE = """
b = torch.cat([torch.zeros(1), betas])
a = 1 - b
alpha_bars = a.cumprod(0)


@torch.no_grad()
def sample(net, n, channels=1, size=16):
    x = torch.randn(n, channels, size, size)
    for t in range(T, 0, -1):
        z = torch.randn_like(x) if t > 1 else torch.zeros_like(x)
        e = net(x, TOLD[[t] * n])
        x = (x - b[t] / (1 - alpha_bars[t]).sqrt() * e) / a[t].sqrt() + b[t].sqrt() * z
    return x
"""
UNEVEN = """
class Respaced:
    def __init__(self, model, T=1000, keep=50):
        full = (1 - torch.linspace(1e-4, 0.02, T, dtype=torch.float64)).cumprod(0)
        self.kept = [round(i * (T - 1) / (keep - 1)) for i in range(keep)]
        self.alphas_cumprod, self.model = full[self.kept], model

    @torch.no_grad()
    def sample(self, n, channels=1, size=16):
        x = torch.randn(n, channels, size, size)
        for i in reversed(range(len(self.kept))):
            eps = self.model(x, torch.full((n,), self.kept[i]))
            ab = self.alphas_cumprod[i].item()
            p = self.alphas_cumprod[i - 1].item() if i else 1.0
            x0 = (x - (1 - ab) ** 0.5 * eps) / ab**0.5
            x = (p**0.5 * (1 - ab / p) * x0 + (ab / p) ** 0.5 * (1 - p) * x) / (1 - ab)
            if i:
                x = x + ((1 - ab / p) * (1 - p) / (1 - ab)) ** 0.5 * torch.randn_like(x)
        return x
"""
OTHER_NAMES = """
class Imputer:
    def __init__(self, model):
        self.model, self.beta = model, betas
        self.alpha_hat = 1 - self.beta
        self.alpha = torch.cumprod(self.alpha_hat, 0)

    def loss(self, x):
        t = torch.randint(0, T, (len(x),))
        a, eps = self.alpha[t].view(-1, 1, 1, 1), torch.randn_like(x)
        return F.mse_loss(self.model(a.sqrt() * x + (1 - a).sqrt() * eps, t), eps)
"""
KEPT = """
class Sched:
    def __init__(self):
        self.beta = torch.linspace(1e-3, 0.3, T)
        self.abar = (1 - self.beta).cumprod(0)


class Trainer:
    def __init__(self, model):
        self.model, self.sched = model, Sched()

    def noisy(self, x, t, eps):
        a = self.sched.abar[t].view(-1, 1, 1, 1)
        return a.sqrt() * x + (1 - a).sqrt() * eps

    def loss(self, x):
        t, eps = torch.randint(0, T, (len(x),)), torch.randn_like(x)
        return F.mse_loss(self.model(self.noisy(x, t, eps), t), eps)
"""
FROM_ONE = """
class Diffusion:
    def __init__(self, model):
        self.model, self.T = model, T
        self.alpha_bar = torch.cat([torch.ones(1), (1 - betas).cumprod(0)])

    def add_noise(self, x_0, noise, t):
        a = self.alpha_bar[t].view(-1, 1, 1, 1)
        return a.sqrt() * x_0 + (1 - a).sqrt() * noise

    def loss(self, x_0, t):
        noise = torch.randn_like(x_0)
        return F.mse_loss(self.model(self.add_noise(x_0, noise, t), t), noise)

    def train(self, x_0):
        t = torch.randint(1, self.T + 1, (len(x_0),))
        self.loss(x_0, t).backward()
"""
THETA = """
class Scheduler(nn.Module):
    def __init__(self, steps):
        super().__init__()
        self.betas = torch.linspace(1e-4, 0.02, steps)
        self.alphas_cumprod = (1 - self.betas).cumprod(0)

    def step(self, x_t, t, eps_theta):
        b, ab = self.betas[t], self.alphas_cumprod[t]
        mean = (x_t - b / (1 - ab).sqrt() * eps_theta) / (1 - b).sqrt()
        return mean + b.sqrt() * torch.randn_like(x_t) if t > 0 else mean
"""
LOOP = """
alpha_bar = (1 - betas).cumprod(0)


def threshold(x_0, p=0.9):
    s = torch.quantile(x_0.abs().flatten(1), p, dim=1).clamp(min=1).view(-1, 1, 1, 1)
    return x_0.clamp(-s, s) / s


@torch.no_grad()
def sample(model, n, channels=1, size=16):
    x = torch.randn(n, channels, size, size)
    for t in range(T - 1, -1, -1):
        a, p = alpha_bar[t].item(), alpha_bar[t - 1].item() if t else 1.0
        x_0 = threshold((x - (1 - a) ** 0.5 * model(x, torch.full((n,), t))) / a**0.5)
        x = (p**0.5 * (1 - a / p) * x_0 + (a / p) ** 0.5 * (1 - p) * x) / (1 - a)
        if t:
            x = x + ((1 - a / p) * (1 - p) / (1 - a)) ** 0.5 * torch.randn_like(x)
    return x
"""
IN_UNIT = """
alpha_bar = (1 - betas).cumprod(0)


def loss(model, x_0):
    t, noise = torch.randint(0, T, (len(x_0),)), torch.randn_like(x_0)
    ab = alpha_bar[t].view(-1, 1, 1, 1)
    return F.mse_loss(model(ab.sqrt() * x_0 + (1 - ab).sqrt() * noise, t), noise)


@torch.no_grad()
def sample(model, n, channels=3, size=16):
    x = torch.randn(n, channels, size, size)
    for t in reversed(range(T)):
        b, ab = betas[t], alpha_bar[t]
        x = (x - b / (1 - ab).sqrt() * model(x, torch.full((n,), t))) / (1 - b).sqrt()
        x = x + b.sqrt() * torch.randn_like(x) if t else x
    return (x.clamp(-1, 1) + 1) / 2
"""
TOGETHER = (
    IN_UNIT
    + "\n\nfrom compare import Adapter\n\nboth = Adapter("
    + (
        "alpha_bar=lambda: alpha_bar, loss=lambda model, x_0: loss(model, x_0), "
        "sample=lambda model, shape: sample(model, *shape[:3]))\n"
    )
)
ALL_FROM_ONE = """
alpha_bar = (1 - betas).cumprod(0)


class Mine:
    def __init__(self):
        self.alphas_cumprod = alpha_bar

    def add_noise(self, x_0, noise, t):
        a = alpha_bar[t - 1].reshape(-1, 1, 1, 1)
        return a.sqrt() * x_0 + (1 - a).sqrt() * noise

    def loss(self, model, x_0):
        t, noise = torch.randint(1, T + 1, (len(x_0),)), torch.randn_like(x_0)
        return ((model(self.add_noise(x_0, noise, t), t) - noise) ** 2).mean()

    def sample(self, model, n):
        x = torch.randn(n, 1, 8, 8)
        for t in range(T, 0, -1):
            b, a = betas[t - 1], alpha_bar[t - 1]
            x = (x - b / (1 - a).sqrt() * model(x, torch.full((n,), t))) / (1 - b).sqrt()
            x = x + b.sqrt() * torch.randn_like(x) if t > 1 else x
        return x
"""
ROOTS = """
alpha_bar = (1 - betas).cumprod(0)


class Trainer(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.register_buffer("signal_rate", alpha_bar.sqrt())
        self.register_buffer("noise_rate", (1 - alpha_bar).sqrt())

    def forward(self, x_0):
        t, noise = torch.randint(T, (len(x_0),)), torch.randn_like(x_0)
        signal, rest = (v[t].view(-1, 1, 1, 1) for v in (self.signal_rate, self.noise_rate))
        return ((self.model(signal * x_0 + rest * noise, t) - noise) ** 2).mean()
"""
CAPPED = """
angle = (torch.arange(T + 1, dtype=torch.float64) / T + 0.008) / 1.008 * torch.pi / 2
kept = (angle.cos()[1:] / angle.cos()[:-1]) ** 2
alpha_bar = kept.clamp(min=1e-3).cumprod(0)


@torch.no_grad()
def sample(model, n):
    x = torch.randn(n, 1, 8, 8)
    for t in range(T - 1, -1, -1):
        a, p = float(alpha_bar[t]), float(alpha_bar[t - 1]) if t else 1.0
        x = x - (1 - a / p) / (1 - a) ** 0.5 * model(x, torch.full((n,), t))
        x = x / (a / p) ** 0.5 + (t > 0) * (1 - a / p) ** 0.5 * torch.randn_like(x)
    return x
"""
SLIPS = {  # {what: (program, its name, what is right in it, the slip, what is said)}
    "told a level": (
        SPARE.replace("TOLD", "alpha_bars.sqrt()"),
        "sample",
        "+ b[t].sqrt() * z",
        "+ b[t] * z",
        "the standard deviation is the variance itself",
    ),
    "told a beta": (
        SPARE.replace("TOLD", "b"),
        "sample",
        "b[t] / (1 - alpha_bars[t]).sqrt()",
        "b[t] / (1 - alpha_bars[t])",
        "your model output has -beta_t / (1 - ab_t) / sqrt(alpha_t)",
    ),
    "uneven": (
        UNEVEN,
        "Respaced",
        "(1 - ab) ** 0.5 * eps",
        "(1 - ab) * eps",
        "x0-hat subtracts (1-ab) eps",
    ),
    "other names": (OTHER_NAMES, "Imputer", "a.sqrt() * x", "a * x", "mistake 5"),
    "kept": (KEPT, "Trainer", "a.sqrt() * x", "a * x", "mistake 5"),
    "from one": (FROM_ONE, "Diffusion", "a.sqrt() * x_0", "a * x_0", "mistake 5"),
    "eps_theta": (
        THETA,
        "Scheduler",
        "/ (1 - ab).sqrt() *",
        "/ (1 - ab) *",
        "your model output has -beta_t / (1 - ab_t) / sqrt(alpha_t)",
    ),
    "threshold": (LOOP, "sample", " / s\n", "\n", "clips to s but does not divide by s"),
    "two roots": (
        ROOTS,
        "Trainer",
        '"noise_rate", (1 - alpha_bar).sqrt()',
        '"noise_rate", 1 - alpha_bar.sqrt()',
        "your noise in x_t has 1 - sqrt(ab_t), should have sqrt(1 - ab_t)",
    ),
    "all from one": (
        ALL_FROM_ONE,
        "Mine",
        "a = alpha_bar[t - 1].r",
        "a = alpha_bar[t - 2].r",
        "add_noise reads",
    ),
    "one from zero": (
        ALL_FROM_ONE,
        "Mine",
        "randint(1, T + 1,",
        "randint(0, T,",
        "t covers 0..59, should cover 1..60",
    ),
    "capped": (CAPPED, "sample", "kept.clamp(min=1e-3)", "kept", "mistake 11: cosine-without-cap"),
    "limited on one side": (
        LOOP.replace("return x_0.clamp(-s, s) / s", "return x_0.clamp(-1, 1)"),
        "sample",
        "clamp(-1, 1)",
        "clamp(min=-1)",
        "x0-hat is limited below, to -1, and not above",
    ),
    "limited on the other": (
        LOOP.replace("return x_0.clamp(-s, s) / s", "return x_0.clamp(-1, 1)"),
        "sample",
        "clamp(-1, 1)",
        "clamp(-2, 1)",
        "x0-hat is limited above, to 1, and not below",
    ),
    "ends early": (
        LOOP.replace("if t else", "if t > 0 else"),
        "sample",
        "range(T - 1, -1, -1)",
        "range(T - 1, 1, -1)",
        "the model is asked at 59, 58, ..., 2, and ends there: its last 2 steps are left out",
    ),
    "in [0, 1] at its end": (TOGETHER, "both", "ab.sqrt() * x_0", "ab * x_0", "mistake 5"),
}


@pytest.mark.parametrize("what", SLIPS)
def test_it_is_right_and_its_slip_is_told(what: str, tmp_path: Path) -> None:
    text, *more = SLIPS[what]
    Slip(HEAD + text, *more).judged(tmp_path)


def test_levels_of_no_family_at_the_steps_that_were_kept_are_left_open(tmp_path: Path) -> None:
    text = UNEVEN.replace("full[self.kept]", "full[self.kept] ** 1.1")
    report = judged_file(tmp_path, "Respaced", HEAD + text)
    assert report.exit_status == 2
    assert "its levels are those of no family at these numbers" in report.verdict


def test_a_list_of_even_steps_is_one_of_what_is_told(tmp_path: Path) -> None:
    text = UNEVEN.replace("round(i * (T - 1) / (keep - 1)) for", "i * (T // keep) for")
    report = judged_file(tmp_path, "Respaced", HEAD + text)
    assert report.exit_status == 0, str(report)
    assert "its levels are those of 1000 linear steps at its own kept[t]" in str(report)


STEP = """
class Harmonogram:
    def __init__(self):
        self.bety, self.alfa_kreska = betas, torch.cumprod(1 - betas, 0)

    def add_noise(self, img, szum, t):
        a = self.alfa_kreska[t].view(-1, 1, 1, 1)
        return torch.sqrt(a) * img + torch.sqrt(1 - a) * szum

    def NAMED(self, PREDICTED, t, img):
        a, b = self.alfa_kreska[t], self.bety[t]
        mean = (img - b / (1 - a) * PREDICTED) / (1 - b) ** 0.5
        return mean + b**0.5 * torch.randn_like(img) if t > 0 else mean
"""


@pytest.mark.parametrize(
    ("named", "predicted"), [("remove_noise", "noise_hat"), ("krok_wstecz", "szum_przewidziany")]
)
def test_a_step_that_was_not_called_is_not_passed(
    named: str, predicted: str, tmp_path: Path
) -> None:
    text = STEP.replace("NAMED", named).replace("PREDICTED", predicted)
    report = judged_file(tmp_path, "Harmonogram", HEAD + text)
    assert report.exit_status == 2
    assert f"its {named}, which is called as a reverse step is, and adds noise" in report.verdict


def test_an_adapter_is_read_by_the_file_that_it_is_for(tmp_path: Path) -> None:
    """Sequences are known by how t is spread there."""
    text = """
class Policy:
    def __init__(self):
        self.alphas_cumprod = torch.cumprod(1 - betas, 0)

    def noised(self, x, t, z):
        a = self.alphas_cumprod[t].view(-1, 1, 1)
        return a.sqrt() * x + (1 - a).sqrt() * z
"""
    (tmp_path / "policy_of_sequences.py").write_text(HEAD + text)
    adapter = """
from compare import Adapter
from policy_of_sequences import Policy


def adapted():
    made = Policy()
    return Adapter(alpha_bar=lambda: made.alphas_cumprod,
                   add_noise=lambda x_0, noise, t: made.noised(x_0, t, noise))
"""
    report = judged_file(tmp_path, "adapted", adapter)
    assert report.exit_status == 0, str(report)
    assert "is right for sequences (b, l, d), and not for pictures" in report.verdict


def test_tables_from_one_have_an_entry_of_no_step(tmp_path: Path) -> None:
    """Those that a function is handed which counts its t from 1, and takes nothing off."""
    text = """
def denoise(x_t, t, pred_noise, beta_t, alpha_t, alpha_bar_t, z=None):
    z = torch.randn_like(x_t) if z is None else z
    mean = x_t - pred_noise * ((1 - alpha_t[t]) / (1 - alpha_bar_t[t]).sqrt())
    return mean / alpha_t[t].sqrt() + torch.sqrt(beta_t[t]) * z


@torch.no_grad()
def run(model, x, beta_t, alpha_t, alpha_bar_t):
    for i in range(T, 0, -1):
        z = torch.randn_like(x) if i > 1 else 0
        x = denoise(x, i, model(x, i), beta_t, alpha_t, alpha_bar_t, z)
    return x
"""
    report = judged_file(tmp_path, "denoise", f"import torch\n\nT = 60\n{text}")
    assert report.exit_status == 0, str(report)


HANDED = """
class NoiseScheduler:
    def __init__(self, T=T):
        self.T, self.betas = T, betas
        self.alphas_cumprod = torch.cumprod(1 - self.betas, 0)

    def step(self, e, t, x):
        b, ab = self.betas[t], self.alphas_cumprod[t]
        x = (x - b / (1 - ab).sqrt() * e) / (1 - b).sqrt()
        return x + b.sqrt() * torch.randn_like(x) if t > 0 else x


@torch.no_grad()
def sample(model, scheduler, shape):
    x = torch.randn(shape)
    for t in reversed(range(scheduler.T)):
        x = scheduler.step(model(x, torch.full((shape[0],), t)), t, x)
    return x
"""
TWICE = """
_abar = (1 - betas.double()).cumprod(0).numpy()
ABAR = torch.as_tensor(_abar, dtype=torch.float32)
ABAR_PREV = torch.cat([torch.ones(1), ABAR[:-1]])


@torch.no_grad()
def sample(model, shape):
    x = torch.randn(shape)
    for t in range(T - 1, -1, -1):
        e = model(x, torch.full((shape[0],), t))
        x0 = (x - (1 - ABAR[t]).sqrt() * e) / ABAR[t].sqrt()
        x = ABAR_PREV[t].sqrt() * x0 + (1 - ABAR_PREV[t]).sqrt() * e
    return x
"""
BY_METHOD = """
class Lazy:
    def __init__(self, T=T):
        self.T = T

    def beta(self, t):
        return betas[t]

    def alpha_bar(self):
        return torch.cumprod(1 - betas, 0)

    @torch.no_grad()
    def sample(self, model, shape):
        x, ab = torch.randn(shape), self.alpha_bar()
        for t in range(self.T - 1, -1, -1):
            b = self.beta(t)
            e = model(x, torch.full((shape[0],), t))
            x = (x - b / (1 - ab[t]).sqrt() * e) / (1 - b).sqrt()
            x = x + b.sqrt() * torch.randn(shape) if t else x
        return x
"""
WITHOUT_TABLE = """
class Diffusion:
    def __init__(self, model, T=T):
        self.model, self.T = model, T

    def beta(self, t):
        return 1e-4 + (0.02 - 1e-4) * t / (self.T - 1)

    def level(self, t):
        return torch.prod(1 - self.beta(torch.arange(t + 1)))

    def loss(self, x):
        t = torch.randint(0, self.T, (len(x),))
        ab = torch.stack([self.level(int(i)) for i in t]).view(-1, 1, 1, 1)
        e = torch.randn_like(x)
        return ((self.model(ab.sqrt() * x + (1 - ab).sqrt() * e, t) - e) ** 2).mean()

    @torch.no_grad()
    def sample(self, n):
        x = torch.randn(n, 3, 8, 8)
        for i in range(self.T - 1, -1, -1):
            e, b = self.model(x, torch.full((n,), i)), self.beta(i)
            x = (x - b / (1 - self.level(i)).sqrt() * e) / (1 - b) ** 0.5
            x = x + b**0.5 * torch.randn_like(x) if i else x
        return x
"""
MORE = {  # {what: a right program, and a slip in it}
    "a scheduler whose step is called": Slip(
        HEAD + HANDED,
        "sample",
        "b / (1 - ab).sqrt()",
        "b / (1 - ab)",
        "the noise is scaled by beta / (1-ab)",
    ),
    "one table twice": Slip(
        HEAD + TWICE, "sample", "(1 - ABAR_PREV[t]).sqrt()", "(1 - ABAR_PREV[t])", "your eps has"
    ),
    "a table behind a method": Slip(
        HEAD + BY_METHOD,
        "Lazy",
        "b / (1 - ab[t]).sqrt()",
        "b / (1 - ab[t])",
        "the noise is scaled by",
    ),
    "no table, and a loop that ends early": Slip(
        HEAD + WITHOUT_TABLE, "Diffusion", "self.T - 1, -1, -1", "self.T - 1, 0, -1", "[mistake 79:"
    ),
}


@pytest.mark.parametrize("what", MORE)
def test_more_tables_are_found_where_they_stand(tmp_path: Path, what: str) -> None:
    MORE[what].judged(tmp_path)
