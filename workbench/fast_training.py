"""The fast path of training: the same step, compiled, and on CUDA launched as two graphs.

It equals the plain path of the same precision up to rounding, and what cannot be had is said in a
line and done as ever. **The part on CUDA has not run on a GPU yet**: its logic is tested on a CPU,
where nothing is captured, and `tests/gpu/test_fast_training.py` waits for one.
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch

from workbench import processes
from workbench.draws import global_generator_at
from workbench.fast import brief
from workbench.skipping import taken_back

CAPTURED = {"cuda"}  # kinds of device whose steps are repeated at fixed places in memory
TRIALS = 3  # before a capture, as PyTorch asks for: libraries choose and allocate in them


def make_fast(step: Any, shape: tuple[int, int, int, int], say: Callable[[str], None]) -> None:
    """Make a step as fast as it can be had here; what cannot be had is said in one line each.

    Its trials change neither weights, buffers, optimizer nor averages, and draw no number that
    anybody else draws.

    Args:
        step: the `workbench.one_step.OneStep` of a run, before its first one; its `compute`,
            `finish` and network are replaced.
        shape: (b, c, h, w) of what it learns from at a time.
        say: is given the lines.
    """
    if processes.count() > 1:
        if processes.is_first():
            say(f"not the fast path: {processes.count()} processes share out each batch")
        return
    device = step.device
    x, t = torch.zeros(shape, device=device), torch.zeros(shape[0], dtype=torch.long, device=device)
    inputs = (x, t, t.clone() if step.config.class_conditional else None, x.clone())
    with taken_back(step.state), global_generator_at(device, 0), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a compiler warns of are its own parts
        _compile(step, inputs, say)
        if device.type in CAPTURED:
            _capture(step, inputs, say)
    step.begin(0.0)


def _compile(step: Any, inputs: tuple[Any, ...], say: Callable[[str], None]) -> None:
    """Have the network compiled, forward and backward."""
    predictor = step.model  # in one process Accelerate gives back what it was given
    as_written = predictor.unet
    try:
        # Dropout takes the numbers of the generator that the plain path takes.
        predictor.unet = torch.compile(as_written, dynamic=False, options={"fallback_random": True})
        step.begin(0.0)
        step.compute(*inputs)
    except Exception as error:  # whatever a compiler, or its absence, throws
        predictor.unet = as_written
        say(f"the network is not compiled here: {brief(error)}")


def _capture(step: Any, inputs: tuple[Any, ...], say: Callable[[str], None]) -> None:
    """Make a step two graphs: one for each part of a batch, one that moves the weights.

    Two, so that a batch of many parts is as many launches of the first, each with a seed of its own
    for dropout: a graph takes the generator's seed when it is launched.
    """
    if step.config.precision == "fp16":
        say("no CUDA graph here: the loss scaling of fp16 reads each step from the device")
        return
    places = [None if each is None else each.clone() for each in inputs]

    def compute() -> None:
        step.gradient(*places)

    def whole() -> None:
        step.begin(0.0)
        compute()
        step.update()

    try:
        whole()  # what has a gradient has one from here on, at its place
        step.fix()
        _tried(whole, step.device)
        step.begin(0.0)
        launch_compute = _graph(compute, step.device)
        launch_update = _graph(step.update, step.device)
    except Exception as error:
        say(f"no CUDA graph here, each operation is launched by itself: {brief(error)}")
        return

    def computed(*new: torch.Tensor | None) -> None:
        for place, tensor in zip(places, new, strict=True):
            if place is not None:
                place.copy_(tensor)
        launch_compute()

    def finished() -> bool:
        launch_update()
        return True

    step.compute, step.finish = computed, finished


def _tried(work: Callable[[], None], device: torch.device) -> None:
    """Do something a few times, on CUDA beside the stream that everything else is on."""
    if device.type != "cuda":
        for _ in range(TRIALS):
            work()
        return
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(TRIALS):
            work()
    torch.cuda.current_stream(device).wait_stream(aside)


def _graph(work: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """What repeats some work: on CUDA a graph of it, for which nothing is computed yet."""
    if device.type != "cuda":
        return work
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.graph(graph):
        work()
    return graph.replay
