"""Threads and determinism: asked of PyTorch for a run, and given back."""

import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from workbench import training_run
from workbench.config import RunConfig, TrainConfig
from workbench.data import Dataset
from workbench.torch_settings import as_asked

CPU = torch.device("cpu")
Make = Callable[..., RunConfig]


def settings() -> tuple[int, bool, bool]:
    strict = torch.are_deterministic_algorithms_enabled()
    return torch.get_num_threads(), strict, torch.backends.cudnn.benchmark


def test_they_are_given_back() -> None:
    before = settings()
    with as_asked(TrainConfig(threads=2, deterministic=True), CPU):
        assert settings() == (2, True, False)
    assert settings() == before
    with pytest.raises(OSError, match="power"), as_asked(TrainConfig(deterministic=True), CPU):
        raise OSError("the power failed")
    assert settings() == before
    with as_asked(TrainConfig(), CPU):
        assert settings() == before


FAULTS = """
import ctypes, resource, sys, torch
from workbench.torch_settings import MMAP_THRESHOLD, TRIM_THRESHOLD, keep_memory
for option in (MMAP_THRESHOLD, TRIM_THRESHOLD):
    ctypes.CDLL(None).mallopt(option, 128 * 1024)  # else glibc raises them by what it has seen
if sys.argv[1] == "kept":
    keep_memory()
for step in range(20):
    if step == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    together = [torch.ones(5_000_000) for _ in range(5)]
    del together
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


GLIBC = platform.libc_ver()[0] == "glibc"


@pytest.mark.skipif(not GLIBC, reason="this C library cannot be told to keep memory")
def test_memory_is_kept_for_the_next_step() -> None:
    """Five blocks of 20 MB are 24,000 pages, filled anew at each of ten steps, or never."""

    def faults(how: str) -> int:
        words = [sys.executable, "-c", FAULTS, how]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    assert faults("as it is") > 200_000
    assert faults("kept") < 1000


def test_an_operation_without_a_deterministic_form_is_one_line() -> None:
    x, first = torch.zeros(3), torch.tensor([0])
    said = r"^put_ does not have a deterministic implementation; on cpu this run cannot be --det"
    with pytest.raises(ValueError, match=said), as_asked(TrainConfig(deterministic=True), CPU):
        x.put_(first, torch.ones(1))
    with as_asked(TrainConfig(), CPU):
        x.put_(first, torch.ones(1))
    with pytest.raises(RuntimeError, match="shape"), as_asked(TrainConfig(deterministic=True), CPU):
        torch.zeros(2).reshape(3)


@pytest.mark.parametrize("backend", ["scratch", "diffusers"])
def test_on_a_cpu_nothing_changes(
    backend: str, tiny: Make, dataset: Dataset, tmp_path: Path
) -> None:
    """The bytes of weights, averages, optimizer and losses; the config alone says it."""
    for name, changes in {"plain": {}, "same": {"deterministic": True}}.items():
        config = tiny(backend=backend, class_conditional=True, dropout=0.2, **changes)
        training_run.train(config, tmp_path / name, dataset, device=CPU, progress=False)
    compared = 0
    for path in (tmp_path / "plain").rglob("*"):
        says_config = path.name in ("config.json", "manifest.json", "files.json")
        if path.is_file() and not says_config:
            other = tmp_path / "same" / path.relative_to(tmp_path / "plain")
            assert path.read_bytes() == other.read_bytes(), path
            compared += path.suffix == ".safetensors"
    assert compared == 3  # two checkpoints, and what one samples with
