"""The candidate's process and all that it started end, however the command ends: real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.often import each

# A candidate that starts a child of its own, writes both numbers down, and then does as it is told.
STARTS = """
import os, subprocess, sys, time
sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("pids.part", "w") as file:
    file.write(f"{os.getpid()} {sleeper.pid}")
os.rename("pids.part", "pids")
"""
WAITS = STARTS + "time.sleep(600)\n"
HOLDS = STARTS + "import itertools\nsum(itertools.repeat(0))\n"  # no other thread gets a turn


def start(folder: Path, text: str) -> subprocess.Popen[str]:
    (folder / "mine.py").write_text(text)
    return subprocess.Popen(
        [sys.executable, "-m", "compare", "--candidate", "mine.py:M"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(done: Callable[[], bool], seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.05)
    return done()


def runs(pid: int) -> bool:
    """True while a process lives; one that ended and that nobody has asked after does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def started(folder: Path) -> list[int]:
    assert until((folder / "pids").exists)
    return [int(pid) for pid in (folder / "pids").read_text().split()]


@pytest.mark.parametrize(
    ("number", "status"),
    each(
        4,
        [
            (signal.SIGTERM, 143),
            (signal.SIGHUP, 129),
            (signal.SIGINT, 130),
            (signal.SIGKILL, -signal.SIGKILL),
        ],
    ),
)
def test_whoever_is_ended_takes_the_candidate_along(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    command = start(tmp_path, HOLDS if number == signal.SIGKILL else WAITS)
    pids = started(tmp_path)
    assert all(map(runs, pids))
    command.send_signal(number)
    out, err = command.communicate(timeout=60)
    assert command.returncode == status, err
    assert out == ""
    assert len(err.splitlines()) == (0 if number == signal.SIGKILL else 1), err
    assert until(lambda: not any(map(runs, pids)), 30), "it runs on"


def test_a_normal_end_ends_the_candidates_children(tmp_path: Path) -> None:
    command = start(tmp_path, STARTS + "raise ValueError(1)\n")
    out, err = command.communicate(timeout=120)
    assert (command.returncode, out) == (2, ""), err
    assert "Traceback" not in err
    assert until(lambda: not any(map(runs, started(tmp_path))), 30), "it runs on"
