"""Several processes that train one model: what `torchrun` starts, and what they tell each other.

Alone, every function here does nothing, so the trainer is written once. The first process (rank 0)
writes files and shows progress for all of them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist


def count() -> int:
    """How many processes train together; 1 alone."""
    return dist.get_world_size() if _together() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if _together() else 0


def is_first() -> bool:
    """Whether this process writes and prints; known before `joined`, from `torchrun`'s words."""
    return (rank() if _together() else int(os.environ.get("RANK", 0))) == 0


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Inside the block the processes that `torchrun` started know each other.

    Alone, or in a group that the caller has made, it changes nothing.

    Args:
        device: of this process: GPUs speak through NCCL, the others through Gloo.
    """
    if _together() or int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def average(value: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over the processes."""
    if not _together():
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / count()


def average_gradients(model: torch.nn.Module) -> None:
    """Replace every gradient by its mean over the processes: the gradient of the whole batch."""
    if not _together():
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    means = average(torch.cat([g.flatten() for g in gradients]))  # one message, not hundreds
    for gradient, mean in zip(gradients, means.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def any_of_us(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process; waits for all of them."""
    if not _together():
        return flag
    return bool(average(torch.tensor(float(flag), device=device)) > 0)


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()
