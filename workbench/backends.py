"""The one door to the two backends."""

import os
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from ddpm_side_by_side import CURE, hidden_by, overwritten

if TYPE_CHECKING:
    import torch

Backend = Literal["scratch", "diffusers"]
PACKAGES = {"scratch": "scratch", "diffusers": "with_diffusers"}


def load(name: str) -> ModuleType:
    """The backend called `name`: a module with the names of `scratch.__all__`.

    They are four classes, and two functions that say what the backend gets wrong:
    `config_problem(scheduler)` and `chain_problem(scheduler, num_inference_steps)`.

    Args:
        name: `scratch` or `diffusers`. Diffusers is imported only when it is asked for.

    Raises:
        ValueError: the name is another one, or a module of yours hides ours.

    >>> load("scratch").DDPMScheduler.__name__
    'DDPMScheduler'
    """
    if name not in PACKAGES:
        raise ValueError(f"unknown backend {name!r}; choose one of {', '.join(PACKAGES)}")
    return import_ours(PACKAGES[name])


def import_ours(name: str) -> ModuleType:
    """Import a package of this project.

    Raises:
        ValueError: the path leads to another module of that name first, or another distribution
            was installed over ours.
    """
    for line in hidden_by([name]):
        raise ValueError(f"{line}; rename it, or run from another folder")
    if line := overwritten(name):
        raise ValueError(f"{line}; {CURE}")
    return import_module(name)


def choose_device(name: str | None = None) -> "torch.device":
    """The device called `name`, or the best one here: cuda, then mps, then cpu.

    Of several GPUs, each process that `torchrun` starts takes its own.

    Args:
        name: such as `cpu`, `cuda` or `cuda:1`.

    Raises:
        ValueError: this machine does not have it.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    import torch

    here = ["cpu"]
    if torch.backends.mps.is_available():
        here.insert(0, "mps")
    if torch.cuda.is_available():
        here[:0] = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    chosen = here[0] if name is None else name
    if chosen == "cuda" and "LOCAL_RANK" in os.environ:
        chosen = f"cuda:{os.environ['LOCAL_RANK']}"
    if chosen not in here:
        raise ValueError(f"no device {chosen!r} on this machine; there is {', '.join(here)}")
    return torch.device(chosen)
