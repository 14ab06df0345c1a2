"""What one training step computes and changes, for the trainer as for its fast path."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.nn.utils import clip_grad_norm_

from workbench import processes
from workbench.config import TrainConfig
from workbench.draws import Draws, global_generator_at
from workbench.ema import EMA
from workbench.skipping import kept_if_finite


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
