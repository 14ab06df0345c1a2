"""The runner of the library's own scheduler tests: it puts our classes in, and it can fail."""

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "docs" / "field" / "library_tests.py"
COMMON = """
import unittest
class SchedulerCommonTest(unittest.TestCase):
    scheduler_classes = ()
    def test_module(self):
        self.assertEqual(self.scheduler_classes[0].__module__.split(".")[0], "diffusers")
    def test_has_step(self):
        assert hasattr(self.scheduler_classes[0](), "step")
"""
OF_ONE = """
from diffusers import {name}Scheduler
from .test_schedulers import SchedulerCommonTest
class {name}SchedulerTest(SchedulerCommonTest):
    scheduler_classes = ({name}Scheduler,)
del SchedulerCommonTest
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with two files of tests, as the library's checkout has them."""
    folder = tmp_path / "tests" / "schedulers"
    folder.mkdir(parents=True)
    for package in (folder, folder.parent):
        (package / "__init__.py").touch()
    (folder / "test_schedulers.py").write_text(COMMON)
    for name in ("DDPM", "DDIM"):
        text = OF_ONE.format(name=name)
        (folder / f"test_scheduler_{name.lower()}.py").write_text(text)
    return tmp_path


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, RUN, *map(str, words)], capture_output=True, text=True)


def test_scratchs_classes_are_what_is_tested(checkout: Path) -> None:
    done = run(checkout)
    assert done.returncode == 0, done.stderr
    *failed, last = done.stdout.splitlines()
    assert [line.split()[:2] for line in failed] == [["DDPM", "module"], ["DDIM", "module"]]
    assert all("'scratch' != 'diffusers'" in line for line in failed)
    assert last == "2 of 4 pass with scratch's classes"


def test_the_librarys_own_classes_on_demand(checkout: Path) -> None:
    assert run(checkout, "--library").stdout == "4 of 4 pass with the library's classes\n"


def test_no_checkout_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("library_tests.py: no ")
    assert done.stderr.count("\n") == 1


def test_tests_that_cannot_be_read_are_told(checkout: Path) -> None:
    for path in checkout.rglob("test_scheduler_*.py"):
        path.write_text("import nothing_of_this_name\n")
    done = run(checkout)
    assert done.returncode == 2
    assert "nothing_of_this_name" in done.stderr
    assert done.stderr.count("\n") == 1
