"""Page "Swap": its test for your project and its known failures, run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.often import each

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "swap.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## A test for your project\n")[2].partition("\n## ")[0]
MINE = (ROOT / "docs" / "examples" / "my_scheduler.py").read_text(encoding="utf-8")  # mistake 43
MENDED = MINE.replace("beta / (1 - alpha_bar) *", "beta / (1 - alpha_bar).sqrt() *")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
    return found


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(folder)))},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_call_in_pytest_is_three_lines() -> None:
    code = [line for line in block("python").splitlines() if line and "import" not in line]
    assert len(code) == 3, code


@pytest.mark.parametrize(
    ("source", "status"), each(2, [(MINE, 1), (MENDED, 0)]), ids=["wrong", "right"]
)
def test_it_runs_as_it_stands_there(source: str, status: int, tmp_path: Path) -> None:
    assert MENDED != MINE
    (tmp_path / "mine.py").write_text(source)
    (tmp_path / "test_mine.py").write_text(block("python"))
    done = run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py")
    assert done.returncode == status, done.stdout
    failed = re.findall(r"^FAILED .*\[(.+?)\]", done.stdout, re.MULTILINE)
    assert failed == (["mean/epsilon"] if status else [])


def test_known_failures_pass_as_they_stand_there(tmp_path: Path) -> None:
    shell = block("text").splitlines()
    asked, known, command, said = shell
    assert asked == "$ cat known.txt"
    (tmp_path / "known.txt").write_text(known + "\n")
    (tmp_path / "mine.py").write_text(MINE)
    words = command.removeprefix("$ ").split()
    done = run(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == said
    (tmp_path / "mine.py").write_text(MENDED)
    done = run(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert "mean/epsilon" in done.stdout.partition("expected to fail:")[2]
