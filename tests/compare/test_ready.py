"""A class that wants its model is judged by the adapter that `ddpm adapt` prints, if that needs no
edit: it is said so, and hides no mistake."""

import sys
from pathlib import Path

import pytest

from compare import run
from compare.candidate.load import load
from compare.candidate.text.ready import ready
from tests.compare.test_adapt import FUNCTIONS, HALF, MODULE

SHORT = MODULE.replace("timesteps=50", "timesteps=20")
SAID = "judged by the adapter that `ddpm adapt "


def written(folder: Path, source: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.write_text(source)
    return file


def test_a_class_that_wants_its_model_needs_no_adapter(tmp_path: Path) -> None:
    spec = f"{written(tmp_path, SHORT)}:GaussianDiffusion"
    report = run(spec)
    assert report.passed, str(report)
    first, second, *_ = str(report).splitlines()
    assert first == report.verdict
    assert second.startswith(f"read: {SAID}{spec}` prints (declared: ")
    assert report.to_dict()["readings"]["adapter"]["value"] == f"ddpm adapt {spec}"
    assert {"forward", "mean", "variance", "sampling", "loss"} <= {*report.judged}


def test_a_mistake_in_it_is_found(tmp_path: Path) -> None:
    file = written(tmp_path, SHORT.replace(HALF, '"size", 0.5 * (betas'))
    report = run(f"{file}:GaussianDiffusion")
    assert report.exit_status == 1
    assert report.diagnoses[0].stage == "variance", str(report)


def test_a_function_of_no_role_by_its_parameters_is_judged_so_too(tmp_path: Path) -> None:
    file = written(tmp_path, FUNCTIONS.replace("timesteps = 50", "timesteps = 20"))
    report = run(f"{file}:p_sample")
    assert report.passed, str(report)
    assert {"mean", "variance"} <= {*report.judged}
    assert SAID in str(report)


def test_so_is_a_class_whose_methods_have_other_names(tmp_path: Path) -> None:
    source = SHORT.replace("model, *, image_size, ", "image_size=8, ").replace(
        "self.model, self.image_size", "self.image_size"
    )
    source = source.replace("= model, image_size", "= image_size").replace("self.model", "model")
    for name, first in (("p_sample", "x"), ("p_sample_loop", "shape"), ("p_losses", "x_start")):
        source = source.replace(f"def {name}(self, {first}", f"def {name}(self, model, {first}")
    source = source.replace("self.p_sample(x", "self.p_sample(model, x")
    report = run(f"{written(tmp_path, source)}:GaussianDiffusion")
    assert report.passed, str(report)
    assert {"forward", "mean", "variance", "sampling", "loss"} <= {*report.judged}
    assert SAID in str(report)


@pytest.mark.parametrize("name", ["01-ddpm.py", "torch.py"])
def test_whatever_its_file_is_called(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])  # no process to come finds that torch
    thing, _ = load(f"{written(tmp_path, SHORT, name)}:GaussianDiffusion")
    found = ready(thing, f"{name}:GaussianDiffusion", ())
    assert (found is None) == (name == "torch.py")  # which it could not be told from
    if found is not None:
        assert found.command == f"ddpm adapt {name}:GaussianDiffusion"
        assert found.make().roles[:2] == ["alpha_bar", "add_noise"]


def test_one_that_needs_an_edit_is_left_to_its_user(tmp_path: Path) -> None:
    source = SHORT.replace("*, image_size", "mood, *, image_size")
    report = run(f"{written(tmp_path, source)}:GaussianDiffusion")
    assert report.exit_status == 2
    assert "`ddpm adapt FILE.py:GaussianDiffusion` writes an adapter" in report.verdict
    assert SAID not in str(report)


def test_one_that_cannot_be_built_round_our_network_says_what_was_tried(tmp_path: Path) -> None:
    source = SHORT.replace("super().__init__()", "super().__init__(); model.encoder")
    report = run(f"{written(tmp_path, source)}:GaussianDiffusion")
    assert report.exit_status == 2
    assert "no attribute 'encoder'" in report.verdict
    assert report.verdict.endswith("GaussianDiffusion` prints, to be edited")
    assert "\n" not in report.verdict


TWO_HANDED = """
from copy import deepcopy

import torch

B = torch.linspace(1e-3, 0.2, 40)
AB = (1 - B).cumprod(0)


class Diffusion(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.averaged = model, deepcopy(model)
        self.alphas_cumprod = AB

    def remove_noise(self, x, t):
        eps, b = self.averaged(x, t), B[t].reshape(-1, 1, 1, 1)
        return (x - b / (1 - AB[t].reshape(-1, 1, 1, 1)) ** 0.5 * eps) / (1 - b) ** 0.5

    @torch.no_grad()
    def sample(self, batch_size):
        x = torch.randn(batch_size, 2, 8, 8)
        for t in range(39, -1, -1):
            x = self.remove_noise(x, torch.full((batch_size,), t))
            if t > 0:
                x += B[t] ** 0.5 * torch.randn_like(x)
        return x
"""


@pytest.mark.parametrize(("is_", "becomes"), [("", ""), ("B[t] ** 0.5", "B[t]")])
def test_a_copy_of_its_model_is_asked_and_a_mean_whose_loop_adds_the_noise_is_no_step(
    is_: str, becomes: str, tmp_path: Path
) -> None:
    source = TWO_HANDED.replace(is_, becomes) if is_ else TWO_HANDED
    report = run(f"{written(tmp_path, source)}:Diffusion")
    assert report.passed == (not is_), str(report)
    assert report.judged == ["schedule", "sampling"]
    assert [d.bug for d in report.diagnoses] == ["49"] * bool(is_)
