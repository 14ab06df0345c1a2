"""What the machine can do at most: multiply matrices, convolve, and copy memory.

A library may do the one well and the other badly (on an AMD processor MKL's product reached 65
GFLOP a second of a core, a wide convolution by oneDNN 108), so the peak is the better of the two.
"""

import statistics
from collections.abc import Callable
from functools import partial

import torch

from workbench.bench.timing import Contestant, Line, Work, timed
from workbench.precision import DTYPES

SIDE = {"cpu": 1024, "cuda": 8192}
COPIED = {"cpu": 2**26, "cuda": 2**30}  # bytes, beyond any cache
TURNS = 7
PRODUCT, CONVOLUTION = "a matrix product, ", "a wide convolution, "
IMAGES = {"cpu": (8, 128, 16, 16), "cuda": (64, 256, 64, 64)}  # (b, c, h, w)


def matrix_product(dtype: torch.dtype, device: torch.device) -> Work:
    """The product of two square matrices, large enough to keep all units at work."""
    side = SIDE.get(device.type, SIDE["cpu"])
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    return lambda: a @ b


def wide_convolution(dtype: torch.dtype, device: torch.device) -> Work:
    """A 3x3 convolution of many channels, as the UNet's, but for what stands between them."""
    images = torch.randn(IMAGES.get(device.type, IMAGES["cpu"]), device=device).to(dtype)
    c = images.shape[1]
    convolve = torch.nn.Conv2d(c, c, 3, padding=1, device=device, dtype=dtype).requires_grad_(False)
    return lambda: convolve(images)


def peaks(device: torch.device) -> list[Contestant]:
    """Both in each precision, to be timed in the same turns as what is held against them."""
    names = [name for name in DTYPES if name != "fp16" or device.type == "cuda"]
    kinds: dict[str, Callable[..., Work]] = {
        PRODUCT: matrix_product,
        CONVOLUTION: wide_convolution,
    }
    return [
        Contestant(f"{kind}{n}", partial(make, DTYPES[n], device), 0, dtype=n)
        for n in names
        for kind, make in kinds.items()
    ]


def share_of_peak(line: Line, lines: list[Line]) -> float | None:
    """FLOP a second beside the better peak in the same precision, the median over the turns.

    None where nothing could be counted, or no peak was timed.
    """
    known = [f"{kind}{line.dtype}" for kind in (PRODUCT, CONVOLUTION)]
    best = max((x for x in lines if x.name in known), key=lambda x: x.flop / x.median, default=None)
    if not line.flop or best is None:
        return None
    pairs = zip(line.seconds, best.seconds, strict=True)
    return statistics.median(line.flop / own * peak / best.flop for own, peak in pairs)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of a copy: the median of `TURNS`."""
    source = torch.zeros(COPIED.get(device.type, COPIED["cpu"]) // 4, device=device)
    target = torch.empty_like(source)
    timed(lambda: target.copy_(source), 1, device)
    times = [timed(lambda: target.copy_(source), 1, device) for _ in range(TURNS)]
    return 2 * source.numel() * 4 / statistics.median(times)
