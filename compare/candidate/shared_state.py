"""What a candidate shares with its judge: torch's settings, and the functions that both call."""

import inspect
import math
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
import torch

MODULES = (torch, torch.nn.functional, torch.linalg, torch.special, math, np, np.random)
CLASSES = (torch.Tensor, torch.Generator, torch.nn.Module)
LIBRARIES = (
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    *(package.__path__[0] for package in (torch, np)),
    "<frozen",
    "<string>",
)

CPU = torch.device("cpu")
Functions = dict[tuple[Any, str], Any]  # {(where it stands, its name): itself}


class Settings(NamedTuple):
    """What one line of a file sets for all code of its process."""

    dtype: torch.dtype = torch.float32
    device: torch.device = CPU
    deterministic: bool = False
    warn_only: bool = False

    @classmethod
    def now(cls) -> "Settings":
        """Those in force."""
        return cls(
            torch.get_default_dtype(),
            torch.empty(0).device,  # ten times quicker than torch.get_default_device()
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )

    def put(self) -> None:
        """Puts them in force; what is so already is left alone."""
        now = Settings.now()
        if self.dtype != now.dtype:
            torch.set_default_dtype(self.dtype)
        if self.device != now.device:
            torch.set_default_device(None if self.device == CPU else self.device)
        if (self.deterministic, self.warn_only) != (now.deterministic, now.warn_only):
            torch.use_deterministic_algorithms(self.deterministic, warn_only=self.warn_only)


def shared_functions() -> Functions:
    """What a judge of a candidate calls and cannot do without."""
    found: Functions = {}
    for module in MODULES:
        public = {n: v for n, v in vars(module).items() if callable(v) and not n.startswith("_")}
        found |= {(module, name): value for name, value in public.items()}
    for owner in CLASSES:
        for base in reversed(owner.__mro__):  # of two that share a name, the nearer one counts
            found |= {(owner, name): value for name, value in vars(base).items() if callable(value)}
    return found


def replacements(before: Functions) -> Functions:
    """The shared functions that are somebody's own code now, or another's than `before`.

    A library may wrap them (`torch.compile` does so with `torch.manual_seed`): that is no
    replacement, and a name that is new is none either.
    """
    now = shared_functions()
    found = {}
    for key, original in before.items():
        value = now.get(key)
        if _is_somebodys(value) or (value is not original and not _is_a_librarys(value)):
            found[key] = value
    return found


def put_back(before: Functions) -> None:
    """Undoes what was done to the shared functions since `before`, libraries' wrappers aside."""
    changed = {
        key: value for key, value in replacements(before).items() if value is not before[key]
    }
    for owner, name in changed:
        original = before[owner, name]
        inherited = getattr(owner.__base__, name, None) if inspect.isclass(owner) else None
        if inherited is original and name in vars(owner):
            delattr(owner, name)
        else:
            setattr(owner, name, original)


def told(found: Functions) -> str:
    """What was replaced, where, and what to do, in one line."""
    (owner, name), value = next(iter(found.items()))
    codes = [function.__code__ for function in _functions_within(value)]
    own = [code for code in codes if not in_a_library(code.co_filename)]
    place = f" ({Path(own[0].co_filename).name}, line {own[0].co_firstlineno})" if own else ""
    home = f"{owner.__module__}.{owner.__qualname__}" if inspect.isclass(owner) else owner.__name__
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (
        f"{home}.{name}{place} is replaced{more}, and a judge that calls it cannot be trusted; "
        "give your function a name of its own"
    )


def _functions_within(value: Any) -> list[Any]:
    """A function and those that it wraps, the outermost first, as far as they are Python's."""
    found: list[Any] = []
    while isinstance(value, FunctionType) and len(found) < 100:
        found.append(value)
        value = getattr(value, "__wrapped__", None)
    return found


def _is_somebodys(value: Any) -> bool:
    return any(not in_a_library(f.__code__.co_filename) for f in _functions_within(value))


def _is_a_librarys(value: Any) -> bool:
    if inspect.isclass(value):  # such as torch.Storage, which goes with the default dtype
        return in_a_library(getattr(sys.modules.get(value.__module__), "__file__", None) or "")
    return bool(_functions_within(value)) and not _is_somebodys(value)


@lru_cache(maxsize=1000)
def in_a_library(filename: str) -> bool:
    """True for a file of Python itself or of an installed package."""
    installed = any(part in filename for part in ("site-packages", "dist-packages"))
    return installed or filename.startswith(LIBRARIES)
