"""Images and labels: the embedded sprites, the digits, a file, a folder, or what is in memory."""

import difflib
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workbench import arrays, readers
from workbench.digits import LEVELS, read_digits
from workbench.sprites import KINDS, draw_sprites

NAMES = ("sprites", "digits")
"""The data sets that `load` knows by name."""

MOST = 10_000_000  # sprites: 8 GB of pixels
SPRITES = 10_000  # how many `load("sprites")` draws: 8 MB of pixels, half a second


@dataclass(frozen=True)
class Dataset:
    """Images that stay in memory as one tensor, on the CPU or on a device.

    Attributes:
        images: (n, c, h, w) float32 in [-1, 1].
        labels: (n,) int64 in 0..k-1 on the same device, or None.
        class_names: what the k labels mean; numbers if nothing else was given; () without labels.

    Raises:
        ValueError: the images or the labels are not like that.

    >>> Dataset(torch.zeros(3, 1, 8, 8), torch.tensor([0, 2, 1])).num_classes
    3
    """

    images: torch.Tensor
    labels: torch.Tensor | None = None
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.ndim != 4 or images.dtype != torch.float32 or 0 in images.shape:
            raise ValueError(
                f"images are {tuple(images.shape)} {images.dtype}; "
                "expected (n, c, h, w) torch.float32, none of them 0"
            )
        darkest, brightest = (bound.item() for bound in images.aminmax())  # NaN if there is one
        if not (darkest >= -1 and brightest <= 1):
            raise ValueError(
                f"images reach from {darkest:.4g} to {brightest:.4g}; expected values in [-1, 1]"
            )
        if labels is None:
            return
        if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
            raise ValueError(
                f"labels are {tuple(labels.shape)} {labels.dtype}; "
                f"expected one torch.int64 for each of the {len(images)} images"
            )
        first, last = (int(bound) for bound in labels.aminmax())
        if not self.class_names:
            object.__setattr__(self, "class_names", tuple(map(str, range(last + 1))))
        if first < 0 or last >= self.num_classes:
            raise ValueError(
                f"labels reach from {first} to {last}; expected 0..{self.num_classes - 1}"
            )

    def __repr__(self) -> str:
        n, c, h, w = self.images.shape
        names = ", ".join(self.class_names[:10]) + ", ..." * (len(self.class_names) > 10)
        told = f"{self.num_classes} classes: {names}" if self.class_names else "no labels"
        return f"Dataset({n:,} images {c}x{h}x{w} on {self.images.device}, {told})"

    @property
    def num_classes(self) -> int:
        """How many classes there are, also ones without an image; 0 without labels."""
        return len(self.class_names)

    def fingerprint(self) -> str:
        """A checksum of all pixels and labels, the same on every device."""
        digest = hashlib.sha256(str(tuple(self.images.shape)).encode())
        for tensor in (self.images, self.labels):
            if tensor is not None:
                digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> "Dataset":
        """The same data on a device."""
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, images=self.images.to(device), labels=labels)


def load(
    source: Any,
    labels: Any = None,
    *,
    count: int | None = None,
    size: int | None = None,
) -> Dataset:
    """Load a data set whole into memory.

    - `sprites`: 16x16 RGB pixel art of five kinds, drawn here (`workbench.sprites`).
    - `digits`: the 1,797 handwritten 8x8 digits that scikit-learn has too (`workbench.digits`).
    - `FILE.npy`: (n, h, w), (n, h, w, 1) or (n, h, w, 3) uint8. `FILE.npz`: the same, as the array
      `images` or its only one; an array `labels` in it is used.
    - a folder of pictures, in the order of their names; sub-folders are the classes. If all are
      grey there is one channel, else three; what is transparent is laid on white.
    - an array (n, h, w), (n, h, w, 1) or (n, h, w, 3): uint8 from 0 to 255, or floats in [-1, 1].
    - a tensor (n, h, w), (n, 1, h, w) or (n, 3, h, w), with the same ranges.
    - a `torch.utils.data.Dataset`, whose items are pictures, or pairs (picture, label): a PIL
      image, an array (h, w) or (h, w, c), or a tensor (h, w) or (c, h, w), with the same ranges.

    Floats that never go below 0 are refused, as they look like [0, 1]; a `Dataset` of this module
    can be made of them by hand.

    Args:
        source: one of the above; `"./sprites"` is a folder of that name.
        labels: for data without labels, a `.npy` or `.npz` file, an array, a tensor or a list: (n,)
            integers or (n, k) one-hot.
        count: take only so many images, from the first; of `sprites` draw so many, otherwise
            10,000.
        size: of the pictures of a folder, or of PIL, take the middle square, resized to
            size x size (bicubic).

    Returns:
        The images in [-1, 1], with labels if there are any.

    Raises:
        ValueError: there is no such data, it cannot be read, or it does not have that form.

    >>> load("sprites", count=5).images.shape
    torch.Size([5, 3, 16, 16])
    >>> load(np.zeros((5, 16, 16, 3), np.uint8), labels=[0, 1, 2, 0, 1]).num_classes
    3
    """
    for what, number in (("count", count), ("size", size)):
        if number is not None and number < 1:
            raise ValueError(f"{what} is {number}; expected at least 1")
    if isinstance(source, str | Path):
        name, dataset = repr(str(source)), _named(str(source), count, size)
    else:
        name, dataset = "this", _in_memory(source, count, size)
    if labels is not None:
        if dataset.labels is not None:
            said = repr(str(labels)) if isinstance(labels, str | Path) else "labels"
            raise ValueError(f"{name} brings its own labels; leave out {said}")
        path = isinstance(labels, str | Path)
        read = readers.labels(Path(labels), len(dataset.images)) if path else None
        found, names = read or arrays.labels(labels, len(dataset.images))
        dataset = Dataset(dataset.images, torch.from_numpy(found), names)
    if count is None or count == len(dataset.images):
        return dataset
    if count > len(dataset.images):
        raise ValueError(f"count is {count}, but {name} has only {len(dataset.images)} images")
    first = None if dataset.labels is None else dataset.labels[:count].clone()
    return replace(dataset, images=dataset.images[:count].clone(), labels=first)


