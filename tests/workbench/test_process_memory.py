"""The account of this process grows with what is taken, and is 0 where there is none."""

import subprocess
import sys
from pathlib import Path

import pytest

from workbench import process_memory
from workbench.process_memory import of_process

# In a process of its own: one that ran for long takes what it gave back before, and no more.
TAKES = """
from workbench.process_memory import of_process

before = of_process("VmRSS")
held = b"x" * 2**26
print(of_process("VmRSS") - before, of_process("VmHWM") - before)
"""


@pytest.mark.skipif(not process_memory.STATUS.exists(), reason="needs Linux's /proc")
def test_what_is_taken_is_counted() -> None:
    run = subprocess.run([sys.executable, "-c", TAKES], capture_output=True, text=True, check=True)
    now, most = map(int, run.stdout.split())
    assert now == pytest.approx(2**26, rel=0.1)
    assert most >= 0.9 * 2**26


def test_nothing_is_told_of_an_unknown_entry_or_on_another_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert of_process("VmNone") == 0
    monkeypatch.setattr(process_memory, "STATUS", Path("nowhere"))
    assert of_process("VmRSS") == 0
