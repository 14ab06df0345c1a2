"""Turns, ratios, peak memory and FLOP of pieces of work."""

import ctypes
import gc
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from workbench.process_memory import of_process
from workbench.torch_settings import keep_memory

Work = Callable[[], Any]
SLICE = 0.05  # seconds of one turn, well above what a busy machine takes away at a time
FEWEST = 4  # turns, however short the time
CLEAR = Path("/proc/self/clear_refs")  # of Linux


@dataclass(frozen=True)
class Contestant:
    """Something to be timed beside others.

    Attributes:
        name: in the table.
        make: gives the piece of work; whatever is got ready once belongs in here.
        images: that go through the network in one piece of work.
        counted: gives a piece of work of as many FLOP; None for `make` itself. Of what is compiled
            they cannot be counted.
        dtype: in which the network multiplies.
    """

    name: str
    make: Callable[[], Work]
    images: int
    counted: Callable[[], Work] | None = None
    dtype: str = "float32"


@dataclass
class Line:
    """What was measured of one contestant.

    Attributes:
        name, images, dtype: the contestant's.
        seconds: of one piece of work in each turn.
        start_seconds: until the first piece was done: made, compiled if it is, and run.
        flop: of one piece; 0 if nothing could be counted.
        peak_bytes: that one piece took beyond what was there before; None if unknown.
        ratios: in each turn, how many times faster than the first contestant.
    """

    name: str
    images: int
    dtype: str
    start_seconds: float
    flop: int
    peak_bytes: int | None
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds of one piece of work."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> tuple[float, float, float]:
        """The ratio: lower quartile, median, upper quartile."""
        low, middle, high = statistics.quantiles(self.ratios, n=4)
        return low, middle, high


def measure(contestants: list[Contestant], seconds: float, device: torch.device) -> list[Line]:
    """All contestants in turns of at least `SLICE`, every second time in the other order.

    Args:
        contestants: the first one is what the others are measured against.
        seconds: how long to go on; at least `FEWEST` turns of each.
        device: to be waited for.
    """
    lines, works = [], []
    for each in contestants:
        begin = time.perf_counter()
        work = each.make()
        timed(work, 1, device)
        start = time.perf_counter() - begin
        flop = flop_of(each.counted() if each.counted else work)
        peak = peak_bytes(work, device)
        lines.append(Line(each.name, each.images, each.dtype, start, flop, peak))
        works.append(work)
    keep_memory()  # of many things in turns nearly each would find it gone
    repeat = [math.ceil(SLICE / timed(work, 1, device)) for work in works]
    end, turn = time.perf_counter() + seconds, 0
    order = range(len(works))
    while turn < FEWEST or time.perf_counter() < end:
        for i in reversed(order) if turn % 2 else order:
            lines[i].seconds.append(timed(works[i], repeat[i], device))
        for line in lines:
            line.ratios.append(lines[0].seconds[-1] / line.seconds[-1])
        turn += 1
    return lines


def timed(work: Work, repeat: int, device: torch.device) -> float:
    """Seconds of one piece of work, of `repeat` in a row."""
    start = time.perf_counter()
    for _ in range(repeat):
        work()
    wait_for(device)
    return (time.perf_counter() - start) / repeat


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def flop_of(work: Work) -> int:
    """Floating-point operations of the convolutions and matrix products of one piece of work."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def peak_bytes(work: Work, device: torch.device) -> int | None:
    """Memory that one piece of work takes at its worst, beyond what is taken before.

    On a GPU by PyTorch's own account; on Linux by the kernel's, which begins anew; None elsewhere.
    """
    gc.collect()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    if not sys.platform.startswith("linux"):
        return None
    try:
        ctypes.CDLL(None).malloc_trim(0)  # else the work takes what others left behind, unseen
        CLEAR.write_text("5")
    except (OSError, AttributeError):  # another C library, or a container that forbids it
        return None
    before = of_process("VmRSS")
    work()
    return max(of_process("VmHWM") - before, 0)
