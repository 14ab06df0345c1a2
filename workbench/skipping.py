"""Steps that are taken back where the loss or the gradient is not finite, as `--skip-nonfinite`
asks, without waiting for the device to say which they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def kept_if_finite(
    state: Any, loss: torch.Tensor, gradient_norm: torch.Tensor, asked: bool
) -> Iterator[None]:
    """Weights, optimizer and average keep what the block does to them only where both are finite.

    It costs a second copy of them all, while the block runs.

    Args:
        state: the `workbench.trainer.TrainingState` of the run.
        loss, gradient_norm: 0-dim on the device, which are not read.
        asked: False to keep what the block does, whatever they are.
    """
    before = {name: tensor.clone() for name, tensor in _tensors(state)} if asked else {}
    yield
    if not asked:
        return
    finite = loss.isfinite() & gradient_norm.isfinite()
    for name, tensor in _tensors(state):
        # Adam makes its moments in the first step: without that step they are zeros.
        old = before[name] if name in before else torch.zeros_like(tensor)
        tensor.copy_(torch.where(finite, tensor, old))


def _tensors(state: Any) -> Iterator[tuple[tuple[str, int | str], torch.Tensor]]:
    """What a step changes, each with a name of its own."""
    for index, weight in enumerate(state.unet.parameters()):
        yield ("weight", index), weight.detach()
        for moment, value in state.optimizer.state.get(weight, {}).items():
            if isinstance(value, torch.Tensor):
                yield (moment, index), value
    if state.ema is not None:
        for name, average in state.ema.average.items():
            yield ("average", name), average
