"""What `size` and `shape` say of pictures: the adapter hands over what the code can use."""

import ast
from pathlib import Path

import pytest

from compare import run
from compare.candidate.text.adapt import adapter
from compare.candidate.text.sizes import COUNT, IMAGE, SHAPE, SIDE, SIDES, meant

USES = {
    "torch.randn(n, 3, size, size)": SIDE,
    "torch.randn((n, 3, size, size))": SIDE,
    "torch.randn(n, *size)": IMAGE,
    "torch.randn((n, *size), device=d)": IMAGE,
    "torch.randn((n,) + tuple(size))": IMAGE,
    "torch.randn(n, 3, *size)": SIDES,
    "torch.randn(size)": SHAPE,
    "torch.randn(*size)": SHAPE,
    "torch.randn(size, 3, 32, 32)": COUNT,
    "torch.randn((size, 3, 32, 32))": COUNT,
    "b, c, h, w = size": SHAPE,
    "c, h, w = size": IMAGE,
}
DEFAULTS = {(28, 28): SIDES, (1, 28, 28): IMAGE, (4, 1, 28, 28): SHAPE, 28: SIDE}
SOURCE = """
import torch

T = 20
betas = torch.linspace(0.01, 0.4, T)
alpha_bar = torch.cumprod(1 - betas, 0)

@torch.no_grad()
def generate(ASKED):
    MODEL.eval()
    x = torch.randn(SHAPE)
    for t in reversed(range(T)):
        eps = MODEL(x, torch.full((len(x),), t))
        x = (x - betas[t] / (1 - alpha_bar[t]).sqrt() * eps) / (1 - betas[t]).sqrt()
        if t > 0:
            x = x + betas[t].sqrt() * torch.randn_like(x)
    return x
"""
ASKED = {  # {parameters: (what x_T is drawn with, what the adapter hands over)}
    "model, image_size, batch_size=16, channels=3": (
        "batch_size, channels, image_size, image_size",
        "model, shape[-1], batch_size=shape[0], channels=shape[1]",
    ),
    "net, num_images=4, channels=1, size=28": (
        "num_images, channels, size, size",
        "model, num_images=shape[0], channels=shape[1], size=shape[-1]",
    ),
    "model, n, shape=(1, 28, 28)": ("n, *shape", "model, shape[0], shape=shape[1:]"),
    "model, b, c, h, w": ("b, c, h, w", "model, shape[0], shape[1], shape[-2], shape[-1]"),
    "unet, resolution, n_samples, device": (
        "(n_samples, 3, *resolution), device=device",
        'model, shape[2:], shape[0], "cpu"',
    ),
    "model, size=16": ("size, 1, 8, 8", "model, size=shape[0]"),
    "model, num, img_size": ("num, 3, img_size, img_size", "model, shape[0], shape[-1]"),
}


@pytest.mark.parametrize(("use", "axes"), USES.items(), ids=list(USES))
def test_what_the_code_does_with_it_decides(use: str, axes: str) -> None:
    assert meant("size", (1, 2), ast.parse(use), "nothing") == axes


@pytest.mark.parametrize("default", DEFAULTS, ids=str)
def test_else_its_default_says_it(default: object) -> None:
    assert meant("size", default, ast.parse("draw(size)"), "nothing") == DEFAULTS[default]
    assert meant("size", None, None, SIDE) == SIDE


@pytest.mark.parametrize("asked", ASKED)
def test_a_loop_is_told_what_it_asks_for_by_its_adapter_and_without_one(
    asked: str, tmp_path: Path
) -> None:
    drawn, handed = ASKED[asked]
    model = asked.partition(",")[0]
    source = SOURCE.replace("ASKED", asked).replace("MODEL", model).replace("SHAPE", drawn)
    file = tmp_path / "mine.py"
    file.write_text(source)
    assert f"mine.generate({handed})" in adapter(file, "generate", source)
    report = run(f"{file}:generate")
    assert report.passed, str(report)
    assert "sampling" in report.judged


def test_what_trains_is_no_loop_by_the_sizes_that_it_asks_for(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def fit(model, image_size, batch_size=8): raise OSError")
    report = run(f"{tmp_path / 'mine.py'}:fit")
    assert report.exit_status == 2
    assert "it is a function of (model, image_size), which is none of" in report.verdict
