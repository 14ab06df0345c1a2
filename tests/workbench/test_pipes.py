"""Commands end quietly when their reader closes; what else is wrong with a stream is still told."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.often import each

ROOT = Path(__file__).parents[2]
LONG = f"{ROOT}/docs/examples/lucidrains_like.py:GaussianDiffusion"
VERBS = {
    "one mistake": ["explain", "5"],
    "template": ["compare", "--template"],
    "file": ["compare", "--candidate", LONG.partition(":")[0]],
    "adapter": ["adapt", LONG],
    "exercises": ["exercise"],
    "help": ["--help"],
}


BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
AT_ONCE = BUFFERED | {"PYTHONUNBUFFERED": "1"}


def run(stream: Any, env: dict[str, str], module: str, *words: str) -> tuple[int, str]:
    """Exit status and stderr of a command that prints into a stream."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        stdout=stream,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=ROOT,
        env=env,
    )
    return done.returncode, done.stderr


@pytest.fixture
def unread() -> Iterator[int]:
    """A pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("words", each(2, [(words,) for words in VERBS.values()]), ids=VERBS)
def test_a_verb_whose_reader_is_gone_ends_quietly(words: list[str], unread: int) -> None:
    assert run(unread, BUFFERED, "ddpm", *words) == (141, "")


def test_so_does_one_that_prints_at_once(unread: int) -> None:
    assert run(unread, AT_ONCE, "ddpm", "explain", "5") == (141, "")
    assert run(unread, AT_ONCE, "ddpm", "--help")[1] == ""


def test_so_does_compare_alone(unread: int) -> None:
    assert run(unread, BUFFERED, "compare", "--list") == (141, "")


def test_in_a_shell_the_first_line_is_all_that_is_seen() -> None:
    command = f"{sys.executable} -m ddpm explain 5 | head -1"
    shown = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert shown.stdout == "mistake 5: signal-without-root (stage forward)\n"
    assert shown.stderr == ""


@pytest.mark.parametrize("env", [BUFFERED, AT_ONCE], ids=["buffered", "at once"])
def test_a_stream_that_is_full_is_told_in_one_line(env: dict[str, str]) -> None:
    with open("/dev/full", "w") as full:
        status, error = run(full, env, "ddpm", "explain")
    assert status == 1
    (line,) = error.splitlines()
    assert line.startswith("ddpm explain: no room to write: ")
    assert "No space left" in line
