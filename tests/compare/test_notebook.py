"""Functions as a notebook has them: the model at the top of the file, one picture at a time."""

from itertools import count
from pathlib import Path

import pytest

from compare import Report, run
from compare.candidate.text.adapt import adapter
from tests.often import each

MODEL = """
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.only = torch.nn.Conv2d(3, 3, 1)

    def forward(self, x, t):
        return self.only(x)


model = Net()
"""
NOTEBOOK = """
import torch
from torch.nn import functional as F

T = 60
betas = torch.linspace(1e-4, 0.02, T)
alphas = 1 - betas
alphas_cumprod = alphas.cumprod(0)


def pick(table, t, x):
    return table.gather(-1, t.cpu()).reshape(t.shape[0], *((1,) * (x.dim() - 1)))


def get_loss({m}x_0, t):
    noise = torch.randn_like(x_0)
    ab = pick(alphas_cumprod, t, x_0)
    return F.mse_loss(noise, model(ab.sqrt() * x_0 + (1 - ab).sqrt() * noise, t))


@torch.no_grad()
def sample_timestep({m}x, t):
    drift = pick(betas, t, x) * model(x, t) / (1 - pick(alphas_cumprod, t, x)).sqrt()
    mean = (x - drift) / pick(alphas, t, x).sqrt()
    if t == 0:
        return mean
    return mean + pick(betas, t, x).sqrt() * torch.randn_like(x)


@torch.no_grad()
def sample_image({m}size=16):
    img = torch.randn((1, 3, size, size))
    for i in reversed(range(T)):
        img = sample_timestep({m}img, torch.full((1,), i))
    return img
"""
PARTS = ("get_loss", "sample_timestep", "sample_image")
SLIPS = {  # {a slip: what is written, what should be, where it shows}
    "the variance as its root": ("x).sqrt() * torch.randn", "x) * torch.randn", PARTS[1:]),
    "the drift of alpha": ("pick(betas, t, x) * model", "pick(alphas, t, x) * model", PARTS[1:]),
    "no root before x_0": ("ab.sqrt() * x_0", "ab * x_0", PARTS[:1]),
}
files = count()


def program(at_the_top: bool, right: str = "", wrong: str = "") -> str:
    text = NOTEBOOK.replace("{m}", "" if at_the_top else "model, ")
    assert right in text
    text = text.replace(right, wrong) if right else text
    return text.replace("def pick", f"{MODEL}\n\ndef pick") if at_the_top else text


def judged(folder: Path, text: str, part: str) -> Report:
    file = folder / f"notebook_{next(files)}.py"
    file.write_text(text)
    return run(f"{file}:{part}")


@pytest.mark.parametrize("at_the_top", [True, False], ids=["at the top", "handed over"])
@pytest.mark.parametrize("part", PARTS)
def test_each_function_is_judged_alone(tmp_path: Path, part: str, at_the_top: bool) -> None:
    report = judged(tmp_path, program(at_the_top), part)
    assert report.passed, report.verdict
    assert {"get_loss": "loss", "sample_timestep": "mean", "sample_image": "sampling"}[
        part
    ] in report.judged


@pytest.mark.parametrize("at_the_top", each(2, [True, False]))
@pytest.mark.parametrize("slip", SLIPS)
def test_each_slip_is_named(tmp_path: Path, slip: str, at_the_top: bool) -> None:
    right, wrong, parts = SLIPS[slip]
    for part in parts:
        report = judged(tmp_path, program(at_the_top, right, wrong), part)
        assert report.exit_status == 1, report.verdict
        assert report.diagnoses[0].bug or report.diagnoses[0].formula, report.verdict


def test_one_t_for_all_images_is_said(tmp_path: Path) -> None:
    file = tmp_path / "notebook.py"
    file.write_text(program(True))
    found = run(f"{file}:sample_timestep")
    assert found.readings["t_of_step"]["value"] == "a tensor (1,) for all images"
    told = run(f"{file}:sample_timestep", reading="t=(1,)")
    assert told.readings["t_of_step"]["rank"] == "declared"
    assert told.passed, told.verdict


def test_the_adapter_puts_a_model_into_the_file() -> None:
    text = adapter(Path("notebook.py"), "", program(True))
    assert "        mine.model = model\n        return mine\n" in text
    assert "made(as_network(out)).sample_timestep(x, t)" in text
    assert "mine.sample_timestep(as_network(out), x, t)" in adapter(
        Path("notebook.py"), "", program(False)
    )


def test_a_model_that_cannot_be_exchanged_makes_no_step() -> None:
    """Its output would be another than ours: the step would be blamed for it."""
    text = program(True).replace("model(", "heart(").replace("model =", "heart =")
    with pytest.raises(ValueError, match="nothing called as a part of a DDPM"):
        adapter(Path("notebook.py"), "sample_timestep", text)
