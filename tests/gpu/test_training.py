"""Training on a GPU: both backends alike, near the CPU, the same bytes again, without waiting."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench import trainer
from workbench.config import RunConfig
from workbench.data import Dataset

BACKENDS = ("scratch", "diffusers")
Make = Callable[..., RunConfig]


def steps_of(config: RunConfig, dataset: Dataset, device: Any) -> tuple[Any, list[trainer.Step]]:
    """A short run on a device: its state, and what each step said."""
    unet, scheduler = trainer.new_parts(config, dataset)
    state = trainer.new_state(unet.to(device), config.train)
    moved = dataset.to(device)
    return state, list(trainer.training_steps(state, scheduler, moved, config.train, config.seed))


@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_drawn_on_the_cpu_give_the_cpus_losses(
    backend: str, tiny: Make, dataset: Dataset, gpu: torch.device
) -> None:
    config = tiny(backend=backend, class_conditional=True, flip=True)
    there, here = (
        [float(step.loss) for step in steps_of(config, dataset, device)[1]]
        for device in ("cpu", gpu)
    )
    assert here == pytest.approx(there, rel=2e-3)  # TF32 convolutions round to 2^-11


@pytest.mark.parametrize("draw_on", ["cpu", "device"])
def test_both_backends_learn_alike(
    draw_on: str, tiny: Make, dataset: Dataset, gpu: torch.device
) -> None:
    config = tiny(draw_on=draw_on, class_conditional=True)
    ours, theirs = (
        [float(step.loss) for step in steps_of(replace(config, backend=name), dataset, gpu)[1]]
        for name in BACKENDS
    )
    assert ours == pytest.approx(theirs, rel=2e-3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("draw_on", ["cpu", "device"])
def test_no_step_waits(
    backend: str, draw_on: str, tiny: Make, dataset: Dataset, gpu: torch.device
) -> None:
    config = tiny(backend=backend, draw_on=draw_on, class_conditional=True, flip=True, steps=8)
    unet, scheduler = trainer.new_parts(config, dataset)
    state = trainer.new_state(unet.to(gpu), config.train)
    steps = trainer.training_steps(state, scheduler, dataset.to(gpu), config.train, config.seed)
    first = [next(steps) for _ in range(3)]  # what is done once may wait
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        first += list(steps)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(first) == 8


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_that_goes_on_ends_with_the_same_bytes(
    backend: str, tmp_path: Path, gpu: torch.device
) -> None:
    """With --deterministic: a run of eight steps, and one taken up at four."""

    def ddpm(*words: str) -> None:
        run = subprocess.run(
            [sys.executable, "-m", "ddpm.cli", *words],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr

    tiny = "--channels 16,32 --norm-num-groups 4 --attention no,yes --layers-per-block 1"
    same = f"{tiny} --backend {backend} --batch-size 4 --no-sample-grid --quiet --save-every 4"
    words = f"train {same} --deterministic --steps 8 --device {gpu} --output".split()
    ddpm(*words, "whole")
    ddpm(*words, "again")
    for late in (tmp_path / "again" / "training" / "checkpoints").glob("step_*8"):
        for file in sorted(late.rglob("*"), reverse=True):
            file.unlink()
        late.rmdir()
    ddpm("train", "--resume", "again", "--device", str(gpu), "--quiet")
    weights = Path("unet", "diffusion_pytorch_model.safetensors")
    whole, again = ((tmp_path / name / weights).read_bytes() for name in ("whole", "again"))
    assert whole == again
