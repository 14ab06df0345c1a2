"""Networks under any name, and what nobody could call: a loop that is not judged is not passed."""

from pathlib import Path

import pytest

from compare import Report
from compare.verdict.judge import judge
from tests.compare.written import judged_file
from tests.often import each

HEAD = "import torch\nfrom torch import nn\n\n\n"
METHOD = """
class Denoiser1D(nn.Module):
    def __init__(self, length=16, T=60):
        super().__init__()
        self.length, self.T = length, T
        self.beta = torch.linspace(1e-4, 0.05, T)
        self.alpha = 1 - self.beta
        self.abar = torch.cumprod(self.alpha, 0)
        self.embed, self.out = nn.Embedding(T, 8), nn.Linear(8, length)

    def eps(self, x, t):
        return self.out(torch.relu(self.embed(t))) + x

    def diffuse(self, x0, t, noise):
        a = self.abar[t][:, None]
        return a.sqrt() * x0 + (1 - a).sqrt() * noise

    def loss(self, x0):
        t = torch.randint(0, self.T, x0.shape[:1])
        noise = torch.randn_like(x0)
        return nn.functional.mse_loss(self.eps(self.diffuse(x0, t, noise), t), noise)

    @torch.no_grad()
    def backward(self, n):
        x = torch.randn(n, self.length)
        for i in range(self.T - 1, -1, -1):
            e = self.eps(x, torch.full((n,), i))
            x = (x - self.beta[i] * e / (1 - self.abar[i]).sqrt()) / self.alpha[i].sqrt()
            x = x + self.beta[i].sqrt() * torch.randn_like(x) if i > 0 else x
            yield x

    def sample(self, n):
        *_, last = self.backward(n)
        return last
"""
ATTRIBUTE = """
class Red(nn.Module):
    def __init__(self, dim, pasos):
        super().__init__()
        self.tiempo, self.salida = nn.Embedding(pasos + 1, dim), nn.Linear(dim, dim)

    def forward(self, x, t):
        return self.salida(torch.relu(x + self.tiempo(t)))


class Difusion:
    def __init__(self, pasos=60, dim=3):
        self.pasos, self.dim, self.red = pasos, dim, Red(dim, pasos)
        self.beta = torch.zeros(pasos + 1)
        self.beta[1:] = torch.linspace(1e-4, 0.05, pasos)
        self.alfa_barra = torch.cumprod(1 - self.beta, 0)

    def perdida(self, x0):
        t = torch.randint(1, self.pasos + 1, (x0.shape[0],))
        ruido, ab = torch.randn_like(x0), self.alfa_barra[t].unsqueeze(1)
        return ((self.red(ab.sqrt() * x0 + (1 - ab).sqrt() * ruido, t) - ruido) ** 2).mean()

    @torch.no_grad()
    def generar(self, n):
        x = torch.randn(n, self.dim)
        for t in range(self.pasos, 0, -1):
            e, b = self.red(x, torch.full((n,), t)), self.beta[t]
            x = (x - b / (1 - self.alfa_barra[t]).sqrt() * e) / (1 - b).sqrt()
            x = x + b.sqrt() * torch.randn_like(x) if t > 1 else x
        return x
"""
STRIDED = """
class FastSampler(nn.Module):
    def __init__(self, network, T=100):
        super().__init__()
        self.network, self.T = network, T
        self.abar = torch.cumprod(1 - torch.linspace(1e-3, 0.1, T), 0)

    def q_sample(self, x, t, e):
        a = self.abar[t].reshape(-1, 1, 1, 1)
        return a.sqrt() * x + (1 - a).sqrt() * e

    @torch.no_grad()
    def ddim(self, batch, shape=(3, 8, 8)):
        x = torch.randn(batch, *shape)
        for t in range(self.T - 1, -1, -10):
            a, p = self.abar[t], self.abar[t - 10] if t >= 10 else torch.ones(())
            e = self.network(x, torch.full((batch,), t))
            x = p.sqrt() * (x - (1 - a).sqrt() * e) / a.sqrt() + (1 - p).sqrt() * e
        return x
"""
SCRIPT = """
T = 60
betas = torch.linspace(1e-4, 0.05, T)
alphas_bar = (1 - betas).cumprod(0)
net = nn.Linear(3, 2)


def model(x, t):
    return net(torch.cat([x, t.float().view(-1, 1) / T], 1))


def loss_of(x_0):
    t, noise = torch.randint(0, T, (len(x_0),)), torch.randn_like(x_0)
    ab = alphas_bar[t].view(-1, 1)
    return (noise - model(ab.sqrt() * x_0 + (1 - ab).sqrt() * noise, t)).square().mean()


@torch.no_grad()
def p_sample_loop(shape):
    x = torch.randn(shape)
    for i in reversed(range(T)):
        eps, b = model(x, torch.full((shape[0],), i)), betas[i]
        x = (x - b / (1 - alphas_bar[i]).sqrt() * eps) / (1 - b).sqrt()
        x = x + b.sqrt() * torch.randn_like(x) if i else x
    return x


loss_of(torch.randn(8, 2)).backward()  # as a script that trains where it stands
"""
PROGRAMS = {  # {what: (name, the program, what is written, what is wrong, what is said of that)}
    "a method": ("Denoiser1D", METHOD, "self.beta[i].sqrt() * torch", "self.beta[i] * torch", "49"),
    "an attribute": ("Difusion", ATTRIBUTE, "b.sqrt() * torch", "b * torch", "49"),
    "a function": ("p_sample_loop", SCRIPT, "b.sqrt() * torch", "b * torch", "49"),
    "a count called batch": (
        "FastSampler",
        STRIDED,
        "self.abar[t - 10] if",
        "self.abar[t - 1] if",
        "",
    ),
}


