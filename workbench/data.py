"""Images and labels: the embedded sprites, the digits, files, folders, the Hub, or from memory."""

import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from workbench import arrays, hub, pictures, processes, progress_bar, readers, stream
from workbench.config import LARGEST
from workbench.digits import LEVELS, read_digits
from workbench.draws import to_device
from workbench.pixels import channels_first, from_levels
from workbench.sprites import KINDS, draw_sprites
from workbench.stream import Stream

if TYPE_CHECKING:
    import hashlib

NAMES = ("sprites", "digits", *hub.KNOWN)
"""The data sets that `load` knows by name."""

MOST = 10_000_000  # sprites: 8 GB of pixels
SPRITES = 10_000  # how many `load("sprites")` draws: 8 MB of pixels, half a second
IN_MEMORY = 2**28
"""Bytes of pixels up to which a data set lies in memory, and moves to a device as a whole. What is
larger stays where it is, and comes a batch at a time."""
AT_ONCE = 2**22  # numbers that a look at all images converts at once: 16 MB


@dataclass(frozen=True)
class Dataset:
    """Images that are converted when a batch asks for them, and their labels.

    Attributes:
        stored: (n, c, h, w) float32 in [-1, 1], or uint8 from 0 to 255: in memory, on a device, or
            mapped from a file; or a stream of uint8, which is read from the disk.
        labels: (n,) int64 in 0..k-1 on `device`, or None.
        class_names: what the k labels mean; numbers if nothing else was given; () without labels.
        device: where batches go; that of `stored` if it is not on the CPU.

    Raises:
        ValueError: the images or the labels are not like that.

    >>> Dataset(torch.zeros(3, 1, 8, 8), torch.tensor([0, 2, 1])).num_classes
    3
    >>> Dataset(torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1, 1)).batch([2, 1])
    tensor([[[[ 1.0000]]],
    <BLANKLINE>
    <BLANKLINE>
            [[[-0.6000]]]])
    """

    stored: torch.Tensor | Stream
    labels: torch.Tensor | None = None
    class_names: tuple[str, ...] = ()
    device: torch.device = field(default=torch.device("cpu"))

    def __post_init__(self) -> None:
        if isinstance(self.stored, torch.Tensor):
            _refuse_wrong_images(self.stored)
            if self.stored.device.type != "cpu":
                object.__setattr__(self, "device", self.stored.device)
        labels = self.labels
        if labels is None:
            return
        if labels.shape != (len(self),) or labels.dtype != torch.int64:
            raise ValueError(
                f"labels are {tuple(labels.shape)} {labels.dtype}; "
                f"expected one torch.int64 for each of the {len(self)} images"
            )
        first, last = (int(bound) for bound in labels.aminmax())
        if not self.class_names:
            object.__setattr__(self, "class_names", tuple(map(str, range(last + 1))))
        if first < 0 or last >= self.num_classes:
            raise ValueError(
                f"labels reach from {first} to {last}; expected 0..{self.num_classes - 1}"
            )

    def __repr__(self) -> str:
        n, c, h, w = self.shape
        names = ", ".join(self.class_names[:10]) + ", ..." * (len(self.class_names) > 10)
        told = f"{self.num_classes} classes: {names}" if self.class_names else "no labels"
        return f"Dataset({n:,} images {c}x{h}x{w} on {self.device}, {told})"

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, c, h, w)."""
        n, c, h, w = self.stored.shape
        return n, c, h, w

    @property
    def num_classes(self) -> int:
        """How many classes there are, also ones without an image; 0 without labels."""
        return len(self.class_names)

    @property
    def bytes_in_memory(self) -> int:
        """What `stored` takes there: nothing of a stream, or of a large file, which is mapped."""
        stays = isinstance(self.stored, Stream) or _bytes_of(self.stored) > IN_MEMORY
        return 0 if stays else _bytes_of(self.stored)

    @property
    def images(self) -> torch.Tensor:
        """All images at once: (n, c, h, w) float32 in [-1, 1] on `device`, four bytes a number."""
        everything = self.stored
        if isinstance(everything, Stream):
            return torch.cat([*self._chunks()])
        return self._converted(everything)

    def batch(self, indices: torch.Tensor | Sequence[int]) -> torch.Tensor:
        """Some images.

        Args:
            indices: (b,) int64 in 0..n-1, on any device, or a list.

        Returns:
            (b, c, h, w) float32 in [-1, 1], on `device`.

        Raises:
            ValueError: a file of a stream is no longer what it was.
        """
        which = torch.as_tensor(indices)
        if isinstance(self.stored, Stream):
            return self._converted(torch.from_numpy(self.stored.batch(which.tolist())))
        return self._converted(self.stored[to_device(which, self.stored.device)])

    def batches(self, order: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """One `batch` after the other; those of a stream are read ahead, by other processes.

        Args:
            order: the indices (b,) int64 of each batch.

        Yields:
            (b, c, h, w) float32 in [-1, 1], on `device`.

        Raises:
            ValueError: a file of a stream is no longer what it was.
        """
        if isinstance(self.stored, Stream):
            for levels in self.stored.batches(indices.numpy() for indices in order):
                yield self._converted(torch.from_numpy(levels))
        else:
            yield from map(self.batch, order)

    def fingerprint(self, progress: bool = False) -> str:
        """A checksum of all pixels and labels, the same on every device and wherever they lie.

        That of pictures which stay on the disk was made as they were looked through.

        Args:
            progress: whether to show a bar, if there is more than memory holds.
        """
        if isinstance(self.stored, Stream) and self.stored.checksum is not None:
            digest = self.stored.checksum.copy()
        else:
            digest = self._checksum(progress)
        if self.labels is not None:
            digest.update(self.labels.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> "Dataset":
        """The same data for a device: there as a whole, if it is not larger than `IN_MEMORY`."""
        stored, target = self.stored, torch.device(device)
        if isinstance(stored, torch.Tensor) and _bytes_of(stored) <= IN_MEMORY:
            stored = stored.to(target)
        labels = None if self.labels is None else self.labels.to(target)
        return Dataset(stored, labels, self.class_names, target)

    def first(self, count: int) -> "Dataset":
        """The first `count` images, with all class names; where they lie there is no copy."""
        stored = self.stored
        cut = stored.first(count) if isinstance(stored, Stream) else stored[:count]
        return replace(
            self, stored=cut, labels=None if self.labels is None else self.labels[:count]
        )

    def _checksum(self, progress: bool) -> "hashlib._Hash":
        digest = stream.checksum(self.shape)
        shown = progress and processes.is_first() and _bytes_of(self.stored) > IN_MEMORY
        with progress_bar.of(len(self), "checksum of the data", shown) as bar:
            for images in self._chunks():
                digest.update(images.cpu().contiguous().numpy().data)
                bar.update(len(images))
        return digest

    def _chunks(self) -> Iterator[torch.Tensor]:
        """All images in their order, so many at once that they hardly need memory."""
        many = max(1, AT_ONCE // (self.shape[1] * self.shape[2] * self.shape[3]))
        return self.batches(torch.arange(len(self)).split(many))

    def _converted(self, images: torch.Tensor) -> torch.Tensor:
        """Images as they are stored, as those of a batch on `device`."""
        return from_levels(to_device(images, self.device))


def _refuse_wrong_images(images: torch.Tensor) -> None:
    if images.ndim != 4 or images.dtype not in (torch.float32, torch.uint8) or 0 in images.shape:
        raise ValueError(
            f"images are {tuple(images.shape)} {images.dtype}; "
            "expected (n, c, h, w) torch.float32 or torch.uint8, none of them 0"
        )
    if images.dtype == torch.uint8:
        return
    darkest, brightest = (bound.item() for bound in images.aminmax())  # NaN if there is one
    if not (darkest >= -1 and brightest <= 1):
        raise ValueError(
            f"images reach from {darkest:.4g} to {brightest:.4g}; expected values in [-1, 1]"
        )


def _bytes_of(stored: torch.Tensor | Stream) -> int:
    """How many bytes images take, or would take, in memory."""
    return int(np.prod(stored.shape)) * (1 if isinstance(stored, Stream) else stored.itemsize)


def load(
    source: Any,
    labels: Any = None,
    *,
    count: int | None = None,
    size: int | None = None,
    skip_broken: bool = False,
    progress: bool = False,
) -> Dataset:
    """Load a data set: into memory up to `IN_MEMORY` bytes of pixels; more stays on the disk.

    - `sprites`: 16x16 RGB pixel art of five kinds, drawn here (`workbench.sprites`).
    - `digits`: the 1,797 handwritten 8x8 digits that scikit-learn has too (`workbench.digits`).
    - `mnist`, `fashion-mnist`, `cifar10`, and `hub:user/name` for any other of the Hugging Face
      Hub: its split `train`, by the library `datasets` (the extra `hub`).
    - `FILE.npy`: (n, h, w), (n, h, w, 1) or (n, h, w, 3) uint8; a large one is mapped, and must
      stay as it is. `FILE.npz`: the same, as the array `images` or its only one; an array `labels`
      in it is used; it may unpack to 1 GiB.
    - a folder of pictures, in the order of their names; sub-folders are the classes. If all are
      grey there is one channel, else three; what is transparent is laid on white. All are looked
      at here; if they are many, they are read again whenever a batch needs them.
    - an array (n, h, w), (n, h, w, 1) or (n, h, w, 3): uint8 from 0 to 255, which is not copied, or
      floats in [-1, 1].
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
        skip_broken: leave out the pictures that cannot be read, and say which.
        progress: show a bar while many pictures are read, and say before what they will take.

    Returns:
        The images in [-1, 1], with labels if there are any.

    Raises:
        ValueError: there is no such data, it cannot be read, or it does not have that form.

    >>> load("sprites", count=5).images.shape
    torch.Size([5, 3, 16, 16])
    >>> load(np.zeros((5, 16, 16, 3), np.uint8), labels=[0, 1, 2, 0, 1]).num_classes
    3
    """
    if count is not None and count < 1:
        raise ValueError(f"count is {count}; expected at least 1")
    if size is not None and not 1 <= size <= LARGEST:
        raise ValueError(f"size is {size}; expected 1 to {LARGEST} pixels")
    if isinstance(source, str | Path):
        name = repr(str(source))
        most = count if labels is None else None  # else there is a label for each
        dataset = _named(str(source), most, size, skip_broken, progress)
    else:
        name, dataset = "this", _in_memory(source, count, size)
    if labels is not None:
        dataset = _labelled(dataset, name, labels)
    if count is None or count == len(dataset):
        return dataset
    if count > len(dataset):
        raise ValueError(f"count is {count}, but {name} has only {len(dataset)} images")
    return dataset.first(count)


def _labelled(dataset: Dataset, name: str, labels: Any) -> Dataset:
    """A data set without labels, with those that are given or stand in a file."""
    path = Path(labels) if isinstance(labels, str | Path) else None
    if dataset.labels is not None:
        said = repr(str(labels)) if path else "labels"
        raise ValueError(f"{name} brings its own labels; leave out {said}")
    n = len(dataset)
    found, names = readers.labels(path, n) if path else arrays.labels(labels, n)
    return replace(dataset, labels=torch.from_numpy(found), class_names=names)


def _in_memory(source: Any, count: int | None, size: int | None) -> Dataset:
    images, labels, names = arrays.read(source, count, size)
    return _dataset(images, labels, names)


def _named(
    name: str, count: int | None, size: int | None, skip_broken: bool, progress: bool
) -> Dataset:
    path = Path(name)
    if name == "sprites" and count is not None and count > MOST:
        raise ValueError(f"count is {count}; expected at most {MOST} sprites")
    if hub.is_name(name) or (path.is_dir() and name not in NAMES):
        files, labels, names = (
            hub.pictures(name, progress) if hub.is_name(name) else pictures.folder(path)
        )
        found, chosen = stream.load(
            files,
            name,
            count=count,
            size=size,
            in_memory=IN_MEMORY,
            skip_broken=skip_broken,
            progress=progress,
        )
        return _dataset(found, None if labels is None else labels[chosen], names)
    if size is not None and (name in NAMES or path.exists()):
        raise ValueError(f"size is for a folder of pictures, which {name!r} is not; leave it out")
    if name == "sprites":
        return _dataset(*draw_sprites(count or SPRITES), KINDS)
    if name == "digits":
        return _digits()
    if path.suffix.lower() in (".npy", ".npz") and path.is_file():
        dataset = _dataset(*readers.arrays(path, IN_MEMORY))
        if progress and processes.is_first() and _bytes_of(dataset.stored) > IN_MEMORY:
            said = stream.said_bytes(_bytes_of(dataset.stored))
            where = "it stays on the disk, mapped" if path.suffix == ".npy" else "in memory"
            progress_bar.say(f"{name}: {len(dataset):,} pictures, {said}, {where}", sys.stderr)
        return dataset
    raise ValueError(_unknown(path))


def _dataset(
    images: NDArray[np.uint8] | torch.Tensor | Stream,
    labels: NDArray[np.int64] | None,
    names: tuple[str, ...],
) -> Dataset:
    stored = channels_first(images) if isinstance(images, np.ndarray) else images
    return Dataset(stored, None if labels is None else torch.from_numpy(labels), names)


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
        f"expected {', '.join(NAMES)}, hub:user/name, a .npy or .npz file or a folder of pictures"
        f"{hint}"
    )
