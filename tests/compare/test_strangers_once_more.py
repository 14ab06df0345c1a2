"""More programs as people write them: what their tables, labels, noise and pictures are."""

from pathlib import Path

import pytest

from compare import Report
from tests.compare.written import judged_file
from tests.often import each

HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"
GUIDED = """
class Guided(nn.Module):
    def __init__(self, net, T=60):
        super().__init__()
        self.net, self.T = net, T
        self.beta = torch.linspace(1e-4, 0.05, T)
        self.alpha, self.alpha_bar = 1 - self.beta, (1 - self.beta).cumprod(0)

    @torch.no_grad()
    def sample(self, y, w=1.5):
        x = torch.randn(len(y), 2)
        none = torch.full_like(y, 5)
        for i in reversed(range(self.T)):
            t = torch.full_like(y, i)
            with_label, without = self.net(x, t, y), self.net(x, t, none)
            e = (1 + w) * with_label - w * without
            x = (x - self.beta[i] / (1 - self.alpha_bar[i]).sqrt() * e) / self.alpha[i].sqrt()
            if i > 0:
                x = x + self.beta[i].sqrt() * torch.randn_like(x)
        return x
"""
DROPPED = """
class Dropped(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net
        self.beta = torch.linspace(0, 0.05, 61)
        self.alpha_bar = (1 - self.beta).cumprod(0)

    def forward(self, x, c):
        t = torch.randint(1, 61, (len(x),))
        eps, a = torch.randn_like(x), self.alpha_bar[t, None, None, None]
        x_t = a.sqrt() * x + (1 - a).sqrt() * eps
        return F.mse_loss(self.net(x_t, c, t / 60, torch.zeros(len(x))), eps)

    @torch.no_grad()
    def sample(self, n, size=(1, 8, 8)):
        x, c = torch.randn(n, *size), torch.arange(n) % 10
        on, off = torch.ones(n), torch.zeros(n)
        for i in range(60, 0, -1):
            t = torch.full((n,), i / 60)
            e = 3 * self.net(x, c, t, off) - 2 * self.net(x, c, t, on)
            x = (x - e * self.beta[i] / (1 - self.alpha_bar[i]).sqrt()) / (1 - self.beta[i]).sqrt()
            x = x + self.beta[i].sqrt() * torch.randn_like(x) if i > 1 else x
        return x
"""
ROOTS = """
class Roots(nn.Module):
    def __init__(self, T=60):
        super().__init__()
        self.T, self.net = T, Network()
        b = 0.05 * torch.linspace(0.1, 1, T) ** 2
        ab = (1 - b).cumprod(0)
        prev = F.pad(ab[:-1], (1, 0), value=1.0)
        tables = {"sqrt_ab": ab.sqrt(), "sqrt_1mab": (1 - ab).sqrt()}
        tables |= {"c0": b * prev.sqrt() / (1 - ab), "ct": (1 - prev) * (1 - b).sqrt() / (1 - ab)}
        for name, table in (tables | {"post_var": b * (1 - prev) / (1 - ab)}).items():
            self.register_buffer(name, table)

    @torch.no_grad()
    def generate(self, n):
        x = torch.randn(n, 1, 8, 8)
        for i in range(self.T - 1, -1, -1):
            e = self.net(x, torch.full((n,), i))
            x_0 = ((x - self.sqrt_1mab[i] * e) / self.sqrt_ab[i]).clamp(-1, 1)
            x = self.c0[i] * x_0 + self.ct[i] * x + self.post_var[i].sqrt() * torch.randn_like(x)
        return x


class Network(nn.Module):
    def forward(self, x, t):
        return x
"""
IN_A_DICT = """
def build_tables(T):
    b = 0.05 * torch.sigmoid(torch.linspace(-4, 4, T))
    ab = (1 - b).cumprod(0)
    return {"sqrt_ab": ab.sqrt(), "betas": b, "var": b}


class Signals:
    def __init__(self, net=None, T=60):
        self.net, self.T, self.tab = net or nn.Conv1d(2, 2, 1), T, build_tables(T)

    def look(self, name, t):
        return self.tab[name][t].view(-1, 1, 1)

    def noising(self, x0, t, noise):
        return self.look("sqrt_ab", t) * x0 + (1 - self.look("sqrt_ab", t) ** 2).sqrt() * noise

    def training_losses(self, x0):
        t, noise = torch.randint(0, self.T, (x0.size(0),)), torch.randn_like(x0)
        return ((self.net(self.noising(x0, t, noise), t) - noise) ** 2).flatten(1).mean(1)
"""
RANGE = """
class Range(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net
        self.beta = torch.linspace(1e-4, 0.05, 60)
        self.alpha_bar = (1 - self.beta).cumprod(0)

    def loss(self, imgs):
        x, t = imgs * 2 - 1, torch.randint(0, 60, (len(imgs),))
        noise, a = torch.randn_like(x), self.alpha_bar[t].view(-1, 1, 1, 1)
        return F.mse_loss(self.net(a.sqrt() * x + (1 - a).sqrt() * noise, t), noise)

    @torch.no_grad()
    def sample(self, n):
        x = torch.randn(n, 1, 8, 8)
        for i in range(59, -1, -1):
            e = self.net(x, torch.full((n,), i))
            x = (x - self.beta[i] / (1 - self.alpha_bar[i]).sqrt() * e) / (1 - self.beta[i]).sqrt()
            x = x + self.beta[i].sqrt() * torch.randn_like(x) if i > 0 else x
        return (x.clamp(-1, 1) + 1) / 2
"""
COEFFICIENTS = """
class Coefficients(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network
        self.abar = torch.cumprod(1 - torch.linspace(1e-4, 0.05, 60), 0)

    def _coef(self, t, ndim):
        shape = (-1,) + (1,) * (ndim - 1)
        return self.abar[t].sqrt().view(shape), (1 - self.abar[t]).sqrt().view(shape)

    def loss(self, x0):
        t = torch.randint(60, (len(x0),))
        eps, (a, s) = torch.randn_like(x0), self._coef(t, x0.ndim)
        return (self.network(a * x0 + s * eps, t) - eps).square().mean()
"""
TABLES = """
class Tables:
    def __init__(self, T=60):
        self.beta = torch.zeros(T + 1)
        self.beta[1:] = torch.linspace(1e-4, 0.05, T)
"""
ONE_NUMBER = """
class OneNumber(nn.Module):
    def __init__(self, net, T=60):
        super().__init__()
        self.net, self.T = net, T
        self.beta = torch.linspace(1e-4, 0.05, T)
        self.abar = (1 - self.beta).cumprod(0)

    @torch.no_grad()
    def sample(self, n):
        x = torch.randn(n, 1)
        for i in range(self.T - 1, -1, -1):
            e = self.net(x, torch.full((n,), i))
            x = (x - self.beta[i] / (1 - self.abar[i]).sqrt() * e) / (1 - self.beta[i]).sqrt()
            x = x + self.beta[i].sqrt() * torch.randn_like(x) if i > 0 else x
        return x
"""
PROGRAMS = {  # {name of a class: (the program, what is written, what is wrong, words of that)}
    "Guided": (
        GUIDED,
        "(1 + w) * with_label - w * without",
        "(1 + w) * without - w * with_label",
        "out_1 is the one with the label: the two are exchanged",
    ),
    "Dropped": (DROPPED, "self.beta[i].sqrt() * t", "self.beta[i] * t", "variance"),
    "Roots": (ROOTS, "self.post_var[i].sqrt()", "self.post_var[i]", "variance"),
    "Signals": (IN_A_DICT, "(1 - self.look", "(1.1 - self.look", "forward"),
    "Range": (RANGE, "(x.clamp(-1, 1) + 1) / 2", "x.clamp(0, 1)", "the darker half is lost"),
    "Coefficients": (
        COEFFICIENTS,
        "self._coef(t, x0.ndim)",
        "self._coef(t[:1], x0.ndim)",
        "has the coefficients of the t of image 0",
    ),
    "Tables": (
        TABLES,
        "torch.linspace(1e-4, 0.05, T)",
        "torch.linspace(1e-4, 0.05, T) - 0.01",
        "schedule",
    ),
    "OneNumber": (ONE_NUMBER, "self.beta[i].sqrt() * t", "self.beta[i] * t", "variance"),
}


