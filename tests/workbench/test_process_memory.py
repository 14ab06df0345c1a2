"""The account of this process grows with what is taken, and is 0 where there is none."""

from pathlib import Path

import pytest
import torch

from workbench import process_memory
from workbench.process_memory import of_process


@pytest.mark.skipif(not process_memory.STATUS.exists(), reason="needs Linux's /proc")
def test_what_is_taken_is_counted() -> None:
    before = of_process("VmRSS")
    held = torch.ones(2**24)  # 64 MiB, touched
    assert of_process("VmRSS") - before == pytest.approx(held.nbytes, rel=0.1)
    assert of_process("VmHWM") >= before + 0.9 * held.nbytes


def test_nothing_is_told_of_an_unknown_entry_or_on_another_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert of_process("VmNone") == 0
    monkeypatch.setattr(process_memory, "STATUS", Path("nowhere"))
    assert of_process("VmRSS") == 0
