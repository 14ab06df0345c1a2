"""Whether a program keeps the model, or is handed it by whoever calls its loop.

Who is handed a model, by a call or when it is built, may leave its mode to the caller:
`model.eval()` reaches it. So may a `nn.Module` that keeps one, as its own `eval()` reaches what is
inside. Any other object that keeps a model and runs the loop must switch it itself: nobody else
can. What a loop wraps a model in, for its calls alone, keeps nothing; and a network in whose file
there is no dropout and no batch norm has no mode.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from types import FrameType, ModuleType

from torch import nn

from compare.candidate.door.names import MODELS
from compare.candidate.door.signature import named_keywords
from compare.candidate.load import roles_apart

LAYERS = re.compile(r"\bnn\.(Linear|Conv)")
WITH_MODES = re.compile("dropout|batch_?norm", re.IGNORECASE)


class Owner:
    """Who has the model that is handed over; it is told of every call.

    A loop is what goes on from one call to the next.
    """

    def __init__(self) -> None:
        self._first: list[FrameType] = []
        self._known: bool | None = None

    def called(self, model: nn.Module) -> None:
        """Looks at the way from where a role of the candidate is called to this call."""
        if self._known is not None:
            return
        way = [*_way()]
        if not self._first:
            self._first = way
            return
        self._known = _keeps([f for f in way if any(f is other for other in self._first)], model)
        self._first = []

    def keeps(self, model: nn.Module) -> bool:
        """True if an object that is no module, and was not built with the model, runs the loop and
        has it in itself."""
        return _keeps(self._first, model) if self._known is None else self._known


def _way() -> Iterator[FrameType]:
    """The candidate's frames, the innermost first; torch's decorators stand between them."""
    frame: FrameType | None = sys._getframe(3)
    while frame is not None and frame.f_globals.get("__name__") != roles_apart.__module__:
        if not str(frame.f_globals.get("__name__")).startswith("torch."):
            yield frame
        frame = frame.f_back


def _keeps(way: list[FrameType], model: nn.Module) -> bool:
    """True if one of these was called with an object that has the model of its own.

    The last was called with the model itself, whatever it has made of it.
    """
    for i, frame in enumerate(way):
        code = frame.f_code
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if i == len(way) - 1:
            names = names[: names[:1] == ("self",)]
        given = (frame.f_locals.get(name) for name in names)
        if any(not isinstance(v, nn.Module | type) and _has(v, model) for v in given):
            return True
    return False


def _has(value: object, model: nn.Module) -> bool:
    """True if an object has the model, and was not handed it when it was built, nor built it of
    what has no mode."""
    inside = getattr(value, "__dict__", None)
    names = {k for k, each in inside.items() if each is model} if isinstance(inside, dict) else ()
    if not names or {*names, *MODELS} & {*named_keywords(type(value).__init__)}:
        return False
    return not _has_no_mode(inspect.getmodule(type(value)))


def _has_no_mode(module: ModuleType | None) -> bool:
    """True if a network stands in a file, and nothing that knows training from sampling."""
    try:
        text = inspect.getsource(module) if module is not None else ""
    except (OSError, TypeError):
        return False
    return bool(LAYERS.search(text)) and not WITH_MODES.search(text)
