"""Right programs that were blamed or left open for how they are written, each with a slip."""

from pathlib import Path

import pytest

from tests.compare.written import Slip, judged_file

TABLES = """import torch
import math

T = 60
betas = torch.linspace(1e-3, 0.15, T)
alphas_cumprod = torch.cumprod(1 - betas, 0)
"""
MEAN = "(x - betas[t] / (1 - alphas_cumprod[t]).sqrt() * eps) / (1 - betas[t]).sqrt()"
LOOP = f"""
    for t in reversed(range(T)):
        eps = model(x, torch.full((len(x),), t))
        x = {MEAN}
        if t > 0:
            x = x + betas[t].sqrt() * torch.randn_like(x)
"""
MIX = "a.sqrt() * x0 + (1 - a).sqrt() * noise"
SLIP = ("betas[t].sqrt() * torch", "0.8 * betas[t].sqrt() * torch", "your z has 0.8 * sqrt(beta_t)")
LESS = (
    "(1 - a).sqrt() * noise",
    "0.8 * (1 - a).sqrt() * noise",
    "your noise has 0.8 * sqrt(1 - ab",
)
NOISED = """
    if noise is None:
        noise = torch.randn_like(x0)
    a = alphas_cumprod[t].view(-1, 1, 1, 1)
"""
PROGRAMS = {
    "x_T is handed over": Slip(
        TABLES + f"\ndef chain(model, x_T):\n    x = x_T{LOOP}    return x\n", "chain", *SLIP
    ),
    "a dict with more pictures than one": Slip(
        TABLES
        + f"\ndef sample(model, shape):\n    x = torch.randn(shape){LOOP}"
        + '    return {"sample": x, "eps": eps}\n',
        "sample",
        *SLIP,
    ),
    "one letter that is no number of pictures": Slip(
        TABLES
        + "\ndef sample(model, shape, b=None):\n    b = betas if b is None else b\n"
        + f"    x = torch.randn(shape){LOOP}    return x\n",
        "sample",
        *SLIP,
    ),
    "noise may be handed over": Slip(
        TABLES + f"\ndef spoilt(x0, t, noise=None):{NOISED}    return {MIX}\n", "spoilt", *LESS
    ),
    "behind what else it may be told": Slip(
        TABLES
        + f'\ndef q_sample(x0, t, device="cpu", noise=None):{NOISED}    return {MIX}, noise\n',
        "q_sample",
        *LESS,
    ),
    "a pair in a pair": Slip(
        TABLES + f"\ndef noisify(x0, t, noise=None):{NOISED}    return ({MIX}, t), noise\n",
        "noisify",
        *LESS,
    ),
    "t from 1 to T": Slip(
        TABLES
        + "\ndef spoilt(x0, t, noise=None):\n    if noise is None:\n"
        + "        noise = torch.randn_like(x0)\n"
        + f"    a = alphas_cumprod.gather(0, t - 1).view(-1, 1, 1, 1)\n    return {MIX}\n",
        "spoilt",
        *LESS,
    ),
    "t = 0 is the picture": Slip(
        TABLES
        + "\nlevels = torch.cat([torch.ones(1), alphas_cumprod]).tolist()\n"
        + "\ndef spoilt(x0, t, noise=None):\n    if noise is None:\n"
        + "        noise = torch.randn_like(x0)\n"
        + f"    a = torch.tensor(levels)[t].view(-1, 1, 1, 1)\n    return {MIX}\n",
        "spoilt",
        *LESS,
    ),
    "tables that are lists": Slip(
        """import math
import torch

class Lists:
    def __init__(self, T=40):
        self.beta = [0.001 + 0.2 * i / (T - 1) for i in range(T)]
        self.abar = [math.prod(1 - b for b in self.beta[: i + 1]) for i in range(T)]

    def add_noise(self, x0, noise, t):
        return math.sqrt(self.abar[t]) * x0 + math.sqrt(1 - self.abar[t]) * noise
""",
        "Lists",
        "math.sqrt(1 - self.abar[t]) * noise",
        "(1 - self.abar[t]) * noise",
        "your noise has 1 - ab_t",
    ),
    "a loss beside what else it found": Slip(
        TABLES
        + "\ndef loss(model, x0):\n    t = torch.randint(0, T, (len(x0),))\n"
        + "    noise = torch.randn_like(x0)\n    a = alphas_cumprod[t].view(-1, 1, 1, 1)\n"
        + f'    return ((model({MIX}, t) - noise) ** 2).mean(), {{"t": t}}\n',
        "loss",
        "(1 - a).sqrt() * noise",
        "(1 - a) * noise",
        "your noise in x_t has 1 - ab_t",
    ),
    "a loss that says v": Slip(
        TABLES
        + "\ndef v_loss(model, x0):\n    t = torch.randint(0, T, (len(x0),))\n"
        + "    noise = torch.randn_like(x0)\n    a = alphas_cumprod[t].view(-1, 1, 1, 1)\n"
        + "    wanted = a.sqrt() * noise - (1 - a).sqrt() * x0\n"
        + f"    return ((model({MIX}, t) - wanted) ** 2).mean()\n",
        "v_loss",
        "- (1 - a).sqrt() * x0",
        "- (1 - a) * x0",
        "your x_0 in the target has -(1 - ab_t)",
    ),
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_it_is_right_and_its_slip_is_told(what: str, tmp_path: Path) -> None:
    PROGRAMS[what].judged(tmp_path)


SCHEDULER = (
    TABLES
    + """
class Words:
    def __init__(self, variance_type="fixed_small"):
        self.variance_type, self.alphas_cumprod = variance_type, alphas_cumprod

    def step(self, model_output, timestep, sample):
        t, eps, x = int(timestep), model_output, sample
        b, a = betas[t], alphas_cumprod[t]
        p = alphas_cumprod[t - 1] if t > 0 else torch.tensor(1.0)
        variance = b if self.variance_type == "fixed_large" else b * (1 - p) / (1 - a)
        mean = (x - b / (1 - a).sqrt() * eps) / (1 - b).sqrt()
        return mean + (t > 0) * variance.sqrt() * torch.randn_like(x)
"""
)


def test_words_of_a_variance_that_no_code_has_are_not_judged(tmp_path: Path) -> None:
    """`learned` is taken by a class that takes any word, and means nothing to it."""
    report = judged_file(tmp_path, "Words", SCHEDULER)
    assert report.exit_status == 0, str(report)
    assert "learned_range" in report.conventions["variance_type"]
    wrong = SCHEDULER.replace("variance = b if", "variance = 2 * b if")  # a word that it has
    assert "sqrt(2) * sqrt(beta_t)" in str(judged_file(tmp_path, "Words", wrong))


def test_a_loss_alone_that_maps_its_pictures_is_left_open(tmp_path: Path) -> None:
    """They may come in [0, 1], or be mapped twice (mistake 36): no loop says."""
    loss = PROGRAMS["a loss beside what else it found"].text.replace(
        "def loss(model, x0):\n", "def loss(model, x0):\n    x0 = 2 * x0 - 1\n"
    )
    report = judged_file(tmp_path, "loss", loss)
    assert report.exit_status == 2, str(report)
    assert "with pictures in [0, 1] it is right" in str(report)


def test_a_method_is_no_function_alone(tmp_path: Path) -> None:
    report = judged_file(tmp_path, "Words.step", SCHEDULER)
    assert report.exit_status == 2
    assert "is a method: judge its class, " in str(report)


STRETCHED = """import torch

class Stretched:
    def __init__(self, num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02):
        k = 1000 / num_train_timesteps
        betas = torch.linspace(k * beta_start, k * beta_end, num_train_timesteps)
        self.alphas_cumprod = torch.cumprod(1 - betas, 0)
"""


def test_betas_may_be_as_many_times_larger_as_there_are_fewer_steps(tmp_path: Path) -> None:
    """As in the code of Nichol & Dhariwal; another factor is none that is known."""
    assert judged_file(tmp_path, "Stretched", STRETCHED).exit_status == 0
    other = STRETCHED.replace("k = 1000 /", "k = 1400 /")
    assert judged_file(tmp_path, "Stretched", other).exit_status == 1
