"""Files written whole or not at all, and places that are refused before the work that fills them.

Nothing heavy is imported here: the command line asks before anything else is loaded.
"""

import errno
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EIO}
LEFT_OVER = re.compile(r"\.[0-9a-f]{12}\.new\..+")  # the names of `_beside`


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file beside `path`, then put it in place in one move; folders are made.

    A link in its place is replaced, and not written through. The file has the mode that any new
    file has here, whatever `write` gave it.
    """
    temporary = _beside(path)
    try:
        mode = _made(temporary)
        write(temporary)
        temporary.chmod(mode)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
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

    Raises:
        ValueError: `folder` is a link, through which nothing is written.
    """
    refuse_link(folder)
    with _filled(folder, write) as temporary:
        folder.mkdir(exist_ok=True)
        for file in temporary.iterdir():
            os.replace(file, folder / file.name)
        sync(folder)


def write_new_folder(folder: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a folder beside `folder`, which is not there yet, then put it in place in
    one move: it is there with all that it holds, or not at all."""
    with _filled(folder, write) as temporary:
        os.rename(temporary, folder)
        sync(folder.parent)


@contextmanager
def _filled(folder: Path, write: Callable[[Path], Any]) -> Iterator[Path]:
    """A new folder beside `folder`, filled, on the disk and with the usual modes."""
    temporary = _beside(folder)
    temporary.mkdir()  # refuses a name that is taken
    try:
        write(temporary)
        mode = temporary.stat().st_mode & 0o666
        for file in temporary.iterdir():
            file.chmod(mode)
            sync(file)
        sync(temporary)
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folder
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_link(path: Path) -> None:
    """Refuse a link where a part of ours should be.

    Raises:
        ValueError: it is one.
    """
    if path.is_symlink():
        raise ValueError(
            f"{path} is a link to {os.readlink(path)}, through which nothing is written; put a "
            "folder in its place"
        )


def is_left_over(path: Path) -> bool:
    """Whether this is what a process that was killed left of something that it wrote."""
    return LEFT_OVER.fullmatch(path.name) is not None


def remove_left_over(folder: Path) -> None:
    """Remove what killed processes left in a folder that nobody else writes to."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if is_left_over(path):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file, a link (not what it points to) or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """A hidden name that nobody can guess, with the same suffix, in the same folder, now made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{secrets.token_hex(6)}.new.{path.name}")


def _made(file: Path) -> int:
    """Makes a file under a name that is not taken; the mode that it got."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return os.fstat(descriptor).st_mode & 0o666
    finally:
        os.close(descriptor)


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
        OSError: there is no room in it.
    """
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir():
        raise ValueError(f"{path} cannot be made, as {parent} is a file; choose another name")
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        reason = error.strerror
        if error.errno in NO_ROOM:
            raise OSError(error.errno, reason, str(parent)) from None
        raise ValueError(f"{path} cannot be made, as {parent} takes no file: {reason}") from None
