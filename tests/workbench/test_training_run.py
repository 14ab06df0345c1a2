"""A whole run: what it writes and shows, and what it keeps when it is stopped."""

import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from workbench import checkpoints, history, processes, progress_bar, runs, trainer, training_run
from workbench.checkpoints import RunFiles
from workbench.config import RunConfig, TrainConfig
from workbench.data import Dataset
from workbench.metrics import FLUSH_EVERY
from workbench.one_step import TrainingState
from workbench.trainer import learning_rate

CPU = torch.device("cpu")
Make = Callable[..., RunConfig]


def train(
    config: RunConfig, folder: Path, dataset: Dataset, **options: Any
) -> training_run.TrainResult:
    return training_run.train(config, folder, dataset, device=CPU, progress=False, **options)


def steps_alone(config: RunConfig, dataset: Dataset) -> tuple[TrainingState, list[float]]:
    """The last state and the losses of the bare generator."""
    unet, scheduler = trainer.new_parts(config, dataset)
    state = trainer.new_state(unet, config.train)
    training = trainer.training_steps(state, scheduler, dataset, config.train, config.seed)
    return state, [step.loss.item() for step in training]


def test_what_train_returns_and_writes(tiny: Make, dataset: Dataset, tmp_path: Path) -> None:
    result = train(tiny(steps=8), tmp_path, dataset)
    assert result.finished
    assert result.losses == steps_alone(tiny(steps=8), dataset)[1]
    # 10 images in batches of 4: the first epoch is steps 0..2, the second 3..4, the third 5..7.
    expected = [sum(result.losses[a:b]) / (b - a) for a, b in ((0, 3), (3, 5), (5, 8))]
    assert result.epoch_losses == pytest.approx(expected)
    rows = runs.load_metrics(tmp_path)
    assert [row["loss"] for row in rows if "step" in row] == result.losses
    assert [row["mean_loss"] for row in rows if "epoch" in row] == result.epoch_losses


