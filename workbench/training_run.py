"""A whole training run: the trainer's steps, with a progress bar, checkpoints and sample grids."""

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from workbench import outlook, processes, progress_bar, runs
from workbench.checkpoints import RunFiles, newest_step
from workbench.config import RunConfig, seconds_in
from workbench.ema import sampling_weights
from workbench.lock import one_writer
from workbench.metrics import FLUSH_EVERY, Metrics
from workbench.one_step import TrainingState
from workbench.torch_settings import as_asked
from workbench.trainer import new_parts, new_state, training_steps

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

    from workbench.data import Dataset
    from workbench.tracking import Tracking


@dataclass
class TrainResult:
    """What `train` returns.

    Attributes:
        folder: the run.
        losses: one for each step from the first of the run on; NaN of one that was left out.
        epoch_losses: their mean over each whole pass through the data.
        finished: False if it was asked to end before.
        ended_by: the signal that asked it to end, or 0.
        began: how many steps were done before.
    """

    folder: Path
    losses: list[float]
    epoch_losses: list[float]
    finished: bool
    ended_by: int = 0
    began: int = 0


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
    track: "str | GeneralTracker | None" = None,
) -> TrainResult:
    """Train a run from its config, with a progress bar, checkpoints and sample grids.

    A checkpoint is written before the first step. Ctrl-C, TERM and HUP let the running step end,
    save, and return. Under `torchrun` every process calls this, and the first one writes; see
    `workbench.processes.joined` for how they end.

    Args:
        config: the run's.
        folder: where to write the run, or with `resume` one that holds a checkpoint.
        dataset: the images that `config.data` names.
        device: where to train.
        resume: go on from the folder's newest whole checkpoint.
        force: replace the run that the folder holds, once the new one has its first checkpoint.
        progress: whether to show the bar, and before it `workbench.outlook`.
        draw_grid: called as `draw_grid(unet, scheduler, path)` with the weights to sample with.
        scheduler, make_unet: parts of your own; see `workbench.trainer.new_parts`.
        track: whom to tell losses, learning rates and grids beside; see `workbench.tracking`.

    Raises:
        ValueError: the data do not fit the model, the folder holds something, another process
            trains into it, no checkpoint can be gone on with, or the run has diverged (the last
            checkpoint is kept).
    """
    # Refuses what does not fit, so it comes first.
    unet, scheduler = new_parts(config, dataset, scheduler=scheduler, make_unet=make_unet)
    shown = progress and processes.is_first()
    screen = outlook.of_training(config, dataset, unet, scheduler, folder, device) if shown else []
    with ExitStack() as held:
        held.enter_context(processes.joined(device))
        processes.check(config.train.precision, device, config.train.images_a_step)
        held.enter_context(as_asked(config.train, device))
        held.enter_context(_writing(folder, resume, force))
        for line in screen:
            progress_bar.say(line, sys.stderr)
        state = new_state(unet.to(device), config.train)
        kept = _Kept(folder, config, state, scheduler, dataset, draw_grid, progress)
        kept.begin(resume)
        if track is not None and processes.is_first():
            kept.tracking = held.enter_context(_told(track, folder, config, state.step))
        metrics, total, began, ended_by = kept.metrics, kept.total, state.step, 0
        forecast = outlook.Forecast(total)
        bar = progress_bar.of(total, config.backend, shown, initial=state.step)
        with ending_asked() as asked, bar:
            on_device = dataset.to(device)
            for step in training_steps(state, scheduler, on_device, config.train, config.seed):
                metrics.add(step)
                bar.update()
                if shown and (line := forecast.after(state.step)):
                    progress_bar.beside(bar, line)
                if state.step % FLUSH_EVERY == 0:
                    kept.read()
                    bar.set_postfix(metrics.in_words(bar.format_dict["rate"]), refresh=False)
                if ended_by := processes.highest(asked()):  # so that all end after this step
                    kept.save()
                    break
                if kept.is_due():
                    kept.save()
                    kept.draw()
        finished = state.step == total
        ended_by = 0 if finished else ended_by
        losses, of_epochs = metrics.losses, metrics.epoch_losses()
        return TrainResult(folder, losses, of_epochs, finished, ended_by, began)


def what_would_happen(
    config: RunConfig,
    folder: Path,
    dataset: "Dataset",
    *,
    device: torch.device,
    resume: bool = False,
    force: bool = False,
    scheduler: Any = None,
    make_unet: Callable[[tuple[int, int, int]], Any] | None = None,
) -> list[str]:
    """The lines that `train` would say first, by the same arguments; nothing is written.

    Raises:
        ValueError: what `train` would refuse before its first step, but for damaged checkpoints.
    """
    unet, scheduler = new_parts(config, dataset, scheduler=scheduler, make_unet=make_unet)
    _check(folder, resume, force)
    lines = outlook.of_training(config, dataset, unet, scheduler, folder, device)
    if resume:
        was, step = runs.load_config(folder).train, newest_step(folder)
        lines += outlook.of_other_length(was, config.train, step, len(dataset))
        lines += outlook.of_other_path(was, config.train, step)
    return lines


def _check(folder: Path, resume: bool, force: bool) -> None:
    if resume:
        runs.check_folder(folder)
    else:
        runs.check_new(folder, force)


