"""A command whose reader goes: `ddpm explain | head -1` ends there, and says nothing."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress

CLOSED = 141  # 128 + SIGPIPE, as of any command whose reader has closed


def until_closed(run: Callable[[], int]) -> int:
    """What `run` returns, after all that it printed is written; 141 if nobody reads on.

    Args:
        run: prints, and returns an exit status; or exits, as `--help` does.

    >>> until_closed(lambda: 0)
    0
    """
    try:
        try:
            status = run()
        except SystemExit:
            flush()
            raise
        flush()
        return status
    except BrokenPipeError:
        with suppress(OSError):
            flush()
        return CLOSED


def flush() -> None:
    """Writes what was printed; what cannot be written is thrown away, told once.

    Raises:
        OSError: it cannot be written. The interpreter, at its end, has nothing left to complain of.
    """
    try:
        if sys.stdout is not None:  # as it is where a command begins without one
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
