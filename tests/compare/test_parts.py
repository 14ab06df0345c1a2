"""Programs whose functions and classes are handed things of the file's own classes: a schedule, a
configuration. Each is judged as it is, with nothing filled in by hand, and with a slip in it."""

from pathlib import Path

import pytest

from compare.candidate.text.adapt import adapter
from tests.compare.written import Slip, judged_file

HEAD = """
from dataclasses import dataclass
from typing import NamedTuple, Optional

import torch
"""
RECORD = """
@dataclass
class Schedule:
    betas: torch.Tensor
    alphas: torch.Tensor
    alpha_bars: torch.Tensor


def make_schedule(T: int = 60, low=1e-3, high=0.1) -> Schedule:
    betas = torch.linspace(low, high, T)
    return Schedule(betas, 1 - betas, torch.cumprod(1 - betas, 0))


def q_sample(s: Schedule, x0, t, noise):
    ab = s.alpha_bars[t].view(-1, 1, 1, 1)
    return ab.sqrt() * x0 + (1 - ab).sqrt() * noise


def loss_fn(model, s: Schedule, x0):
    t = torch.randint(0, len(s.betas), (x0.shape[0],))
    noise = torch.randn_like(x0)
    return ((model(q_sample(s, x0, t, noise), t) - noise) ** 2).mean()


@torch.no_grad()
def sample(model, s: Schedule, shape):
    x = torch.randn(shape)
    for t in reversed(range(len(s.betas))):
        eps = model(x, torch.full((shape[0],), t))
        x = (x - s.betas[t] / (1 - s.alpha_bars[t]).sqrt() * eps) / s.alphas[t].sqrt()
        if t > 0:
            x = x + s.betas[t].sqrt() * torch.randn_like(x)
    return x
"""
CONFIGURED = """
@dataclass(frozen=True)
class Config:
    steps: int = 60
    low: float = 1e-3
    high: float = 0.1


class NoiseSchedule:
    def __init__(self, cfg: Config) -> None:
        self.steps = cfg.steps
        self.beta = torch.linspace(cfg.low, cfg.high, cfg.steps)
        self.alpha_bar = torch.cumprod(1 - self.beta, 0)


class Sampler:
    def __init__(self, model, schedule):
        self.model, self.schedule = model, schedule

    @torch.no_grad()
    def sample(self, shape):
        s = self.schedule
        x = torch.randn(shape)
        for t in reversed(range(s.steps)):
            eps = self.model(x, torch.full((shape[0],), t))
            x = (x - s.beta[t] / (1 - s.alpha_bar[t]).sqrt() * eps) / (1 - s.beta[t]).sqrt()
            if t > 0:
                x = x + s.beta[t].sqrt() * torch.randn_like(x)
        return x
"""
ASKS_FOR_T = (
    CONFIGURED.replace("cfg: Config", "T: int, low: float = 1e-3, high: float = 0.02")
    .replace("cfg.steps", "T")
    .replace("cfg.", "")
    .replace("schedule):", "schedule: Optional[NoiseSchedule]):")
)
AT_THE_TOP = """
class Tables(NamedTuple):
    beta: torch.Tensor
    alpha_bar: torch.Tensor


def build(T):
    beta = torch.linspace(1e-3, 0.1, T)
    return Tables(beta, torch.cumprod(1 - beta, 0))


TABLES = build(60)


@torch.no_grad()
def generate(net, shape):
    x = torch.randn(shape)
    for t in reversed(range(60)):
        beta, ab = TABLES.beta[t], TABLES.alpha_bar[t]
        x = (x - beta / (1 - ab).sqrt() * net(x, torch.full((shape[0],), t))) / (1 - beta).sqrt()
        if t > 0:
            x = x + beta.sqrt() * torch.randn_like(x)
    return x
"""
OBJECT = """
class Diffusion:
    def __init__(self, T, net=None):
        self.T, self.beta, self.net = T, torch.linspace(1e-3, 0.1, T), net
        self.alpha_bar = torch.cumprod(1 - self.beta, 0)

    @classmethod
    def short(cls):
        return cls(60)

    def p_losses(self, x0):
        t, noise = torch.randint(0, self.T, (len(x0),)), torch.randn_like(x0)
        ab = self.alpha_bar[t].view(-1, 1, 1, 1)
        return ((self.net(ab.sqrt() * x0 + (1 - ab).sqrt() * noise, t) - noise) ** 2).mean()

    @torch.no_grad()
    def generate(self, n):
        x = torch.randn(n, 1, 8, 8)
        for t in range(self.T - 1, -1, -1):
            x = self.one_back(x, self.net(x, torch.full((n,), t)), t, t - 1)
        return x

    def one_back(self, x, eps, t, s):
        mean = (x - self.beta[t] / (1 - self.alpha_bar[t]).sqrt() * eps) / (1 - self.beta[t]).sqrt()
        return mean + self.beta[t].sqrt() * torch.randn_like(x) if s >= 0 else mean


diffusion = Diffusion.short()
"""
HANDED_OVER = """
class Process:
    def __init__(self, T=60):
        self.T = T

    def denoise_add_noise(self, x, t, pred_noise, a_t, b_t, ab_t, z):
        mean = (x - pred_noise * ((1 - a_t[t]) / (1 - ab_t[t]).sqrt())) / a_t[t].sqrt()
        return mean + b_t.sqrt()[t] * z

    def sample(self, model, n):
        b_t = torch.cat([torch.zeros(1), torch.linspace(1e-4, 0.02, self.T)])
        a_t, ab_t, x = 1 - b_t, (1 - b_t).cumprod(0), torch.randn(n, 3, 8, 8)
        for t in range(self.T, 0, -1):
            z = torch.randn_like(x) if t > 1 else 0
            x = self.denoise_add_noise(x, t, model(x, torch.full((n,), t)), a_t, b_t, ab_t, z)
        return x
"""
RESPACED = """
from copy import deepcopy
from types import SimpleNamespace


class Trainer:
    def __init__(self, net, T=1000, keep=50):
        self.net, self.ema_net = net, deepcopy(net)
        kept = torch.linspace(0, T - 1, keep).round().long()
        ab = torch.cumprod(1 - torch.linspace(1e-4, 0.02, T, dtype=torch.float64), 0)[kept]
        before = torch.cat([torch.ones(1, dtype=torch.float64), ab[:-1]])
        self.tab = SimpleNamespace(kept=kept, ab=ab, beta=1 - ab / before, before=before)

    def sample(self, n):
        tab, net, x = self.tab, self.ema_net, torch.randn(n, 1, 8, 8)
        for j in reversed(range(len(tab.kept))):
            b, ab = float(tab.beta[j]), float(tab.ab[j])
            x = (x - b / (1 - ab) ** 0.5 * net(x, tab.kept[j].repeat(n))) / (1 - b) ** 0.5
            std = (b * (1 - float(tab.before[j])) / (1 - ab)) ** 0.5
            x = x + std * torch.randn_like(x) if j else x
        return x


trainer = Trainer(torch.nn.Identity())
"""
LOOKED_UP = """
class Tables(NamedTuple):
    beta: torch.Tensor
    alphaBar: torch.Tensor


class Reverse:
    def __init__(self, T):
        beta = torch.linspace(1e-3, 0.1, T)
        self.T, self.tables = T, Tables(beta, torch.cumprod(1 - beta, 0))

    def at(self, name, t):
        return getattr(self.tables, name)[t]

    def __call__(self, model, n):
        return self.sample(model, n)

    def sample(self, model, n):
        x = torch.randn(n, 1, 8, 8)
        for t in reversed(range(self.T)):
            b, ab = self.at("beta", t), self.at("alphaBar", t)
            x = (x - b / (1 - ab).sqrt() * model(x, torch.full((n,), t))) / (1 - b).sqrt()
            x = x + b.sqrt() * torch.randn_like(x) if t else x
        return x


reverse = Reverse(60)
"""
ENDS_WITH_ONE = """
class Loop:
    def __init__(self, T):
        kept = torch.cumprod(1 - torch.linspace(1e-3, 0.1, T, dtype=torch.float64), 0)
        self.T, self.ab = T, torch.cat([kept, torch.ones(1, dtype=torch.float64)])

    def sample(self, model, n):
        x = torch.randn(n, 1, 8, 8)
        for t in range(self.T - 1, -1, -1):
            a, p = float(self.ab[t]), float(self.ab[t - 1])
            x = x - (1 - a / p) / (1 - a) ** 0.5 * model(x, torch.full((n,), t))
            x = x / (a / p) ** 0.5
            if t > 0:
                x = x + ((1 - a / p) * (1 - p) / (1 - a)) ** 0.5 * torch.randn_like(x)
        return x


loop = Loop(60)
"""
GIVEN = OBJECT.replace("net=None", "net").replace("cls(60)", "cls(60, torch.nn.Identity())")
SLIPS = {
    "the loss of an object": Slip(
        HEAD + OBJECT, "diffusion", "(1 - ab).sqrt()", "(1 - ab)", "noise by 1 - alpha-bar"
    ),
    "looked up by a word": Slip(
        HEAD + LOOKED_UP, "reverse", "/ (1 - b).sqrt()", "/ (1 - ab).sqrt()", "alpha_t"
    ),
    "a 1 behind the last": Slip(
        HEAD + ENDS_WITH_ONE, "loop", "x / (a / p) ** 0.5", "x / a**0.5", "alpha_t"
    ),
    "the kept steps of an object": Slip(
        HEAD + RESPACED,
        "trainer",
        "* (1 - float(tab.before[j]))",
        "",
        "z has sqrt(beta_t) / sqrt(1 - ab_t)",
    ),
    "the loop of an object": Slip(
        HEAD + GIVEN, "diffusion", "self.T - 1, -1, -1", "self.T - 1, 0, -1", "stops before t = 0"
    ),
    "add_noise": Slip(
        HEAD + RECORD,
        "q_sample",
        "(1 - ab).sqrt() * noise",
        "(1 - ab) * noise",
        "your noise has 1 - ab_t, should have sqrt(1 - ab_t)",
    ),
    "loss": Slip(HEAD + RECORD, "loss_fn", "randint(0, len", "randint(1, len", "never trained"),
    "loop": Slip(HEAD + RECORD, "sample", "/ s.alphas[t].sqrt()", "/ s.alphas[t]", "alpha_t"),
    "configured": Slip(HEAD + CONFIGURED, "Sampler", "if t > 0", "if t >= 0", "noise"),
    "asks for T": Slip(
        HEAD + ASKS_FOR_T,
        "Sampler",
        "(1 - s.beta[t]).sqrt()",
        "(1 - s.alpha_bar[t]).sqrt()",
        "alpha_t",
    ),
    "at the top": Slip(
        HEAD + AT_THE_TOP,
        "generate",
        "+ beta.sqrt()",
        "+ beta",
        "your z has beta_t, should have sqrt(beta_t",
    ),
}


