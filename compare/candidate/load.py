"""Loads somebody else's scheduler apart from our own modules; a door for other shapes of code.

A candidate is a class or factory, `FILE.py:NAME`, `package.module:NAME`, or an `Adapter`. Whatever
of it is called is called within `apart`, which says what it may not change and what it may throw.
"""

import ast
import functools
import importlib
import importlib.util
import inspect
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from compare.candidate.door.signature import ignoring_generator, own_roles
from compare.candidate.interrupts import interrupts_told
from compare.candidate.surroundings import (
    OUR_FOLDERS,
    OURS,
    ROOT,
    Surroundings,
    Thrown,
    apart,
    modules_kept,
)
from compare.candidate.text.later import asked
from compare.candidate.text.package import package_of

if TYPE_CHECKING:
    from compare.candidate.shared_state import Settings

_NO_GPU = re.compile("CUDA|NVIDIA driver|same device")
REFUSALS = (ValueError, TypeError, NotImplementedError)
OF_PROJECTS = (".git", "pyproject.toml", "setup.py", "requirements.txt")
DEEP = 4  # folders above a file in which its package is looked for
UNDER = "_candidate_"  # what the modules of candidates are called, in front of their own names
FOLDERS: set[Path] = set()  # of the candidates so far


@dataclass(frozen=True)
class Adapter:
    """Any of these roles, for code that is not a scheduler class.

    A `step`, `sample` or `loss` without a parameter for the generator draws from the global state.
    `add_noise` and `step` are called by position as below, which decides where their parameters'
    names say nothing; names that say all of it decide otherwise: a step (x, t, eps) is given the
    picture first, and a fourth parameter `z` is given the noise in place of a generator.

    Attributes:
        alpha_bar: () -> (T,) tensor, alpha-bar_t for t = 0..T-1.
        add_noise: (x_0, noise, t) -> x_t; images (b, c, h, w), t (b,) int64 from 0 to T-1.
        step: (model_output, t, x_t, generator) -> x_{t-1}; t an int from 0 to T-1, full chain.
        sample: (model, shape, generator) -> images of that shape: a whole loop from noise;
            `model(x, t)` is an `nn.Module` that returns what `prediction_type` says. It may be
            called in any usual way (`compare.candidate.model.call`); a shape that is written in,
            (b, c, h, w) or (b, d), is asked for.
        loss: (model, x_0, generator) -> scalar with a gradient: one training loss on images in
            [-1, 1], (b, c, h, w) or (b, d). Of one per image, or per pixel, the mean counts.
        network: () -> `nn.Module`, called with pictures and t as the names of its `forward` say:
            x (b, c, h, w) or (b, d), t (b,) from 0 to T-1. Its output has the shape of x, or 2c
            channels. Weights are lent and given back.
        tables: () -> {name: (T,) or (T+1,) tensor}: what is derived from betas beforehand, by the
            names that much code gives it (`posterior_variance`, `ab_prev`, `sqrt_alphas_cumprod`
            ...; `compare.candidate.door.tables`). Other names are told as not judged. Without an
            `alpha_bar`, alpha-bar and betas among them are the schedule.
        embedding: (t, dim) -> (b, dim): the sinusoids of timesteps t (b,) int64 from 0 to T-1, or
            float, or (b, 1) float, whichever it takes first; of even dims.
        prediction_type: what the model returns: `"epsilon"`, `"sample"` or `"v_prediction"`; None
            if the values of a step, of a loss or of a loop are to say it.
        reading: what else is to be said of how it is called, in the words of `--reading`:
            `"pictures=unmapped"`, or several. What the user says comes first.
        name: shown in the verdict.

    >>> import torch
    >>> Adapter(alpha_bar=lambda: torch.linspace(0.99, 0.01, 10)).roles
    ['alpha_bar']
    """

    alpha_bar: Callable[[], Any] | None = None
    add_noise: Callable[..., Any] | None = None
    step: Callable[..., Any] | None = None
    sample: Callable[..., Any] | None = None
    loss: Callable[..., Any] | None = None
    network: Callable[..., Any] | None = None
    tables: Callable[[], Any] | None = None
    embedding: Callable[..., Any] | None = None
    prediction_type: str | None = None
    reading: str | Sequence[str] = ()
    name: str = "adapter"

    def __new__(cls, *_: Any, **named: Any) -> "Adapter":
        """Refuses, in words, a role that is not built.

        Raises:
            TypeError: one of those in `compare.candidate.text.later` is asked for.
        """
        known = {f.name for f in fields(cls)}
        found = [later for name in named if name not in known and (later := asked(name))]
        if found:
            raise TypeError(found[0].said)
        return super().__new__(cls)

    @property
    def roles(self) -> list[str]:
        """Names of the roles that are filled."""
        return [name for name in ROLES if getattr(self, name) is not None]

    def with_generators(self) -> "Adapter":
        """The same, its `sample` and `loss` both called with a generator, which they may ignore."""
        sample, loss = (ignoring_generator(role) for role in (self.sample, self.loss))
        return replace(self, sample=sample, loss=loss)


