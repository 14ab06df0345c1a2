"""Whether a program keeps the model, or is handed it by whoever calls its loop.

Who is handed a model may leave its mode to the caller: `model.eval()` reaches it. So may a
`nn.Module` that keeps one, as its own `eval()` reaches what is inside. Any other object that keeps
a model must switch it itself: nobody else can.
"""

import sys
from types import FrameType

from torch import nn

from compare.candidate.load import roles_apart


def is_kept(model: nn.Module) -> bool:
    """True if some object on the way to this call, that is no module, has the model in itself.

    The way begins where a role of the candidate is called.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") != roles_apart.__module__:
        for value in list(frame.f_locals.values()):
            if not isinstance(value, nn.Module | type) and _has(value, model):
                return True
        frame = frame.f_back
    return False


def _has(value: object, model: nn.Module) -> bool:
    inside = getattr(value, "__dict__", None)
    return isinstance(inside, dict) and any(each is model for each in inside.values())