@pytest.mark.parametrize("slip", SLIPS.values(), ids=SLIPS)
def test_what_is_handed_is_made(slip: Slip, tmp_path: Path) -> None:
    slip.judged(tmp_path)


def test_tables_that_nobody_shows_blame_no_loop(tmp_path: Path) -> None:
    """Those that a step is handed in the adapter, and the loop beside it makes for itself."""
    report = judged_file(tmp_path, "Process", HEAD + HANDED_OVER)
    assert report.exit_status == 0, str(report)
    beside = "\n    def before(self, i):\n        return i - 1\n"  # which is no role's
    assert "torch.zeros(1), torch" in adapter(tmp_path / "a.py", "", HEAD + HANDED_OVER + beside)
    other = HANDED_OVER.replace("1e-4, 0.02", "1e-4, 0.1")
    report = judged_file(tmp_path, "Process", HEAD + other)
    assert report.exit_status == 2, str(report)
    assert "right by another table than the usual one" in report.verdict
    report = judged_file(tmp_path, "Process", HEAD + other.replace("/ a_t[t].sqrt()", "/ a_t[t]"))
    assert report.exit_status == 1, str(report)


@pytest.mark.parametrize(
    "changed",
    [
        ("cfg: Config", "cfg: dict"),  # no class of the file
        ("    low: float = 1e-3", "    low: float"),  # no default, and no name that is known
        ("class Sampler", "class OtherSchedule:\n    pass\n\n\nclass Sampler"),  # which of the two?
    ],
)
def test_what_nobody_can_make_is_left_open(changed: tuple[str, str], tmp_path: Path) -> None:
    text = (HEAD + CONFIGURED).replace(*changed)
    assert text != HEAD + CONFIGURED
    assert "schedule=..." in adapter(tmp_path / "mine.py", "Sampler", text)


