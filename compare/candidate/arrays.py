"""Programs in NumPy: what is tensors to us is arrays to them, on the way in and on the way out.

A file is one of them if it imports NumPy and no torch. Its functions and methods, called from
outside, are given arrays in place of tensors and NumPy's generators in place of torch's, and what
they make of these comes back as tensors; among themselves they are called as they are written. The
model that they are handed takes arrays, and answers in them (`compare.candidate.spy`). No gradient
comes out of them.
"""

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

OTHERS = {"torch", "jax", "tensorflow", "cupy", "mlx"}  # that have arrays of their own
METHODS = ("__init__", "__call__")  # of those with two underlines, what is called with tensors
_going_on: list[Callable[..., Any]] = []  # the calls from outside
_streams: "WeakKeyDictionary[Any, np.random.Generator]" = WeakKeyDictionary()


def in_arrays(imported: Iterable[str]) -> bool:
    """True for the names of the modules that a program in NumPy imports.

    >>> in_arrays(["math", "numpy"]), in_arrays(["numpy", "torch.nn"]), in_arrays(["math"])
    (True, False, False)
    """
    packages = {name.partition(".")[0] for name in imported}
    return "numpy" in packages and not packages & OTHERS


def translate(module: ModuleType) -> None:
    """Lets the functions and classes of a module be called with tensors."""
    for name, thing in [*vars(module).items()]:
        if inspect.isfunction(thing):
            setattr(module, name, translated(thing))
        elif inspect.isclass(thing) and thing.__module__ == module.__name__:
            for each, method in [*vars(thing).items()]:
                if each in METHODS or not each.startswith("__"):
                    _translate_method(thing, each, method)


def _translate_method(class_: type, name: str, method: Any) -> None:
    if isinstance(method, staticmethod | classmethod):
        setattr(class_, name, type(method)(translated(method.__func__)))
    elif inspect.isfunction(method):
        setattr(class_, name, translated(method))


def translated(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that returns tensors where it is called with tensors or generators of torch's.

    >>> import torch
    >>> translated(lambda x: np.asarray(x) + 1)(torch.zeros(2))
    tensor([1., 1.])
    >>> translated(lambda x: x + 1)(np.zeros(2))
    array([1., 1.])
    """
    if hasattr(function, "in_arrays"):
        return function

    @wraps(function)
    def called(*given: Any, **named: Any) -> Any:
        if _going_on:
            return function(*given, **named)
        ours: list[tuple[Any, Any]] = []
        given, named = to_arrays((given, named), ours)
        _going_on.append(function)
        try:
            result = function(*given, **named)
        finally:
            _going_on.pop()
        for tensor, array in ours:
            _written_to(tensor, array)
        return to_tensors(result) if ours else result

    called.in_arrays = True  # type: ignore[attr-defined]
    return called


def to_arrays(value: Any, kept: list[tuple[Any, Any]] | None = None) -> Any:
    """A value with arrays in place of tensors, and NumPy's generators in place of torch's: of one
    generator always the same. `kept` is given both of each."""
    import torch

    made: Any
    if isinstance(value, torch.Tensor):
        made = value.detach().cpu().numpy().copy()
    elif isinstance(value, torch.Generator):
        made = _streams.setdefault(value, np.random.default_rng(value.initial_seed()))
    else:
        return _mapped(lambda each: to_arrays(each, kept), value)
    if kept is not None:
        kept.append((value, made))
    return made


def _written_to(tensor: Any, array: Any) -> None:
    """Changes a tensor in place where the array that stood for it was."""
    if isinstance(array, np.ndarray) and not np.array_equal(tensor.numpy(), array, equal_nan=True):
        tensor.copy_(to_tensors(array))


def to_tensors(value: Any) -> Any:
    """A value with tensors in place of arrays, and Python's numbers in place of NumPy's."""
    import torch

    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(value.copy())
    if isinstance(value, np.generic):
        return value.item()
    if inspect.isgenerator(value):
        return (to_tensors(each) for each in value)
    return _mapped(to_tensors, value)


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """A tuple, list or dict of changed values; anything else as it is."""
    if isinstance(value, dict):
        return {name: change(each) for name, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(change, value))
    return type(value)(map(change, value)) if type(value) in (tuple, list) else value
