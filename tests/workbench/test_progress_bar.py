"""Bars: a line now and then where there is no terminal, and no run ends with its log."""

import io
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench import progress_bar, trainer, training_run
from workbench.config import RunConfig
from workbench.data import Dataset
from workbench.sampling import sample


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The time that lines go by, set by hand; no line was written before 0."""
    now = [0.0]
    monkeypatch.setattr(progress_bar.Lines, "_last", -progress_bar.EVERY)
    monkeypatch.setattr("workbench.progress_bar.time.monotonic", lambda: now[0])

    def go_to(seconds: float) -> None:
        now[0] = seconds

    return go_to


def test_at_most_one_line_every_ten_seconds(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Bars that follow each other, each of which tqdm draws as often as it likes."""
    for start in range(0, 60, 12):
        bar = progress_bar.of(1200, f"bar {start}")
        for step in range(1200):
            clock(start + step / 100)
            bar.update()
            bar.refresh()
        bar.close()
    shown = capsys.readouterr().err
    assert "\r" not in shown
    assert shown.endswith("\n")
    lines = shown.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "bar 0", "bar 0", "bar 12", "bar 24", "bar 36", "bar 48"
    ]  # fmt: skip
    assert "bar 0:   0% 0/1200 [" in lines[0]
    assert "bar 12:  67% 801/1200 [" in lines[2]  # at 20 s


def test_a_bar_below_another_leaves_no_marks(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """tqdm moves the cursor for it; in a log that would be odd letters and empty lines."""
    for second in range(0, 40, 20):
        clock(second)
        with progress_bar.of(2, "above") as above:
            above.update()
            clock(second + 10)
            with progress_bar.of(2, "below") as below:
                below.update()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["above", "below"] * 2
    assert all(line.isprintable() for line in lines)


def test_off_is_off(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar.of(3, "none", shown=False) as bar:
        bar.update()
    assert capsys.readouterr().err == ""


def test_on_a_terminal_it_is_drawn_over_and_over() -> None:
    script = (
        "import time; from workbench import progress_bar; bar = progress_bar.of(3, 'mine')\n"
        "for _ in range(3): bar.update(); bar.refresh()\n"
        "bar.close()"
    )
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with subprocess.Popen([sys.executable, "-c", script], stderr=theirs) as run:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 1000):
                shown += part
        except OSError:  # the other end is closed
            pass
        assert run.wait() == 0
    os.close(ours)
    assert shown.count(b"\rmine:") >= 4
    assert b"100%|" in shown


class Broken(io.StringIO):
    """A stream that nobody reads any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [Broken(), closed(), None], ids=["broken", "closed", "none"])
@pytest.mark.parametrize("backend", ["scratch", "diffusers"])
def test_a_broken_stream_ends_no_run(
    backend: str,
    stream: Any,
    tiny: Callable[..., RunConfig],
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither training nor sampling; the same run with its bars shown to nobody."""
    config = tiny(backend=backend)
    parts = trainer.new_parts(config, dataset)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream)
        patched.setattr(progress_bar, "EVERY", 0.0)
        result = training_run.train(config, tmp_path, dataset, device=torch.device("cpu"))
        drawn = sample(backend, *parts, 2, seed=0, steps=5)
    assert result.finished
    quiet = sample(backend, *parts, 2, seed=0, steps=5, progress=False)
    assert torch.equal(drawn.images, quiet.images)


@pytest.mark.parametrize("where", ["a pipe without a reader", "a full disk", "nowhere"])
def test_a_process_whose_log_breaks_ends_well(where: str) -> None:
    """What cannot be written must not come back when Python ends, as an exit status of 120."""
    if where == "a full disk" and not os.path.exists("/dev/full"):
        pytest.skip("only Linux has a disk that is always full")
    script = (
        "from workbench import progress_bar; progress_bar.EVERY = 0.0\n"
        "with progress_bar.of(3, 'mine') as bar:\n"
        "    for _ in range(3): bar.update(); bar.refresh()\n"
        "print('done')"
    )
    words = [sys.executable, "-c", script]
    if where == "nowhere":
        words = ["sh", "-c", 'exec "$@" 2>&-', "sh", *words]
    end = os.open("/dev/full", os.O_WRONLY) if where == "a full disk" else broken_pipe()
    run = subprocess.run(words, stderr=end, stdout=subprocess.PIPE, text=True)
    os.close(end)
    assert (run.returncode, run.stdout) == (0, "done\n")


def broken_pipe() -> int:
    """The writing end of a pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer
