"""Files written whole or not at all, and places that are refused before the work that fills them.

Nothing heavy is imported here: the command line asks before anything else is loaded.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file beside `path`, then put it in place in one move; folders are made."""
    temporary = _beside(path)
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_folder(folder: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a folder beside `folder`, then put each of its files in place in one move.

    What `folder` holds besides is left there.
    """
    temporary = _beside(folder)
    try:
        write(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for file in temporary.iterdir():
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path) -> Path:
    """A hidden name of this process alone, with the same suffix, in the same folder, now made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{os.getpid()}.{path.name}")


def new_file(name: str | Path, force: bool, suffixes: tuple[str, ...] = ()) -> Path:
    """The path of a file to be written, checked before the work that fills it.

    Args:
        name: of the file.
        force: whether one that exists may be replaced.
        suffixes: those that it may have, in lower case; none for any.

    Raises:
        ValueError: it has another suffix, it exists already and `force` is off, it is a folder, or
            no file can be made there.
    """
    path = Path(name)
    if suffixes and path.suffix.lower() not in suffixes:
        ending = path.suffix or "nothing"
        raise ValueError(f"{path} ends in {ending}; expected {', '.join(suffixes)}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the name of a file")
    if path.exists() and not force:
        raise ValueError(f"{path} exists; it is kept unless you add --force")
    check_place(path)
    return path


def check_place(path: Path) -> None:
    """Refuse a path below which nothing could be written when the work is done.

    Raises:
        ValueError: the nearest of its parents that exists is a file, or no file can be made in it.
    """
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir():
        raise ValueError(f"{path} cannot be made, as {parent} is a file; choose another name")
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        reason = error.strerror
        raise ValueError(f"{path} cannot be made, as {parent} takes no file: {reason}") from None
