"""One trainer for both backends: Algorithm 1 of Ho et al. 2020 (arXiv:2006.11239).

`training_steps` is the algorithm, a generator that any loop can drive: `workbench.training_run` is
the one of the command line. Under `torchrun` it runs in several processes, which share out each
batch and learn the same weights as one; `workbench.processes` says how.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from workbench import backends, processes
from workbench.config import RunConfig, TrainConfig
from workbench.draws import (
    DROPOUT,
    WEIGHTS,
    Draws,
    batch_draws,
    global_generator_at,
    image_indices,
    seed_of,
)
from workbench.ema import EMA
from workbench.fast import say_it
from workbench.fast_training import make_fast
from workbench.one_step import OneStep, TrainingState
from workbench.sampling import refuse_wrong_config, refuse_wrong_steps

if TYPE_CHECKING:
    from workbench.data import Dataset


@dataclass(frozen=True)
class Step:
    """One finished training step.

    Attributes:
        index: k = 0, 1, ...
        loss: of the whole batch, 0-dim float32 on the device; reading it waits for the device.
        learning_rate: that was used.
        gradient_norm: before it was clipped, 0-dim float32 on the device.
    """

    index: int
    loss: torch.Tensor
    learning_rate: float
    gradient_norm: torch.Tensor


def new_parts(
    config: RunConfig,
    dataset: "Dataset",
    *,
    scheduler: Any = None,
    make_unet: Callable[[tuple[int, int, int]], Any] | None = None,
) -> tuple[Any, Any]:
    """A fresh UNet and scheduler for a run, on the CPU; the weights depend on `config.seed` alone.

    Args:
        config: the run's.
        dataset: the images.
        scheduler: one of your own, in the place of the backend's.
        make_unet: image_shape (c, h, w) -> a network of your own, in the place of the backend's.

    Raises:
        ValueError: the pictures cannot be halved as often as the UNet does, labels are missing,
            two settings contradict each other, or no chain of the backend can be right with them.
    """
    if config.train.class_conditional and dataset.labels is None:
        raise ValueError(
            f"class_conditional needs labels, and {config.data!r} has none; see --labels"
        )
    _, c, h, w = dataset.shape
    make = _unet_of(config, dataset) if make_unet is None else make_unet
    scheduler = _new_scheduler(config) if scheduler is None else scheduler
    with global_generator_at(torch.device("cpu"), seed_of(config.seed, WEIGHTS)):
        return make((c, h, w)), scheduler


def _new_scheduler(config: RunConfig) -> Any:
    arguments = config.diffusion.scheduler_arguments()
    backend, strict = backends.load(config.backend), backends.load("scratch")
    if backend is not strict:  # it refuses with a reason what a library takes in silence
        strict.DDPMScheduler(**arguments)
    scheduler = backend.DDPMScheduler(**arguments)
    refuse_wrong_config(config.backend, scheduler)
    if config.train.sample_steps is not None:  # else after the work, when the grid is drawn
        refuse_wrong_steps(config.backend, scheduler, config.train.sample_steps)
    return scheduler


def _unet_of(config: RunConfig, dataset: "Dataset") -> Callable[[tuple[int, int, int]], Any]:
    """What makes the backend's UNet, its arguments checked."""
    classes = dataset.num_classes if config.train.class_conditional else None
    _, c, h, w = dataset.shape
    arguments = config.model.unet_arguments((c, h, w), classes)
    backend, strict = backends.load(config.backend), backends.load("scratch")
    if backend is not strict:  # it refuses with a reason what a library takes in silence
        with torch.device("meta"):
            strict.UNet2DModel(**arguments)
    return lambda _: backend.UNet2DModel(**arguments)


def new_state(unet: Any, config: TrainConfig) -> TrainingState:
    """The state before the first step."""
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer = kinds[config.optimizer](
        unet.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        # How many steps Adam has taken is then on the device, as what decides over it is.
        capturable=(config.skip_nonfinite or config.fast) and unet.device.type == "cuda",
        fused=True if _takes_one_kernel(config, unet.device) else None,
    )
    ema = None if config.ema_decay is None else EMA(unet, config.ema_decay)
    scale = torch.tensor([2.0**16, 0.0], dtype=torch.float64)  # where GradScaler begins
    return TrainingState(
        unet, optimizer, ema, loss_scale=scale if config.precision == "fp16" else None
    )


def _takes_one_kernel(config: TrainConfig, device: torch.device) -> bool:
    """Whether Adam is one kernel. Not in fp16: a step that overflows is then left out inside of it,
    and nobody is told."""
    return config.fast and config.precision != "fp16" and device.type in ("cpu", "cuda")


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
        dataset: images (n, c, h, w), for the device of the UNet.
        config: how to learn.
        seed: with the step's index, decides every random number; the global generators are left as
            they were.
    """
    device, total_steps = state.unet.device, config.total_steps(len(dataset))
    shape, T = dataset.shape[1:], scheduler.config.num_train_timesteps
    rank, count, size = processes.rank(), processes.count(), config.images_a_step
    draw_on = device if config.draw_on == "device" else torch.device("cpu")
    shares = config.accumulate * count  # of a batch, every `count`-th of which is this process's

    def draw(step: int) -> list[Draws]:
        whole = batch_draws(seed, step, size, len(dataset), T, shape, draw_on)
        return [part.to(device) for part in whole.parts(shares)[rank::count]]

    order = (
        image_indices(seed, k, size, len(dataset))[i::shares]
        for k in range(state.step, total_steps)
        for i in range(rank, shares, count)
    )
    work = OneStep(state, scheduler, config)
    if config.fast and state.step < total_steps:
        make_fast(work, (config.batch_size, *shape), say_it)
    batches = dataset.batches(order)  # of a stream, read ahead
    images, parts = list(islice(batches, config.accumulate)), draw(state.step)
    while (k := state.step) < total_steps:
        work.begin(rate := learning_rate(config, k, total_steps))
        for x_0, part in zip(images, work.in_turn(parts), strict=True):
            labels = labels_of(dataset, part, config)
            work.learn(x_0, part, labels, seed_of(seed, DROPOUT, k, part.number))
        if not work.finish():
            continue  # fp16 overflowed: once more, with a smaller scale
        if state.ema is not None:
            state.ema.updates += 1
        state.step += 1
        images, parts = list(islice(batches, config.accumulate)), draw(state.step)  # meanwhile
        yield Step(k, work.loss.clone(), rate, work.norm.clone())


def labels_of(dataset: "Dataset", draws: Draws, config: TrainConfig) -> torch.Tensor | None:
    """The labels (b,) of a step, some replaced by "no label" (the number of classes), or None."""
    if not config.class_conditional:
        return None
    assert dataset.labels is not None  # by new_parts
    dropped = draws.uniform[1] < config.label_dropout
    return dataset.labels[draws.indices].masked_fill(dropped, dataset.num_classes)
