"""A candidate that names a GPU is judged on the CPU, and the verdict says so."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from compare import run
from compare.candidate.devices import OnTheCpu, names_another

PROGRAM = """import torch
device = torch.device("cuda:0")
T = 60
betas = torch.linspace(1e-4, 0.2, T, device=device)
ab = torch.cumprod(1 - betas, 0).to("cuda")

class Mine:
    def __init__(self, num_train_timesteps=T, device="cuda"):
        self.alphas_cumprod = torch.tensor(ab.tolist(), device=device)
        self.linear = torch.nn.Linear(2, 2).to(device).cuda()

    def add_noise(self, x_0, noise, t):
        a = ab.to(x_0.device)[t].reshape(-1, 1, 1, 1)
        return a.sqrt() * x_0 + (1 - a).sqrt() * noise

def sample(model, n):
    x = torch.randn(n, 1, 8, 8).cuda()
    for i in reversed(range(T)):
        eps = model(x, torch.full((n,), i, device=device))
        x = (x - betas[i] / (1 - ab[i]).sqrt() * eps) / (1 - betas[i]).sqrt()
        x += betas[i].sqrt() * torch.randn_like(x, device=device) * (i > 0)
    return x.cpu()
"""


def written(folder: Path, old: str = "", new: str = "") -> Path:
    file = folder / "gpu.py"
    file.write_text(PROGRAM.replace(old, new))
    return file


@pytest.mark.parametrize("name", ["Mine", "sample"])
def test_a_program_for_a_gpu_is_judged_on_the_cpu(name: str, tmp_path: Path) -> None:
    report = run(f"{written(tmp_path)}:{name}")
    assert report.exit_status == 0, report.verdict
    assert report.conventions["device"] == "cuda taken for the CPU"


def test_a_table_that_is_a_property_is_read_as_a_method_is_called(tmp_path: Path) -> None:
    lines = "    @property\n    def alphas_cumprod(self): return ab.to(device)\n"
    old = "        self.alphas_cumprod = torch.tensor(ab.tolist(), device=device)\n"
    file = written(tmp_path, old, "")
    file.write_text(file.read_text().replace("    def add_noise", f"{lines}\n    def add_noise"))
    report = run(f"{file}:Mine")
    assert report.exit_status == 0, report.verdict


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("Mine", "(1 - a).sqrt()", "(1 - a)"), ("sample", "- betas[i]).sqrt()", "- betas[i])")],
)
def test_what_is_wrong_with_it_is_told(name: str, old: str, new: str, tmp_path: Path) -> None:
    report = run(f"{written(tmp_path, old, new)}:{name}")
    assert report.exit_status == 1
    assert "CUDA" not in str(report)


def test_what_needs_the_device_itself_is_told_in_one_line(tmp_path: Path) -> None:
    no_gpu = "T = 60; raise RuntimeError('Found no NVIDIA driver on your system')"
    file = written(tmp_path, "T = 60", no_gpu)
    report = run(f"{file}:Mine")
    assert report.exit_status == 2
    assert report.verdict.endswith("(compare judges on the CPU: take the device as an argument)")


def test_every_way_to_name_a_device_is_taken_for_the_cpu() -> None:
    with OnTheCpu() as mode:
        made = [
            torch.ones(2, device="cuda"),
            torch.arange(2, device=torch.device("cuda", 1)),
            torch.ones(2).to("mps"),
            torch.ones(2).to(0),
            torch.ones(2).to(device="cuda:0", dtype=torch.float64),
            torch.ones(2).cuda(),
            torch.nn.Linear(2, 2).cuda().weight,
            torch.nn.Linear(2, 2).to(torch.device("cuda")).weight,
        ]
    assert {tensor.device.type for tensor in made} == {"cpu"}
    assert made[4].dtype == torch.float64
    assert mode.taken == {"cuda", "mps"}
    with OnTheCpu() as mode:
        torch.ones(2, device="cpu").to("cpu").to(torch.float64).to(torch.ones(2))
        assert torch.ones(2, device="meta").is_meta
    assert not mode.taken


def test_code_that_names_no_device_is_left_alone(tmp_path: Path) -> None:
    assert not names_another(torch.optim.Adam)
    report = run(f"{written(tmp_path, 'cuda', 'cpu')}:sample")
    assert "device" not in report.conventions


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["Mine", "sample"])
def test_what_was_made_on_a_gpu_is_read_from_a_copy(name: str, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("on_gpu", written(tmp_path))
    module = importlib.util.module_from_spec(spec)
    sys.modules["on_gpu"] = module
    spec.loader.exec_module(module)
    assert module.ab.is_cuda
    report = run(getattr(module, name))
    assert report.exit_status == 0, report.verdict
    assert report.conventions["device"] == "cuda taken for the CPU"
