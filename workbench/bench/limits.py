"""What the machine can do at most: multiply matrices, and copy memory."""

import statistics

import torch

from workbench.bench.timing import timed
from workbench.precision import DTYPES

SIDE = {"cpu": 1024, "cuda": 8192}
COPIED = {"cpu": 2**26, "cuda": 2**30}  # bytes, beyond any cache
TURNS = 7


def matrix_peak(dtype: torch.dtype, device: torch.device) -> float:
    """FLOP a second of a square matrix product, the best of `TURNS`."""
    side = SIDE.get(device.type, SIDE["cpu"])
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    timed(lambda: a @ b, 1, device)
    return 2 * side**3 / min(timed(lambda: a @ b, 1, device) for _ in range(TURNS))


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of a copy: the median of `TURNS`."""
    source = torch.zeros(COPIED.get(device.type, COPIED["cpu"]) // 4, device=device)
    target = torch.empty_like(source)
    timed(lambda: target.copy_(source), 1, device)
    times = [timed(lambda: target.copy_(source), 1, device) for _ in range(TURNS)]
    return 2 * source.numel() * 4 / statistics.median(times)


def limits(device: torch.device) -> dict[str, float]:
    """FLOP a second by the name of a precision, and `copy` in bytes a second."""
    names = [name for name in DTYPES if name != "fp16" or device.type == "cuda"]
    peaks = {name: matrix_peak(DTYPES[name], device) for name in names}
    return {**peaks, "copy": copy_bandwidth(device)}
