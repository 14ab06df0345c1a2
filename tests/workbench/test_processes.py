"""Several processes: real ones, speaking through Gloo, as `torchrun` starts them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from ddpm.cli import main
from workbench import checkpoints, processes, runs

OPTIONS = """
train --data FOLDER/images.npy --labels FOLDER/labels.npy --steps 5 --batch-size 6 --optimizer adam
--channels 8,16 --attention no,yes --norm-num-groups 4 --layers-per-block 1 --class-conditional
--num-train-timesteps 20 --flip --warmup-steps 1 --save-every 2 --device cpu --quiet
"""


def together(count: int, *options: str) -> list[subprocess.CompletedProcess[str]]:
    """Run `ddpm` in `count` processes with the environment that `torchrun` would give them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "ddpm.cli", *options],
            env={**os.environ, **common, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(count)
    ]  # fmt: skip
    ended = []
    for process in started:
        out, err = process.communicate(timeout=120)
        ended.append(subprocess.CompletedProcess([], process.returncode, out, err))
    return ended


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """The same losses and weights to rounding: sums of six images in another order.

    Adam divides by the gradient's size, so a rounding error of a tiny gradient shows in full: most
    weights agree to 1e-6, and none is farther than a small part of the 5 steps of 1e-3.
    """
    random = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", random.integers(0, 256, (20, 8, 8, 1), np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(20) % 3)
    options = OPTIONS.replace("FOLDER", str(tmp_path)).split()
    assert main([*options, "--output", str(tmp_path / "one")]) == 0
    first, second = together(2, *options, "--output", str(tmp_path / "two"))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "5 steps, last loss" in first.stdout
    assert second.stdout == second.stderr == ""  # only the first speaks
    losses = [
        [row["loss"] for row in runs.load_metrics(tmp_path / name) if "step" in row]
        for name in ("one", "two")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    last = checkpoints.FOLDER / "step_000005" / checkpoints.STATE
    states = [safetensors.torch.load_file(tmp_path / name / last) for name in ("one", "two")]
    assert states[0].keys() == states[1].keys()
    names = [name for name in states[0] if name.startswith(("weights.", "ema."))]
    apart = torch.cat([(states[0][name] - states[1][name]).abs().flatten() for name in names])
    assert apart.max() < 2e-4
    assert apart.quantile(0.99) < 1e-6


def test_alone_nothing_is_exchanged() -> None:
    value = torch.tensor([1.0, 2.0])
    assert processes.average(value) is value
    assert (processes.rank(), processes.count(), processes.is_first()) == (0, 1, True)
    assert processes.any_of_us(True, torch.device("cpu"))
    assert not processes.any_of_us(False, torch.device("cpu"))
    with processes.joined(torch.device("cpu")):
        assert processes.count() == 1


def test_the_first_process_is_known_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert not processes.is_first()
    monkeypatch.setenv("RANK", "0")
    assert processes.is_first()
