"""Pixels and labels from NumPy files, checked; pickle is never read."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_CLASSES = 10_000  # integer labels beyond it are ids, not classes
MOST_UNPACKED = 2**30
"""How many bytes the arrays of a `.npz` file may come to; a file of 3 MB can promise 3 GB."""

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


def arrays(path: Path, in_memory: int) -> tuple[Pixels, Labels | None, tuple[str, ...]]:
    """Read a `.npy` file, or `images` and perhaps `labels` of a `.npz` file.

    Args:
        path: the file.
        in_memory: a `.npy` file of more bytes is mapped, and stays on the disk.

    Returns:
        pixels (n, h, w, c) uint8, labels (n,) int64 or None, the names of the classes.

    Raises:
        ValueError: the file cannot be read, or holds something else.
    """
    found = _load(path, in_memory)
    pixels = checked_pixels(path, _choose(path, found, "images", (3, 4)))
    if "labels" not in found:
        return pixels, None, ()
    return pixels, *checked_labels(path, found["labels"], len(pixels))


def labels(path: Path, n: int) -> tuple[Labels, tuple[str, ...]]:
    """Read n labels, (n,) integers or (n, k) one-hot, from a `.npy` or `.npz` file.

    Returns:
        labels (n,) int64 in 0..k-1, and the numbers of the classes as their names.

    Raises:
        ValueError: the file cannot be read, or holds something else.
    """
    return checked_labels(path, _choose(path, _load(path), "labels", (1, 2)), n)


def _load(path: Path, in_memory: int = MOST_UNPACKED) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file by name, or the one of a .npy file under the name ''."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        if path.suffix.lower() == ".npy" and path.stat().st_size > in_memory:
            # Copied on write, as PyTorch takes no array that cannot be written to; nobody does.
            return {"": np.load(path, mmap_mode="c", allow_pickle=False)}
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            unpacked = sum(part.file_size for part in loaded.zip.infolist())
            found = dict(loaded) if unpacked <= MOST_UNPACKED else None
    except Exception as error:  # a broken file makes NumPy raise almost anything
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise ValueError(
                f"{path} holds Python objects or is no NumPy file; pickle can run foreign code and "
                "is never read; save plain numbers: numpy.save(path, numpy.stack(images))"
            ) from None
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path} cannot be read as a NumPy file, it may be cut short ({reason}); save it again"
        ) from None
    if found is None:
        raise ValueError(
            f"{path} would unpack to {unpacked:,} bytes; expected at most {MOST_UNPACKED:,}, as a "
            ".npz file is unpacked into memory; a .npy file is not: numpy.save(path, images)"
        )
    return {name: array for name, array in found.items() if isinstance(array, np.ndarray)}


def _choose(
    path: Path, found: dict[str, NDArray[Any]], name: str, ndims: tuple[int, ...]
) -> NDArray[Any]:
    """The array `name`, or the only one, or the only one with so many dimensions."""
    if name in found:
        return found[name]
    fitting = [array for array in found.values() if array.ndim in ndims]
    if len(found) == 1 or len(fitting) == 1:
        return (fitting or [*found.values()])[0]
    raise ValueError(
        f"{path} holds the arrays {', '.join(found) or 'none'}; expected one named {name}"
    )


def checked_pixels(path: Path | str, pixels: NDArray[Any]) -> Pixels:
    """The pixels as (n, h, w, c).

    Raises:
        ValueError: they are no uint8, or no pictures.
    """
    if pixels.dtype != np.uint8:
        raise ValueError(f"{path} holds {pixels.dtype}; expected uint8; {_uint8_hint(pixels)}")
    return checked_shape(path, pixels)


def checked_shape(path: Path | str, pixels: NDArray[Any]) -> NDArray[Any]:
    """Numbers of pictures as (n, h, w, c).

    Raises:
        ValueError: they are not (n, h, w), (n, h, w, 1) or (n, h, w, 3).
    """
    shaped = pixels[..., None] if pixels.ndim == 3 else pixels
    if shaped.ndim == 4 and shaped.shape[3] in (1, 3) and shaped.size:
        return shaped
    channels_first = pixels.ndim == 4 and pixels.shape[1] in (1, 3)
    raise ValueError(
        f"{path} has the shape {pixels.shape}; expected (n, h, w), (n, h, w, 1) or (n, h, w, 3), "
        f"none of them 0{'; try images.transpose(0, 2, 3, 1)' if channels_first else ''}"
    )


def _uint8_hint(pixels: NDArray[Any]) -> str:
    """How to make uint8 of another dtype."""
    if pixels.dtype.kind not in "buif" or not pixels.size:
        return "save numbers from 0 to 255"
    low, high = pixels.min(), pixels.max()  # NaN if there is one
    if not (np.isfinite(low) and np.isfinite(high)):
        return "it also holds NaN or infinity, so see first what made it"
    for lowest, formula in ((0, "images * 255"), (-1, "(images + 1) * 127.5")):
        if low >= lowest and high <= 1:
            return f"if {lowest} is black and 1 white: ({formula}).round().astype('uint8')"
    return f"it reaches from {low} to {high}: bring it to 0..255, then images.astype('uint8')"


def checked_labels(path: Path | str, given: NDArray[Any], n: int) -> tuple[Labels, tuple[str, ...]]:
    """The labels as (n,) int64, and the numbers of the classes as their names.

    Raises:
        ValueError: they are not one for each image, or no classes.
    """
    if given.shape[:1] != (n,):
        raise ValueError(
            f"{path} has labels of shape {given.shape} for {n} images; "
            "expected one label for each image"
        )
    if given.ndim == 1 and given.dtype.kind in "iu":
        low, high = int(given.min()), int(given.max())
        if low < 0 or high >= MAX_CLASSES:
            raise ValueError(
                f"{path} has labels from {low} to {high}; expected 0..k-1 with k up to "
                f"{MAX_CLASSES}; numpy.unique(labels, return_inverse=True)[1] numbers them anew"
            )
        return given.astype(np.int64), tuple(map(str, range(high + 1)))
    if given.ndim != 2 or given.dtype.kind not in "biuf":
        raise ValueError(
            f"{path} has labels of shape {given.shape} {given.dtype}; "
            "expected (n,) integers or (n, k) one-hot"
        )
    one_hot = ((given == 0) | (given == 1)).all(axis=1) & (given.sum(axis=1) == 1)
    if not one_hot.all():
        raise ValueError(
            f"{path}: row {int(one_hot.argmin())} of the labels is not one-hot; expected one 1 "
            "among 0s in each row, or integers of shape (n,)"
        )
    return given.argmax(axis=1).astype(np.int64), tuple(map(str, range(given.shape[1])))
