"""Steps that are not finite and are left out: nothing keeps a trace of them but the metrics."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench import one_step, runs, trainer, training_run
from workbench.checkpoints import RunFiles
from workbench.config import RunConfig
from workbench.data import Dataset
from workbench.draws import DROPOUT
from workbench.one_step import TrainingState

Make = Callable[..., RunConfig]
CPU = torch.device("cpu")


def start(config: RunConfig, dataset: Dataset) -> tuple[TrainingState, Any]:
    unet, scheduler = trainer.new_parts(config, dataset)
    return trainer.new_state(unet, config.train), scheduler


def all_of(state: TrainingState) -> dict[str, Any]:
    """Weights, moments and averages, as they are now."""
    assert state.ema is not None
    every = {
        "weights": state.unet.state_dict(),
        "optimizer": state.optimizer.state_dict()["state"],
        "average": state.ema.average,
    }
    return copy.deepcopy(every)


def broken_at(steps: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the losses of some steps infinite."""
    real_seed, real_loss = trainer.seed_of, one_step.mse_loss
    at = [0]

    def seed_of(seed: int, stream: int, *numbers: int) -> int:
        at[0] = numbers[0] if stream == DROPOUT else at[0]
        return real_seed(seed, stream, *numbers)

    def loss(*arguments: Any) -> torch.Tensor:
        return real_loss(*arguments) * (math.inf if at[0] in steps else 1)

    monkeypatch.setattr(trainer, "seed_of", seed_of)
    monkeypatch.setattr(one_step, "mse_loss", loss)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("broken", [0, 2])
def test_a_step_that_is_not_finite_changes_nothing(
    broken: int, optimizer: str, tiny: Make, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one too, in which Adam makes its moments."""
    broken_at({broken}, monkeypatch)
    config = tiny(skip_nonfinite=True, optimizer=optimizer, weight_decay=0.1)
    state, scheduler = start(config, dataset)
    before = all_of(state)
    for step in trainer.training_steps(state, scheduler, dataset, config.train, 0):
        after = all_of(state)
        if step.index == broken:
            assert not step.loss.isfinite()
            if broken == 0:
                moments = {i: dict.fromkeys(m, 0.0) for i, m in after.pop("optimizer").items()}
                assert not any(
                    value.any()
                    for each in state.optimizer.state.values()
                    for value in each.values()
                )
                assert moments
                before.pop("optimizer")
            torch.testing.assert_close(after, before, rtol=0, atol=0)
        before = all_of(state)
    assert state.step == 4
    assert all(p.isfinite().all() for p in state.unet.parameters())


def test_steps_that_are_finite_are_the_same_with_it(tiny: Make, dataset: Dataset) -> None:
    weights = []
    for skips in (False, True):
        config = tiny(skip_nonfinite=skips)
        state, scheduler = start(config, dataset)
        list(trainer.training_steps(state, scheduler, dataset, config.train, 0))
        weights.append(all_of(state))
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_a_run_counts_them_and_a_resumed_one_ends_in_the_same_bytes(
    tiny: Make, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_at({1, 4}, monkeypatch)
    config = tiny(skip_nonfinite=True, steps=6, save_every=2)

    def train(name: str, **options: Any) -> training_run.TrainResult:
        folder = tmp_path / name
        return training_run.train(config, folder, dataset, device=CPU, progress=False, **options)

    whole = train("whole")
    assert [math.isfinite(loss) for loss in whole.losses] == [k not in (1, 4) for k in range(6)]
    assert all(map(math.isfinite, whole.epoch_losses))  # of the steps that were not left out
    rows = (tmp_path / "whole" / runs.METRICS).read_text().splitlines()
    assert [json.loads(row).get("loss", 0) is None for row in rows].count(True) == 2
    assert "NaN" not in "".join(rows)
    read = [row["loss"] for row in runs.load_metrics(tmp_path / "whole") if "step" in row]
    assert read == pytest.approx(whole.losses, nan_ok=True)

    real = RunFiles.save

    def dies(self: RunFiles, state: TrainingState, *rest: Any) -> None:
        if state.step == 4:
            raise OSError("the power failed")
        real(self, state, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(RunFiles, "save", dies)
        with pytest.raises(OSError, match="power"):
            train("parts")
    train("parts", resume=True)
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file():
            other = tmp_path / "parts" / path.relative_to(tmp_path / "whole")
            assert path.read_bytes() == other.read_bytes(), path


def test_without_it_such_a_step_ends_the_run(
    tiny: Make, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_at({2}, monkeypatch)
    with pytest.raises(ValueError, match=r"step 2 is inf: .* skip_nonfinite leaves such steps out"):
        training_run.train(tiny(), tmp_path, dataset, device=CPU, progress=False)
