"""One trainer for both backends: Algorithm 1 of Ho et al. 2020 (arXiv:2006.11239).

`training_steps` is the algorithm, a generator that any loop can drive; `train` is the loop that the
command line runs, with a progress bar, checkpoints and sample grids around it. Both also run in
several processes under `torchrun`, which share out each batch and learn the same weights as one.
"""

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import mse_loss

from workbench import backends, processes, runs
from workbench.config import RunConfig, TrainConfig
from workbench.draws import DROPOUT, WEIGHTS, Draws, batch_draws, global_generator_at, seed_of
from workbench.ema import EMA
from workbench.sampling import refuse_wrong_config

if TYPE_CHECKING:
    from workbench.data import Dataset

FLUSH_EVERY = 20  # steps between two readings of the losses, which make a GPU wait


@dataclass
class TrainingState:
    """What changes while training, and what a checkpoint holds.

    Attributes:
        unet: either backend's, on its device, with the raw weights.
        optimizer: of its parameters.
        ema: the averaged weights, or None.
        step: how many steps are done.
    """

    unet: Any
    optimizer: torch.optim.Optimizer
    ema: EMA | None
    step: int = 0


@dataclass(frozen=True)
class Step:
    """One finished training step.

    Attributes:
        index: k = 0, 1, ...
        loss: of the whole batch, 0-dim float32 on the device; reading it waits for the device.
        learning_rate: that was used.
    """

    index: int
    loss: torch.Tensor
    learning_rate: float


