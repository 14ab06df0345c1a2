"""Pixels and labels from what is in memory: arrays, tensors, PyTorch data sets; checked as files.

Numbers are 8 bits from 0 to 255, or floats in [-1, 1]. Floats that never go below 0 are refused:
they are nearly always in [0, 1], and a network would learn pictures without contrast.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workbench import pictures, readers

Images = NDArray[np.uint8] | torch.Tensor
Found = tuple[Images, NDArray[np.int64] | None, tuple[str, ...]]


def read(source: Any, count: int | None, size: int | None) -> Found:
    """Images, labels and the names of classes of what is in memory.

    Args:
        source: an array (n, h, w), (n, h, w, 1) or (n, h, w, 3); a tensor (n, h, w) or
            (n, c, h, w); a `torch.utils.data.Dataset` of pictures, or of pairs (picture, label): a
            PIL image, an array (h, w) or (h, w, c), or a tensor (h, w) or (c, h, w).
        count: how many items of a data set are asked for, at most; None for all.
        size: of a data set's PIL images take the middle square, resized to size x size.

    Returns:
        pixels (n, h, w, c) uint8, or images (n, c, h, w) float32 in [-1, 1]; labels (n,) int64 or
        None; names.

    Raises:
        ValueError: it is of another kind, shape, type or range; one line.
    """
    if isinstance(source, torch.utils.data.Dataset):
        return _of_dataset(source, count, size)
    if size is not None:
        raise ValueError("size is for pictures that can be resized, not for numbers; leave it out")
    return _images(_words(source), source), None, ()


def labels(given: Any, n: int) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """n labels, (n,) integers or (n, k) one-hot, of an array, a tensor or a list.

    Raises:
        ValueError: they are none, or not n.
    """
    held = given.detach().cpu().numpy() if isinstance(given, torch.Tensor) else given
    try:
        array = np.asarray(held)
    except ValueError:  # rows of different lengths
        array = np.empty(0, dtype=object)
    return readers.checked_labels("the labels given", array, n)


def _words(source: Any) -> str:
    """What it is, in a message."""
    if isinstance(source, np.ndarray):
        return "the array"
    return "the tensor" if isinstance(source, torch.Tensor) else f"a {type(source).__name__}"


def _images(what: str, source: Any) -> Images:
    """Pixels or images of an array or a tensor."""
    if isinstance(source, torch.Tensor):
        held = source.detach().cpu()
        if held.ndim == 4 and held.shape[1] not in (1, 3):
            last = held.shape[3] in (1, 3)
            hint = "; try images.permute(0, 3, 1, 2)" if last else ""
            shape = tuple(held.shape)
            raise ValueError(
                f"{what} has the shape {shape}; expected (n, h, w), (n, 1, h, w) or (n, 3, h, w)"
                f"{hint}"
            )
        held = held.movedim(1, -1) if held.ndim == 4 else held  # (n, h, w, c)
        source = (held.float() if held.dtype == torch.bfloat16 else held).numpy()
    if not isinstance(source, np.ndarray):
        raise ValueError(
            f"{what} is no data set; expected a name, a path, an array, a tensor or a "
            "torch.utils.data.Dataset"
        )
    if source.dtype.kind != "f":
        return readers.checked_pixels(what, source)
    _refuse_range(what, source)
    shaped = readers.checked_shape(what, source)
    return torch.from_numpy(shaped.astype(np.float32)).movedim(3, 1).contiguous()


def _refuse_range(what: str, values: NDArray[Any]) -> None:
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())  # NaN if there is one
    if low >= 0 and high <= 1:
        raise ValueError(
            f"{what} reaches from {low:.4g} to {high:.4g}, which looks like [0, 1]; "
            "expected floats in [-1, 1]: images * 2 - 1"
        )
    if not (low >= -1 and high <= 1):
        cure = ": images / 127.5 - 1" if low >= 0 and 1 < high <= 255 else ""
        raise ValueError(
            f"{what} reaches from {low:.4g} to {high:.4g}; expected floats in [-1, 1], or uint8 "
            f"from 0 to 255{cure}"
        )


def _of_dataset(source: Any, count: int | None, size: int | None) -> Found:
    """All items of a PyTorch data set, or its first `count`."""
    items = list(_items(source, count))
    if not items:
        raise ValueError(f"the {type(source).__name__} is empty; expected at least one picture")
    paired = [isinstance(item, tuple | list) and len(item) == 2 for item in items]
    if any(paired) and not all(paired):
        raise ValueError(f"item {paired.index(not paired[0])} is not as item 0: one has a label")
    images = _together([item[0] for item in items] if paired[0] else items, size)
    if not paired[0]:
        return images, None, ()
    found, names = labels([int(item[1]) for item in items], len(items))
    classes = getattr(source, "classes", None)
    if isinstance(classes, list | tuple) and len(classes) >= len(names):
        names = tuple(map(str, classes))
    return images, found, names


def _items(source: Any, count: int | None) -> Iterator[Any]:
    """One after the other; of a data set that does not say how many it has, `count`."""
    if isinstance(source, torch.utils.data.IterableDataset):
        if count is None and not hasattr(source, "__len__"):
            raise ValueError(
                f"a {type(source).__name__} does not say how many items it has; give a count"
            )
        return islice(iter(source), count)
    length = len(source)
    return (source[i] for i in range(length if count is None else min(count, length)))


def _together(items: list[Any], size: int | None) -> Images:
    """PIL images, arrays or tensors as one array or tensor."""
    first, names = items[0], [f"item {i}" for i in range(len(items))]
    for name, picture in zip(names, items, strict=True):
        if type(picture) is not type(first) and not hasattr(first, "convert"):
            kinds = f"{type(picture).__name__}, item 0 a {type(first).__name__}"
            raise ValueError(f"{name} is a {kinds}; expected pictures of one kind")
    if hasattr(first, "convert"):  # a PIL image
        pairs = zip(items, names, strict=True)
        return _stacked([_plain(picture, name, size) for picture, name in pairs], names)
    if size is not None:
        raise ValueError("size is for pictures that can be resized, not for numbers; leave it out")
    if not isinstance(first, torch.Tensor | np.ndarray):
        raise ValueError(
            f"item 0 is a {type(first).__name__}; expected a picture (a PIL image, an array or a "
            "tensor), or a pair (picture, label)"
        )
    for name, picture in zip(names, items, strict=True):
        if picture.shape != first.shape or picture.dtype != first.dtype:
            raise ValueError(
                f"{name} is {tuple(picture.shape)} {picture.dtype}, item 0 is "
                f"{tuple(first.shape)} {first.dtype}; expected one shape and type"
            )
    together = torch.stack(items) if isinstance(first, torch.Tensor) else np.stack(items)
    return _images("the data set", together)


def _plain(picture: Any, name: str, size: int | None) -> Any:
    try:
        return pictures.grey_or_colour(picture, size)
    except pictures.UnsupportedPicture as error:
        raise ValueError(f"{name} has {error}") from None


def _stacked(plain: list[Any], names: list[str]) -> NDArray[np.uint8]:
    """PIL images of mode L or RGB as pixels: (n, h, w, 1) if all are grey, else (n, h, w, 3)."""
    for name, picture in zip(names, plain, strict=True):
        pictures.refuse_other_size(name, picture.size[::-1], names[0], plain[0].size[::-1])
    mode = "L" if all(picture.mode == "L" for picture in plain) else "RGB"
    pixels = np.stack([np.asarray(picture.convert(mode)) for picture in plain])
    return pixels[..., None] if mode == "L" else pixels
