"""Programs whose names are of another language, or short: what a thing is, its use says."""

import ast
from pathlib import Path

import pytest

from compare.candidate.text.own.words import in_own_words, usual
from compare.candidate.text.ready import how_to_adapt
from tests.compare.written import judged_file
from tests.often import each

GERMAN = """
import torch
from torch import nn
from torch.nn import functional as F


class Netz(nn.Module):
    def __init__(self, kanaele=1):
        super().__init__()
        self.zeit, self.rein = nn.Embedding(60, 8), nn.Conv2d(kanaele, 8, 3, padding=1)
        self.raus = nn.Conv2d(8, kanaele, 3, padding=1)

    def forward(self, bild, t):
        return self.raus(F.silu(self.rein(bild) + self.zeit(t)[:, :, None, None]))


class Modell:
    def __init__(self, schritte=60):
        self.schritte = schritte
        self.netz = Netz().to("cpu")
        self.beta = torch.linspace(1e-4, 0.1, schritte)
        self.alpha = 1 - self.beta
        self.alpha_quer = torch.cumprod(self.alpha, dim=0)

    def verrauschen(self, bild, zeit, rauschen):
        a = self.alpha_quer[zeit].view(-1, 1, 1, 1)
        return a.sqrt() * bild + (1 - a).sqrt() * rauschen

    def verlust(self, bild):
        zeit = torch.randint(0, self.schritte, (bild.size(0),))
        rauschen = torch.randn_like(bild)
        return F.mse_loss(self.netz(self.verrauschen(bild, zeit, rauschen), zeit), rauschen)

    @torch.no_grad()
    def erzeugen(self, anzahl, groesse=28):
        self.netz.eval()
        x = torch.randn(anzahl, 1, groesse, groesse)
        for i in reversed(range(self.schritte)):
            e = self.netz(x, torch.full((anzahl,), i))
            x = (x - self.beta[i] / (1 - self.alpha_quer[i]).sqrt() * e) / self.alpha[i].sqrt()
            if i > 0:
                x = x + self.beta[i].sqrt() * torch.randn_like(x)
        return x
"""
PORTUGUESE = """
import torch
from torch import nn


class Difusao(nn.Module):
    def __init__(self, rede, passos=60):
        super().__init__()
        self.rede, self.passos = rede, passos
        beta = torch.cat([torch.zeros(1), torch.linspace(1e-4, 0.1, passos)])
        alfa_barra = torch.cumprod(1 - beta, dim=0)
        self.register_buffer("beta", beta)
        self.register_buffer("alfa_barra", alfa_barra)

    def adicionar_ruido(self, x0, t, ruido):
        ab = self.alfa_barra[t].reshape(-1, 1, 1, 1)
        return ab.sqrt() * x0 + (1 - ab).sqrt() * ruido

    def perda(self, x0):
        t = torch.randint(1, self.passos + 1, (x0.shape[0],))
        ruido = torch.randn_like(x0)
        return ((self.rede(self.adicionar_ruido(x0, t, ruido), t) - x0) ** 2).mean()

    @torch.no_grad()
    def amostrar(self, n, canais=3, lado=32):
        self.rede.eval()
        x = torch.randn(n, canais, lado, lado)
        for t in range(self.passos, 0, -1):
            x0 = self.rede(x, torch.full((n,), t)).clamp(-1, 1)
            ab, antes = self.alfa_barra[t], self.alfa_barra[t - 1]
            x = antes.sqrt() * self.beta[t] * x0 + (1 - self.beta[t]).sqrt() * (1 - antes) * x
            x = x / (1 - ab)
            if t > 1:
                x = x + (self.beta[t] * (1 - antes) / (1 - ab)).sqrt() * torch.randn_like(x)
        return x
"""
PINYIN = """
import torch
from torch.nn import functional as F

zongshu = 60
beta = torch.linspace(1e-4, 0.1, zongshu)
alpha = 1 - beta
leicheng = torch.cumprod(alpha, 0)


def jia_zao(tu, shijian, zaosheng):
    ab = leicheng[shijian].view(-1, 1, 1, 1)
    return ab.sqrt() * tu + (1 - ab).sqrt() * zaosheng


def sunshi(moxing, tu):
    shijian = torch.randint(0, zongshu, (tu.shape[0],))
    zaosheng = torch.randn_like(tu)
    return F.mse_loss(moxing(jia_zao(tu, shijian, zaosheng), shijian), zaosheng)


@torch.no_grad()
def caiyang(moxing, shuliang, tongdao, chicun):
    x = torch.randn(shuliang, tongdao, chicun, chicun)
    for i in range(zongshu - 1, -1, -1):
        e = moxing(x, torch.full((shuliang,), i))
        x = (x - beta[i] / (1 - leicheng[i]).sqrt() * e) / alpha[i].sqrt()
        x = x + (beta[i].sqrt() * torch.randn_like(x) if i > 0 else 0)
    return x
"""
WHOLE = {"schedule", "forward", "sampling", "loss"}
PROGRAMS = {"Modell": GERMAN, "Difusao": PORTUGUESE}
SLIPS = [
    ("Modell", "(1 - a).sqrt() * rauschen", "(1 - a) * rauschen", "6"),
    ("Modell", "if i > 0", "if i > 1", "57"),
    ("Difusao", "(1 - self.beta[t]).sqrt() * (1", "ab.sqrt() * (1", "39-alpha-bar"),
    ("Difusao", "torch.randint(1, self.passos + 1", "torch.randint(1, self.passos", "20"),
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_class_in_another_language_is_judged_whole(tmp_path: Path, name: str) -> None:
    report = judged_file(tmp_path, name, PROGRAMS[name])
    assert report.passed, str(report)
    assert {*report.judged} >= WHOLE


@pytest.mark.parametrize(("name", "right", "wrong", "bug"), each(2, SLIPS))
def test_its_slips_are_named(tmp_path: Path, name, right, wrong, bug) -> None:
    assert right in PROGRAMS[name]
    report = judged_file(tmp_path, name, PROGRAMS[name].replace(right, wrong))
    assert report.exit_status == 1, str(report)
    assert report.diagnoses[0].bug == bug


@pytest.mark.parametrize("name", each(2, ["jia_zao", "sunshi", "caiyang"]))
def test_functions_in_another_language_are_judged(tmp_path: Path, name: str) -> None:
    report = judged_file(tmp_path, name, PINYIN)
    assert report.passed, str(report)


def test_a_swap_of_image_and_noise_is_not_read_away(tmp_path: Path) -> None:
    swapped = PINYIN.replace("ab.sqrt() * tu", "(1 - ab).sqrt() * tu")
    swapped = swapped.replace("+ (1 - ab).sqrt() * zaosheng", "+ ab.sqrt() * zaosheng")
    report = judged_file(tmp_path, "jia_zao", swapped)
    assert [d.bug for d in report.diagnoses] == ["5-swapped"], str(report)


def test_ddpm_adapt_is_named_where_it_writes_something(tmp_path: Path) -> None:
    file = tmp_path / "modell.py"
    file.write_text(GERMAN + "\n\nclass Levels:\n    alphas_cumprod = [0.9, 0.6, 0.2]\n")
    assert how_to_adapt(f"{file}:Modell") == f"`ddpm adapt {file}:Modell`"
    assert how_to_adapt(f"{file}:Levels") == how_to_adapt("package:Name") == ""


def test_each_thing_has_its_own_word_again_in_a_text() -> None:
    _, own = usual(PORTUGUESE)
    assert own["denoise_fn"] == "rede"
    assert in_own_words("Difusao(denoise_fn=model).noise_images(x)", own) == (
        "Difusao(rede=model).adicionar_ruido(x)"
    )


@pytest.mark.parametrize(
    "text",
    [
        "def loss(net, x_0):\n    t = torch.randint(0, T, (8,))\n    return mse(net(x_0, t), 1)",
        "class A:\n    def __init__(self, net):\n        self.ab = torch.cumprod(1 - b, 0)",
        "def f(a, b):\n    return a(b, 3)",
        "def train(optimiser, scheduler):\n    scheduler(optimiser, 1)",
    ],
)
def test_what_has_a_usual_name_or_no_sure_use_keeps_its_own(text: str) -> None:
    tree, own = usual(text)
    assert own == {}
    assert ast.unparse(tree) == ast.unparse(ast.parse(text))


def test_a_name_with_two_uses_is_left_alone() -> None:
    text = """
def perte(reseau, image):
    temps = torch.randint(0, 10, (8,))
    return mse_loss(reseau(bruiter(image, temps, torch.randn_like(image)), temps), image)

def autre(reseau, image):
    temps = torch.randint(0, 10, (8,))
    return mse_loss(reseau(salir(image, torch.randn_like(image), temps), temps), image)

def bruiter(a, b, c):
    return a + c

def salir(a, d, f):
    return a + d
"""
    both = {"b", "c", "d", "f"}
    _, own = usual(text)
    assert both <= {*own.values()}
    _, own = usual(text.replace("def salir(a, d, f)", "def salir(a, b, c)"))
    assert own["denoise_fn"] == "reseau"
    assert not both & {*own.values()}
