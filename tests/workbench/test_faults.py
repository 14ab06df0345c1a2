"""Real processes that are killed, run out of room, are told to end, or meet another one."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workbench.faults import words_of
from workbench import checkpoints, runs

LONG = pytest.param("all", marks=pytest.mark.long)


def trials(folder: Path, kind: str, count: int | str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.workbench.faults", str(folder), kind, str(count)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(trial: dict[str, Any]) -> None:
    """The run ends as if nobody had killed it; where nothing was there yet, one line says so."""
    assert trial["differ"] == [], trial
    said = trial["said"]
    if trial["anew"] is None:  # an older checkpoint may have been on its way out
        assert trial["resumed"] == 0, trial
        assert said == "" or (said.count("\n") == 1 and "not needed now" in said), trial
    else:
        assert (trial["resumed"], trial["anew"]) == (2, 0), trial
        assert said.count("\n") == 1
        nothing = ("no checkpoint to resume from", "no run", "is this a run folder")
        assert any(words in said for words in nothing), trial


@pytest.mark.parametrize("count", [2, LONG])
def test_a_run_that_is_killed_at_a_file_operation_goes_on(count: Any, tmp_path: Path) -> None:
    tried = trials(tmp_path, "operations", count)
    assert len(tried) >= 2
    for trial in tried:
        assert trial["killed"] == -signal.SIGKILL, trial
        check(trial)
    assert any(trial["anew"] is None for trial in tried)


@pytest.mark.parametrize("count", [1, pytest.param(50, marks=pytest.mark.long)])
def test_a_run_that_is_killed_at_any_moment_goes_on(count: int, tmp_path: Path) -> None:
    tried = trials(tmp_path, "moments", count)
    assert len(tried) == count
    for trial in tried:
        check(trial)


@pytest.mark.parametrize("count", [1, LONG])
def test_a_replacement_that_is_killed_leaves_the_old_run_or_the_new_one(
    count: Any, tmp_path: Path
) -> None:
    for trial in trials(tmp_path, "force", count):
        if trial["reads"] != 0:  # the old one is whole, and a line says where
            assert len(trial["old"]) == 1, trial
            (old,) = trial["old"]
            assert f"lies whole in {tmp_path / old}" in trial["said"], trial
            assert trial["said"].count("\n") == 1
        assert (trial["anew"], trial["whole"], trial["notes"], trial["left"]) == (0, True, True, 0)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `ddpm train` into the folder `run`, and ends what the test has not."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, before: Callable[[], Any] | None = None) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "ddpm.cli", *words_of(tmp_path, "--output", "run"), *words],
                cwd=tmp_path,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
                preexec_fn=before,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def until_step(run: Path, process: subprocess.Popen[str], step: int) -> None:
    while not any(int(path.name[5:]) >= step for path in (run / checkpoints.FOLDER).glob("step_*")):
        assert process.poll() is None
        time.sleep(0.02)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_the_run_goes_on(
    number: int, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    training = start("--steps", "100000")
    until_step(tmp_path / "run", training, 4)
    training.send_signal(number)
    assert training.wait(60) == 128 + number
    assert said(training) == "stopped and saved; go on with: ddpm train --resume run\n"
    rows = [row for row in runs.load_metrics(tmp_path / "run") if "step" in row]
    last = max((tmp_path / "run" / checkpoints.FOLDER).iterdir())
    assert last.name == f"step_{len(rows):06d}"


def test_a_second_writer_is_refused_and_the_first_goes_on(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    first = start("--steps", "100000")
    until_step(tmp_path / "run", first, 2)
    second = start("--force")
    assert second.wait(60) == 2
    told = said(second)
    assert f"run is being trained into by process {first.pid} on " in told
    assert told.count("\n") == 1
    resumed = subprocess.run(
        [sys.executable, "-m", "ddpm.cli", "train", "--resume", "run", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert resumed.returncode == 2
    assert "is being trained into by process" in resumed.stderr
    first.kill()  # and its lock goes with it
    first.wait()
    assert start("--force").wait(60) == 0


@pytest.mark.long
def test_a_file_that_grows_too_large_is_one_line(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """As on a full disk; the first checkpoint fits, the one with the optimizer's state does not."""
    whole = start()
    assert whole.wait(60) == 0
    sizes = [
        (tmp_path / "run" / checkpoints.FOLDER / name / checkpoints.STATE).stat().st_size
        for name in ("step_000004", "step_000005")
    ]
    limit = min(sizes) - 1000
    small = start(
        "--force", before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    assert small.wait(60) == 1
    told = said(small)
    assert told.startswith("ddpm train: no room to write: ")
    assert told.endswith("; once there is: ddpm train --resume run\n")
    assert told.count("\n") == 1
    resume = ["train", "--resume", "run", "--quiet"]
    done = subprocess.run([sys.executable, "-m", "ddpm.cli", *resume], cwd=tmp_path)
    assert done.returncode == 0
    assert len([row for row in runs.load_metrics(tmp_path / "run") if "step" in row]) == 5


FULL = """
mount -t tmpfs -o size={size}k tmpfs full || exit 77
{ddpm} {train} --output full/run; echo train $?
mount -o remount,size=20m full
{ddpm} train --resume full/run --quiet; echo resume $?
"""
SIZES = [pytest.param(size, marks=pytest.mark.long) for size in range(50, 1000, 50) if size != 700]


@pytest.fixture
def on_a_full_disk(tmp_path: Path) -> Callable[[str], tuple[list[str], list[str]]]:
    """Runs a script that may mount; what it says, and its errors, line by line."""
    (tmp_path / "full").mkdir()
    words = " ".join(words_of(tmp_path))

    def run(script: str) -> tuple[list[str], list[str]]:
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", script],
            cwd=tmp_path,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
            capture_output=True,
            text=True,
        )
        if done.returncode == 77 or "unshare" in done.stderr:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()[-100:]}")
        return done.stdout.splitlines(), done.stderr.splitlines()

    if shutil.which("unshare") is None:
        pytest.skip("no disk can be mounted here: there is no unshare")
    return lambda script: run(
        script.replace("{ddpm}", f"{sys.executable} -m ddpm").replace("{train}", words)
    )


