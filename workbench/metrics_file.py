"""`metrics.jsonl`: rows are added at its end, and a checkpoint knows it by length and checksum."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.files import sync, write_text

Rows = Sequence[dict[str, float]]


class MetricsFile:
    """The rows of a run, one JSON object a line.

    Args:
        path: of the file; made by the first rows.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows, self._size, self._digest = 0, 0, hashlib.sha256()

    def go_on(self, rows: Rows) -> None:
        """Stand behind these rows: what the file holds after them is cut off by the next ones."""
        text = _text(rows)
        if not self._begins_with(text.encode()):  # a file of an older version, or none
            write_text(self.path, text)
        self._count(len(rows), text.encode())

    def add(self, rows: Rows) -> Rows:
        """Write what is new in `rows`, all of the run so far, and wait until it is on the disk.

        Returns:
            The new ones.
        """
        more = rows[self._rows :]
        new = _text(more).encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        with open(os.open(self.path, flags, 0o666), "r+b") as file:
            file.truncate(self._size)
            file.seek(self._size)
            file.write(new)
        sync(self.path)
        self._count(len(rows), new)
        return more

    def mark(self) -> dict[str, Any]:
        """Size and checksum of what is written so far."""
        return {"size": self._size, "sha256": self._digest.hexdigest()}

    def read(self, mark: dict[str, Any]) -> str:
        """What the file held at a mark.

        Raises:
            ValueError: it is shorter now, or other bytes.
        """
        try:
            with self.path.open("rb") as file:
                content = file.read(mark["size"])
        except OSError as error:
            raise ValueError(f"{self.path} cannot be read: {error.strerror}") from None
        if len(content) < mark["size"]:
            raise ValueError(f"{self.path} has {len(content)} bytes of {mark['size']}")
        if hashlib.sha256(content).hexdigest() != mark["sha256"]:
            raise ValueError(f"{self.path} is damaged: the checksum is another")
        return content.decode()

    def _begins_with(self, content: bytes) -> bool:
        if self.path.is_symlink() or not self.path.exists():
            return False
        with self.path.open("rb") as file:
            return file.read(len(content)) == content

    def _count(self, rows: int, new: bytes) -> None:
        self._rows = rows
        self._size += len(new)
        self._digest.update(new)


def _text(rows: Rows) -> str:
    """A line for each row; what is not finite is null there, as JSON has no word for it."""
    return "".join(
        json.dumps({k: v if math.isfinite(v) else None for k, v in row.items()}) + "\n"
        for row in rows
    )