def new_state(unet: Any, config: TrainConfig) -> TrainingState:
    """The state before the first step."""
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer = kinds[config.optimizer](
        unet.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    ema = None if config.ema_decay is None else EMA(unet, config.ema_decay)
    return TrainingState(unet, optimizer, ema)


def learning_rate(config: TrainConfig, step: int, total_steps: int) -> float:
    """The rate of step k: a linear rise over `warmup_steps`, then constant or half a cosine."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / (config.warmup_steps + 1)
    if config.lr_schedule == "constant":
        return config.learning_rate
    done = (step - config.warmup_steps) / max(total_steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def training_steps(
    state: TrainingState, scheduler: Any, dataset: "Dataset", config: TrainConfig, seed: int
) -> Iterator[Step]:
    """Train from `state.step` to the end, one step each time the next one is asked for.

    Args:
        state: changed in place.
        scheduler: either backend's; its `set_timesteps` is never called.
        dataset: images (n, c, h, w) in [-1, 1], on the device of the UNet.
        config: how to learn.
        seed: with the step's index, decides every random number; the global generators are left as
            they were.

    Raises:
        ValueError: several processes cannot share out the batch evenly.
    """
    unet, device = state.unet, state.unet.device
    total_steps = config.total_steps(len(dataset.images))
    shape, T = tuple(dataset.images.shape[1:]), scheduler.config.num_train_timesteps
    rank, count = processes.rank(), processes.count()
    draw_on = device if config.draw_on == "device" else torch.device("cpu")

    def draw(step: int) -> Draws:
        size, n = config.batch_size, len(dataset.images)
        return batch_draws(seed, step, size, n, T, shape, draw_on).share(rank, count).to(device)

    draws = draw(state.step)
    while (k := state.step) < total_steps:
        # region: training_step
        # 1. images, and the noise that is added to them
        x_0 = dataset.images[draws.indices]
        if config.flip:
            x_0 = flip_some(x_0, draws.uniform[0])
        eps, t = draws.noise, draws.timesteps
        x_t = scheduler.add_noise(x_0, eps, t)

        # 2. what the network should say, and what it says
        target = target_of(scheduler, x_0, eps, t)
        labels = labels_of(dataset, draws, config)
        unet.train()  # whoever drives this loop may have drawn pictures since the last step
        with (
            global_generator_at(device, seed_of(seed, DROPOUT, k, rank)),
            torch.autocast(device.type, torch.bfloat16, config.bf16),
        ):
            prediction = unet(x_t, t, class_labels=labels).sample
        loss = mse_loss(prediction.float(), target)

        # 3. one step down the gradient
        rate = learning_rate(config, k, total_steps)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        state.optimizer.zero_grad()
        loss.backward()
        processes.average_gradients(unet)
        if config.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(unet.parameters(), config.gradient_clip)
        state.optimizer.step()
        if state.ema is not None:
            state.ema.update(unet)
        # endregion: training_step
        state.step += 1
        draws = draw(state.step)  # while the device still computes
        yield Step(k, processes.average(loss.detach()), rate)


def target_of(
    scheduler: Any, x_0: torch.Tensor, eps: torch.Tensor, t: torch.Tensor
) -> torch.Tensor:
    """What the network is to predict, by the scheduler's `prediction_type`: eps, x_0 or v."""
    if scheduler.config.prediction_type == "v_prediction":
        return scheduler.get_velocity(x_0, eps, t)
    return x_0 if scheduler.config.prediction_type == "sample" else eps


def flip_some(images: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Mirror an image (c, h, w) left to right where its number in [0, 1) is below one half."""
    chosen = (uniform < 0.5).reshape(-1, 1, 1, 1)  # (b, 1, 1, 1)
    return torch.where(chosen, images.flip(-1), images)


def labels_of(dataset: "Dataset", draws: Draws, config: TrainConfig) -> torch.Tensor | None:
    """The labels (b,) of a step, some replaced by "no label" (the number of classes), or None."""
    if not config.class_conditional:
        return None
    assert dataset.labels is not None  # by new_parts
    dropped = draws.uniform[1] < config.label_dropout
    return dataset.labels[draws.indices].masked_fill(dropped, dataset.num_classes)


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


@dataclass
class Metrics:
    """Losses and learning rates, step by step; unread losses stay on the device."""

    batch_size: int
    num_images: int
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    _unread: list[torch.Tensor] = field(default_factory=list)

    def add(self, step: Step) -> None:
        self.rates.append(step.learning_rate)
        self._unread.append(step.loss)

    def read(self) -> None:
        """Fetch the unread losses in one go.

        Raises:
            ValueError: one is not finite: the run has diverged.
        """
        new = torch.stack(self._unread).tolist() if self._unread else []
        for k, loss in enumerate(new, start=len(self.losses)):
            if not math.isfinite(loss):
                raise ValueError(
                    f"the loss of step {k} is {loss}: the run has diverged; "
                    "try a lower learning_rate, or a gradient_clip"
                )
        self.losses += new
        self._unread = []

    def in_words(self, steps_per_second: float | None) -> dict[str, str]:
        """What the progress bar shows: the mean of the last losses, and images per second."""
        recent = self.losses[-FLUSH_EVERY:]
        speed = (steps_per_second or 0) * self.batch_size
        return {"loss": f"{sum(recent) / len(recent):.4f}", "images/s": f"{speed:.0f}"}

    def rows(self) -> list[dict[str, float]]:
        """One row for each step, and after its last step one for each epoch.

        A step belongs to the epoch of its first image. Later rows never change earlier ones, so
        the file that holds them only grows.
        """
        rows: list[dict[str, float]] = []
        epoch: list[float] = []
        for k, (loss, rate) in enumerate(zip(self.losses, self.rates, strict=True)):
            rows.append({"step": k, "loss": loss, "learning_rate": rate})
            epoch.append(loss)
            number = k * self.batch_size // self.num_images
            if (k + 1) * self.batch_size >= (number + 1) * self.num_images:
                rows.append({"epoch": number, "mean_loss": sum(epoch) / len(epoch)})
                epoch = []
        return rows

    def epoch_losses(self) -> list[float]:
        """The mean loss of each whole epoch."""
        return [row["mean_loss"] for row in self.rows() if "epoch" in row]


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

    Raises:
        ValueError: the data do not fit the model, the folder holds something, the checkpoint cannot
            be read, or the loss is no longer a number (the checkpoint before that is kept).
    """
    from tqdm.auto import tqdm

    unet, scheduler = new_parts(config, dataset)  # refuses what does not fit, so it comes first
    if not resume and processes.is_first():
        runs.prepare(folder, force)
    state = new_state(unet.to(device), config.train)
    metrics = Metrics(config.train.batch_size, len(dataset.images))
    if resume:
        rows = runs.load_checkpoint(folder, state)
        metrics.losses = [row["loss"] for row in rows]
        metrics.rates = [row["learning_rate"] for row in rows]
    total = config.train.total_steps(len(dataset.images))
    save_every, grid_every = config.train.save_every, config.train.sample_every or total

    def checkpoint(grid: bool) -> None:
        metrics.read()
        if not processes.is_first():
            return
        runs.save_checkpoint(folder, config, state, scheduler, metrics.rows())
        if grid and draw_grid is not None:
            with sampling_weights(state) as sampled:
                draw_grid(sampled, scheduler, folder / "samples" / f"step_{state.step:06d}.png")

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
                checkpoint(grid=False)
                break
            grid = done % grid_every == 0 or done == total
            if grid or done % save_every == 0:
                checkpoint(grid)
    return TrainResult(folder, metrics.losses, metrics.epoch_losses(), state.step == total)


def stop_now(asked: bool, done: int, device: torch.device) -> bool:
    """Whether all processes stop after this step; several agree on it every `FLUSH_EVERY` steps."""
    if processes.count() == 1:
        return asked
    return done % FLUSH_EVERY == 0 and processes.any_of_us(asked, device)


def new_parts(config: RunConfig, dataset: "Dataset") -> tuple[Any, Any]:
    """A fresh UNet and scheduler for a run, on the CPU; the weights depend on `config.seed` alone.

    Raises:
        ValueError: the pictures cannot be halved as often as the UNet does, labels are missing,
            two settings contradict each other, or no chain of the backend can be right with them.
    """
    if config.train.class_conditional and dataset.labels is None:
        raise ValueError(
            f"class_conditional needs labels, and {config.data!r} has none; see --labels"
        )
    classes = dataset.num_classes if config.train.class_conditional else None
    _, c, h, w = dataset.images.shape
    of_unet = config.model.unet_arguments((c, h, w), classes)
    of_scheduler = config.diffusion.scheduler_arguments()
    if config.backend == "diffusers":
        # It takes in silence, or breaks on, what ours refuses with a reason.
        judge = backends.load("scratch")
        judge.DDPMScheduler(**of_scheduler)
        with torch.device("meta"):
            judge.UNet2DModel(**of_unet)

    backend = backends.load(config.backend)
    scheduler = backend.DDPMScheduler(**of_scheduler)
    refuse_wrong_config(config.backend, scheduler)
    with global_generator_at(torch.device("cpu"), seed_of(config.seed, WEIGHTS)):
        return backend.UNet2DModel(**of_unet), scheduler


@contextmanager
def sampling_weights(state: TrainingState) -> Iterator[Any]:
    """The UNet with the weights to sample with: the averaged ones, if there are any."""
    if state.ema is None:
        yield state.unet
    else:
        with state.ema.applied_to(state.unet):
            yield state.unet


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
