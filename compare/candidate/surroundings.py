"""A candidate runs in surroundings of its own: its modules, its settings of torch, its exceptions.

torch is imported by who calls it, so that `import compare` stays quick.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from compare.candidate.interrupts import Interrupted

if TYPE_CHECKING:
    from compare.candidate.devices import OnTheCpu
    from compare.candidate.door.variables import Variables
    from compare.candidate.shared_state import Settings

ROOT = Path(__file__).resolve().parents[2]
OURS = ("scratch", "with_diffusers", "compare", "workbench", "ddpm")
OUR_FOLDERS = tuple(f"{ROOT / name}{os.sep}" for name in OURS)


class Thrown(Exception):
    """A candidate threw what is no `Exception`: SystemExit, KeyboardInterrupt, one of its own."""

    def __init__(self, error: BaseException):
        super().__init__(error)
        self.error = error


@dataclass
class Surroundings:
    """What a candidate finds around it while it runs, and we do not.

    Attributes:
        folder: where its own modules of our names come from, if it has such.
        namesakes: those of our names that are modules of that folder.
        modules: those modules.
        settings: torch's settings as it left them; None before its first call.
        on_cpu: takes every device for the CPU; None where its code names no other.
        imported: what its functions had in variables while its file was imported.
        file: that; "" for what comes from none.
    """

    folder: str | None = None
    namesakes: tuple[str, ...] = ()
    modules: dict[str, ModuleType] = field(default_factory=dict)
    settings: "Settings | None" = None
    on_cpu: "OnTheCpu | None" = None
    imported: "list[Variables]" = field(default_factory=list)
    file: str = ""

    def has(self, name: str) -> bool:
        """True for a module whose package is one of the namesakes: the others of our names are
        ours, such as the `compare` of which an adapter is made."""
        return name.split(".")[0] in self.namesakes


@contextmanager
def apart(own: Surroundings) -> Iterator[None]:
    """Lets a candidate run in its surroundings; ours are back afterwards.

    Raises:
        Thrown: what it throws is no `Exception`. A real Ctrl-C comes through.
    """
    import torch

    from compare.candidate.generators import seeded
    from compare.candidate.shared_state import Settings

    ours = Settings.now()
    if own.settings not in (None, ours):  # to ask takes longer than many a call does
        own.settings.put()
    try:
        with (
            own.on_cpu or nullcontext(),
            seeded(),
            torch.set_grad_enabled(torch.is_grad_enabled()),
            nullcontext() if own.folder is None else _namesakes_in_place(own, own.folder),
        ):
            yield
    except (Exception, Interrupted):
        raise
    except BaseException as error:
        raise Thrown(error) from None
    finally:
        own.settings = Settings.now()
        if own.settings != ours:
            ours.put()


@contextmanager
def _namesakes_in_place(own: Surroundings, folder: str) -> Iterator[None]:
    """Puts a candidate's own modules in the place of ours of the same names, for a while."""
    ours = {name: sys.modules.pop(name) for name in list(sys.modules) if own.has(name)}
    sys.modules.update(own.modules)
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with suppress(ValueError):  # the candidate may have done so
            sys.path.remove(folder)
        theirs = [name for name in sys.modules if own.has(name)]
        own.modules.update({name: sys.modules.pop(name) for name in theirs})
        sys.modules.update(ours)


@contextmanager
def modules_kept() -> Iterator[None]:
    """Puts modules back that a file takes away: a second import of torch is none."""
    before = dict(sys.modules)
    try:
        yield
    finally:
        gone = before.keys() - sys.modules.keys()
        sys.modules.update({name: before[name] for name in gone if not _is_ours(name)})


def _is_ours(name: str) -> bool:
    return name.split(".")[0] in OURS
