"""The adapter that `ddpm adapt` prints, put to use where it needs no edit.

The only module here that runs something: the text of the adapter, once the file that it is for has
been loaded.
"""

import inspect
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare.candidate.door.embedding import embedding_of
from compare.candidate.door.forward import is_network
from compare.candidate.door.names import CALLED, MODELS
from compare.candidate.door.roles import role_of
from compare.candidate.door.signature import asked_for
from compare.candidate.text.adapt import written
from compare.candidate.text.chosen import left_out
from compare.candidate.text.found import source_of
from compare.candidate.text.offered import METHODS, offered
from compare.candidate.text.own.words import usual
from compare.candidate.text.package import package_of

WRITTEN = "<the adapter for "  # the file of what is made of its text


@dataclass(frozen=True)
class Ready:
    """An adapter that needs no edit.

    Attributes:
        make: () -> the adapter.
        command: that prints it.
        assumes: the tables in it, which the file's functions are handed, are nobody's.
    """

    make: Callable[[], Any]
    command: str
    assumes: bool = False


def ready(thing: Any, spec: str, known: Iterable[str]) -> Ready | None:
    """The adapter for a class that asks for more than we know, such as its model, or of which an
    adapter fills more roles than are judged as they are, as for what is built of it at the top of
    its file; for a function of no role, and for a step that its file hands the noise, none at the
    end; None for anything else, where its file cannot be read, or the adapter needs an edit.

    Args:
        thing: what was loaded.
        spec: how it was named, for the command.
        known: keywords that a class may ask for and is given.
    """
    is_function, kind = inspect.isfunction(thing), _kind_of(thing)
    roles = role_of(thing) if is_function else {}
    is_one = {*roles} - {"step", "alpha_bar"} if is_function else _is_one(kind)
    if is_one:
        return None
    is_object = kind is not thing
    asks = not is_object and not {*asked_for(thing)} <= {*known}
    name = spec.rpartition(":")[2] if is_object else thing.__name__
    try:
        file = Path(_file_of(kind))
        source = file.read_text(encoding="utf-8")
        found = written(file, name, source)
        judged = {method for method in METHODS if callable(getattr(thing, method, None))}
        same = [each for each in offered(source) if each.name == kind.__name__]
        judged |= {role for each in same for role in each.judged}
    except (OSError, TypeError, ValueError, SyntaxError):
        return None
    if roles and '"z=0"' not in found.text:
        return None
    has_more = found.is_whole and judged < {*found.roles} & {*CALLED}
    if found.needs_edit or (not is_function and not asks and not has_more):
        return None
    make = _made(thing, package_of(file.resolve(), source)[1], found.text)
    known_as = spec if spec.endswith(f"{file.name}:{name}") else f"{file}:{name}"
    return None if make is None else Ready(make, f"ddpm adapt {known_as}", found.assumes)


def _kind_of(thing: Any) -> Any:
    """A class or a function itself; of anything else its class."""
    return thing if inspect.isclass(thing) or inspect.isfunction(thing) else type(thing)


def _is_one(kind: Any) -> bool:
    """True for a class of one role, and for one of ours."""
    ours = kind.__module__.partition(".")[0] == "compare"
    return ours or bool(embedding_of(kind)) or is_network(kind)


def how_to_build(network: Any) -> str:
    """What to do about a class that cannot be built without arguments; "" for what is none."""
    asked = asked_for(network) if inspect.isclass(network) else []
    if not asked:
        return ""
    if not is_network(network):
        left = ", ".join([name for name in asked if name not in MODELS] or asked)
        if not _is_adapted(Path(_file_of(network)), network.__name__):
            return f"; an Adapter says what it is built with ({left}), and which method is which"
        file = f"FILE.py:{network.__name__}"
        return f"; `ddpm adapt {file}` writes an adapter, in which {left} can be said"
    call = f"{network.__name__}({', '.join(f'{name}=...' for name in asked)})"
    return f"; it asks for {', '.join(asked)}, and Adapter(network=lambda: {call}) says them"


def adapter_for(function: Any) -> str:
    """The command that writes an adapter for a function of a file, behind a `"; "`; "" if none
    does."""
    file, name = _file_of(function), function.__name__
    adapted = file.endswith(".py") and _is_adapted(Path(file), name)
    return f"; `ddpm adapt {file}:{name}` writes an adapter for it" if adapted else ""


def how_to_adapt(spec: str) -> str:
    """The command that writes an adapter for `FILE.py:NAME`; "" if there is none."""
    file, _, name = spec.rpartition(":")
    return f"`ddpm adapt {spec}`" if file.endswith(".py") and _is_adapted(Path(file), name) else ""


def _is_adapted(file: Path, name: str) -> bool:
    """True if an adapter can be written for a class or a function of a file."""
    with suppress(OSError, ValueError, SyntaxError):
        return bool(written(file, name, file.read_text(encoding="utf-8")).roles)
    return False


def _file_of(thing: Any) -> str:
    """Of a class or function; "" if there is none."""
    with suppress(TypeError, OSError):
        return inspect.getsourcefile(inspect.unwrap(thing)) or ""
    return ""


def is_written(made: Any) -> bool:
    """True for `adapted` of an adapter that was written here."""
    code = getattr(made, "__code__", None)
    return code is not None and code.co_filename.startswith(WRITTEN)


def unread(thing: Any, as_it_is: bool) -> dict[str, list[str]]:
    """`left_out` of a class, or of what is built of it; nothing where its file cannot be read."""
    kind = _kind_of(thing)
    if inspect.isfunction(kind) or _is_one(kind):
        return {}
    with suppress(OSError, TypeError, ValueError, SyntaxError):
        file = Path(_file_of(kind))
        tree, own = usual(file.read_text(encoding="utf-8"))
        found = left_out(source_of(file, kind.__name__, tree), as_it_is)
        return {role: [own.get(name, name) for name in names] for role, names in found.items()}
    return {}


def _made(thing: Any, module: str, text: str) -> Callable[[], Any] | None:
    """`adapted` of the text, which imports the file that is loaded already; None if it raises."""
    loaded, before = sys.modules.get(thing.__module__), sys.modules.get(module)
    if loaded is None or module in ("compare", "torch"):
        return None
    inside: dict[str, Any] = {"__name__": thing.__module__}
    sys.modules[module] = loaded
    try:
        exec(compile(text, f"{WRITTEN}{module}>", "exec"), inside)
    except Exception:
        return None
    finally:
        del sys.modules[module]
        if before is not None:
            sys.modules[module] = before
    made: Callable[[], Any] = inside["adapted"]
    return made
