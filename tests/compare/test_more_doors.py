"""What further strangers wrote: a time of its own, sequences without Conv1d, noise of another law,
a loss in a dict, a factory of functions; each right, and with a slip."""

from pathlib import Path

import pytest

from tests.compare.written import judged_file

HEAD = """
import torch
from torch.nn import functional as F

BETAS = torch.linspace(1e-3, 0.2, 50)
ABAR = (1 - BETAS).cumprod(0)
"""
TOLD = """
TOLD = {}

def loss(model, x_0):
    t, noise = torch.randint(50, (len(x_0),)), torch.randn_like(x_0)
    ab = ABAR[t].view(-1, 1, 1, 1)
    return (model(ab.sqrt() * x_0 + (1 - ab).sqrt() * noise, TOLD[t]) - noise).square().mean()

@torch.no_grad()
def sample(model, n):
    model.eval()
    x = torch.randn(n, 1, 16, 16)
    for t in range(49, -1, -1):
        out = model(x, torch.full((n,), float(TOLD[t])))
        x = (x - BETAS[t] / (1 - ABAR[t]).sqrt() * out) / (1 - BETAS[t]).sqrt()
        x = x + BETAS[t].sqrt() * torch.randn_like(x) if t else x
    return x
"""
CLOCKS = {
    "a time of its own": "torch.linspace(1e-3, 0.995, 50)",
    "the noise's variance": "1 - ABAR",
    "beta": "BETAS",
}
SERIES = """
class Series(torch.nn.Module):
    def __init__(self, net, seq_len=24, features=5):
        super().__init__()
        self.net, self.seq_len, self.features = net, seq_len, features
        self.register_buffer("alpha_bar", ABAR)

    def q_sample(self, x0, t, noise):
        ab = self.alpha_bar[t].view(-1, 1, 1)
        return ab.sqrt() * x0 + (1 - ab).sqrt() * noise

    def forward(self, x0):
        t, noise = torch.randint(0, 50, (x0.size(0),)), torch.randn_like(x0)
        return F.mse_loss(self.net(self.q_sample(x0, t, noise), t), noise)
"""
ALONE = """
def q_sample(x_0, t, noise):
    ab = ABAR[t].view(-1, 1, 1, 1)
    return ab.sqrt() * x_0 + (1 - ab).sqrt() * noise

s = (1 - torch.linspace(1e-4, 0.02, 1000)).cumprod(0).sqrt()
ABAR = ((s - s[-1]) * s[0] / (s[0] - s[-1])) ** 2
"""
OF_ITSELF = """
class Diffusion(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.alpha_bar = model, ABAR

    def forward(self, x_t, t):
        return self.model(x_t, t)

    def loss(self, ori_image):
        t, noise = torch.randint(0, 50, (len(ori_image),)), torch.randn_like(ori_image)
        ab = self.alpha_bar[t][:, None, None, None]
        return F.mse_loss(self(ab.sqrt() * ori_image + (1 - ab).sqrt() * noise, t), noise)
"""
LOSS = """
def loss(model, x_0):
    t, noise = torch.randint(50, (len(x_0),)), torch.randn_like(x_0)
    ab = ABAR[t].view(-1, 1, 1, 1)
    square = (model(ab.sqrt() * x_0 + (1 - ab).sqrt() * noise, t) - noise).square()
    return {"loss": square.mean(), "t": t}
"""
NOT_A_ROOT = "ab).sqrt() * noise", "ab) * noise", "1 - ab_t"
SLIPS = {  # {what: (name, program, what is right, what is wrong, what is said)}
    "sequences": ("Series", SERIES, "ab).sqrt() *", "ab) *", "by 1 - alpha-bar"),
    "a table that ends at 0": ("q_sample", ALONE, "ab.sqrt() *", "ab *", "x_0 by alpha-bar"),
    "a module that asks itself": ("Diffusion", OF_ITSELF, *NOT_A_ROOT),
    "a dict": ("loss", LOSS, *NOT_A_ROOT),
    "the images themselves": (
        *("loss", LOSS, "model(ab.sqrt() * x_0 + (1 - ab).sqrt() * noise, t)", "model(x_0, t)"),
        "the model is given the images themselves, not x_t",
    ),
    "noise of two values": (
        *("loss", LOSS, "randn_like(x_0)\n", "randn_like(x_0).sign()\n"),
        "the law of the noise is",
    ),
    "one noise for all channels": (
        *("loss", LOSS, "randn_like(x_0)\n", "randn_like(x_0[:, :1])\n"),
        "noise of neighbouring channels",
    ),
}
OF_LOOPS = "1 - ABAR[t]).sqrt()", "1 - ABAR[t])", "mistake 43"
for of, clock in CLOCKS.items():
    SLIPS[f"a loss told {of}"] = ("loss", TOLD.format(clock), *NOT_A_ROOT)
    SLIPS[f"a loop told {of}"] = ("sample", TOLD.format(clock), *OF_LOOPS)


