"""`python -m workbench`: an overview, and nothing heavy is imported for it."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import workbench
from workbench.__main__ import overview


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", "-m", "workbench", *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_every_module_has_its_line() -> None:
    lines = overview().splitlines()
    for path in Path(workbench.__file__).parent.glob("[a-z]*.py"):
        (line,) = (line for line in lines if line.split()[:1] == [f"workbench.{path.stem}"])
        assert len(line.split()) > 3, "no sentence"
    assert f"torch {version('torch')}" in overview()


def test_it_runs_without_torch_and_leads_to_the_command_line() -> None:
    done = run()
    assert done.returncode == 0
    assert done.stdout == overview() + "\n"
    assert "`ddpm --help`" in done.stdout
    assert not any(line.split("|")[-1].strip() == "torch" for line in done.stderr.splitlines())


def test_train_is_the_command_lines() -> None:
    done = run("train", "--steps", "7", "--accumulate", "2", "--show")
    assert done.returncode == 0
    train = json.loads(done.stdout)["train"]
    assert (train["steps"], train["accumulate"]) == (7, 2)


def test_another_verb_is_refused_in_one_line() -> None:
    done = run("sample")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("python -m workbench: unknown argument sample")
