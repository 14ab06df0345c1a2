"""Files that are pictures: which they are in a folder, and what one gives, or why it gives none.

Nothing here is read before it is asked for, so that a folder may hold more than a memory does.
"""

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""Suffixes of the files that count as pictures in a folder, in either case."""

Pixels = NDArray[np.uint8]


class Files(Protocol):
    """Pictures by number, wherever they lie. It can be pickled: other processes read them too."""

    def __len__(self) -> int:
        """How many there are."""

    def name(self, i: int) -> str:
        """What picture i is called in a message."""

    def at(self, i: int) -> "Path | BytesIO":
        """Where its bytes are.

        Raises:
            ValueError: it has none.
        """


@dataclass(frozen=True)
class Seen:
    """What was found in one file.

    Attributes:
        pixels: (h, w, 1) if the picture is stored in grey, else (h, w, 3), uint8; None if it cannot
            be read.
        problem: why it cannot; "" if it can.
        deep: it has 16 bits a channel, of which these are the upper 8.
        moves: it has several frames, of which this is the first.
    """

    pixels: Pixels | None
    problem: str = ""
    deep: bool = False
    moves: bool = False


class Folder:
    """The files of a folder, by their names inside it.

    A million names are two arrays, and not a million objects, which every process that reads
    pictures would come to copy.

    Args:
        path: the folder.
        names: of the files, relative to it.
    """

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self.path, self._letters = path, b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def name(self, i: int) -> str:
        """The path of file i."""
        return str(self.at(i))

    def at(self, i: int) -> Path:
        """The path of file i."""
        return self.path / os.fsdecode(self._letters[self._ends[i] : self._ends[i + 1]])


def folder(path: Path) -> tuple[Folder, NDArray[np.int64] | None, tuple[str, ...]]:
    """The pictures of a folder in the order of their names; sub-folders are the classes.

    Args:
        path: the folder.

    Returns:
        the files; labels (n,) int64 or None; the names of the classes.

    Raises:
        ValueError: there are no pictures, or some beside sub-folders.
    """
    names = sorted(_walk(path, ""), key=lambda name: name.replace(os.sep, "\0"))  # as paths are
    if not names:
        raise ValueError(f"{path} holds no pictures; expected files {', '.join(PICTURES)}")
    loose = [name for name in names if os.sep not in name]
    if loose and len(loose) < len(names):
        raise ValueError(
            f"{path} holds pictures beside its sub-folders and in them; sub-folders are classes: "
            f"move {loose[0]} into one, or the rest out"
        )
    if loose:
        return Folder(path, names), None, ()
    numbers: dict[str, int] = {}
    labels = [numbers.setdefault(name.partition(os.sep)[0], len(numbers)) for name in names]
    return Folder(path, names), np.array(labels, np.int64), tuple(numbers)


def _walk(path: Path | str, inside: str) -> Iterator[str]:
    """Names of all pictures in a folder and below; nothing hidden, and no folder by a link."""
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{inside}{entry.name}{os.sep}")
            elif entry.name.lower().endswith(PICTURES) and entry.is_file():
                yield inside + entry.name


def read(files: Files, i: int, size: int | None) -> Seen:
    """Picture i, its pixels unpacked.

    Args:
        files: where it lies.
        i: its number.
        size: take the middle square, resized to size x size; None: as it is.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(files.at(i))
        with opened:
            deep = any(str(tile[3]).endswith(";16B") for tile in opened.tile)  # PNG's, as stored
            moves = getattr(opened, "is_animated", False)
            image = grey_or_colour(ImageOps.exif_transpose(opened), size)  # reads the pixels
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        most = f"{Image.MAX_IMAGE_PIXELS:,}"
        return Seen(None, f"it would unpack to more than {most} pixels")
    except UnsupportedPicture as error:
        return Seen(None, f"it has {error}")
    except (OSError, SyntaxError, ValueError) as error:
        return Seen(None, f"it may be cut short: {' '.join(str(error).split())}")
    pixels = np.asarray(image)
    return Seen(pixels[..., None] if pixels.ndim == 2 else pixels, deep=deep, moves=moves)


class UnsupportedPicture(ValueError):
    """A picture that is whole, and that a network of 8 bits a channel cannot take as it is."""


def grey_or_colour(image: Any, size: int | None) -> Any:
    """A PIL image as one of mode L if it is grey, else RGB; what is transparent lies on white.

    Raises:
        UnsupportedPicture: it is grey with more than 8 bits.
    """
    from PIL import Image, ImageOps

    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise UnsupportedPicture(f"pixels of mode {image.mode}; expected 8 bits; convert it")
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    image = image.convert(mode)
    return image if size is None else ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def refuse_other_size(
    name: str, found: tuple[int, int], first: str, right: tuple[int, int]
) -> None:
    """Refuse pictures of two sizes, each a height and a width, and say which they are.

    Raises:
        ValueError: the two differ.
    """
    if found != right:
        raise ValueError(
            f"{name} is {found[1]}x{found[0]}, {first} is {right[1]}x{right[0]}; "
            "expected one size; resize them, or give a size (--size)"
        )
