"""For all tests: runs so small that a step takes milliseconds, and files to load.

Hypothesis measures no time, as the machine may be busy with others' work.
"""

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from workbench.config import DiffusionConfig, ModelConfig, RunConfig, TrainConfig
from workbench.data import Dataset, load

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


SHARE = 12  # of the programs that `compare` judges, one in so many is for `make test`
IN_WHOLE = ("test_doors.py", "test_kill_table.py")  # each a share already


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of each file that judges programs the first test, the thirteenth and so on are for
    `make test`; the others are marked `rest`, for `make test-rest`."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        judges = item.path.parent == Path(__file__).parent / "compare"
        if judges and item.path.name not in IN_WHOLE and not item.get_closest_marker("long"):
            files.setdefault(item.path, []).append(item)
    for tests in files.values():
        for i, item in enumerate(tests):
            if i % SHARE:
                item.add_marker("rest")


def pytest_collection_finish() -> None:
    """What is imported by now stays: no collection of garbage need look at it again."""
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is marked `gpu` is skipped where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU, and this machine has none")


@pytest.fixture
def tiny() -> Callable[..., RunConfig]:
    """A run of four steps on pictures of 8x8; keywords change the part that knows them."""
    base = RunConfig(
        model=ModelConfig(channels=(8, 16), layers_per_block=1, norm_num_groups=4),
        diffusion=DiffusionConfig(num_train_timesteps=20),
        train=TrainConfig(batch_size=4, steps=4),
    )

    def make(**changes: object) -> RunConfig:
        made = base
        if changes.get("epochs"):
            changes["steps"] = None
        for name, value in changes.items():
            for part in ("model", "diffusion", "train"):
                if hasattr(getattr(base, part), name):
                    given = {name: value}
                    if name == "steps" and value is None:
                        given["epochs"] = changes["epochs"]
                    made = replace(made, **{part: replace(getattr(made, part), **given)})
                    break
            else:
                made = replace(made, **{name: value})
        return made

    return make


@pytest.fixture
def everything() -> dict[str, Any]:
    """Changes for `tiny`: whatever draws or keeps something, all at once."""
    return {
        "dropout": 0.2,
        "flip": True,
        "class_conditional": True,
        "warmup_steps": 1,
        "optimizer": "adam",
        "ema_decay": 0.9,
    }


@pytest.fixture
def as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled, which takes a minute: the arithmetic of the fast path is looked at."""
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.compile` finds none, and says so in two lines."""

    def none_here(network: Any, **_: Any) -> Any:
        raise RuntimeError("no C++ compiler was found\nand much more")

    monkeypatch.setattr(torch, "compile", none_here)


@pytest.fixture
def dataset() -> Dataset:
    """Ten labelled noise pictures (10, 1, 8, 8)."""
    images = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Dataset(images, torch.arange(10) % 3)


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str, np.ndarray], Path]:
    """Save an array under a name and give the path."""

    def save(name: str, array: np.ndarray) -> Path:
        np.save(tmp_path / name, array)
        return tmp_path / name

    return save


@pytest.fixture
def refusal() -> Callable[..., str]:
    """What `load` says, in one line, of data that it must refuse."""

    def refusal(*arguments: Any, **options: Any) -> str:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - what it says is judged by the test
            load(*arguments, **options)
        message = str(caught.value)
        assert "\n" not in message
        return message

    return refusal
