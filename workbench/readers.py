"""Pixels and labels from NumPy files and folders of pictures, checked; pickle is never read."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""Suffixes of the files that count as pictures in a folder, in either case."""

MAX_CLASSES = 10_000  # integer labels beyond it are ids, not classes

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


def arrays(path: Path) -> tuple[Pixels, Labels | None, tuple[str, ...]]:
    """Read a `.npy` file, or `images` and perhaps `labels` of a `.npz` file.

    Returns:
        pixels (n, h, w, c) uint8, labels (n,) int64 or None, the names of the classes.

    Raises:
        ValueError: the file cannot be read, or holds something else.
    """
    found = _load(path)
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


def folder(path: Path, size: int | None) -> tuple[Pixels, Labels | None, tuple[str, ...]]:
    """Read the pictures of a folder in the order of their names; sub-folders are the classes.

    Args:
        path: the folder.
        size: take the middle square of each, resized to size x size; None: they are of one size.

    Returns:
        pixels (n, h, w, 1) if all are stored in grey, else (n, h, w, 3), uint8; labels (n,) int64
        or None; the names of the classes.

    Raises:
        ValueError: there are no pictures, one cannot be read, or they differ in size.
    """
    by_class: dict[str, list[Path]] = {}  # "" for pictures that lie in no sub-folder
    for file in sorted(path.rglob("*")):
        parts = file.relative_to(path).parts
        hidden = any(part.startswith(".") for part in parts)
        if file.suffix.lower() in PICTURES and file.is_file() and not hidden:
            by_class.setdefault(parts[0] if len(parts) > 1 else "", []).append(file)
    if not by_class:
        raise ValueError(f"{path} holds no pictures; expected files {', '.join(PICTURES)}")
    if "" in by_class and len(by_class) > 1:
        raise ValueError(
            f"{path} holds pictures beside its sub-folders and in them; sub-folders are classes: "
            f"move {by_class[''][0].name} into one, or the rest out"
        )
    files = [file for found in by_class.values() for file in found]
    pixels = stacked([_picture(file, size) for file in files], list(map(str, files)))
    if "" in by_class:
        return pixels, None, ()
    classes = [label for label, found in enumerate(by_class.values()) for _ in found]
    return pixels, np.array(classes, np.int64), tuple(by_class)


def stacked(pictures: list[Any], names: list[str]) -> Pixels:
    """PIL images of mode L or RGB as pixels: (n, h, w, 1) if all are grey, else (n, h, w, 3).

    Raises:
        ValueError: they differ in size; says which, by their names.
    """
    for name, picture in zip(names, pictures, strict=True):
        if picture.size != pictures[0].size:
            raise ValueError(
                f"{name} is {picture.width}x{picture.height}, {names[0]} is {pictures[0].width}x"
                f"{pictures[0].height}; expected one size; resize them, or give a size (--size)"
            )
    mode = "L" if all(picture.mode == "L" for picture in pictures) else "RGB"
    pixels = np.stack([np.asarray(picture.convert(mode)) for picture in pictures])
    return pixels[..., None] if mode == "L" else pixels


def _load(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file by name, or the one of a .npy file under the name ''."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            found = {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as error:  # a broken file makes NumPy raise almost anything
        if "allow_pickle" in str(error):
            raise ValueError(
                f"{path} holds Python objects or is no NumPy file; pickle can run foreign code and "
                "is never read; save plain numbers: numpy.save(path, numpy.stack(images))"
            ) from None
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path} cannot be read as a NumPy file, it may be cut short ({reason}); save it again"
        ) from None
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
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        return "it also holds NaN or infinity, so see first what made it"
    low, high = pixels.min(), pixels.max()
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


def _picture(path: Path, size: int | None) -> Any:
    """A picture as a PIL image of mode L if it is stored in grey, else RGB."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)  # reads the pixels
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} cannot be read as a picture, it may be cut short ({error}); remove or mend it"
        ) from None
    return grey_or_colour(image, str(path), size)


def grey_or_colour(image: Any, name: str, size: int | None) -> Any:
    """A PIL image as one of mode L if it is grey, else RGB; what is transparent lies on white.

    Raises:
        ValueError: it has more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ValueError(f"{name} has pixels of mode {image.mode}; expected 8 bits; convert it")
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    image = image.convert(mode)
    return image if size is None else ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