def judged(folder: Path, name: str, text: str) -> Report:
    return judged_file(folder, name, HEAD + text)


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_is_right(tmp_path: Path, name: str) -> None:
    report = judged(tmp_path, name, PROGRAMS[name][0])
    assert report.passed, report.verdict


@pytest.mark.parametrize("name", each(2, PROGRAMS))
def test_its_slip_is_told(tmp_path: Path, name: str) -> None:
    text, right, wrong, words = PROGRAMS[name]
    assert right in text
    report = judged(tmp_path, name, text.replace(right, wrong))
    assert report.exit_status == 1, report.verdict
    assert words in report.verdict


def test_a_loss_of_points_of_one_number_is_left_open(tmp_path: Path) -> None:
    """(B,) against (B, 1) is (B, B): seen in no other points."""
    loss = """
    def loss(self, x0):
        t, noise = torch.randint(0, self.T, (len(x0),)), torch.randn_like(x0)
        a = self.abar[t][:, None]
        pred = self.net(a.sqrt() * x0 + (1 - a).sqrt() * noise, t)
        return ((pred.squeeze(-1) - noise) ** 2).mean()
"""
    report = judged(tmp_path, "OneNumber", ONE_NUMBER + loss)
    assert report.exit_status == 2
    assert "of points of one number" in report.verdict
