"""Progress bars: on a terminal and in a notebook tqdm's own; elsewhere a line now and then.

A log is no place for a bar that is drawn anew ten times a second, and a log that cannot be written
any more is no reason to end a run: what is said of a run's progress is lost then, and the run not.
"""

import contextlib
import os
import sys
import time
from typing import Any, TextIO

EVERY = 10.0  # seconds between two lines, of whatever bars
LINE = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
UP = "\x1b[A"  # tqdm's, for a bar below another


class Lines:
    """A stream for tqdm that is no terminal: it writes at most one line every `EVERY` seconds.

    Args:
        stream: where to write; None for nowhere, as of a process that was started without one.
    """

    _last = -EVERY  # of this process: bars that follow each other are throttled as one

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write what a bar shows as a line, or let it be: the next one will say more."""
        line, now = text.replace(UP, "").strip(), time.monotonic()
        if line and self._stream is not None and now - Lines._last >= EVERY:
            Lines._last = now
            say(line, self._stream)

    def flush(self) -> None:
        """Nothing: each line is written at once."""


def say(text: str, stream: TextIO | None) -> None:
    """Write a line at once; if the stream takes none any more, this and all later ones are lost."""
    if stream is None:
        return
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError):  # nobody reads, the disk is full, it is closed
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())  # else Python fails over it when it ends


def beside(bar: Any, text: str) -> None:
    """Say a line while a bar of `of` is shown, which goes on below it."""
    bar.clear()
    say(text, sys.stderr)


def options(name: str, shown: bool = True) -> dict[str, Any]:
    """What tqdm is told for a bar.

    Args:
        name: what stands before it.
        shown: False for no bar.
    """
    said: dict[str, Any] = {"desc": name, "disable": not shown}
    if not shown or _draws_itself():
        return said
    return {**said, "file": Lines(sys.stderr), "bar_format": LINE}


def of(total: int, name: str, shown: bool = True, initial: int = 0) -> Any:
    """A bar, to be told of each step by its `update()`.

    Args:
        total: steps to be done.
        name: what stands before it.
        shown: False for no bar.
        initial: steps that were done before.
    """
    from tqdm.auto import tqdm

    return tqdm(total=total, initial=initial, **options(name, shown))


def _draws_itself() -> bool:
    """Whether bars go to a terminal, or to a notebook, which shows a bar of its own."""
    from tqdm.auto import tqdm

    if any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__):
        return True
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # it is closed
        return False
