"""What further strangers wrote: a loop that starts from x, shapes that are spread, answers asked
for twice, a pair of betas; and what is left open: crops, channels last, a multistep solver."""

from pathlib import Path

import pytest

from tests.compare.written import judged_file
from tests.often import each

HEAD = """
import torch
from torch.nn import functional as F

T = 100
BETAS = torch.linspace(1e-4, 0.12, T)
ALPHA_BAR = torch.cumprod(1 - BETAS, 0)
"""
FROM_X = """
@torch.no_grad()
def sample(model, x):
    for t in range(90, -1, -10):
        a = ALPHA_BAR[t]
        b = ALPHA_BAR[t - 10] if t else torch.tensor(1.0)
        eps = model(x, torch.full((len(x),), t))
        x_0 = (x - (1 - a).sqrt() * eps) / a.sqrt()
        x = b.sqrt() * x_0 + (1 - b).sqrt() * eps
    return x
"""
SQUEEZED = """
def loss(model, x_0):
    t, noise = torch.randint(0, T, (len(x_0),)), torch.randn_like(x_0)
    a = ALPHA_BAR[t][:, None, None, None]
    pred = model(a.sqrt() * x_0 + (1 - a).sqrt() * noise, t)
    return F.mse_loss(pred, noise)
"""
THRICE = """
def guided(model, n, size=8):
    y, none = torch.randint(0, 10, (n,)), torch.full((n,), 10)
    x = torch.randn(n, 3, size, size)
    for t in reversed(range(T)):
        at = torch.full((n,), t)
        e = model(x, at, none) + 2 * (model(x, at, y) - model(x, at, none))
        x = (x - BETAS[t] / (1 - ALPHA_BAR[t]).sqrt() * e) / (1 - BETAS[t]).sqrt()
        if t:
            x = x + BETAS[t].sqrt() * torch.randn_like(x)
    return x
"""
PAIR = """
class DDPM:
    def __init__(self, nn_model, betas, n_T):
        self.nn_model, self.n_T = nn_model, n_T
        beta1, beta2 = betas
        self.alphabar_t = torch.cumprod(1 - torch.linspace(beta1, beta2, n_T), 0)

    def loss(self, x):
        t, noise = torch.randint(0, self.n_T, (len(x),)), torch.randn_like(x)
        a = self.alphabar_t[t][:, None, None, None]
        x_t = a.sqrt() * x + (1 - a).sqrt() * noise
        return ((self.nn_model(x_t, t) - noise) ** 2).mean()
"""
CROPPED = THRICE.replace("return x", "return x[:, :, 2:-2, 2:-2]")
CHANNELS_LAST = """
def loss(model, x_0):
    t, noise = torch.randint(0, T, (len(x_0),)), torch.randn_like(x_0)
    a = ALPHA_BAR[t][:, None, None, None]
    x_t = (a.sqrt() * x_0 + (1 - a).sqrt() * noise).permute(0, 3, 1, 2)
    return ((model(x_t, t).permute(0, 2, 3, 1) - noise) ** 2).mean()


def turned(model, x_0):
    return loss(model, x_0.permute(0, 2, 3, 1))
"""
SOLVER = """
def sample(model, n):
    x, old, listed = torch.randn(n, 3, 8, 8), None, [*range(99, -1, -4), -1]
    for t, s in zip(listed, listed[1:]):
        e = asked(model, x, t)
        x = moved(x, e if old is None else (3 * e - old) / 2, t, s)
        old = e
    return x
"""
ALONG = """
def moved(x, e, t, s):
    a, b = ALPHA_BAR[t], ALPHA_BAR[s] if s >= 0 else torch.ones(())
    return (b / a).sqrt() * x + ((1 - b).sqrt() - (b / a * (1 - a)).sqrt()) * e


def asked(model, x, t):
    return model(x, torch.full((len(x),), t))


"""
ASKS_TWICE = """
def sample(model, n):
    x, listed = torch.randn(n, 3, 8, 8), [*range(99, -1, -4), -1]
    for t, s in zip(listed, listed[1:]):
        e = asked(model, x, t)
        both = e if s < 0 else (e + asked(model, moved(x, e, t, s), s)) / 2
        x = moved(x, both, t, s)
    return x
"""
BY_THREE = """
def sample(model, n):
    x, old, listed = torch.randn(n, 3, 8, 8), [], [*range(99, -1, -4), -1]
    for t, s in zip(listed, listed[1:]):
        e = asked(model, x, t)
        along = e if len(old) < 2 else (23 * e - 16 * old[-1] + 5 * old[-2]) / 12
        old.append(e)
        x = moved(x, along, t, s)
    return x
"""
STEP = """
class Table:
    def __init__(self):
        self.alphas_cumprod = ALPHA_BAR

    def add_noise(self, x_0, noise, t):
        a = self.alphas_cumprod[t].view(-1, 1, 1, 1)
        return a.sqrt() * x_0 + (1 - a).sqrt() * noise

    def remove_noise(self, strange, noise, t):
        mean = strange - BETAS[t] * noise / (1 - ALPHA_BAR[t]).sqrt()
        return mean / (1 - BETAS[t]).sqrt() + BETAS[t].sqrt() * torch.randn_like(mean)
"""
OPEN = {  # {what: (name, program, what is said)}
    "a crop behind the loop": ("guided", CROPPED, "behind the loop is not judged"),
    "channels last": ("loss", CHANNELS_LAST, "Adapter(loss=lambda model, x_0: YOURS(model, x_0."),
    "a multistep solver": ("sample", ALONG + SOLVER, "its steps go by the answer before as well"),
    "a solver that asks twice": (
        "sample",
        ALONG + ASKS_TWICE,
        "or of one that asks twice in a step",
    ),
    "a solver by three answers": ("sample", ALONG + BY_THREE, "its steps go by the answer before"),
    "a step that nobody could call": ("Table", STEP, "its remove_noise, which is called as a"),
}
SLIPS = {  # {what: (name, program, what is right, what is wrong, what is said)}
    "a loop from x": ("sample", FROM_X, "a.sqrt()", "a", "divided by alpha-bar"),
    "answers of (b, h, w)": ("loss", SQUEEZED, "noise, t)\n", "noise, t).squeeze(1)\n", "b, 1"),
    "answers asked for twice": (
        "guided",
        THRICE,
        "model(x, at, y) - model(x, at, none)",
        "model(x, at, none) - model(x, at, y)",
        "the two are exchanged",
    ),
    "a pair of betas": ("DDPM", PAIR, "(1 - a).sqrt()", "(1 - a)", "square root"),
}