NO_ROLES = ("prediction_type", "reading", "name")
ROLES = tuple(f.name for f in fields(Adapter) if f.name not in NO_ROLES)
# Those that are given a model and stand for themselves: each has a stage that needs it.
WHOLE = tuple(role for role in ROLES if role not in ("alpha_bar", "add_noise", "step", "tables"))


class Unloadable(Exception):
    """A candidate that cannot be loaded; the text is one line for the user."""


class Broken(Exception):
    """What a candidate did instead of answering, in one line; a wrong shape is not `raised`."""

    def __init__(self, text: str, raised: bool = True):
        super().__init__(text)
        self.raised = raised


def roles_apart(thing: Any, own: Surroundings) -> dict[str, Callable[..., Any]]:
    """{name: whole role} of an adapter or of an object that has them, each called within `apart`,
    a loop or a loss on (model, what, generator)."""

    def within(role: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any) -> Any:
            with apart(own):
                result = role(*given)
                return [*result] if inspect.isgenerator(result) else result

        return called

    adapter = thing if isinstance(thing, Adapter) else Adapter(**own_roles(thing))
    adapter = adapter.with_generators()
    return {role: within(getattr(adapter, role)) for role in WHOLE if role in adapter.roles}


def _namesakes(folder: Path) -> tuple[str, ...]:
    """Those of our names that are modules of this folder and not ours."""
    return () if folder == ROOT else tuple(name for name in OURS if _is_in(folder, name))


