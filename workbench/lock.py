"""One writer: a run's folder belongs to one training process at a time.

The lock is the operating system's, so that it ends with its holder, however that ends. Who holds it
stands in the file, for the one who is refused.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

LOCK = Path("training", "lock")


@contextlib.contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Inside the block nobody else who asks may write to a run's folder; the folder is made.

    Where the system has no such locks (Windows, some network drives), nobody is refused.

    Raises:
        ValueError: another process holds it, or the folder cannot be written to.
    """
    path = folder / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise ValueError(
            f"nothing can be written into {folder}: {error.strerror}; make it writable, or train "
            "into another folder"
        ) from None
    try:
        if not _taken(descriptor):
            holder = os.read(descriptor, 300).decode(errors="replace").strip()
            raise ValueError(
                f"{folder} is being trained into by {holder or 'another process'}; let it end, or "
                "choose another folder"
            )
        os.truncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
        os.truncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # the file system has none
        return True
    return True