def judged(folder: Path, name: str, text: str) -> Report:
    return judged_file(folder, name, HEAD + text)


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_class_is_judged_whatever_its_network_is_called(tmp_path: Path, what: str) -> None:
    name, text, *_ = PROGRAMS[what]
    report = judged(tmp_path, name, text)
    assert report.passed, report.verdict
    assert "sampling" in report.judged


@pytest.mark.parametrize("what", each(2, PROGRAMS))
def test_its_slip_is_named(tmp_path: Path, what: str) -> None:
    name, text, right, wrong, bug = PROGRAMS[what]
    assert right in text
    report = judged(tmp_path, name, text.replace(right, wrong))
    found = [d.bug for d in report.diagnoses]
    assert bug in found if bug else "ab[t - 1]" in report.verdict, report.verdict


def test_a_class_whose_loop_nobody_could_call_is_not_passed(tmp_path: Path) -> None:
    text = STRIDED.replace("batch, shape", "plan, shape").replace("(batch,)", "(len(x),)")
    text = text.replace("randn(batch,", "randn(plan.n,")
    report = judged(tmp_path, "FastSampler", text)
    assert report.exit_status == 2
    assert "its ddim, which asks a model step after step, was not judged" in report.verdict
    assert "sample=lambda model, shape: ..." in report.verdict


def test_a_loop_beside_one_that_is_judged_is_told(tmp_path: Path) -> None:
    text = METHOD.replace(
        "    def sample(",
        "    def paint(self, known):\n        for i in "
        "range(9):\n            known = self.eps(known, i)\n        return known"
        "\n\n    def sample(",
    )
    report = judged(tmp_path, "Denoiser1D", text)
    assert report.passed, report.verdict
    assert "paint was not judged" in [c.message for c in report.checks]


@pytest.mark.parametrize("dropout", [False, True])
def test_a_network_without_a_mode_is_not_blamed_for_it(tmp_path: Path, dropout: bool) -> None:
    dropped = "torch.dropout(x + self.tiempo(t), 0.1, self.training)"
    text = ATTRIBUTE.replace("torch.relu(x + self.tiempo(t))", dropped) if dropout else ATTRIBUTE
    report = judged(tmp_path, "Difusion", text)
    assert [d.bug for d in report.diagnoses] == ["95"] * dropout


def test_a_stage_that_is_asked_for_alone_is_passed_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "one_stage.py"
    file.write_text(HEAD + STRIDED.replace("batch", "howmuch"))
    assert judge(f"{file}:FastSampler", "quick", 0, only="forward", beside=False).passed


def test_a_config_is_no_dict_of_tables(tmp_path: Path) -> None:
    text = STRIDED.replace(
        "self.network, self.T = network, T",
        "self.network, self.cfg = network, {'T': T}\n        self.T = self.cfg['T']",
    )
    report = judged(tmp_path, "FastSampler", text)
    assert report.passed, report.verdict
    assert "tables" not in report.judged
