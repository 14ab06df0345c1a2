"""Figures of images and trajectories, and every figure into a file.

Images come in as (n, c, h, w) tensors in [-1, 1], the range of the data and of the model; as
(n, h, w, c) arrays in [0, 1] or of uint8; or as lists of PIL pictures. So of a pipeline's output
types `"np"` and `"pil"` can be drawn as they are; `"pt"`, a tensor in [0, 1], would look washed
out. Figures are made without pyplot: nothing opens a window, nothing is kept. Curves are in
`workbench.curves`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from workbench.files import write_whole
from workbench.look import style
from workbench.pixels import to_uint8
from workbench.sheets import Block, Images, as_tensor, sheet, square, tiled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")


def image_grid(
    images: Images, titles: Sequence[str] | None = None, columns: int | None = None
) -> "Figure":
    """Images in rows, every pixel a whole number of screen pixels.

    Args:
        images: n of them.
        titles: one above each, or None.
        columns: images in a row; None for about as many as there are rows.

    Raises:
        ValueError: there are not n titles, or columns is below 1.
    """
    pixels = to_uint8(as_tensor(images))  # (n, h, w, c)
    if titles is not None and len(titles) != len(pixels):
        raise ValueError(f"{len(titles)} titles for {len(pixels)} images; expected one for each")
    with style():
        return sheet([Block(pixels, square(len(pixels), columns), titles or ())])


def noising_strip(
    images: Images,
    scheduler: Any,
    timesteps: Sequence[int] | None = None,
    generator: torch.Generator | None = None,
) -> "Figure":
    """Images as they are and, beside them, at growing t, each with one noise at every t.

    Args:
        images: n of them, a row each.
        scheduler: its `add_noise(original_samples, noise, timesteps)` is called once.
        timesteps: which t; None for eight of them from 0 to T - 1.
        generator: of the noise, on the CPU.
    """
    x_0 = as_tensor(images)  # (n, c, h, w)
    last = len(scheduler.alphas_cumprod) - 1
    ts = [round(i * last / 7) for i in range(8)] if timesteps is None else [*timesteps]
    eps = torch.randn(x_0.shape, generator=generator)
    n, k = len(x_0), len(ts)
    repeated = (x_0.repeat_interleave(k, 0), eps.repeat_interleave(k, 0))  # (n k, c, h, w)
    x_t = scheduler.add_noise(*repeated, torch.tensor(ts).repeat(n))
    rows = torch.cat([x_0[:, None], x_t.unflatten(0, (n, k))], 1)  # (n, 1 + k, c, h, w)
    return _columns(rows, [r"$x_0$", *(f"t = {t}" for t in ts)])


def trajectory_strip(
    frames: Sequence[torch.Tensor],
    x_0: Sequence[torch.Tensor] | None = None,
    timesteps: Sequence[int] | None = None,
) -> "Figure":
    """A reverse trajectory from left to right, and below it what x_0 was believed to be.

    Args:
        frames: x after each shown step, (b, c, h, w) in [-1, 1].
        x_0: the prediction of each step, like `frames`; None to leave it out.
        timesteps: the t of each shown step, for the titles; None for no titles.

    Raises:
        ValueError: the arguments are not equally many.
    """
    for name, other in (("x_0", x_0), ("timesteps", timesteps)):
        if other is not None and len(other) != len(frames):
            raise ValueError(f"{len(other)} of {name} for {len(frames)} frames; expected as many")
    x = torch.stack([*map(as_tensor, frames)], 1)  # (b, k, c, h, w)
    titles = None if timesteps is None else [f"t = {t}" for t in timesteps]
    if x_0 is None:
        return _columns(x, titles)
    both = torch.stack([x, torch.stack([*map(as_tensor, x_0)], 1)], 1)  # (b, 2, k, c, h, w)
    return _columns(both.flatten(0, 1), titles, [r"$x_t$", r"$\hat{x}_0$"] * len(x))


def side_by_side(
    a: Images,
    b: Images,
    names: tuple[str, str] = ("a", "b"),
    columns: int | None = None,
    amplify: float | None = None,
) -> "Figure":
    """Two sets of images and their absolute difference, amplified by a factor that is stated.

    Args:
        a, b: equally many images of one size.
        names: what they are.
        columns: images in a row; None for about as many as there are rows.
        amplify: the factor; None for the largest power of ten that clips nothing.

    Raises:
        ValueError: the two do not have the same shape, or amplify is not positive.
    """
    x, y = as_tensor(a), as_tensor(b)
    if x.shape != y.shape:
        raise ValueError(f"images are {tuple(x.shape)} and {tuple(y.shape)}; expected one shape")
    difference = (x.clamp(-1, 1) - y.clamp(-1, 1)).abs() / 2  # in [0, 1]
    largest = difference.max().item()
    if amplify is not None and not amplify > 0:
        raise ValueError(f"amplify is {amplify}; expected a positive factor")
    factor = amplify or (10 ** int(-np.log10(largest)) if largest else 1)
    across = square(len(x), columns)
    blocks = [
        Block(to_uint8(x), across, heading=names[0]),
        Block(to_uint8(y), across, heading=names[1]),
        Block(to_uint8(difference * factor * 2 - 1), across, heading=f"difference × {factor:,g}"),
    ]
    caption = f"largest difference {largest:.1e} (black is 0, white is 1)"
    with style():
        return sheet(blocks, caption=caption)


def save(figure: "Figure", path: str | Path) -> None:
    """Write a figure as PNG, SVG or PDF, by the suffix; whole or not at all.

    Raises:
        ValueError: the suffix is another one.
    """
    path = Path(path)
    form = path.suffix.lower()
    if form not in SUFFIXES:
        raise ValueError(f"{path} ends in {form or 'nothing'}; expected {', '.join(SUFFIXES)}")
    # No date, so that the same figure gives the same file.
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(form)
    with style():
        write_whole(
            path,
            lambda whole: figure.savefig(whole, format=form[1:], dpi="figure", metadata=undated),
        )


def save_gif(
    frames: Sequence[Images],
    path: str | Path,
    columns: int | None = None,
    seconds: float = 0.08,
    hold: float = 1.5,
) -> None:
    """Write a trajectory as a GIF that repeats; whole or not at all.

    Args:
        frames: each a set of images, drawn as a grid.
        path: ends in `.gif`.
        columns: images in a row; None for about as many as there are rows.
        seconds: how long a frame is shown.
        hold: how long the last one is shown.

    Raises:
        ValueError: there are no frames, or the suffix is another one.
    """
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() != ".gif" or not len(frames):
        raise ValueError(f"{path} of {len(frames)} frames; expected a name in .gif, and frames")
    pages = []
    for frame in frames:
        pixels = to_uint8(as_tensor(frame))  # (n, h, w, c)
        page = tiled(pixels, square(len(pixels), columns))
        pages.append(Image.fromarray(page).quantize(256, dither=Image.Dither.NONE))
    times = [round(1000 * seconds)] * (len(pages) - 1) + [round(1000 * hold)]
    first, rest = pages[0], pages[1:]
    write_whole(
        path,
        lambda whole: first.save(
            whole, format="GIF", save_all=True, append_images=rest, duration=times, loop=0
        ),
    )


def _columns(
    rows: torch.Tensor, titles: Sequence[str] | None, row_names: Sequence[str] = ()
) -> "Figure":
    """Rows of images (rows, columns, c, h, w), the columns titled."""
    pixels = to_uint8(rows.flatten(0, 1))  # (rows columns, h, w, c)
    with style():
        return sheet([Block(pixels, rows.shape[1], titles or ())], row_names)
