"""Sizes and checksums of files, and JSON that carries its own."""

import hashlib
import json
from pathlib import Path
from typing import Any

from workbench.files import write_json


def mark(path: Path) -> dict[str, Any]:
    """Size and checksum of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}


def refuse_other(path: Path, said: dict[str, Any]) -> None:
    """Refuse a file that is not what it was at a mark.

    Raises:
        ValueError: it cannot be read, or has another size or other bytes.
    """
    try:
        found = mark(path)
    except OSError as error:
        raise ValueError(f"its {path.name} cannot be read: {error.strerror}") from None
    if found["size"] != said["size"]:
        raise ValueError(f"its {path.name} has {found['size']} bytes of {said['size']}")
    if found != said:
        raise ValueError(f"its {path.name} is damaged: the checksum is another")


def write_signed(path: Path, content: Any) -> None:
    """Write `content` as JSON, whole or not at all, with its checksum."""
    write_json(path, {"content": content, "sha256": _digest_of(content)})


def read_signed(path: Path) -> Any:
    """What `write_signed` wrote.

    Raises:
        ValueError: it is not there, or not as it was.
    """
    try:
        signed = json.loads(path.read_text(encoding="utf-8"))
        content, digest = signed["content"], signed["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"its {path.name} is missing or damaged") from None
    if digest != _digest_of(content):
        raise ValueError(f"its {path.name} is damaged")
    return content


def _digest_of(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
