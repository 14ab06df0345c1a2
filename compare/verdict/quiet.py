"""A judgement leaves the caller's process as it was, and a candidate's prints off the screen."""

import contextlib
import io
import os
import random
import warnings
from collections.abc import Iterator

import numpy as np
import torch

from compare.candidate.interrupts import interrupts_told
from compare.candidate.shared_state import Settings


class _Nowhere(io.TextIOBase):
    """Where a candidate prints to: it keeps nothing, however much comes."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the caller's state as it is, and a candidate's prints and warnings off the screen.

    Inside, torch has the settings that it starts with: what we compute does not depend on the
    caller's. A real Ctrl-C raises `Interrupted`.
    """
    folder, settings = _here(), Settings.now()
    with _same_random_state(), interrupts_told():
        Settings().put()
        try:
            with (
                torch.no_grad(),
                warnings.catch_warnings(),
                contextlib.redirect_stdout(_Nowhere()),
                contextlib.redirect_stderr(_Nowhere()),
            ):
                warnings.simplefilter("ignore")
                yield
        finally:
            settings.put()
            with contextlib.suppress(FileNotFoundError):  # it was deleted
                os.chdir(folder)


def _here() -> str:
    """The folder that we are in; "" if it was deleted."""
    with contextlib.suppress(FileNotFoundError):
        return os.getcwd()
    return ""


@contextlib.contextmanager
def _same_random_state() -> Iterator[None]:
    """Keeps every source of random numbers as it is, and the number of threads."""
    numpy_state = np.random.get_state()  # noqa: NPY002 (candidates draw from it)
    python_state = random.getstate()
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.set_num_threads(1)  # the probes are tiny: more threads only interfere
            yield
    finally:
        torch.set_num_threads(threads)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
