"""Processes on GPUs, speaking through NCCL, as `torchrun` starts them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from workbench import runs

TINY = """--channels 8,16 --norm-num-groups 4 --attention no,no --layers-per-block 1 --batch-size 6
--steps 6 --no-sample-grid --quiet"""
LAUNCH = "-m torch.distributed.run --standalone --nproc-per-node"


def losses(folder: Path, count: int, gpu: torch.device, *words: str) -> list[float]:
    """Those of a run of so many processes; 0 is one that nobody launched."""
    launcher = [*LAUNCH.split(), str(count)] if count else []
    run = subprocess.run(
        [
            *(sys.executable, *launcher, "-m", "workbench", "train", *TINY.split(), *words),
            *("--device", str(gpu), "--output", f"of_{count}"),
        ],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    rows = runs.load_metrics(folder / f"of_{count}")
    return [row["loss"] for row in rows if "step" in row]


@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_one_process_of_nccl_learns_what_one_alone_learns(
    precision: str, tmp_path: Path, gpu: torch.device
) -> None:
    alone = losses(tmp_path, 0, gpu, "--precision", precision, "--no-fast")
    launched = losses(tmp_path, 1, gpu, "--precision", precision)
    assert launched == pytest.approx(alone, rel=2e-3)  # TF32 convolutions round to 2^-11


@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_two_gpus_learn_what_one_learns(precision: str, tmp_path: Path, gpu: torch.device) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs: NCCL gives each process its own")
    alone = losses(tmp_path, 0, gpu, "--precision", precision, "--no-fast")
    both = losses(tmp_path, 2, gpu, "--precision", precision)
    assert both == pytest.approx(alone, rel=2e-2 if precision == "bf16" else 2e-3)