def _is_in(folder: Path, name: str) -> bool:
    """True if a folder has a module of this name."""
    return (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()


def folders_of(file: Path) -> dict[Path, tuple[str, ...]]:
    """{where the modules that a file imports are: those of our names among them}: its own folder
    last, after those above it that hold the package in which it lies, or others of its project."""
    found: dict[Path, tuple[str, ...]] = {}
    for module in _imported(file):
        name = module.split(".")[0]
        if _is_in(file.parent, name) or (name not in OURS and _is_installed(name)):
            continue
        above = next((each for each in _above(file, name) if _has(each, module)), None)
        if above is not None:
            found[above] = (*found.get(above, ()), *((name,) if name in OURS else ()))
    return {**found, file.parent: _namesakes(file.parent)}


def _is_installed(name: str) -> bool:
    """True for a module that Python finds; one that was made while a program runs has no spec."""
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:
        return True


def _above(file: Path, name: str) -> Iterator[Path]:
    """The folders above a file's own in which a package of this name may be its project's."""
    for above in file.parents[1 : DEEP + 1]:
        lies_in = file.relative_to(above).parts[0] == name
        if above != ROOT and (lies_in or any((above / mark).exists() for mark in OF_PROJECTS)):
            yield above


def _has(folder: Path, module: str) -> bool:
    """True if a folder has this module; one of our names in a package that is no bare folder, as
    Python would take ours."""
    name, path = module.split(".")[0], folder.joinpath(*module.split("."))
    if name in OURS:
        return _is_in(folder, name) and _is_in(path.parent, path.name)
    return path.is_dir() or _is_in(path.parent, path.name)


def _imported(file: Path) -> list[str]:
    """The modules of which a file imports something, by their full names; none where it cannot be
    read: loading it says why."""
    with suppress(SyntaxError, ValueError):
        nodes = [*ast.walk(ast.parse(_text_of(file)))]
        named = [e.module for e in nodes if isinstance(e, ast.ImportFrom) and not e.level]
        named += [each.name for e in nodes if isinstance(e, ast.Import) for each in e.names]
        return list(dict.fromkeys(filter(None, named)))
    return []


def _text_of(file: Path) -> str:
    """What a file says; "" where it cannot be read."""
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text(encoding="utf-8")
    return ""


def _begin_in(folder: Path) -> None:
    """Puts a folder first for what its modules import, now and when a method does; of an earlier
    candidate's neighbours, those of which it has its own are forgotten."""
    others = tuple(f"{other}{os.sep}" for other in FOLDERS - {folder})
    for name, module in [*sys.modules.items()] if others else ():
        file = getattr(module, "__file__", None) or ""
        if file.startswith(others) and _is_in(folder, name.split(".")[0]):
            del sys.modules[name]
    if str(folder) not in sys.path or folder in FOLDERS:
        sys.path[:] = [str(folder), *(each for each in sys.path if each != str(folder))]
    FOLDERS.add(folder)
    importlib.invalidate_caches()


def load(spec: str, settings: "Settings | None" = None) -> tuple[Any, Surroundings]:
    """The object named by `FILE.py:NAME` or `package.module:NAME`, and its surroundings.

    Args:
        spec: the name.
        settings: torch's, that its first line finds; None for those in force.

    Raises:
        Unloadable: the spec, file, module or name is missing, or importing it fails.

    >>> try: load("diffusers")
    ... except Unloadable as error: print(error)
    candidate 'diffusers' must be FILE.py:NAME or package.module:NAME
    """
    path, _, name = spec.rpartition(":")
    if not path or not name:
        raise Unloadable(f"candidate {spec!r} must be FILE.py:NAME or package.module:NAME")
    from compare.candidate.devices import OnTheCpu

    own = Surroundings(settings=settings, on_cpu=OnTheCpu())
    if not path.endswith(".py") and ("/" in path or Path(path).is_file()):
        raise Unloadable(f"{path} is no .py file; expected FILE.py:NAME or package.module:NAME")
    with _one_line(f"cannot import {path}"):
        found = _load_file(Path(path), own) if path.endswith(".py") else _load_module(path, own)
        for part in name.split("."):
            with apart(own):
                if not hasattr(found, part):
                    raise Unloadable(f"{path} has no {name!r}")
                owner, found = found, getattr(found, part)
                if inspect.isclass(owner) and inspect.isfunction(inspect.unwrap(found)):
                    _refuse_method(owner, part, spec)
    return _as_function(found), own


def _refuse_method(owner: type, name: str, spec: str) -> None:
    """Raises `Unloadable` for a method that asks for its object."""
    static = isinstance(inspect.getattr_static(owner, name), staticmethod | classmethod)
    if not static:
        of_class = spec.removesuffix(f".{name}")
        raise Unloadable(f"{spec} is a method: judge its class, {of_class}")


def _as_function(found: Any) -> Any:
    """What `functools.partial` leaves of a function, as one that asks for no more than that."""
    if not isinstance(found, functools.partial):
        return found

    @functools.wraps(found.func)
    def function(*args: Any, **kwargs: Any) -> Any:
        return found(*args, **kwargs)

    function.__signature__ = inspect.signature(found)  # type: ignore[attr-defined]
    return function


def _load_module(name: str, own: Surroundings) -> ModuleType:
    with apart(own), modules_kept():
        return importlib.import_module(name)


def _load_file(file: Path, own: Surroundings) -> ModuleType:
    if not file.is_file():
        raise Unloadable(f"no such file: {file}")
    file = file.resolve()
    for folder, namesakes in folders_of(file).items():
        if namesakes:
            own.namesakes, own.folder = namesakes, str(folder)
        else:
            _begin_in(folder)
    import torch

    from compare.candidate.door.variables import watched

    own.file = str(file)
    # With gradients, as a script that trains when it is run has them.
    with (
        apart(own),
        modules_kept(),
        _nothing_written(),
        torch.enable_grad(),
        watched(own.imported, own.file),
    ):
        try:
            module = _run(file)
        except ImportError as error:
            if "relative import" in str(error):
                cure = "give package.module:NAME, from the folder that holds the package"
                raise Unloadable(f"{file} is part of a package: {cure}") from None
            raise
    _ready_beside(file)
    return module


def _run(file: Path) -> ModuleType:
    """The module of a file, run under a name that is no other's; before it the packages in which
    it says that it lies."""
    folder, name = package_of(file, _text_of(file))
    *packages, own = name.split(".")
    known, inside = UNDER, folder
    for package in packages:
        known, inside = f"{known}{package}", inside / package
        _run_as(known, inside / "__init__.py", inside)
        known += "."
    by_its_package = sys.modules.get(known + own) if packages else None
    return by_its_package or _run_as(known + own, file)


def _run_as(name: str, file: Path, package: Path | None = None) -> ModuleType:
    """A file run as the module of this name; that of a package may have none. What was called so
    before is forgotten."""
    for other in [each for each in sys.modules if f"{each}.".startswith(f"{name}.")]:
        del sys.modules[other]
    inside = None if package is None else [str(package)]
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=inside)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look the module up
    if spec.loader is not None and file.exists():
        spec.loader.exec_module(module)
    return module


