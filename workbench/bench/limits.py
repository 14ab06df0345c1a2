"""What the machine can do at most: multiply matrices, and copy memory."""

import statistics
from functools import partial

import torch

from workbench.bench.timing import Contestant, Line, Work, timed
from workbench.precision import DTYPES

SIDE = {"cpu": 1024, "cuda": 8192}
COPIED = {"cpu": 2**26, "cuda": 2**30}  # bytes, beyond any cache
TURNS = 7
PRODUCT = "a matrix product, "


def matrix_product(dtype: torch.dtype, device: torch.device) -> Work:
    """The product of two square matrices, large enough to keep all units at work."""
    side = SIDE.get(device.type, SIDE["cpu"])
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    return lambda: a @ b


def products(device: torch.device) -> list[Contestant]:
    """A product in each precision, to be timed in the same turns as what is held against it."""
    names = [name for name in DTYPES if name != "fp16" or device.type == "cuda"]
    return [
        Contestant(f"{PRODUCT}{n}", partial(matrix_product, DTYPES[n], device), 0, dtype=n)
        for n in names
    ]


def share_of_peak(line: Line, lines: list[Line]) -> float | None:
    """FLOP a second beside those of a product in the same precision, the median over the turns.

    None where nothing could be counted, or no such product was timed.
    """
    peaks = [each for each in lines if each.name == f"{PRODUCT}{line.dtype}"]
    if not line.flop or not peaks:
        return None
    pairs = zip(line.seconds, peaks[0].seconds, strict=True)
    return statistics.median(line.flop / own * best / peaks[0].flop for own, best in pairs)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of a copy: the median of `TURNS`."""
    source = torch.zeros(COPIED.get(device.type, COPIED["cpu"]) // 4, device=device)
    target = torch.empty_like(source)
    timed(lambda: target.copy_(source), 1, device)
    times = [timed(lambda: target.copy_(source), 1, device) for _ in range(TURNS)]
    return 2 * source.numel() * 4 / statistics.median(times)
