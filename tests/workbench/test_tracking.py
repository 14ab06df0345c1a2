"""What a tracker is told: one of our own, which keeps it, and TensorBoard where it is installed."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.tracking import GeneralTracker
from PIL import Image

from ddpm.cli import main
from workbench import runs, tracking, training_run
from workbench.config import RunConfig
from workbench.data import Dataset

Make = Callable[..., RunConfig]


class Kept(GeneralTracker):
    """A tracker that keeps what it is told."""

    name = "kept"
    requires_logging_directory = False
    main_process_only = False

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int | None, dict[str, Any]]] = []
        self.finished = 0

    @property
    def tracker(self) -> None:
        return None

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.told.append((None, values))

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.told.append((step, values))

    def log_images(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.told.append((step, {name: value.shape for name, value in values.items()}))

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture(autouse=True)
def _accelerate_anew() -> Any:
    yield
    AcceleratorState._reset_state()
    PartialState._reset_state()


def draw_grid(unet: Any, scheduler: Any, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(path)


def test_a_tracker_is_told_what_the_metrics_hold_and_the_grids(
    tiny: Make, dataset: Dataset, tmp_path: Path
) -> None:
    kept, device = Kept(), torch.device("cpu")
    options = {"device": device, "progress": False, "draw_grid": draw_grid, "track": kept}
    config = tiny(steps=5, save_every=2, sample_every=2)
    training_run.train(config, tmp_path, dataset, **options)
    (_, settings), *told = kept.told
    assert settings["train/steps"] == 5
    assert settings["model/channels"] == "(8, 16)"
    rows = [row for row in runs.load_metrics(tmp_path) if "step" in row]
    steps = [(k, words) for k, words in told if "loss" in words]
    assert [{"step": k, **words} for k, words in steps] == rows
    shown = [(k, words["samples"]) for k, words in told if "samples" in words]
    assert shown == [(k, (1, 4, 6, 3)) for k in (1, 3, 4)]  # the last step before each grid
    assert kept.finished == 1

    again = Kept()
    training_run.train(config, tmp_path, dataset, resume=True, **{**options, "track": again})
    assert [words for k, words in again.told if k is not None] == []  # all was told before


@pytest.mark.parametrize("kind", tracking.KINDS)
def test_a_tracker_that_is_not_installed_is_refused_before_the_work(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    assert main(["train", "--track", kind, "--output", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.endswith(f"to track by {kind} its library is needed: pip install {kind}\n")
    assert not (tmp_path / "run").exists()


def test_an_unknown_tracker_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown tracker 'mlflow'; choose one of tensorboard"):
        tracking.check("mlflow")


@pytest.mark.skipif(
    find_spec("tensorboard") is None,
    reason="TensorBoard is an extra that is not installed here: pip install tensorboard",
)
@pytest.mark.filterwarnings("default")  # of its own libraries
def test_tensorboard_has_the_losses_and_the_grids(
    tiny: Make, dataset: Dataset, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = {"device": torch.device("cpu"), "progress": False, "draw_grid": draw_grid}
    training_run.train(tiny(), tmp_path, dataset, track="tensorboard", **options)
    found = EventAccumulator(str(tmp_path / "training" / "tensorboard"))
    found.Reload()
    rows = [row for row in runs.load_metrics(tmp_path) if "step" in row]
    scalars = [(event.step, event.value) for event in found.Scalars("loss")]
    assert scalars == [(row["step"], pytest.approx(row["loss"])) for row in rows]
    assert [(image.step, image.width) for image in found.Images("samples")] == [(3, 6)]