def _ready_beside(file: Path) -> None:
    """Follows the generators of the modules in the folder of a file, itself among them, and lets
    those that are written in NumPy be called with tensors."""
    from compare.candidate import arrays, generators

    for module in [*sys.modules.values()]:
        its = Path(getattr(module, "__file__", None) or "")
        if its.parent == file.parent and its.suffix == ".py":
            generators.follow_module(module)
            if arrays.in_arrays(_imported(its)):
                arrays.translate(module)


@contextmanager
def _nothing_written() -> Iterator[None]:
    """Leaves no `__pycache__` beside somebody's files."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    try:
        with interrupts_told():
            yield
    except Unloadable:
        raise
    except Exception as error:
        raise Unloadable(f"{what}: {brief(error)}") from None


def brief(error: BaseException) -> str:
    """An exception in one line, with a cure where it wants a GPU or a package."""
    error = error.error if isinstance(error, Thrown) else error
    try:
        text = " ".join(str(error).split()).replace(UNDER, "")
    except Exception:  # a candidate's exception may be wrong itself
        text = ""
    cure = ""
    if _NO_GPU.search(text):
        cure = " (compare judges on the CPU: take the device as an argument)"
    elif isinstance(error, ModuleNotFoundError):
        cure = " (install it, or put what is to be judged into a file of its own)"
        ours = str(error.name).partition(".")[0]
        if ours in OURS and error.name != ours:
            cure = (
                f" (it is looked for in this project's {ours}: rename the folder {ours} of yours)"
            )
    return f"{type(error).__name__}: {text}"[:300] + cure if text else type(error).__name__


def raised(error: BaseException) -> str:
    """`brief`, with the last line of a candidate's own code that led to it.

    >>> def step(): raise ValueError("boom")
    >>> try: step()
    ... except ValueError as error: print(raised(error).split(" (")[0])
    ValueError: boom
    """
    error = error.error if isinstance(error, Thrown) else error
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_theirs(f.filename)]
    if not frames:
        return brief(error)
    return f"{brief(error)} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def is_ours(error: BaseException) -> bool:
    """True if no line of a candidate's led to it: the fault is this project's."""
    if isinstance(error, Thrown):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    return not any(_is_theirs(frame.filename) for frame in frames)


def our_line(error: BaseException) -> str:
    """`brief`, with the last line of this project's own code that led to it."""
    frames = traceback.extract_tb(error.__traceback__)
    last = [f for f in frames if f.filename.startswith(OUR_FOLDERS)][-1]
    return f"{brief(error)} in {Path(last.filename).relative_to(ROOT)}, line {last.lineno}"


def _is_theirs(filename: str) -> bool:
    """True for a file that is neither ours nor a library's."""
    libraries = (*OUR_FOLDERS, sysconfig.get_path("stdlib"), "<frozen")
    return not filename.startswith(libraries) and "site-packages" not in filename
