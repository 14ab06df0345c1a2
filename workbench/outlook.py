"""What a long command says before its work: what will happen, what looks wrong, how long it takes.

`ddpm train --dry-run` prints that alone.
"""

import contextlib
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from workbench import precision
from workbench.config import RunConfig, TrainConfig
from workbench.metrics import FLUSH_EVERY
from workbench.process_memory import of_process
from workbench.sampling import in_eval_mode
from workbench.trainer import learning_rate

if TYPE_CHECKING:
    from workbench.data import Dataset

LEFT = 0.1  # of the picture at the last noise level: more of it shows in what is drawn from noise
WIDEST = 1e-2  # rates of Adam above it are rare, and diverge
LOOKED_AT = 1000  # pictures, for their range
MEASURED = 128  # pixels a side of the largest picture of which the activations are counted
WAY_BACK = 1.25  # times the activations: on the way back there are gradients of some of them too
DARK = 0.2  # of the range from -1 to 1, 2 wide: narrower pictures were scaled twice, or are empty


def of_training(
    config: RunConfig,
    dataset: "Dataset",
    unet: Any,
    scheduler: Any,
    folder: Path,
    device: torch.device,
) -> list[str]:
    """One screen about a run that is to begin or to go on; what looks wrong stands at its end.

    Args:
        config: the run's.
        dataset: its images.
        unet: the network, on the CPU.
        scheduler: the one that trains.
        folder: of the run.
        device: where it will train.
    """
    train = config.train
    n, c, h, w = dataset.shape
    total, size = train.total_steps(n), train.images_a_step
    memory = memory_of(config, dataset, unet)
    program = memory_of_program(dataset, unet)
    weights = sum(p.numel() for p in unet.parameters())
    seen = dataset.batch(range(min(n, LOOKED_AT)))
    low, high = (float(bound) for bound in seen.aminmax())
    lines = [
        f"train     {config.backend} on {config.data}, on {device}, into {folder}",
        f"pictures  {n:,} of {c}x{h}x{w}, from {low:.3g} to {high:.3g}"
        + f" (the first {LOOKED_AT:,})" * (n > LOOKED_AT)
        + f", {dataset.num_classes} classes" * train.class_conditional,
        f"network   {weights:,} weights; about {_size(memory)} of memory to train it"
        + f", and {_size(program)} for the program" * (program > 0),
        f"steps     {total:,} of {size} pictures, {total * size / n:.3g} epochs; "
        f"a checkpoint every {train.save_every}",
        _rates(train, total),
        *_noise(scheduler),
        *_average(train, total),
    ]
    doubts = [
        *_of_data(low, high, n, total, train),
        *_of_noise(scheduler),
        *_of_rates(train, total),
        *_of_memory(memory, device),
        *_of_precision(train, device),
    ]
    return [*lines, *(f"look at   {doubt}" for doubt in doubts)]


def of_sampling(
    folder: Path, backend: str, scheduler: Any, count: int, steps: int, device: torch.device
) -> list[str]:
    """A few lines about pictures that are to be drawn; what looks wrong stands at their end.

    Args:
        folder: of the run.
        backend: by which they are drawn.
        scheduler: the one that samples.
        count: how many pictures.
        steps: timesteps to visit.
        device: where.
    """
    T = scheduler.config.num_train_timesteps
    lines = [
        f"sample    {count} pictures from {folder}, by {backend}, on {device}",
        f"steps     {steps:,} of {T:,}, by {type(scheduler).__name__}",
        *_noise(scheduler),
    ]
    return [*lines, *(f"look at   {doubt}" for doubt in _of_noise(scheduler))]


def of_other_length(
    was: TrainConfig, now: TrainConfig, step: int, num_images: int
) -> Iterator[str]:
    """What a run that is gone on with becomes when it is to have another number of steps."""
    before, total = was.total_steps(num_images), now.total_steps(num_images)
    if before == total:
        return
    yield f"the run is to have {total:,} steps, where it was to have {before:,}"
    if now.lr_schedule == "cosine":
        yield (
            f"its cosine is stretched over all {total:,}: the learning rate goes on from "
            f"{learning_rate(now, step, total):.2e} at step {step:,}, where it was "
            f"{learning_rate(was, min(step, before), before):.2e}"
        )


def of_other_path(was: TrainConfig, now: TrainConfig, step: int) -> Iterator[str]:
    """What a run that is gone on with becomes when `fast` is another."""
    if was.fast != now.fast:
        path, before = ("fast", "plain") if now.fast else ("plain", "fast")
        yield (
            f"from step {step:,} on by the {path} path: equal up to rounding, and not in bytes, to "
            f"a run that stays on the {before} one"
        )


def memory_of(config: RunConfig, dataset: "Dataset", unet: Any) -> int:
    """About how many bytes training takes: the images, what is kept of each weight (itself, its
    gradient, Adam's two moments, the average), and what a batch keeps for the way back."""
    each = 4 + (config.train.ema_decay is not None)
    if config.train.skip_nonfinite:
        each += each - 1  # a copy of all but the gradient
    weights = _bytes_of(unet)
    shape = dataset.shape[1:]
    kept = kept_for_the_way_back(unet, shape, config.train.class_conditional)
    activations = int(WAY_BACK * config.train.batch_size * kept)
    return dataset.bytes_in_memory + each * weights + activations


def memory_of_program(dataset: "Dataset", unet: Any) -> int:
    """Bytes that Python and its libraries take, beside images and weights; 0 where the system does
    not tell. PyTorch 2.13 for the CPU took 330 MB of them, 2.6 with CUDA 540 MB."""
    torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # the first one loads a part of PyTorch
    return max(of_process("VmRSS") - dataset.bytes_in_memory - _bytes_of(unet), 0)


