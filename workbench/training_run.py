"""A whole training run: the trainer's steps, with a progress bar, checkpoints and sample grids."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from workbench import checkpoints, processes, runs
from workbench.config import RunConfig
from workbench.ema import sampling_weights
from workbench.metrics import FLUSH_EVERY, Metrics
from workbench.trainer import TrainingState, new_parts, new_state, training_steps

if TYPE_CHECKING:
    from workbench.data import Dataset


@dataclass
class TrainResult:
    """What `train` returns.

    Attributes:
        folder: the run.
        losses: one for each step from the first of the run on.
        epoch_losses: their mean over each whole pass through the data.
        finished: False if it was interrupted.
    """

    folder: Path
    losses: list[float]
    epoch_losses: list[float]
    finished: bool


def train(
    config: RunConfig,
    folder: Path,
    dataset: "Dataset",
    *,
    device: torch.device,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    draw_grid: Callable[[Any, Any, Path], None] | None = None,
    scheduler: Any = None,
    make_unet: Callable[[tuple[int, int, int]], Any] | None = None,
) -> TrainResult:
    """Train a run from its config, with a progress bar, checkpoints and sample grids.

    Ctrl-C lets the running step end, saves, and returns. Under `torchrun` every process calls this,
    and the first one writes.

    Args:
        config: the run's.
        folder: where to write the run, or with `resume` one that holds a checkpoint.
        dataset: the images that `config.data` names.
        device: where to train.
        resume: go on from the folder's checkpoint.
        force: replace the run that the folder holds.
        progress: whether to show the bar.
        draw_grid: called as `draw_grid(unet, scheduler, path)` with the weights to sample with.
        scheduler, make_unet: parts of your own; see `workbench.trainer.new_parts`.

    Raises:
        ValueError: the data do not fit the model, the folder holds something, the checkpoint cannot
            be read, or the loss is no longer a number (the checkpoint before that is kept).
    """
    from tqdm.auto import tqdm

    # Refuses what does not fit, so it comes first.
    unet, scheduler = new_parts(config, dataset, scheduler=scheduler, make_unet=make_unet)
    if not resume and processes.is_first():
        runs.prepare(folder, force)
    state = new_state(unet.to(device), config.train)
    metrics = Metrics(config.train.batch_size, len(dataset.images))
    if resume:
        metrics.go_on(checkpoints.load(folder, state))
    kept = _Kept(folder, config, state, scheduler, metrics, draw_grid)
    total = config.train.total_steps(len(dataset.images))
    save_every, grid_every = config.train.save_every, config.train.sample_every or total
    shown = progress and processes.is_first()
    bar = tqdm(total=total, initial=state.step, disable=not shown, desc=config.backend)
    with processes.joined(device), interrupt_asked() as asked, bar:
        on_device = dataset.to(device)
        for step in training_steps(state, scheduler, on_device, config.train, config.seed):
            metrics.add(step)
            bar.update()
            done = step.index + 1
            if done % FLUSH_EVERY == 0:
                metrics.read()
                bar.set_postfix(metrics.in_words(bar.format_dict["rate"]), refresh=False)
            if stop_now(asked(), done, device):
                kept.save(grid=False)
                break
            grid = done % grid_every == 0 or done == total
            if grid or done % save_every == 0:
                kept.save(grid)
    return TrainResult(folder, metrics.losses, metrics.epoch_losses(), state.step == total)


@dataclass
class _Kept:
    """What the first process writes of a run: checkpoints, and grids of what it draws by then."""

    folder: Path
    config: RunConfig
    state: TrainingState
    scheduler: Any
    metrics: Metrics
    draw_grid: Callable[[Any, Any, Path], None] | None

    def save(self, grid: bool) -> None:
        self.metrics.read()
        if not processes.is_first():
            return
        state = self.state
        checkpoints.save(self.folder, self.config, state, self.scheduler, self.metrics.rows())
        if grid and self.draw_grid is not None:
            path = self.folder / "samples" / f"step_{state.step:06d}.png"
            with sampling_weights(state.unet, state.ema) as unet:
                self.draw_grid(unet, self.scheduler, path)


def stop_now(asked: bool, done: int, device: torch.device) -> bool:
    """Whether all processes stop after this step; several agree on it every `FLUSH_EVERY` steps."""
    if processes.count() == 1:
        return asked
    return done % FLUSH_EVERY == 0 and processes.any_of_us(asked, device)


@contextmanager
def interrupt_asked() -> Iterator[Callable[[], bool]]:
    """Within the block the first Ctrl-C is only noted; the second one interrupts at once."""
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or before is signal.SIG_IGN:  # Ctrl-C does not come here
        yield lambda: False
        return
    noted = False

    def note(number: int, frame: Any) -> None:
        nonlocal noted
        noted = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, before)