@pytest.mark.parametrize("what", SLIPS)
def test_the_right_one_is_right_and_its_slip_is_told(what: str, tmp_path: Path) -> None:
    name, text, right, wrong, said = SLIPS[what]
    assert right in text
    report = judged_file(tmp_path, name, HEAD + text)
    assert report.exit_status == 0, report
    slipped = judged_file(tmp_path, name, HEAD + text.replace(right, wrong))
    assert slipped.exit_status == 1, slipped
    assert said in str(slipped), slipped


def test_loss_and_loop_that_tell_another_time_are_told(tmp_path: Path) -> None:
    text = TOLD.format(CLOCKS["a time of its own"]).replace("TOLD[t]) - noise", "t / 50) - noise")
    text = text.replace("def loss(", "def loss(self, ").replace("def sample(", "def sample(self, ")
    body = text.replace("\n", "\n    ").replace("TOLD =", "alpha_bar, TOLD = ABAR,")
    body = body.replace("float(TOLD", "float(self.TOLD")
    report = judged_file(tmp_path, "Both", f"{HEAD}\nclass Both:\n    {body}\n")
    assert report.exit_status == 1, report
    assert "the loss tells the model t / T at the level of noise" in str(report), report


def test_times_of_some_steps_alone_are_left_open(tmp_path: Path) -> None:
    text = TOLD.format(CLOCKS["a time of its own"]).replace(", -1, -1)", ", -1, -7)")
    report = judged_file(tmp_path, "sample", HEAD + text)
    assert report.exit_status == 2, report
    assert "of which steps these are the times is not known" in str(report), report


def test_a_factory_of_functions_is_not_right_by_its_tables_alone(tmp_path: Path) -> None:
    body = LOSS.replace("\n", "\n    ").replace("(model,", "(model, other,")
    made = f"def make():\n    from types import SimpleNamespace\n    {body}\n"
    made += "    return SimpleNamespace(alpha_bar=ABAR, loss=loss)\n"
    report = judged_file(tmp_path, "make", HEAD + made)
    assert report.exit_status == 2, report
    assert "tables alone were judged, and right, and not its loss" in str(report), report


CONDITIONAL = """
class Conditional:
    alphas_cumprod = ABAR

    def loss(self, model, x, y):
        t, noise = torch.randint(0, 50, (len(x),)), torch.randn_like(x)
        ab = ABAR[t].view(-1, 1, 1, 1)
        return F.mse_loss(model(ab.sqrt() * x + (1 - ab).sqrt() * noise, t, y), noise)

    @torch.no_grad()
    def sample(self, model, y):
        model.eval()
        x = torch.randn(len(y), 1, 16, 16)
        for i in range(49, -1, -1):
            out = model(x, torch.full((len(y),), i), y)
            x = (x - BETAS[i] / (1 - ABAR[i]).sqrt() * out) / (1 - BETAS[i]).sqrt()
            x = x + BETAS[i].sqrt() * torch.randn_like(x) if i else x
        return x
"""


def test_labels_and_times_exchanged_between_loss_and_loop_are_told(tmp_path: Path) -> None:
    in_loop = CONDITIONAL.replace("torch.full((len(y),), i), y)", "y, torch.full((len(y),), i))")
    both = in_loop.replace("noise, t, y)", "noise, y, t)")
    for text, status in ((CONDITIONAL, 0), (both, 0), (in_loop, 1)):
        report = judged_file(tmp_path, "Conditional", HEAD + text)
        assert report.exit_status == status, report
    assert "the loss tells the model t as argument 2, the loop as argument 3" in report.verdict


GUIDED = CONDITIONAL  # told apart by the number that is no label
for line, more in {
    "        return F.mse": "        y = torch.where(torch.rand(len(y)) < 0.1, 10, y)\n",
    "        model.eval()": "        y, none = torch.arange(n) % 10, torch.full((n,), 10)\n",
    "            x = (x - ": "            out += 2 * (out - model(x, torch.full((n,), i), none))\n",
}.items():
    GUIDED = GUIDED.replace(line, more + line)
GUIDED = GUIDED.replace("sample(self, model, y)", "sample(self, model, n)")


def test_a_loop_that_asks_with_a_class_for_no_label_is_told(tmp_path: Path) -> None:
    right = judged_file(tmp_path, "Conditional", HEAD + GUIDED)
    assert right.exit_status == 0, right
    wrong = GUIDED.replace("torch.full((n,), 10)", "torch.zeros(n, dtype=torch.long)")
    report = judged_file(tmp_path, "Conditional", HEAD + wrong)
    assert report.exit_status == 1, report
    assert "the loss drops labels to 10, the loop asks with 0 for none" in report.verdict, report
