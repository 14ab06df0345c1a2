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
        tensor.copy_(torch.where(finite, tensor, _before(before, name, tensor)))


@contextmanager
def taken_back(state: Any) -> Iterator[None]:
    """Weights, buffers, optimizer and average are after the block what they were before it, and
    where they were: each keeps its place in memory.

    Args:
        state: the `workbench.trainer.TrainingState` of a run.
    """
    before = {name: tensor.clone() for name, tensor in _tensors(state)}
    buffers = [(buffer, buffer.clone()) for buffer in state.unet.buffers()]
    try:
        yield
    finally:
        for name, tensor in _tensors(state):
            tensor.copy_(_before(before, name, tensor))
        for buffer, old in buffers:
            buffer.copy_(old)


def _before(before: dict[Any, torch.Tensor], name: Any, tensor: torch.Tensor) -> torch.Tensor:
    """What a tensor was. Adam makes its moments in the first step: without that step they are
    zeros."""
    return before[name] if name in before else torch.zeros_like(tensor)


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
