"""Several processes that train one model: what `torchrun` or `accelerate launch` starts.

Accelerate prepares the network, the optimizer and the precision, for one process or several. Here
is what it has no word for: that all stop after the same step, and that all end when one does, with
one line. The first process (rank 0) writes files and shows progress for all of them.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from workbench.precision import attention_of

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer

    from workbench.config import Precision
    from workbench.draws import Draws


class Lost(ConnectionError):
    """Another process of the run has ended, and nobody has said why."""


def count() -> int:
    """How many processes train together; 1 alone."""
    return dist.get_world_size() if _together() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if _together() else 0


def is_first() -> bool:
    """Whether this process writes and prints; known before `joined`, from the launcher's words."""
    return (rank() if _together() else int(os.environ.get("RANK", 0))) == 0


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Inside the block the processes that a launcher started know each other, and fail as one.

    The first of them in which an error is raised raises it on; the others, which cannot go on
    without it, end with status 1 and no word. Alone, or in a group that the caller has made, the
    block changes nothing.

    Args:
        device: of this process: GPUs speak through NCCL, the others through Gloo.

    Raises:
        Lost: another process is gone, and said nothing.
    """
    alone = int(os.environ.get("WORLD_SIZE", 1)) == 1 and "LOCAL_RANK" not in os.environ
    if _together() or alone:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, number, of = next(dist.rendezvous("env://"))
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=of)
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not _speaks(store):
            raise SystemExit(1) from None
        if _is_lost(error):
            raise Lost(
                f"another of the {of} processes has ended, and the rest cannot go on without it"
            ) from None
        raise
    finally:
        dist.destroy_process_group()


def _speaks(store: Any) -> bool:
    """Whether this process is the first that asks; also if nobody is left who could tell."""
    try:
        return store.add("failed", 1) == 1
    except RuntimeError:
        return True


def _is_lost(error: BaseException) -> bool:
    """Whether it is what Gloo or NCCL raise where the other side is gone."""
    words = str(error).lower()
    return isinstance(error, RuntimeError) and ("gloo" in words or "nccl" in words)


def average(value: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over the processes."""
    if not _together():
        return value
    total = value.clone()
    _reduce(total, dist.ReduceOp.SUM)
    return total / count()


def highest(number: int) -> int:
    """The highest of the numbers that the processes call this with, all of them; waits for them.

    On the CPU, so that no GPU has to finish its work for it.
    """
    if not _together():
        return number
    value = torch.tensor(number)
    _reduce(value, dist.ReduceOp.MAX)
    return int(value)


_last: Any = None


def _reduce(value: torch.Tensor, by: Any) -> None:
    """What the processes make of a tensor, in its place.

    The work that is done is kept until the next. Otherwise a thread of Gloo's is the last to hold
    it and its tensor, lets go of it later, and if Python is ending by then, the process aborts.
    """
    global _last
    work = dist.all_reduce(value, by, async_op=True)
    work.wait()
    _last = work


class Predictor(torch.nn.Module):
    """x_t (b, c, h, w), t (b,), labels (b,) or None -> what the network says, (b, c, h, w).

    This is what Accelerate wraps, so that the network itself stays as it is: pictures that are
    drawn between two steps, and files, know nothing of precisions and processes.
    """

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self, x_t: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        """See above."""
        with attention_of(self.unet, x_t):
            said: torch.Tensor = self.unet(x_t, t, class_labels=labels).sample
        return said


def check(precision: "Precision", device: torch.device, images_a_step: int) -> None:
    """Refuse, before any work, what these processes cannot do.

    Raises:
        ValueError: fp16 elsewhere than on CUDA, or a process would have no image to learn from.
    """
    if precision == "fp16" and device.type != "cuda":
        raise ValueError(
            f"precision fp16 needs loss scaling on a CUDA GPU, and this run is on {device.type}; "
            "use bf16 or float32"
        )
    if images_a_step < count():
        raise ValueError(
            f"{images_a_step} images a step cannot be shared out over {count()} processes; use a "
            "larger batch_size, or fewer processes"
        )


def prepared(
    unet: Any,
    optimizer: torch.optim.Optimizer,
    precision: "Precision",
    loss_scale: torch.Tensor | None = None,
) -> "tuple[Accelerator, torch.nn.Module, AcceleratedOptimizer]":
    """What Accelerate makes of a network and its optimizer.

    Args:
        unet: on the device of this process; left as it is.
        optimizer: of its parameters.
        precision: of the network's forward pass.
        loss_scale: of fp16, (2,): the factor, and for how many steps it has held.

    Returns:
        The accelerator, whose `backward` scales the loss for fp16; a `Predictor` that exchanges its
        gradients with the other processes; the optimizer, which leaves out a step that overflowed.

    Raises:
        ValueError: Accelerate was told otherwise, by its environment, than this run is.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin

    own = type(unet).__name__ != "UNet2DModel"  # may have parameters that it does not use
    with _state_of_its_own():
        accelerator = Accelerator(
            device_placement=False,
            mixed_precision="no" if precision == "float32" else precision,
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            cpu=unet.device.type == "cpu",
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=own)],
        )
        kind, device = accelerator.distributed_type.value, accelerator.device.type
        if kind not in ("NO", "MULTI_CPU", "MULTI_GPU") or accelerator.num_processes != count():
            raise ValueError(
                f"Accelerate was set up as {kind} of {accelerator.num_processes} processes, and "
                f"this run has {count()} that each hold the whole model; start it by torchrun"
            )
        if device != unet.device.type:
            raise ValueError(
                f"Accelerate was set up for {device}, and this run is on {unet.device.type}; say "
                f"--device {device}"
            )
        model, wrapped = accelerator.prepare(Predictor(unet), optimizer)
    if accelerator.scaler is not None and loss_scale is not None:
        scale, held = loss_scale.tolist()
        begun = accelerator.scaler.state_dict()
        accelerator.scaler.load_state_dict({**begun, "scale": scale, "_growth_tracker": int(held)})
    return accelerator, model, wrapped


def in_turn(
    parts: "Sequence[Draws]", accelerator: "Accelerator", model: torch.nn.Module
) -> "Iterator[Draws]":
    """The parts of a batch one after the other; gradients are exchanged in the last one alone."""
    for part in parts[:-1]:
        with accelerator.no_sync(model):
            yield part
    yield parts[-1]


def overflowed(accelerator: "Accelerator", loss_scale: torch.Tensor | None) -> bool:
    """Whether the step that was tried was none, as fp16 overflowed, and a smaller scale may help.

    Below a scale of 1 none does: then the numbers themselves are not finite.

    Args:
        accelerator: after the step.
        loss_scale: (2,), where the scale is kept for a checkpoint; None in another precision.
    """
    if accelerator.scaler is None or loss_scale is None:
        return False
    now = accelerator.scaler.state_dict()
    loss_scale[:] = torch.tensor([now["scale"], now["_growth_tracker"]])
    return accelerator.optimizer_step_was_skipped and now["scale"] >= 1


@contextmanager
def _state_of_its_own() -> Iterator[None]:
    """Accelerate keeps one device and precision for all of a Python, and the next run may have
    others: inside, it starts anew; afterwards, what was there before is there again."""
    from accelerate.state import AcceleratorState, PartialState

    kept = [(kind, kind._shared_state) for kind in (AcceleratorState, PartialState)]
    for kind, shared in kept:
        kind._shared_state = type(shared)()
    try:
        yield
    finally:
        for kind, shared in kept:
            kind._shared_state = shared


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()
