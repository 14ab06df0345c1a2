"""The process that a candidate runs in: started here, and ended here with all that it started.

The candidate's process leads a group of its own, and holds the reading end of a pipe whose other
end is ours. However we go (TERM, HUP, KILL), the pipe closes, and a watcher in the group (see
`compare.child`) kills the group; after a normal end we kill it ourselves. What can still live on is
a process that the candidate put into a session of its own (`setsid`, a daemon): it left the group.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

# What a loop of 1,000 steps shows fills hundreds of megabytes, again and again: glibc is to keep
# what is freed, and not to have the kernel fill it with zeros anew, which took most of the time.
KEEPS_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}


class _Ended(BaseException):
    """Somebody asked this process to end."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def judge_in_child(spec: dict[str, Any], timeout: float) -> int:
    """Runs `compare.child` on what is asked for.

    Args:
        spec: candidate, run, only, level, seed, reading, expect, and the files to write.
        timeout: seconds.

    Returns:
        Its exit status; 2 if it gave none, 128 + the signal if we are asked to end.
    """
    with tempfile.TemporaryDirectory() as folder, _endings_raise():
        log = Path(folder) / "log"
        log.touch()
        try:
            status = _status(spec, log, timeout)
        except subprocess.TimeoutExpired:
            doing = (log.read_text().splitlines() or ["starting"])[-1]
            return refuse(f"no answer within {timeout:g} s; it was {doing} (--timeout)")
        except KeyboardInterrupt:
            refuse("interrupted")
            return 128 + signal.SIGINT
        except _Ended as ended:
            refuse(f"ended by {signal.Signals(ended.number).name}")
            return 128 + ended.number
        lines = log.read_text().splitlines()
    if lines and lines[-1] == f"done {status}":
        return status
    name = spec["candidate"] or "the comparison"
    return refuse(f"{name} ended the process (exit status {status}) before the verdict")


def _status(spec: dict[str, Any], log: Path, timeout: float) -> int:
    here = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(p for p in (here, os.environ.get("PYTHONPATH", "")) if p)
    watched, held = os.pipe()  # `held` is not inherited, so that it closes when we end
    command = [sys.executable, "-P", "-m", "compare.child", json.dumps(spec), str(log)]
    child = None
    try:
        child = subprocess.Popen(
            [*command, str(watched)],
            # without a GPU, as on any machine
            env=os.environ | KEEPS_MEMORY | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.DEVNULL,
            pass_fds=[watched],
            start_new_session=True,
        )
        return child.wait(timeout)
    finally:
        if child is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        os.close(held)
        os.close(watched)


@contextlib.contextmanager
def _endings_raise() -> Iterator[None]:
    """While open, TERM and HUP raise `_Ended`, if nothing else was to happen."""

    def end(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one does not stop the tidying up
        raise _Ended(number)

    ours = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGTERM, signal.SIGHUP) if ours else ()
    usual = [n for n in numbers if signal.getsignal(n) == signal.SIG_DFL]
    for number in usual:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in usual:
            signal.signal(number, signal.SIG_DFL)


def refuse(text: str, stream: TextIO | None = None) -> int:
    """Says in one line why there is no verdict; returns 2."""
    say(f"ddpm compare: {text}", stream or sys.stderr)
    return 2


def say(text: str, stream: TextIO) -> None:
    """Prints, unless nobody reads on: `| head` has seen enough, or the terminal is gone."""
    with contextlib.suppress(OSError):
        print(text, file=stream, flush=True)
