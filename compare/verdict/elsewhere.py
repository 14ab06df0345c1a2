"""Work in a process of its own, begun now and asked for later: two cores judge two schedulers."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from compare.verdict.report import Report

Work = Callable[[], Report]


class Begin(Protocol):
    """Takes works and what they need first; gives, for each, what its report is asked of."""

    def __call__(self, *works: Work, first: Callable[[], object]) -> list[Work]: ...


def later(*works: Work, first: Callable[[], object]) -> list[Work]:
    """Begins nothing: each work is done when it is asked for, and sees to what it needs itself."""
    return [*works]


def begun(*works: Work, first: Callable[[], object]) -> list[Work]:
    """Begins the works in forks of this process, one for each, after `first` was called there once;
    a work that fails there is done here when asked for.

    Only for a process that has no threads yet, and no thread pool: a fork has none of them.
    """
    if not works or sys.platform != "linux":  # what macOS's libraries start outlives no fork
        return later(*works, first=first)
    pipes = [os.pipe() for _ in works]
    if os.fork() == 0:
        try:
            for reading, _ in pipes:
                os.close(reading)
            first()
            _answer(works, [writing for _, writing in pipes])
        finally:
            os._exit(0)
    for _, writing in pipes:
        os.close(writing)
    return [_asked(work, reading) for work, (reading, _) in zip(works, pipes, strict=True)]


def _answer(works: Sequence[Work], writings: list[int]) -> None:
    """Does the first work here and the others in forks; each ends its own pipe."""
    (work, *others), (writing, *held) = works, writings
    if others and os.fork() == 0:
        os.close(writing)
        _answer(others, held)
    else:
        for pipe in held:
            os.close(pipe)
        with open(writing, "w") as stream:
            json.dump(work().to_dict(), stream)


def _asked(work: Work, reading: int) -> Work:
    def answer() -> Report:
        with open(reading) as stream:
            text = stream.read()
        return Report.of_dict(json.loads(text)) if text else work()

    return answer
