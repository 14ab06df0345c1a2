"""The one door to the two backends."""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Backend = Literal["scratch", "diffusers"]
PACKAGES = {"scratch": "scratch", "diffusers": "with_diffusers"}


def load(name: str) -> ModuleType:
    """The backend called `name`: a module with the four classes of `scratch.__all__`.

    Args:
        name: `scratch` or `diffusers`. Diffusers is imported only when it is asked for.

    Raises:
        ValueError: the name is another one, or a module of yours hides ours.

    >>> load("scratch").DDPMScheduler.__name__
    'DDPMScheduler'
    """
    if name not in PACKAGES:
        raise ValueError(f"unknown backend {name!r}; choose one of {', '.join(PACKAGES)}")
    return _ours(import_module(PACKAGES[name]))


def _ours(module: ModuleType) -> ModuleType:
    """`module`, unless a file of the same name elsewhere on the path was imported instead."""
    found = Path(module.__file__ or ".").resolve()
    if found.parent.parent != Path(__file__).resolve().parent.parent:
        raise ValueError(
            f"{found} hides this project's package {module.__name__!r}; rename it, or run from "
            "another folder"
        )
    return module


def choose_device(name: str | None = None) -> "torch.device":
    """The device called `name`, or the best one here: cuda, then mps, then cpu.

    Raises:
        ValueError: this machine does not have it.
    """
    import torch

    here = ["cpu"]
    if torch.backends.mps.is_available():
        here.insert(0, "mps")
    if torch.cuda.is_available():
        here.insert(0, "cuda")
    if name is not None and name.split(":")[0] not in here:
        raise ValueError(f"no device {name!r} on this machine; there is {', '.join(here)}")
    return torch.device(name or here[0])
