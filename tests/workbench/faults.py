"""Runs that are killed, told line by line: a script, so that the processes it starts are forks of
one that has imported everything and has no threads yet.

    python -m tests.workbench.faults FOLDER operations 25    killed at 25 of its file operations
    python -m tests.workbench.faults FOLDER operations all
    python -m tests.workbench.faults FOLDER moments 50       killed at 50 moments, seeded
    python -m tests.workbench.faults FOLDER force 25         killed while it replaces another run

Each line is the JSON of one trial: where it was killed, what `--resume` said, and which files then
differ from those of a run that nobody killed; of a run that replaces another, where the old one is.
"""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddpm.cli import main
from workbench import runs
from workbench.lock import LOCK

OPTIONS = """train --channels 8,8 --norm-num-groups 4 --layers-per-block 1 --attention no,no
--batch-size 4 --num-train-timesteps 3 --quiet --steps 5 --save-every 2 --device cpu --data"""
OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate"}


def words_of(folder: Path, *more: str) -> list[str]:
    """`ddpm train` on twelve small pictures, which are written into `folder`."""
    pictures = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8)
    np.save(folder / "pictures.npy", pictures)
    return [*OPTIONS.split(), str(folder / "pictures.npy"), *more]


def in_fork(work: Callable[[], int], out: Path) -> int:
    """Runs `work` in a fork that speaks into a file; its wait status."""
    child = os.fork()
    if child == 0:
        os._exit(as_child(work, out))
    return os.waitpid(child, 0)[1]


def as_child(work: Callable[[], int], out: Path) -> int:
    """The exit status of `work`, with what it says of errors in a file."""
    torch.set_num_threads(1)
    try:
        with (
            out.open("w") as stream,
            contextlib.redirect_stderr(stream),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            return work()
    except BaseException:
        traceback.print_exc()
        return 99


def killed_at(number: int, folder: Path, seen: Path | None = None) -> None:
    """Kills this process at the `number`-th operation on a file of the run; with `seen`, only
    counts them there."""
    count = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in OPERATIONS or not args or not str(args[0]).startswith(str(folder)):
            return
        count += 1
        if seen is not None:
            os.pwrite(log, f"{count:9}".encode(), 0)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    log = -1 if seen is None else os.open(seen, os.O_RDWR | os.O_CREAT)
    sys.addaudithook(hook)


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file but the lock, which says who held it last."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK.name)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


class Trials:
    """One folder in which a run is killed and gone on with, again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.run = folder, folder / "out", folder / "run"
        self.words = words_of(folder, "--output", str(self.run))
        started = time.monotonic()
        counted = folder / "count"
        in_fork(lambda: killed_at(0, self.run, counted) or main(self.words), self.out)
        self.seconds = time.monotonic() - started
        self.operations = int(counted.read_text())
        self.whole = files_of(self.run)

    def at_operation(self, number: int) -> dict[str, Any]:
        self._clear()
        status = in_fork(lambda: killed_at(number, self.run) or main(self.words), self.out)
        return {"operation": number, **self._gone_on(status)}

    def at_moment(self, seconds: float) -> dict[str, Any]:
        self._clear()
        child = os.fork()
        if child == 0:
            os._exit(as_child(lambda: main(self.words), self.out))
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        return {"moment": round(seconds, 3), **self._gone_on(os.waitpid(child, 0)[1])}

    def while_replacing(self, number: int) -> dict[str, Any]:
        """Killed while `--force` replaces the run that lies here, of another seed."""
        for path in (self.run, *runs.aside(self.run)):
            shutil.rmtree(path, ignore_errors=True)
        in_fork(lambda: main([*self.words, "--seed", "1"]), self.out)
        (self.run / "notes.txt").write_text("mine")
        old = files_of(self.run)
        words = [*self.words, "--force"]
        in_fork(lambda: killed_at(number, self.run.parent) or main(words), self.out)
        there = [path for path in (self.run, *runs.aside(self.run)) if files_of(path) == old]
        tried = {"operation": number, "old": [path.name for path in there]}
        picture = str(self.folder / "drawn.png")
        draw = ["sample", str(self.run), "--count", "1", "--quiet", "--force", "--output", picture]
        again = in_fork(lambda: main(draw), self.out)
        tried |= {"reads": os.waitstatus_to_exitcode(again), "said": self.out.read_text()}
        anew = in_fork(lambda: main(words), self.out)
        found = files_of(self.run)
        notes = found.pop("notes.txt", None)
        tried |= {"anew": os.waitstatus_to_exitcode(anew), "notes": notes == b"mine"}
        return {**tried, "left": len(runs.aside(self.run)), "whole": found == self.whole}

    def _clear(self) -> None:
        shutil.rmtree(self.run, ignore_errors=True)

    def _gone_on(self, status: int) -> dict[str, Any]:
        """What `--resume` makes of the folder; where it holds nothing yet, the run anew."""
        resume = ["train", "--resume", str(self.run), "--quiet", "--device", "cpu"]
        again = in_fork(lambda: main(resume), self.out)
        said = self.out.read_text()
        anew = None
        if os.waitstatus_to_exitcode(again) == 2:
            words = [*self.words, "--force"]
            anew = os.waitstatus_to_exitcode(in_fork(lambda: main(words), self.out))
        found = files_of(self.run)
        differ = [n for n in {*found, *self.whole} if found.get(n) != self.whole.get(n)]
        return {
            "killed": os.waitstatus_to_exitcode(status),
            "resumed": os.waitstatus_to_exitcode(again),
            "said": said,
            "anew": anew,
            "differ": sorted(differ),
        }


if __name__ == "__main__":
    import workbench.plotting
    import workbench.training_run  # noqa: F401

    trials = Trials(Path(sys.argv[1]))
    if sys.argv[2] in ("operations", "force"):
        tried = trials.at_operation if sys.argv[2] == "operations" else trials.while_replacing
        every = range(1, trials.operations + 1)
        count = len(every) if sys.argv[3] == "all" else int(sys.argv[3])
        for place in range(count):
            print(json.dumps(tried(every[place * len(every) // count])), flush=True)
    else:
        draw = random.Random(0)
        for _ in range(int(sys.argv[3])):
            trial = trials.at_moment(draw.uniform(0, 1.2 * trials.seconds))
            print(json.dumps(trial), flush=True)
