"""What a trainer owes its run, seen without another to measure it by."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import nn

from compare.backends.trained import Trained, same_weights, weights_of
from compare.measure.check import Check, yes_no
from compare.measure.tolerances import FACTOR, UNIT

# The mistakes of a moving average, by the check that shows them.
SYMPTOMS = {"moves": "101", "buffers": "100", "gives-back": "101-kept"}


class Averages(Protocol):
    """What an exponential moving average of weights offers."""

    def update(self, model: nn.Module) -> None:
        """Takes the model's weights in."""

    def applied_to(self, model: nn.Module) -> AbstractContextManager[nn.Module]:
        """The model with the averaged weights inside the block."""


def judge_trainer(prefix: str, run: Trained) -> Iterator[Check]:
    """What the trainer owes a run: training mode, the moving average, the raw weights back.

    Args:
        prefix: of their names.
        run: that was trained.
    """
    from workbench.ema import sampling_weights

    wrong = run.modes.index(False) if False in run.modes else None
    yield yes_no(
        f"training/{prefix}mode",
        wrong is None,
        "the network is in training mode at every step",
        f"the network is in eval mode at step {wrong}",
    )
    rounding = {n: FACTOR * UNIT * len(run.losses) * w for n, w in run.largest.items()}
    yield same_weights(
        f"training/{prefix}average",
        "an averaged weight",
        run.averaged,
        run.expected_average,
        rounding,
    )
    raw = weights_of(run.state.unet)
    with sampling_weights(run.state.unet, run.state.ema) as lent:
        inside = weights_of(lent)
    words = "a weight that is sampled with"
    yield same_weights(f"training/{prefix}samples-with", words, inside, run.averaged, {})
    after = weights_of(run.state.unet)
    yield same_weights(f"training/{prefix}trains-on", "a weight after sampling", after, raw, {})


class _WithBuffer(nn.Module):
    """A model with a weight, and with a schedule in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.register_buffer("alphas_cumprod", torch.tensor([0.9, 0.5, 0.1]))


def judge_average(prefix: str, average: Callable[[nn.Module, float], Averages]) -> Iterator[Check]:
    """An exponential moving average: it averages weights, leaves buffers, and gives back.

    Args:
        prefix: of their names.
        average: makes one of a model and a decay.
    """
    model = _WithBuffer()
    averages = average(model, 0.5)
    with torch.no_grad():
        model.weight.add_(4)
    model.alphas_cumprod = torch.tensor([0.8, 0.4, 0.2])
    averages.update(model)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    with averages.applied_to(model):
        inside = {name: value.clone() for name, value in model.state_dict().items()}
    after = model.state_dict()
    weight, first = inside["weight"], torch.tensor([1.0, -2.0])
    yield yes_no(
        f"training/{prefix}moves",
        bool(((weight > first) & (weight <= own["weight"])).all()),
        "an update moves the average towards the weights",
        f"after an update from {first.tolist()} to {own['weight'].tolist()} the average is "
        f"{weight.tolist()}",
    )
    yield yes_no(
        f"training/{prefix}buffers",
        torch.equal(inside["alphas_cumprod"], own["alphas_cumprod"]),
        "buffers are the model's own",
        "buffers are averaged like weights: a schedule in a buffer is no schedule afterwards",
    )
    yield yes_no(
        f"training/{prefix}gives-back",
        all(torch.equal(after[name], value) for name, value in own.items()),
        "after sampling the model has its own weights again",
        "the averaged weights stay in the model: training goes on from them",
    )


def judge_sampling_mode(name: str, unet: nn.Module, draw: Callable[[Any], None]) -> Check:
    """A network in training mode samples in eval mode, and is in training mode again afterwards.

    Args:
        name: of the check.
        unet: any network.
        draw: draws pictures with it.
    """
    unet.train()
    modes: list[bool] = []
    hook = unet.register_forward_pre_hook(lambda module, given: modes.append(module.training))
    try:
        draw(unet)
    finally:
        hook.remove()
    return yes_no(
        f"training/{name}",
        bool(modes) and not any(modes) and unet.training,
        "samples in eval mode, then trains on",
        "the network samples in training mode: dropout stays on"
        if any(modes)
        else "the network is left in eval mode after sampling",
        input="a network in training mode",
    )