@pytest.mark.parametrize("what", SLIPS)
def test_a_right_one_passes(tmp_path: Path, what: str) -> None:
    name, text, *_ = SLIPS[what]
    report = judged_file(tmp_path, name, HEAD + text)
    assert report.passed, str(report)


@pytest.mark.parametrize("what", each(2, SLIPS))
def test_its_slip_is_told(tmp_path: Path, what: str) -> None:
    name, text, right, wrong, said = SLIPS[what]
    assert right in text
    report = judged_file(tmp_path, name, HEAD + text.replace(right, wrong))
    assert report.exit_status == 1, str(report)
    assert said in report.verdict


@pytest.mark.parametrize("what", each(2, OPEN))
def test_what_is_not_judged_is_neither_blamed_nor_passed(tmp_path: Path, what: str) -> None:
    name, text, said = OPEN[what]
    report = judged_file(tmp_path, name, HEAD + text)
    assert report.exit_status == 2, str(report)
    assert said in report.verdict


def test_channels_last_are_judged_by_what_is_said_of_them(tmp_path: Path) -> None:
    report = judged_file(tmp_path, "turned", HEAD + CHANNELS_LAST)
    assert report.passed, str(report)


FROM_ONE = """
BEFORE = torch.cat([torch.ones(1), ALPHA_BAR])


class Mine:
    alphas_cumprod = BEFORE

    def loss(self, model, x_0):
        t, noise = torch.randint(1, T + 1, (len(x_0),)), torch.randn_like(x_0)
        a = BEFORE[t].view(-1, 1, 1, 1)
        return F.mse_loss(model(a.sqrt() * x_0 + (1 - a).sqrt() * noise, t), noise)

    def sample(self, model, n):
        x = torch.randn(n, 3, 8, 8)
        for t in range(T, 0, -1):
            b, a = BETAS[t - 1], BEFORE[t]
            x = (x - b / (1 - a).sqrt() * model(x, torch.full((n,), t))) / (1 - b).sqrt()
            x = x + (b.sqrt() * torch.randn_like(x) if t > 1 else 0)
        return x
"""


@pytest.mark.parametrize("low_to_high", each(2, ["0, T", "0, T + 1"]))
def test_a_t_of_no_step_that_is_trained_is_told_as_that_alone(
    tmp_path: Path, low_to_high: str
) -> None:
    assert judged_file(tmp_path, "Mine", HEAD + FROM_ONE).passed
    text = FROM_ONE.replace("randint(1, T + 1", f"randint({low_to_high}")
    report = judged_file(tmp_path, "Mine", HEAD + text)
    assert [(d.stage, d.bug) for d in report.diagnoses] == [("loss", None)], str(report)
    assert "should cover 1..100" in report.verdict
