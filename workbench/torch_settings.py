"""What a run asks of all of PyTorch while it trains: `--threads` and `--deterministic`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from workbench.config import TrainConfig
from workbench.fast import brief

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # cuBLAS reads it once, when it is first used


@contextmanager
def as_asked(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Inside the block PyTorch has the threads, and is as deterministic, as a run asks for; then it
    is as it was, but for the environment that cuBLAS has read.

    Raises:
        ValueError: an operation has no deterministic form on this device, and one was asked for.
    """
    threads, fastest = torch.get_num_threads(), torch.backends.cudnn.benchmark
    strict = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
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