def kept_for_the_way_back(unet: Any, image_shape: tuple[int, ...], labelled: bool = False) -> int:
    """About how many bytes of activations one picture (c, h, w) leaves for the gradient.

    Of one of more than `MEASURED` pixels a side it is told from two smaller ones: some grows with
    the number of pixels, and what attention keeps with the square of that.
    """
    channels, *sides = image_shape
    if max(sides) > MEASURED:
        with contextlib.suppress(ValueError, RuntimeError):  # a network of one size alone
            seen = {
                n * n: _kept(unet, (channels, n, n), labelled) for n in (MEASURED // 2, MEASURED)
            }
            (few, some), (many, more) = seen.items()
            grows = max(more / many - some / few, 0) / (many - few)
            pixels = math.prod(sides)
            return int(pixels * (some / few + grows * (pixels - few)))
    return _kept(unet, image_shape, labelled)


def _kept(unet: Any, image_shape: tuple[int, ...], labelled: bool) -> int:
    kept: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in unet.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    x, t = torch.zeros(1, *image_shape), torch.zeros(1, dtype=torch.long)
    labels = t if labelled else None
    with in_eval_mode(unet), torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
        output = unet(x, t, class_labels=labels).sample  # its graph holds what was kept
    del output
    return sum(kept.values())


class Forecast:
    """How long a run will take, said once, by its first steps.

    Args:
        total: steps of the run.
    """

    def __init__(self, total: int) -> None:
        self.total, self._began, self._told = total, (-1, 0.0), False

    def after(self, step: int) -> str:
        """A line after some steps, counted from 1; else nothing. The first one, which is slow, does
        not count."""
        first, began = self._began
        if first < 0:
            self._began = (step, time.monotonic())
        elif not self._told and step - first >= FLUSH_EVERY - 1:
            self._told = True
            seconds = (time.monotonic() - began) / (step - first)
            left = self.total - step
            return (
                f"time      about {_time(seconds * left)} for the {left:,} steps that are left, "
                f"at {_time(seconds)} a step; checkpoints and grids come on top"
            )
        return ""


def _rates(train: TrainConfig, total: int) -> str:
    falls = ", then down to 0 along half a cosine" if train.lr_schedule == "cosine" else ""
    rises = f"up over {train.warmup_steps} steps to " if train.warmup_steps else ""
    return f"rate      {rises}{train.learning_rate:g}{falls}, by {train.optimizer}"


def _alpha_bar(scheduler: Any) -> Iterator[float]:
    """The last one; nothing for a scheduler that shows no table."""
    table = getattr(scheduler, "alphas_cumprod", None)
    if isinstance(table, torch.Tensor):
        yield float(table[-1])


def _noise(scheduler: Any) -> Iterator[str]:
    for last in _alpha_bar(scheduler):
        T = scheduler.config.num_train_timesteps
        yield (
            f"noise     T = {T:,}; alpha-bar ends at {last:.2g}, where "
            f"{100 * math.sqrt(last):.2g} % of the picture is left"
        )


def _of_noise(scheduler: Any) -> Iterator[str]:
    for last in _alpha_bar(scheduler):
        if (left := math.sqrt(last)) > LEFT:
            T = scheduler.config.num_train_timesteps
            yield (
                f"the last of {T} noise levels leaves {100 * left:.0f} % of the picture, and "
                "sampling begins from noise alone; take a larger --num-train-timesteps or "
                "--beta-end"
            )


def _average(train: TrainConfig, total: int) -> Iterator[str]:
    if train.ema_decay:
        reached = min(train.ema_decay, total / (9 + total))
        half = math.log(0.5) / math.log(reached)
        short = "" if reached == train.ema_decay else f"; {train.ema_decay:g} is reached later"
        yield f"average   half-life {half:.3g} of {total:,} steps{short}"


def _of_data(low: float, high: float, n: int, total: int, train: TrainConfig) -> Iterator[str]:
    if high - low < DARK:
        yield (
            f"the pictures reach from {low:.3g} to {high:.3g}, of -1 to 1: were they divided by "
            "255 twice?"
        )
    if train.batch_size > n:
        yield f"a batch of {train.batch_size} has each of the {n} pictures more than once"
    elif total * train.batch_size < n:
        yield f"the run sees {total * train.batch_size:,} of the {n:,} pictures; take more steps"


def _of_rates(train: TrainConfig, total: int) -> Iterator[str]:
    if train.warmup_steps * 5 > total:
        yield (
            f"the rate rises for {train.warmup_steps} of {total} steps; a short run wants "
            "--warmup-steps 0"
        )
    if train.learning_rate > WIDEST:
        yield f"a learning rate of {train.learning_rate:g} is rare; 1e-4 to 2e-3 are usual"


def _of_memory(memory: int, device: torch.device) -> Iterator[str]:
    there = _memory_of_device(device)
    if there and memory > there:
        yield (
            f"about {_size(memory)} of memory are needed, and {device} has {_size(there)}; take a "
            "smaller --batch-size"
        )


def _of_precision(train: TrainConfig, device: torch.device) -> Iterator[str]:
    if train.precision == "bf16" and device.type == "cpu" and precision.computes_bf16() is False:
        yield "this processor does not compute in bf16 itself: float32 is faster here"


def _bytes_of(unet: Any) -> int:
    return sum(p.numel() * p.element_size() for p in unet.parameters())


def _memory_of_device(device: torch.device) -> int:
    """Bytes; 0 where that is not told."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "cpu" and hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def _time(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{1e3 * seconds:,.0f} ms"
