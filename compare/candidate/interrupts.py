"""A real Ctrl-C, told from a KeyboardInterrupt that a candidate raises by itself."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The user's own interrupt: a signal came. Anything else is a candidate's exception."""


@contextmanager
def interrupts_told() -> Iterator[None]:
    """While open, a SIGINT that would raise KeyboardInterrupt raises `Interrupted`."""
    usual = signal.getsignal(signal.SIGINT)
    if not callable(usual) or threading.current_thread() is not threading.main_thread():
        yield  # it is ignored here, or another thread gets it
        return

    def interrupt(number: int, frame: Any) -> None:
        try:
            usual(number, frame)
        except KeyboardInterrupt as error:
            raise Interrupted(*error.args) from None

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
