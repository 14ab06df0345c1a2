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
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.nn.utils import clip_grad_norm_

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
from workbench.sampling import refuse_wrong_config, refuse_wrong_steps
from workbench.skipping import kept_if_finite

if TYPE_CHECKING:
    from workbench.data import Dataset


@dataclass
class TrainingState:
    """What changes while training, and what a checkpoint holds.

    Attributes:
        unet: either backend's, on its device, with the raw weights.
        optimizer: of its parameters.
        ema: the averaged weights, or None.
        step: how many steps are done.
        loss_scale: of fp16, (2,) float64 on the CPU: the factor, and for how many steps it has
            held; None in any other precision.
    """

    unet: Any
    optimizer: torch.optim.Optimizer
    ema: EMA | None
    step: int = 0
    loss_scale: torch.Tensor | None = None


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


class OneStep:
    """What one training step computes: `begin`, then `learn` from each part, then `finish`.

    What changes from step to step comes in as an argument or lies in a tensor, and but for fp16's
    loss scaling nothing is read from the device. So `workbench.fast_training` may have the network
    compiled, and put CUDA graphs that repeat them in the place of `compute` and `finish`.

    Args:
        state: changed in place, but for the counts of steps.
        scheduler: either backend's.
        config: how to learn.

    Attributes:
        model: a `processes.Predictor`, as Accelerate prepared it.
        loss, norm: of the step, and of its gradient before it was clipped, 0-dim float32 on the
            device; the next step overwrites them.
        rate: the learning rate, 0-dim float32 on the device; used if `fixed`.
        averaging: 1 - decay of the moving average.
        fixed: whether gradients, `rate` and `averaging` keep their places in memory.
        compute: `gradient`, or what does the same.
        finish: `update`, or what does the same.
    """

    def __init__(self, state: TrainingState, scheduler: Any, config: TrainConfig) -> None:
        self.state, self.scheduler, self.config = state, scheduler, config
        self.device = state.unet.device
        self.count, self.size = processes.count(), config.images_a_step
        self.accelerator, self.model, self.optimizer = processes.prepared(
            state.unet, state.optimizer, config.precision, state.loss_scale
        )
        self.loss, self.norm, self.rate = (torch.zeros((), device=self.device) for _ in range(3))
        self.averaging: float | torch.Tensor = 0.0
        self.fixed = False
        self.compute: Callable[..., None] = self.gradient
        self.finish: Callable[[], bool] = self.update

    def begin(self, rate: float) -> None:
        """No gradient and no loss yet; the learning rate and the averaging of this step."""
        averaging = 0.0 if self.state.ema is None else self.state.ema.next_weight()
        if isinstance(self.averaging, torch.Tensor):  # fixed
            self.rate.fill_(rate)
            self.averaging.fill_(averaging)
        else:
            self.averaging = averaging
            for group in self.optimizer.param_groups:
                group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=not self.fixed)
        self.loss.zero_()
        self.state.unet.train()  # whoever drives this may have drawn pictures

    def in_turn(self, parts: list[Draws]) -> Iterator[Draws]:
        """The parts of a batch; processes exchange their gradients in the last one."""
        return processes.in_turn(parts, self.accelerator, self.model)

    def fix(self) -> None:
        """From now on whatever changes from step to step is changed where it lies."""
        self.fixed, self.averaging = True, torch.zeros((), device=self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate

    def overflowed(self) -> bool:
        """Whether fp16 overflowed in the step that was tried, so that nothing has moved."""
        return processes.overflowed(self.accelerator, self.state.loss_scale)

    # region: training_step
    def learn(
        self,
        x_0: Tensor,
        part: Draws,
        labels: Tensor | None,
        seed: int,
    ) -> None:
        """Add what a part of the batch says to the gradient and to the loss.

        Args:
            x_0: (b, c, h, w) float32 in [-1, 1].
            part: the random numbers that go with it.
            labels: (b,) int64, or None.
            seed: of what the network drops.
        """
        # 1. images, and the noise that is added to them
        if self.config.flip:
            x_0 = flip_some(x_0, part.uniform[0])
        eps, t = part.noise, part.timesteps
        x_t = self.scheduler.add_noise(x_0, eps, t)

        # 2. what the network should say, and what it says
        target = target_of(self.scheduler, x_0, eps, t)
        with global_generator_at(self.device, seed):
            self.compute(x_t, t, labels, target)

    def gradient(
        self,
        x_t: Tensor,
        t: Tensor,
        labels: Tensor | None,
        target: Tensor,
    ) -> None:
        """What the network has to do with `learn`."""
        prediction = self.model(x_t, t, labels)
        share = len(t) * self.count / self.size  # 1 of a whole batch
        loss = share * mse_loss(prediction.float(), target)
        self.accelerator.backward(loss)
        self.loss += loss.detach()

    def update(self) -> bool:
        """Move the weights and their average, unless fp16 overflowed."""
        # 3. one step down the gradient
        state, config = self.state, self.config
        self.accelerator.unscale_gradients()
        longest = config.gradient_clip or math.inf
        weights = state.unet.parameters()
        self.norm = clip_grad_norm_(weights, longest)
        self.loss = processes.average(self.loss)
        skips = config.skip_nonfinite
        with kept_if_finite(state, self.loss, self.norm, skips):
            self.optimizer.step()
            if self.overflowed():
                return False
            if state.ema is not None:
                state.ema.move(state.unet, self.averaging)
        return True

    # endregion: training_step


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
