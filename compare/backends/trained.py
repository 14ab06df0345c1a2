"""A run that is watched, and how far from it another float32 run of the same may come.

Two float32 runs cannot stay equal bit for bit: their sums run in another order. How far apart they
may come is worked out along the run, weight by weight. Adam moves a weight by lr m / (sqrt(v) +
eps), whatever the size of its gradient; so a gradient that is off by delta moves it by about
lr delta / sqrt(v) more, and one that is nothing but rounding may move it by lr either way. The
bound is the sum over all steps of lr min(2, delta / (sqrt(v) + eps)), with delta = `SLOPE` times
the largest root of v of that tensor: tight where a weight learns, loose where only rounding moves
it, such as the biases of attention's keys. `SLOPE` leaves room for such a weight to move the
gradients of others: 12 % of the bound in the worst of 130 runs, 1 % in most.

Source of Adam: Kingma & Ba 2014 (arXiv:1412.6980), algorithm 1.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from compare.measure.check import Check, found
from compare.measure.tolerances import FACTOR, UNIT
from compare.measure.values import values

if TYPE_CHECKING:
    from workbench.config import RunConfig
    from workbench.data import Dataset
    from workbench.one_step import TrainingState


SLOPE = 1e-3  # of a tensor's largest: what gradients are allowed anywhere here
FLOOR = 1e-3  # tensors whose gradients are smaller are measured by this much of the largest


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        start: the weights before the first step.
        weights: and after the last.
        largest: and the largest that each has been, in absolute value.
        allowed: how far each may be from that of another float32 run.
        averaged: their moving average, by the trainer.
        expected_average: the same by its recursion in float64.
        losses: (steps,).
        modes: whether the network was in training mode, at each pass.
        state: the trainer's.
    """

    start: dict[str, Tensor]
    weights: dict[str, Tensor]
    largest: dict[str, Tensor]
    allowed: dict[str, Tensor]
    averaged: dict[str, Tensor]
    expected_average: dict[str, Tensor]
    losses: Tensor
    modes: list[bool]
    state: "TrainingState"


def train(config: "RunConfig", data: "Dataset") -> Trained:
    """Trains a run and watches it.

    Args:
        config: with a moving average.
        data: the images.
    """
    from workbench import trainer

    unet, scheduler = trainer.new_parts(config, data)
    state = trainer.new_state(unet, config.train)
    decay = config.train.ema_decay
    assert decay is not None
    assert state.ema is not None
    start = weights_of(unet)
    average, largest = start, {name: w.abs() for name, w in start.items()}
    bound = {name: torch.zeros_like(w) for name, w in start.items()}
    losses, modes = [], []
    hook = unet.register_forward_pre_hook(lambda module, given: modes.append(module.training))
    with torch.enable_grad():
        for step in trainer.training_steps(state, scheduler, data, config.train, config.seed):
            losses.append(step.loss)
            _widen(bound, state, step.learning_rate)
            weights = weights_of(unet)
            kept = min(decay, (1 + step.index) / (10 + step.index))
            average = {n: kept * average[n] + (1 - kept) * w for n, w in weights.items()}
            largest = {n: torch.maximum(largest[n], w.abs()) for n, w in weights.items()}
    hook.remove()
    rounding = FACTOR * UNIT * len(losses)
    allowed = {name: b + rounding * largest[name] for name, b in bound.items()}
    averaged = {name: w.double() for name, w in state.ema.average.items()}
    lost = torch.stack(losses)
    return Trained(start, weights, largest, allowed, averaged, average, lost, modes, state)


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Copies of its weights, in float64."""
    return {name: w.detach().double() for name, w in network.named_parameters()}


@torch.no_grad()
def _widen(bound: dict[str, Tensor], state: "TrainingState", rate: float) -> None:
    """Adds what rounding may do in the step that was just made."""
    (group,) = state.optimizer.param_groups
    kept = [state.optimizer.state[w] for w in group["params"]]
    correction = 1 - group["betas"][1] ** int(kept[0]["step"])
    roots = [(one["exp_avg_sq"] / correction).sqrt().double() for one in kept]
    largest = torch.stack([root.max() for root in roots])
    delta = SLOPE * largest.clamp(min=FLOOR * float(largest.max()))
    for total, root, d in zip(bound.values(), roots, delta, strict=True):
        total += rate * (d / (root + group["eps"])).clamp(max=2)


def same_weights(
    id: str,
    what: str,
    ours: dict[str, Tensor],
    theirs: dict[str, Tensor],
    allowed: dict[str, Tensor],
) -> Check:
    """Weights elementwise; without `allowed`, bit for bit."""
    names = list(theirs)
    if list(ours) != names:
        return found(id, "differs", "there are other weights, or in another order")
    edges = torch.tensor([theirs[n].numel() for n in names]).cumsum(0)

    def flat(tensors: dict[str, Tensor]) -> Tensor:
        return torch.cat([tensors[n].flatten() for n in names])

    right = flat(theirs)
    bound = flat(allowed) if allowed else torch.zeros_like(right)
    return values(
        id,
        what,
        flat(ours),
        lambda: (right, bound),
        where=lambda at: names[int(torch.searchsorted(edges, at[0], right=True))],
        tolerance="training" if allowed else "exact",
        input=f"{len(right)} weights",
    )
