"""What a machine without room says: one line, of whatever kind the error was."""

import pytest
import torch

from ddpm.room import no_room


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device"), "no room to write: No space left on device"),
        (OSError(28, "", "a.png"), "no room to write a.png: No space left on device"),
        (OSError(27, "File too large"), "no room to write: File too large"),
        (MemoryError(), "no memory for this: the machine gives no more"),
        (torch.OutOfMemoryError("CUDA out of memory."), "no memory for this: CUDA out of memory."),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you"),
            "no memory for this: Def",
        ),
        (OSError(2, "No such file or directory"), None),
        (ValueError("out of memory"), None),
        (RuntimeError("shape"), None),
    ],
)
def test_what_is_no_room(error: Exception, says: str | None) -> None:
    said = no_room(error)
    assert said is None if says is None else (said or "").startswith(says)