def _in_memory(source: Any, count: int | None, size: int | None) -> Dataset:
    images, labels, names = arrays.read(source, count, size)
    if not isinstance(images, torch.Tensor):
        return _dataset(images, labels, names)
    return Dataset(images, None if labels is None else torch.from_numpy(labels), names)


def _named(name: str, count: int | None, size: int | None) -> Dataset:
    path = Path(name)
    if size is not None and (name in NAMES or not path.is_dir()):
        raise ValueError(f"size is for a folder of pictures, which {name!r} is not; leave it out")
    if name == "sprites" and count is not None and count > MOST:
        raise ValueError(f"count is {count}; expected at most {MOST} sprites")
    if name == "sprites":
        dataset = _dataset(*draw_sprites(count or SPRITES), KINDS)
    elif name == "digits":
        dataset = _digits()
    elif path.is_dir():
        dataset = _dataset(*readers.folder(path, size))
    elif path.suffix.lower() in (".npy", ".npz") and path.is_file():
        dataset = _dataset(*readers.arrays(path))
    else:
        raise ValueError(_unknown(path))
    return dataset


def from_uint8(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Images from pixels: x = pixel / 127.5 - 1.

    Args:
        pixels: (n, h, w, c) uint8.

    Returns:
        (n, c, h, w) float32 in [-1, 1].
    """
    writable = np.require(pixels, requirements="W")  # PyTorch warns about others
    images = torch.from_numpy(writable).permute(0, 3, 1, 2).contiguous()  # (n, c, h, w)
    return images.to(torch.float32).div_(127.5).sub_(1)


def to_uint8(images: torch.Tensor) -> NDArray[np.uint8]:
    """Pixels from images, the inverse of `from_uint8`: 255 (x + 1) / 2, clamped and rounded.

    Args:
        images: (n, c, h, w), floating point; what is outside [-1, 1] is clamped.

    Returns:
        (n, h, w, c) uint8.

    Raises:
        ValueError: a value is NaN.

    >>> to_uint8(torch.tensor([-1.0, 0.0, 1.0, 9.0]).reshape(4, 1, 1, 1)).ravel().tolist()
    [0, 128, 255, 255]
    """
    values = images.detach().cpu().float()
    if values.isnan().any():
        raise ValueError("images contain NaN; what made them has diverged")
    levels = ((values + 1) / 2).clamp(0, 1).mul(255).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().numpy()  # (n, h, w, c)


def _dataset(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64] | None, names: tuple[str, ...]
) -> Dataset:
    return Dataset(from_uint8(pixels), None if labels is None else torch.from_numpy(labels), names)


def _digits() -> Dataset:
    pixels, labels = read_digits()
    images = torch.from_numpy(pixels)[:, None].to(torch.float32).div_(LEVELS / 2).sub_(1)
    return Dataset(images, torch.from_numpy(labels))


def _unknown(path: Path) -> str:
    if path.exists():
        return f"{path} is no data set; expected a .npy or .npz file or a folder of pictures"
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    data = [p.as_posix() for p in beside if p.suffix in (".npy", ".npz") or p.is_dir()]
    seen = [name for name in data if not Path(name).name.startswith(".")]
    near = difflib.get_close_matches(path.as_posix(), [*NAMES, *seen], n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return (
        f"there is no data set, file or folder {str(path)!r}; "
        f"expected {', '.join(NAMES)}, a .npy or .npz file or a folder of pictures{hint}"
    )
