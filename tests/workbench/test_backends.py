"""The door to the backends, and the choice of a device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from workbench import backends

ROOT = Path(backends.__file__).parent.parent


@pytest.mark.parametrize(("name", "package"), backends.PACKAGES.items())
def test_both_offer_the_same_names(name: str, package: str) -> None:
    module = backends.load(name)
    assert module.__name__ == package
    assert sorted(module.__all__) == sorted(backends.load("scratch").__all__)
    assert all(callable(getattr(module, each)) for each in module.__all__)


@pytest.mark.parametrize("name", ["Diffusers", "with_diffusers", "", "os"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown backend .*; choose one of scratch, diffusers"):
        backends.load(name)


@pytest.mark.parametrize("form", ["{}.py", "{}/__init__.py"])
@pytest.mark.parametrize(("name", "package"), backends.PACKAGES.items())
def test_a_module_that_hides_ours_is_named_and_not_run(
    name: str, package: str, form: str, tmp_path: Path
) -> None:
    foreign = tmp_path / form.format(package)
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("print('ran')")
    script = (
        "from workbench import backends\n"
        f"try: backends.load({name!r})\n"
        "except ValueError as error: print(error)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown.startswith(f"{foreign.resolve()} hides this project's package {package!r}")
    assert "ran" not in shown


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every case, whatever this machine has."""
    for cuda, mps, asked, expected in [
        (0, False, None, "cpu"),
        (0, True, None, "mps"),
        (2, False, None, "cuda"),
        (2, False, "cuda:1", "cuda:1"),
        (2, False, "cpu", "cpu"),
    ]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert backends.choose_device(asked) == torch.device(expected)


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert backends.choose_device() == torch.device("cuda:1")
    assert backends.choose_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="no device 'cuda:2' on this machine"):
        backends.choose_device()


@pytest.mark.parametrize("name", ["cuda:7", "cpu:x", "gpu", "", "meta"])
def test_a_device_that_is_not_here_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"no device .* on this machine; there is .*cpu"):
        backends.choose_device(name)