@pytest.mark.parametrize("options", ["plain", "everything"])
@pytest.mark.parametrize("backend", ["scratch", "diffusers"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    backend: str,
    options: str,
    everything: dict[str, Any],
    tiny: Make,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the last bit: losses, and every file, with weights, averages and optimizer in them."""
    changes = everything if options == "everything" else {}
    config = tiny(backend=backend, steps=5, save_every=2, **changes)
    whole = train(config, tmp_path / "whole", dataset)

    def fail_at_step_3(config: TrainConfig, step: int, total_steps: int) -> float:
        if step == 3:
            raise OSError("the power failed")
        return learning_rate(config, step, total_steps)

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "learning_rate", fail_at_step_3)
        with pytest.raises(OSError, match="the power failed"):
            train(config, tmp_path / "parts", dataset)
    assert [row["step"] for row in runs.load_metrics(tmp_path / "parts")] == [0, 1]
    resumed = train(config, tmp_path / "parts", dataset, resume=True)
    assert resumed.finished
    assert resumed.losses == whole.losses
    files = [path for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    assert len(files) == 13  # two checkpoints of two files, eight of the run, the lock
    for path in files:
        other = tmp_path / "parts" / path.relative_to(tmp_path / "whole")
        assert path.read_bytes() == other.read_bytes(), path


def test_a_finished_run_that_is_resumed_is_finished(
    tiny: Make, dataset: Dataset, tmp_path: Path
) -> None:
    first = train(tiny(), tmp_path, dataset)
    again = train(tiny(), tmp_path, dataset, resume=True)
    assert again.finished
    assert again.losses == first.losses
    assert (first.began, again.began) == (0, 4)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_run_goes_on_longer_and_its_cosine_is_stretched(
    schedule: str,
    tiny: Make,
    dataset: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The rates from then on are those of the longer run; the history says from when."""
    train(tiny(lr_schedule=schedule), tmp_path, dataset)
    longer = tiny(lr_schedule=schedule, steps=9)
    shown = training_run.what_would_happen(longer, tmp_path, dataset, device=CPU, resume=True)
    result = train(longer, tmp_path, dataset, resume=True)
    said = capsys.readouterr().err.splitlines()
    assert said == shown[-len(said) :]
    assert said[0] == "the run is to have 9 steps, where it was to have 4"
    assert len(said) == 1 + (schedule == "cosine")
    assert (result.began, len(result.losses), result.finished) == (4, 9, True)
    rates = [row["learning_rate"] for row in runs.load_metrics(tmp_path) if "step" in row]
    expected = [learning_rate(longer.train, k, 4 if k < 4 else 9) for k in range(9)]
    assert rates == expected
    assert runs.load_config(tmp_path) == longer
    assert [(e["from_step"], e["steps"]) for e in history.read(tmp_path)] == [(0, 4), (4, 9)]
    if schedule == "constant":  # the same as if it had been that long from the start
        assert result.losses == steps_alone(longer, dataset)[1]
    train(longer, tmp_path, dataset, resume=True)  # says nothing, adds nothing
    assert capsys.readouterr().err == ""
    assert len(history.read(tmp_path)) == 2
    with pytest.raises(ValueError, match="has 9 steps already, and is to have 8; steps and epochs"):
        train(tiny(lr_schedule=schedule, steps=8), tmp_path, dataset, resume=True)


def test_a_dry_run_writes_nothing_and_refuses_what_the_run_would(
    tiny: Make, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    lines = training_run.what_would_happen(tiny(), run, dataset, device=CPU)
    assert list(tmp_path.iterdir()) == []
    training_run.train(tiny(), run, dataset, device=CPU)
    assert capsys.readouterr().err.splitlines()[: len(lines)] == lines
    with pytest.raises(ValueError, match="holds a run; go on with --resume"):
        training_run.what_would_happen(tiny(), run, dataset, device=CPU)


def test_checkpoints_and_grids_when_they_are_due(
    tiny: Make, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, drawn = [], []
    real = RunFiles.save

    def save(self: RunFiles, state: TrainingState, *rest: Any) -> None:
        saved.append(state.step)
        real(self, state, *rest)

    def draw_grid(unet: Any, scheduler: Any, path: Path) -> None:
        drawn.append((path.relative_to(tmp_path).as_posix(), unet.conv_in.weight.clone()))

    monkeypatch.setattr(RunFiles, "save", save)
    config = tiny(steps=7, save_every=2, sample_every=3, ema_decay=0.9)
    train(config, tmp_path, dataset, draw_grid=draw_grid)
    assert saved == [0, 2, 3, 4, 6, 7]
    assert [name for name, _ in drawn] == [f"samples/step_00000{k}.png" for k in (3, 6, 7)]
    state = steps_alone(config, dataset)[0]
    assert torch.equal(drawn[-1][1], state.ema.average["conv_in.weight"])
    drawn.clear()
    train(tiny(), tmp_path, dataset, draw_grid=draw_grid, force=True)
    assert [name for name, _ in drawn] == ["samples/step_000004.png"]  # one at the end


def test_the_bar_shows_loss_speed_and_time_left(
    tiny: Make,
    dataset: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress_bar, "EVERY", 0.0)  # each time that it is drawn, not now and then
    config = tiny(steps=FLUSH_EVERY + 1, model=tiny().model)
    result = training_run.train(config, tmp_path, dataset, device=CPU)
    shown = capsys.readouterr().err
    mean = sum(result.losses[:FLUSH_EVERY]) / FLUSH_EVERY
    assert f"loss={mean:.4f}" in shown
    assert re.search(r"images/s=\d+", shown)
    assert re.search(r"21/21 \[\d\d:\d\d<\d\d:\d\d", shown)  # passed < left
    train(tiny(), tmp_path, dataset, force=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("option", ["loss", "weights"])
def test_a_run_that_diverges_stops_and_keeps_its_last_checkpoint(
    option: str, tiny: Make, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights may be infinite after a step whose loss has not told it yet."""
    config = tiny(
        steps=9, save_every=1, learning_rate=1e30, gradient_clip=None, lr_schedule="constant"
    )
    says = r"the (loss|norm of the gradient) of step \d is (nan|inf): the run has diverged"
    if option == "weights":
        config = replace(config, train=replace(config.train, steps=1, learning_rate=1e-3))
        says = "conv_in.weight is not finite after step 0: the run has diverged"

        def update(self: torch.optim.Optimizer, closure: Any = None) -> None:
            self.param_groups[0]["params"][0].data.fill_(float("inf"))

        monkeypatch.setattr(torch.optim.AdamW, "step", update)
    with pytest.raises(ValueError, match=says):
        train(config, tmp_path, dataset)
    last = sorted((tmp_path / checkpoints.FOLDER).iterdir())[-1]
    for tensor in safetensors.torch.load_file(last / checkpoints.STATE).values():
        assert tensor.isfinite().all()
    unet, _ = runs.load_parts(tmp_path, "scratch")
    assert all(p.isfinite().all() for p in unet.parameters())


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[Any], None]]:
    """Sets what Ctrl-C does, as a job in the background starts with it ignored."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_saves_and_a_second_one_interrupts_at_once(
    tiny: Make, dataset: Dataset, tmp_path: Path, ctrl_c: Callable[[Any], None]
) -> None:
    ctrl_c(signal.default_int_handler)
    times = [1]

    def draw_grid(unet: Any, scheduler: Any, path: Path) -> None:
        for _ in range(times[0]):
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    config = tiny(steps=9, save_every=9, sample_every=2)
    result = train(config, tmp_path, dataset, draw_grid=draw_grid)
    assert not result.finished
    assert len(result.losses) == 3  # noted while the grid after step 2 was drawn; one more step
    assert len([row for row in runs.load_metrics(tmp_path) if "step" in row]) == 3
    assert signal.getsignal(signal.SIGINT) is before

    times[0] = 2
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, dataset, resume=True, draw_grid=draw_grid)
    assert signal.getsignal(signal.SIGINT) is before
    assert len([row for row in runs.load_metrics(tmp_path) if "step" in row]) == 4

    whole = train(config, tmp_path, dataset, resume=True)
    assert whole.losses == steps_alone(config, dataset)[1]


def test_an_ignored_ctrl_c_stays_ignored(
    tiny: Make, dataset: Dataset, tmp_path: Path, ctrl_c: Callable[[Any], None]
) -> None:
    def draw_grid(unet: Any, scheduler: Any, path: Path) -> None:
        signal.raise_signal(signal.SIGINT)

    ctrl_c(signal.SIG_IGN)
    assert train(tiny(sample_every=2), tmp_path, dataset, draw_grid=draw_grid).finished


@pytest.mark.parametrize("count", [1, 2])
def test_one_of_several_that_fails_is_not_cut_off(
    count: int, ctrl_c: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the signal with which a launcher ends the rest; alone, a signal ends it as before."""
    monkeypatch.setattr(processes, "count", lambda: count)
    ctrl_c(signal.default_int_handler)
    with pytest.raises(ValueError, match="lost"), training_run.ending_asked():
        raise ValueError("lost")
    after = signal.getsignal(signal.SIGINT)
    if count > 1:
        signal.raise_signal(signal.SIGINT)  # noted by nobody
    assert (after is signal.default_int_handler) == (count == 1)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_training_in_a_thread_needs_no_signals(
    tiny: Make, dataset: Dataset, tmp_path: Path
) -> None:
    results = []
    thread = threading.Thread(target=lambda: results.append(train(tiny(), tmp_path, dataset)))
    thread.start()
    thread.join()
    assert results[0].finished


def test_diffusers_is_refused_a_variance_that_it_draws_nan_with(
    tiny: Make, dataset: Dataset, tmp_path: Path
) -> None:
    """Before the work: the grid at its end could not be drawn. Ours has that variance."""
    changes = {"variance_type": "fixed_large_log"}
    with pytest.raises(
        ValueError, match=r"'fixed_large_log' is not one of .* scratch backend does"
    ):
        train(tiny(backend="diffusers", **changes), tmp_path / "run", dataset)
    assert list(tmp_path.iterdir()) == []
    assert train(tiny(**changes), tmp_path / "run", dataset).finished


def test_a_run_that_exists_is_kept_unless_forced(
    tiny: Make, dataset: Dataset, tmp_path: Path
) -> None:
    before = train(tiny(), tmp_path, dataset)
    with pytest.raises(ValueError, match="holds a run; go on with --resume, or replace it with"):
        train(tiny(steps=2), tmp_path, dataset)
    assert len(runs.load_metrics(tmp_path)) >= len(before.losses)
    assert len(train(tiny(steps=2), tmp_path, dataset, force=True).losses) == 2
    assert len(train(tiny(steps=2), tmp_path, dataset, resume=True).losses) == 2
