"""Loops in half precision: the model is asked in it, or all is computed in it."""

from pathlib import Path

import pytest

from tests.compare.written import judged_file

HEAD = """
import torch

BETAS = torch.linspace(1e-3, 0.2, 100)
ALPHAS = 1 - BETAS
ABAR = ALPHAS.cumprod(0)
"""
DDPM = """
@torch.no_grad()
def sample(model, shape):
    x = torch.randn(shape)
    for t in reversed(range(100)):
        out = model(x.HALF(), torch.full((shape[0],), t)).float()
        z = torch.randn_like(x) if t > 0 else 0
        mean = (x - BETAS[t] / (1 - ABAR[t]).sqrt() * out) / ALPHAS[t].sqrt()
        x = mean + BETAS[t].sqrt() * z
    return x
"""
DDIM = """
@torch.no_grad()
def sample(model, shape):
    x, visited = torch.randn(shape), list(range(0, 100, 5))[::-1]
    for t, before in zip(visited, [*visited[1:], -1]):
        out = model(x.HALF(), torch.full((shape[0],), t)).float()
        prev = ABAR[before] if before >= 0 else torch.tensor(1.0)
        x_0 = (x - (1 - ABAR[t]).sqrt() * out) / ABAR[t].sqrt()
        x = prev.sqrt() * x_0 + (1 - prev).sqrt() * out
    return x
"""
ALL_OF_IT = """
@torch.no_grad()
def sample(model, shape):
    front, inside, sigma = (
        v.HALF() for v in (ALPHAS.rsqrt(), BETAS / (1 - ABAR).sqrt(), BETAS.sqrt())
    )
    x = torch.randn(shape).HALF()
    for t in reversed(range(100)):
        out = model(x, torch.full((shape[0],), t))
        z = torch.randn_like(x) if t > 0 else 0
        x = front[t] * (x - inside[t] * out) + sigma[t] * z
    return x
"""
SLIPS = {  # {what: (program, what is right, what is wrong)}
    "the mean": (DDPM, "BETAS[t] / (1", "1.02 * BETAS[t] / (1"),
    "louder": (DDPM, "BETAS[t].sqrt() * z", "1.05 * BETAS[t].sqrt() * z"),
    "along DDIM's direction": (DDIM, "(1 - prev).sqrt()", "1.05 * (1 - prev).sqrt()"),
}


@pytest.mark.parametrize("half", ["bfloat16", "half"])
@pytest.mark.parametrize("text", [DDPM, DDIM], ids=["ddpm", "ddim"])
def test_a_model_that_is_asked_in_half_precision_blames_nothing(
    text: str, half: str, tmp_path: Path
) -> None:
    report = judged_file(tmp_path, "sample", HEAD + text.replace("HALF", half))
    assert report.exit_status == 0, report


@pytest.mark.parametrize("half", ["bfloat16", "half"])
@pytest.mark.parametrize("what", SLIPS)
def test_a_slip_beside_it_is_found(what: str, half: str, tmp_path: Path) -> None:
    text, right, wrong = SLIPS[what]
    assert right in text
    text = text.replace(right, wrong).replace("HALF", half)
    assert judged_file(tmp_path, "sample", HEAD + text).exit_status == 1


def test_a_loop_that_computes_in_it_is_left_open(tmp_path: Path) -> None:
    report = judged_file(tmp_path, "sample", HEAD + ALL_OF_IT.replace("HALF", "bfloat16"))
    assert report.exit_status == 2, report
    assert "it computes in half precision" in str(report)


def test_what_is_no_matter_of_rounding_is_told_of_it(tmp_path: Path) -> None:
    wrong = ALL_OF_IT.replace("reversed(range(100))", "range(100)").replace("HALF", "bfloat16")
    report = judged_file(tmp_path, "sample", HEAD + wrong)
    assert report.exit_status == 1, report
    assert [d.bug for d in report.diagnoses][:1] == ["80"], report


def test_a_loop_or_loss_that_returns_nothing_is_told(tmp_path: Path) -> None:
    for text, name in ((DDPM.replace("HALF", "float"), "sample"), (LOSS, "loss")):
        report = judged_file(tmp_path, name, HEAD + text.replace("    return ", "    "))
        assert report.exit_status == 1, report
        assert f"{name} returned nothing (None), where numbers are" in str(report)


LOSS = """
def loss(model, x_0):
    t, noise = torch.randint(0, 100, (len(x_0),)), torch.randn_like(x_0)
    at = ABAR[t].reshape(-1, 1, 1, 1)
    x_t = at.sqrt() * x_0 + (1 - at).sqrt() * noise
    return (model(x_t, t) - noise).square().mean()
"""
