"""A candidate's devices: it is judged on the CPU, whatever its code names.

Public code says `device="cuda"` in a default, at the top of a file or in the middle of a loop. None
of it is a formula: while such code runs, torch's functions take every device for the CPU, tensors
that lie elsewhere (a notebook made them) are read from a copy, and the verdict says so. Code that
names no other device is left alone, as this costs a microsecond a call.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from compare.candidate.shared_state import in_a_library
from compare.candidate.surroundings import OUR_FOLDERS

_NAMED = re.compile(r"\b(cuda|mps|xpu)\b")
_HERE = re.compile("cpu|meta")
_DEVICE = str | int | torch.device


class OnTheCpu(TorchFunctionMode):
    """While open, torch's functions take every other device for the CPU.

    Attributes:
        taken: names of the devices that were asked for and are not the CPU.

    >>> with OnTheCpu() as mode:
    ...     torch.zeros(2, device="cuda:0").cuda().to("mps").device
    device(type='cpu')
    >>> sorted(mode.taken)
    ['cuda', 'mps']
    """

    def __init__(self) -> None:
        super().__init__()
        self.taken: set[str] = set()
        self._copies: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # {id: itself, its copy}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The call, its devices replaced."""
        kwargs = kwargs or {}
        if func is torch.Tensor.cuda:
            self.taken.add("cuda")
            return self._near(args[0])
        if kwargs.get("device") is not None:
            kwargs = {**kwargs, "device": self._here(kwargs["device"])}
        if func is torch.Tensor.to and len(args) > 1 and isinstance(args[1], _DEVICE):
            args = (args[0], self._here(args[1]), *args[2:])
        if kwargs:
            kwargs = {name: self._near(value) for name, value in kwargs.items()}
        return func(*map(self._near, args), **kwargs)

    def _near(self, value: Any) -> Any:
        """The same, tensors on another device as their copies: one each, for what is written."""
        if not isinstance(value, torch.Tensor):
            is_row = type(value) in (list, tuple)
            return type(value)(map(self._near, value)) if is_row else value
        if value.is_cpu:  # nearly all of them
            return value
        kind = value.device.type
        if _HERE.fullmatch(kind):
            return value
        self.taken.add(kind)
        if id(value) not in self._copies:
            self._copies[id(value)] = value, value.cpu()
        return self._copies[id(value)][1]

    def _here(self, device: Any) -> Any:
        kind = "cuda" if isinstance(device, int) else str(device).split(":")[0]
        if _HERE.fullmatch(kind):
            return device
        self.taken.add(kind)
        return "cpu"


def names_another(thing: Any) -> bool:
    """True if the code of a candidate, or of what its modules import of its own, names a device
    other than the CPU.

    >>> names_another(torch.optim.Adam)  # a library's code is no candidate's
    False
    """
    return any(_says_so(module) for module in _modules(thing))


def _modules(thing: Any) -> Iterator[ModuleType]:
    """Those that a candidate's code stands in, and what they import, as far as they are its own."""
    waiting, seen = [thing, *getattr(thing, "__dict__", {}).values()], set()
    while waiting:
        module = _home(waiting.pop())
        if module is None or module in seen or not _is_its_own(module):
            continue
        seen.add(module)
        yield module
        waiting += vars(module).values()


def _home(thing: Any) -> ModuleType | None:
    if isinstance(thing, ModuleType):
        return thing
    name = getattr(thing, "__module__", None)
    return sys.modules.get(name) if isinstance(name, str) else None


def _is_its_own(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__ == "__main__"
    return not file.startswith(OUR_FOLDERS) and not in_a_library(file)


@lru_cache(64)
def _says_so(module: ModuleType) -> bool:
    try:
        return bool(_NAMED.search(inspect.getsource(module)))
    except (OSError, TypeError):  # a notebook, whose cells nobody can read here
        return module.__name__ == "__main__"
