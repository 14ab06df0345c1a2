"""Images laid out in rows, each of their pixels a whole number of screen pixels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.pixels import from_uint8

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Images = torch.Tensor | NDArray[Any] | Sequence[Any]
"""(n, c, h, w) tensors in [-1, 1], (n, h, w, c) arrays in [0, 1] or of uint8, or PIL pictures."""

DPI = 100
CELL = 88  # the longer side of a drawn image is about so many screen pixels
GAP = 6  # screen pixels between two images
LINE = 20  # screen pixels for a line of text
LETTER = 8  # screen pixels for a letter, at most on average
HAIR = 1e-6  # screen pixels: more than the rounding of a place, less than one sees
NAMES = 40  # screen pixels for the names of the rows


class Block(NamedTuple):
    """Images that stand together: pixels (n, h, w, c) uint8, so many columns, and their texts."""

    pixels: NDArray[np.uint8]
    columns: int
    titles: Sequence[str] = ()
    heading: str = ""


def as_tensor(images: Images) -> torch.Tensor:
    """Images of any of the three forms as (n, c, h, w) float32 in [-1, 1], on the CPU.

    Raises:
        ValueError: they have none of these forms.

    >>> as_tensor(np.ones((2, 8, 8, 3))).shape
    torch.Size([2, 3, 8, 8])
    """
    if isinstance(images, torch.Tensor):
        right = images.ndim == 4 and images.shape[1] in (1, 3) and images.numel() > 0
        if not (right and images.is_floating_point()):
            raise ValueError(
                f"images are a tensor {tuple(images.shape)} {images.dtype}; "
                "expected (n, 1 or 3, h, w) floating point in [-1, 1], n at least 1"
            )
        if images.isnan().any():
            raise ValueError("images contain NaN; what made them has diverged")
        return images.detach().cpu().float()
    parts = [np.asarray(image) for image in images]
    if not parts:
        raise ValueError("there are no images; expected at least one")
    if len({part.shape for part in parts}) > 1:
        raise ValueError("images are of different sizes or modes; expected all alike")
    array = np.stack(parts)
    array = array[..., None] if array.ndim == 3 else array  # grey, (n, h, w)
    if array.ndim != 4 or array.shape[3] not in (1, 3):
        raise ValueError(f"images have the shape {array.shape}; expected (n, h, w, 1 or 3)")
    if array.dtype == np.uint8:
        return from_uint8(array)
    if array.dtype.kind != "f" or not ((array >= 0) & (array <= 1)).all():
        raise ValueError(
            f"images are an array of {array.dtype} from {array.min()} to {array.max()}; expected "
            "[0, 1] or uint8; what is in [-1, 1] goes in as an (n, c, h, w) tensor"
        )
    return torch.from_numpy(array).permute(0, 3, 1, 2).float() * 2 - 1  # (n, c, h, w)


def square(n: int, columns: int | None) -> int:
    """The asked number of columns for n images; without one, as many as there are rows.

    Raises:
        ValueError: columns is below 1.
    """
    if columns is not None and columns < 1:
        raise ValueError(f"columns is {columns}; expected at least 1")
    return min(n, columns or int(np.ceil(np.sqrt(n))))


def sheet(blocks: Sequence[Block], row_names: Sequence[str] = (), caption: str = "") -> "Figure":
    """A figure of blocks side by side, in one axes whose units are screen pixels.

    Args:
        blocks: equally many images of one size in each.
        row_names: one to the left of each row, or none.
        caption: a line below, or none.
    """
    from matplotlib.figure import Figure

    pixels, columns = blocks[0].pixels, blocks[0].columns
    n, h, w, _ = pixels.shape
    zoom = zoom_of(pixels)
    step = zoom * w + GAP
    figure = Figure(dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    left = 2 * GAP + NAMES * bool(row_names)
    for block in blocks:
        y = GAP
        if block.heading:
            y += LINE
            axes.text(left, y - GAP / 2, block.heading, va="bottom", size=11)
        for row in range(-(-n // columns)):
            here = range(row * columns, min(n, (row + 1) * columns))
            titles = block.titles[here.start : here.stop]
            y += GAP + LINE * any(titles)
            for column, i in enumerate(here):
                _draw(axes, block.pixels[i], left + column * step, y, zoom)
            for column, title in enumerate(titles):
                middle = left + column * step + zoom * w / 2
                axes.text(middle, y - 3, title, ha="center", va="bottom", size=9)
            if row_names and block is blocks[0]:
                axes.text(left - GAP, y + zoom * h / 2, row_names[row], ha="right", va="center")
            y += zoom * h
        left += max(columns * step, LETTER * len(block.heading)) + 3 * GAP
    width, height = left - 2 * GAP, y + 2 * GAP
    if caption:
        axes.text(2 * GAP, height, caption, va="top", size=10)
        width, height = max(width, LETTER * len(caption)), height + LINE
    figure.set_size_inches(width / DPI, height / DPI)
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return figure


def zoom_of(pixels: NDArray[np.uint8]) -> int:
    """Screen pixels for each pixel of (n, h, w, c)."""
    return max(1, round(CELL / max(pixels.shape[1:3])))


def tiled(pixels: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Images (n, h, w, c) zoomed and laid out on white, as one picture (H, W, 3)."""
    zoom = zoom_of(pixels)
    big = pixels.repeat(zoom, axis=1).repeat(zoom, axis=2)  # (n, h zoom, w zoom, c)
    rows = -(-len(big) // columns)
    h, w = big.shape[1] + GAP, big.shape[2] + GAP
    page = np.full((rows * h + GAP, columns * w + GAP, 3), 255, np.uint8)
    for i, image in enumerate(big):
        y, x = GAP + i // columns * h, GAP + i % columns * w
        page[y : y + h - GAP, x : x + w - GAP] = image
    return page


def _draw(axes: "Axes", image: NDArray[np.uint8], left: int, top: int, zoom: int) -> None:
    """One image (h, w, c) with its corner at (left, top)."""
    h, w, _ = image.shape
    # A rounding too wide, and Matplotlib before 3.11 would stretch it to one screen pixel more.
    right, bottom = left + zoom * w - HAIR, top + zoom * h - HAIR
    axes.imshow(
        np.broadcast_to(image, (h, w, 3)),  # a grey colour map would be a level off now and then
        interpolation="nearest",
        aspect="auto",
        extent=(left + HAIR, right, bottom, top + HAIR),
    )