def test_a_function_that_makes_one_comes_first(tmp_path: Path) -> None:
    text = adapter(tmp_path / "mine.py", "", HEAD + RECORD)
    assert text.count("SCHEDULE = mine.make_schedule()\n") == 1
    text = adapter(tmp_path / "mine.py", "", HEAD + AT_THE_TOP)
    assert "alpha_bar=lambda: mine.TABLES.alpha_bar," in text
    assert "TABLES =" not in text


@pytest.mark.parametrize("asks", ["self.device.type", "'cuda' in self.device"])
def test_who_asks_for_the_type_of_a_device_is_handed_one(asks: str, tmp_path: Path) -> None:
    text = f"""
class Diffusion(torch.nn.Module):
    def __init__(self, model, device, T=60):
        super().__init__()
        self.model, self.device, self.T = model, device, T
        self.alpha_bar = torch.cumprod(1 - torch.linspace(1e-3, 0.1, T), 0)

    def loss(self, x0):
        assert ({asks}) is not None
        t = torch.randint(0, self.T, (len(x0),))
        ab, noise = self.alpha_bar[t].view(-1, 1, 1, 1), torch.randn_like(x0)
        return ((self.model(ab.sqrt() * x0 + (1 - ab).sqrt() * noise, t) - noise) ** 2).mean()
"""
    report = judged_file(tmp_path, "Diffusion", HEAD + text)
    assert report.passed, str(report)
