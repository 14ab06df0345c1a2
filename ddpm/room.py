"""A machine that has no room: full disks, quotas and memory, told in one line by every verb."""

import os

from workbench.files import NO_ROOM


def no_room(error: Exception) -> str | None:
    """In words that the disk, a quota or the memory is full, if that is what an error says.

    >>> no_room(OSError(28, "No space left on device", "grid.png"))
    'no room to write grid.png: No space left on device'
    """
    from safetensors import SafetensorError

    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        what = f" {error.filename}" if error.filename else ""
        return f"no room to write{what}: {os.strerror(error.errno)}"
    if isinstance(error, SafetensorError):  # of the writer: what it reads is told as ValueError
        return f"no room to write: {text.removeprefix('Error while serializing: ')}"
    if isinstance(error, MemoryError):
        return f"no memory for this: {text[:150] or 'the machine gives no more'}"
    if isinstance(error, RuntimeError) and ("out of memory" in text or "allocate memory" in text):
        return f"no memory for this: {text[:150]}"
    return None
