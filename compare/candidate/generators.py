"""Where a candidate draws its numbers from: the global states, and generators of its own.

One that it keeps, in an object, a module or around a function, may be seeded once or by the system;
it is set anew before each call, as the global states are, or what is drawn could not be replayed.
One that it makes and seeds while it is called is left alone: a seed that is set inside is seen.
"""

import inspect
import random
import re
import sys
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from types import ModuleType
from typing import Any

import numpy as np
import torch

KINDS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
MAKES = re.compile(r"Generator\(|default_rng\(|RandomState\(|Random\(")
_owners: list[Callable[[], Any]] = []  # what keeps some
_new: list[Any] = []  # for each that was built since all were set
_of_numpy = np.random.default_rng


def seed_everything(seed: int) -> None:
    """Sets every source of random numbers that a candidate may draw from."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (a candidate may draw from it)
    random.seed(seed)
    _owners[:] = [owner for owner in _owners if owner() is not None]
    _new.clear()
    for owner in _owners:
        _set_all(owner(), seed)


def follow(owner: Any) -> None:
    """Sets the generators that something keeps from now on; of two that are built one after the
    other each to another seed, as one that is kept would go on.

    >>> class Mine:
    ...     rng = None
    >>> mine = Mine()
    >>> mine.rng = np.random.default_rng()
    >>> follow(mine); seed_everything(3); first = mine.rng.random()
    >>> seed_everything(3); mine.rng.random() == first
    True
    """
    with suppress(TypeError):  # it has no weak reference, or wraps what is no function
        if _kept_by(owner) and all(known() is not owner for known in _owners):
            _owners.append(weakref.ref(owner))
            _set_all(owner, torch.initial_seed() + len(_new))
            _new.append(None)


def kept_in_torch() -> list[torch.Generator]:
    """Those of torch's that are set."""
    kept = (each for owner in _owners for each in _kept_by(owner()).values())
    return [each for each in kept if isinstance(each, torch.Generator)]


def follow_module(module: ModuleType) -> None:
    """Follows a module, its functions and objects, and what is built of those of its classes that
    make one."""
    follow(module)
    for thing in [*vars(module).values()]:
        if inspect.isfunction(thing) or type(thing).__module__ == module.__name__:
            follow(thing)
        elif inspect.isclass(thing) and thing.__module__ == module.__name__:
            with suppress(OSError, TypeError):
                if MAKES.search(inspect.getsource(thing)):
                    _follow_built(thing, module.__file__)


def _follow_built(made: Any, file: str | None) -> None:
    """Follows what is built of a class, but by its own file, as it is called: a seed that is set
    there is set inside."""
    build = vars(made).get("__init__")
    if not inspect.isfunction(build):
        return

    @wraps(build)
    def built(self: Any, *given: Any, **named: Any) -> None:
        build(self, *given, **named)
        by = sys._getframe(1)
        while by.f_back is not None and by.f_code.co_name in ("__init__", "built"):
            by = by.f_back  # of a class that is made of this one
        if by.f_code.co_filename != file:
            follow(self)

    made.__init__ = built


def _kept_by(owner: Any) -> dict[str, Any]:
    """{name: generator} among the attributes of an object or a module, or what a function finds
    around it."""
    if inspect.isfunction(owner):
        held = inspect.getclosurevars(inspect.unwrap(owner)).nonlocals
    else:
        held = getattr(owner, "__dict__", {})
    found = {name: each for name, each in held.items() if isinstance(each, KINDS)}
    return {name: each for name, each in found.items() if each is not torch.default_generator}


def _set_all(owner: Any, seed: int) -> None:
    """Each to a seed of its own: of two streams of one seed, one draws what the other has drawn."""
    home = getattr(owner, "__qualname__", type(owner).__qualname__)
    for name, generator in _kept_by(owner).items():
        own = (seed + zlib.crc32(f"{home}.{name}".encode())) % 2**32
        if isinstance(generator, torch.Generator):
            generator.manual_seed(own)
        elif isinstance(generator, np.random.Generator):
            generator.bit_generator.state = type(generator.bit_generator)(own).state
        else:
            generator.seed(own)


@contextmanager
def seeded() -> Iterator[None]:
    """While open, a generator of NumPy's that is made of no seed has one of its global state."""
    before = np.random.default_rng
    np.random.default_rng = _default_rng
    try:
        yield
    finally:
        np.random.default_rng = before


@wraps(_of_numpy)
def _default_rng(seed: Any = None) -> np.random.Generator:
    return _of_numpy(np.random.randint(2**31) if seed is None else seed)  # noqa: NPY002