@contextmanager
def _writing(folder: Path, resume: bool, force: bool) -> Iterator[None]:
    """Inside the block the first process alone writes to the folder, which is ready for it."""
    if not processes.is_first():
        processes.highest(0)  # until it is ready; if it is refused, this process ends here
        yield
        return
    _check(folder, resume, force)
    with ExitStack() as held:
        held.enter_context(one_writer(folder))
        runs.clean(folder)
        if not resume and runs.make_room(folder):
            held.enter_context(one_writer(folder))  # the first lock went with the old run
        processes.highest(0)
        yield


@contextmanager
def _told(
    track: "str | GeneralTracker", folder: Path, config: RunConfig, step: int
) -> "Iterator[Tracking]":
    """A tracker of this run, until its end."""
    from workbench.tracking import Tracking

    tracking = Tracking(track, folder, config, step)
    try:
        yield tracking
    finally:
        tracking.finish()


class _Kept:
    """What the first process writes of a run: checkpoints, and grids of what it draws by then."""

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        state: TrainingState,
        scheduler: Any,
        dataset: "Dataset",
        draw_grid: Callable[[Any, Any, Path], None] | None,
        progress: bool,
    ) -> None:
        self.folder, self.config, self.state, self.scheduler = folder, config, state, scheduler
        self.draw_grid = draw_grid
        self.files = RunFiles(folder, config, dataset.fingerprint(progress))
        skips = config.train.skip_nonfinite
        self.metrics = Metrics(config.train.images_a_step, len(dataset), skips)
        every, self.total = config.train.save_every, config.train.total_steps(len(dataset))
        self.every = every if isinstance(every, int) else self.total
        self.seconds = math.inf if isinstance(every, int) else seconds_in(every)
        self.saved_at, self.saved_when = -1, time.monotonic()
        self.tracking: Tracking | None = None

    def begin(self, resume: bool) -> None:
        """Goes on from the newest whole checkpoint, or writes the first one."""
        if resume:
            found = self.files.load(self.state)
            self.metrics.go_on(found.rows)
            self.saved_at = self.state.step
            if processes.highest(self.state.step) != self.state.step:
                raise ValueError(
                    f"another process goes on from a later step than {self.state.step}: all must "
                    f"see the same {self.folder}"
                )
            if self.state.step > self.total:
                raise ValueError(
                    f"{self.folder} has {self.state.step} steps already, and is to have "
                    f"{self.total}; steps and epochs are counted from its beginning"
                )
        if not processes.is_first():
            return
        if resume:
            was, now = runs.load_config(self.folder).train, self.config.train
            longer = outlook.of_other_length(was, now, self.state.step, self.metrics.num_images)
            other = outlook.of_other_path(was, now, self.state.step)
            for line in (*found.skipped, *longer, *other):
                progress_bar.say(line, sys.stderr)
            self.files.metrics.go_on(self.metrics.rows())
            self.files.write_config(self.state.step)
            if not found.skipped:
                self.files.prune()  # what a run that was killed did not come to
            self.files.write_pipeline(self.state, self.scheduler)
            self.draw()
        else:
            self.save()
        runs.drop_replaced(self.folder)

    def is_due(self) -> bool:
        """Whether a checkpoint is to be written after this step."""
        passed = time.monotonic() - self.saved_when >= self.seconds
        return passed or self.state.step % self.every == 0 or self._shows_grid()

    def read(self) -> None:
        """Fetches the losses that are unread, and tells them whoever tracks the run."""
        self.metrics.read()
        if self.tracking is not None:
            self.tracking.tell(self.metrics.losses, self.metrics.rates)

    def save(self) -> None:
        """Writes a checkpoint, unless there is one of this step, and what one samples with."""
        self.read()
        if not processes.is_first() or self.state.step == self.saved_at:
            return
        self.files.save(self.state, self.scheduler, self.metrics.rows())
        self.saved_at, self.saved_when = self.state.step, time.monotonic()

    def draw(self) -> None:
        """Draws the grid of this step, if there is to be one and it is not there."""
        path = self.folder / "samples" / f"step_{self.state.step:06d}.png"
        if not self._shows_grid() or path.exists() or self.draw_grid is None:
            return
        if processes.is_first():
            with sampling_weights(self.state.unet, self.state.ema) as unet:
                self.draw_grid(unet, self.scheduler, path)
            if self.tracking is not None:
                self.tracking.show(path, self.state.step)

    def _shows_grid(self) -> bool:
        every = self.config.train.sample_every or self.total
        return self.state.step > 0 and (
            self.state.step % every == 0 or self.state.step == self.total
        )


ENDINGS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@contextmanager
def ending_asked() -> Iterator[Callable[[], int]]:
    """Within the block the first Ctrl-C, TERM or HUP is only noted, and its number is given; the
    second one does what it did before.

    Where one of several processes leaves the block by an error, it stays so: a launcher that has
    seen another one end sends TERM, which would cut off the line that says why.
    """
    before = {number: signal.getsignal(number) for number in ENDINGS}
    heard = [number for number in ENDINGS if before[number] is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():  # signals do not come here
        yield lambda: 0
        return
    noted = 0

    def back() -> None:
        for number in heard:
            signal.signal(number, before[number])

    def note(number: int, frame: Any) -> None:
        nonlocal noted
        noted = number
        back()

    for number in heard:
        signal.signal(number, note)
    try:
        yield lambda: noted
    except BaseException:
        if processes.count() == 1:
            back()
        raise
    back()
