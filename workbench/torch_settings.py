"""What a run asks of all of PyTorch while it trains: `--threads`, `--deterministic`, its memory."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from workbench.config import TrainConfig
from workbench.fast import brief

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # cuBLAS reads it once, when it is first used
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # options of glibc's mallopt
LARGEST = 32 * 2**20  # bytes: the most that MMAP_THRESHOLD can be


@contextmanager
def as_asked(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Inside the block PyTorch has the threads, and is as deterministic, as a run asks for; then it
    is as it was, but for the environment that cuBLAS has read, and for memory that is kept.

    Raises:
        ValueError: an operation has no deterministic form on this device, and one was asked for.
    """
    threads, fastest = torch.get_num_threads(), torch.backends.cudnn.benchmark
    strict = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if device.type == "cpu":
        keep_memory()
    try:
        if not config.deterministic:
            yield
            return
        if device.type == "cuda":
            os.environ.setdefault(WORKSPACE, ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False  # which measures, and takes what is faster today
        yield
    except RuntimeError as error:
        if not config.deterministic or "eterministic" not in str(error):
            raise
        what = brief(error).partition(", but you set")[0].partition(". ")[0]
        raise ValueError(f"{what}; on {device} this run cannot be --deterministic") from None
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=warns)
        torch.backends.cudnn.benchmark = fastest


def keep_memory() -> None:
    """From now on what this process frees is kept for its next step, where the C library is glibc.

    Else the end of its memory goes back to the kernel after a step, which fills it with zeros, page
    by page, in the next one (docs/speed.md). Blocks above 32 MiB go back as ever.
    """
    with suppress(OSError, AttributeError):  # another C library has no such call
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
        mallopt(MMAP_THRESHOLD, LARGEST)