@pytest.mark.parametrize("size", [700, *SIZES])
def test_a_disk_that_is_full_ends_a_run_and_more_room_finishes_it(
    size: int, on_a_full_disk: Callable[[str], tuple[list[str], list[str]]]
) -> None:
    """At whatever file it is full; where no checkpoint fits, there is none to go on with."""
    said, errors = on_a_full_disk(FULL.replace("{size}", str(size)))
    statuses = [line for line in said if line.startswith(("train ", "resume "))]
    if statuses == ["train 0", "resume 0"]:
        assert size > 900, said
        return
    assert statuses[0] == "train 1", errors
    assert errors[0].startswith("ddpm train: no room to write"), errors
    if errors[0].endswith("; once there is: ddpm train --resume full/run"):
        assert statuses[1] == "resume 0", errors
        assert len(errors) == 1
    else:
        assert size < 400
        assert statuses[1] == "resume 2"
        assert len(errors) == 2


READ_ONLY = """
{ddpm} {train} --output run >/dev/null
mount -t tmpfs -o size=20m tmpfs full && cp -r run full/run || exit 77
mount -o remount,ro full
{ddpm} {train} --output full/new; echo train $?
{ddpm} train --resume full/run --steps 6 --quiet; echo resume $?
{ddpm} sample full/run --count 4 --quiet --device cpu --output drawn.png; echo sample $?
{ddpm} sample full/run --count 4 --quiet --device cpu --output full/drawn.png; echo drawn $?
"""


def test_a_disk_that_takes_no_file_is_told_before_the_work(
    on_a_full_disk: Callable[[str], tuple[list[str], list[str]]],
) -> None:
    """A run on it can be drawn from; a run into it and one that is gone on with cannot be."""
    said, errors = on_a_full_disk(READ_ONLY)
    statuses = [line for line in said if line.split()[0] in ("train", "resume", "sample", "drawn")]
    assert statuses == ["train 2", "resume 2", "sample 0", "drawn 2"], errors
    assert len(errors) == 3
    assert all("Read-only file system" in line for line in errors), errors


SHOWN = """
{ddpm} {train} --output run >/dev/null
mount -t tmpfs -o size={size} tmpfs full || exit 77
{ddpm} sample run --count 4 --quiet --device cpu --output full/a.png; echo sample $?
{ddpm} plot losses run --output full/b.png; echo plot $?
{ddpm} compare --backend scratch --only schedule --json full/c.json; echo compare $?
ls -A full
"""


@pytest.mark.long
@pytest.mark.parametrize("how", ["tmpfs", "ulimit -f"])
def test_no_room_is_said_alike_by_every_verb(
    how: str, on_a_full_disk: Callable[[str], tuple[list[str], list[str]]]
) -> None:
    """One line, exit 1, and nothing half written."""
    script = SHOWN.replace("{size}", "4k")
    if how == "ulimit -f":
        script = script.replace("mount -t tmpfs -o size=4k tmpfs full || exit 77", "ulimit -f 1")
    else:  # a page of 4 kB is taken, so that none is left
        script = script.replace("exit 77", "exit 77; echo x > full/x")
    said, errors = on_a_full_disk(script)
    statuses = [line for line in said if line.startswith(("sample ", "plot ", "compare "))]
    assert statuses == ["sample 1", "plot 1", "compare 1"], errors
    for verb, line in zip(("sample", "plot", "compare"), [*errors[:2], errors[-1]], strict=True):
        assert line.startswith(f"ddpm {verb}: no room to write"), line
    assert not any("Traceback" in line or "Errno" in line for line in errors)
    assert said[said.index("compare 1") + 1 :] == ([] if how == "ulimit -f" else ["x"])
