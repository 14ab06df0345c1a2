"""The adapter that `ddpm adapt` prints, put to use where it needs no edit.

The only module here that runs something: the text of the adapter, once the file that it is for has
been loaded.
"""

import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare.candidate.door.embedding import OPEN, embedding_of
from compare.candidate.door.forward import is_network
from compare.candidate.door.roles import role_of
from compare.candidate.door.signature import asked_for
from compare.candidate.text.adapt import adapter


@dataclass(frozen=True)
class Ready:
    """An adapter that needs no edit.

    Attributes:
        make: () -> the adapter.
        command: that prints it.
    """

    make: Callable[[], Any]
    command: str


def ready(thing: Any, spec: str, known: Iterable[str]) -> Ready | None:
    """The adapter for a class that asks for more than we know, such as its model, or for a function
    of no role; None for anything else, where its file cannot be read, or it needs an edit.

    Args:
        thing: what was loaded.
        spec: how it was named, for the command.
        known: keywords that a class may ask for and is given.
    """
    if not _is_strange(thing, known):
        return None
    try:
        file = Path(inspect.getsourcefile(inspect.unwrap(thing)) or "")
        text = adapter(file, thing.__name__, file.read_text(encoding="utf-8"))
    except (OSError, TypeError, ValueError, SyntaxError):
        return None
    make = None if OPEN in text else _made(thing, file.stem, text)
    if make is None:
        return None
    known_as = (
        spec if spec.endswith(f"{file.name}:{thing.__name__}") else f"{file}:{thing.__name__}"
    )
    return Ready(make, f"ddpm adapt {known_as}")


def _is_strange(thing: Any, known: Iterable[str]) -> bool:
    if inspect.isclass(thing):
        strange = {*asked_for(thing)} - {*known}
        return bool(strange) and embedding_of(thing) is None and not is_network(thing)
    return inspect.isfunction(thing) and not {*asked_for(thing)} <= {*known} and not role_of(thing)


def _made(thing: Any, stem: str, text: str) -> Callable[[], Any] | None:
    """`adapted` of the text, which imports the file that is loaded already; None if it raises."""
    loaded, before = sys.modules.get(thing.__module__), sys.modules.get(stem)
    if loaded is None or stem in ("compare", "torch"):
        return None
    inside: dict[str, Any] = {"__name__": thing.__module__}
    sys.modules[stem] = loaded
    try:
        exec(compile(text, f"<the adapter for {stem}>", "exec"), inside)
    except Exception:
        return None
    finally:
        del sys.modules[stem]
        if before is not None:
            sys.modules[stem] = before
    made: Callable[[], Any] = inside["adapted"]
    return made
