"""Figures of images, losses, schedules and trajectories; every function returns the figure.

Images come in as (n, c, h, w) tensors in [-1, 1], the range of the data and of the model; as
(n, h, w, c) arrays in [0, 1] or of uint8; or as lists of PIL pictures. So of a pipeline's output
types `"np"` and `"pil"` can be drawn as they are; `"pt"`, a tensor in [0, 1], would look washed
out. Figures are made without pyplot: nothing opens a window, nothing is kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.data import to_uint8
from workbench.files import write_whole
from workbench.sheets import Block, Images, as_tensor, sheet, square, tiled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which stay apart for every kind of colour vision."""
LINES = ("-", "--", "-.", ":")  # so that equal curves show through each other
INK, GREY = "#222222", "#767676"
STYLE: dict[Any, Any] = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
}


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
    with _style():
        return sheet([Block(pixels, square(len(pixels), columns), titles or ())])


def loss_curves(losses: Mapping[str, Sequence[float]], window: int | None = None) -> "Figure":
    """Losses of several runs over the step: faint as they are, and smoothed.

    Args:
        losses: for each name the loss of step 0, 1, ...
        window: the smooth curve is the mean of the last so many losses; None for a fiftieth of
            the longest run.

    Raises:
        ValueError: there are no losses, or window is below 1.
    """
    if not losses or not all(len(run) for run in losses.values()):
        raise ValueError("there are no losses to draw; expected at least one for each name")
    if window is not None and window < 1:
        raise ValueError(f"window is {window}; expected at least 1")
    span = window or max(1, max(map(len, losses.values())) // 50)
    with _style():
        figure, (axes,) = _panels(1)
        for (name, run), line in zip(losses.items(), _lines(), strict=False):
            raw = np.asarray(run, np.float64)
            if span > 1:
                axes.plot(raw, color=line["color"], alpha=0.25, linewidth=0.8)
            axes.plot(_trailing_mean(raw, span), label=name, **line)
        axes.set(xlabel="step", ylabel="loss", yscale="log", xlim=(0, None))
        _plain_log_ticks(axes)
        axes.set_title("Loss" + f" (bold: mean of the last {span} steps)" * (span > 1))
        if len(losses) > 1:
            axes.legend()
        return figure


def schedule_curves(schedulers: Mapping[str, Any]) -> "Figure":
    """beta, alpha-bar and the signal-to-noise ratio alpha-bar / (1 - alpha-bar) over t.

    Args:
        schedulers: for each name one with `betas` and `alphas_cumprod`, (T,).

    Raises:
        ValueError: there are none.
    """
    if not schedulers:
        raise ValueError("there are no schedulers to draw; expected at least one")
    with _style():
        figure, (beta, alpha_bar, snr) = _panels(3)
        for (name, scheduler), line in zip(schedulers.items(), _lines(), strict=False):
            kept = scheduler.alphas_cumprod.double().cpu().numpy()
            beta.plot(scheduler.betas.double().cpu().numpy(), label=name, **line)
            alpha_bar.plot(kept, **line)
            with np.errstate(divide="ignore"):
                snr.plot(kept / (1 - kept), **line)
        beta.set_title(r"Noise added by a step, $\beta_t$")
        alpha_bar.set_title(r"Signal left, $\bar\alpha_t$")
        snr.set_title(r"Signal to noise, $\bar\alpha_t\,/\,(1-\bar\alpha_t)$")
        beta.set(yscale="log")
        snr.set(yscale="log")
        for axes in (beta, alpha_bar, snr):
            axes.set(xlabel="t", xlim=(0, None))
        beta.legend()
        return figure


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
    with _style():
        return sheet(blocks, caption=caption)


def histograms(sets: Mapping[str, Images], bins: int = 50) -> "Figure":
    """How often each pixel value occurs in several sets of images, also outside [-1, 1].

    Args:
        sets: images by name.
        bins: how many between the smallest value and the largest, but at least -1 and 1.

    Raises:
        ValueError: there are no sets, or bins is below 1.
    """
    if not sets or bins < 1:
        raise ValueError(f"{len(sets)} sets and {bins} bins; expected at least one of each")
    values = {name: as_tensor(images).flatten().numpy() for name, images in sets.items()}
    low = min(-1.0, *(float(v.min()) for v in values.values()))
    high = max(1.0, *(float(v.max()) for v in values.values()))
    edges = np.linspace(low, high, bins + 1)
    with _style():
        figure, (axes,) = _panels(1)
        for (name, value), line in zip(values.items(), _lines(), strict=False):
            share = np.histogram(value, edges)[0] / len(value)
            axes.stairs(share, edges, label=name, linewidth=1.8, **line)
        axes.set(xlabel="pixel value (-1 black, 1 white)", ylabel="share of pixels", yscale="log")
        axes.set_title("Pixel values")
        axes.legend()
        return figure


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
    with _style():
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


@contextmanager
def _style() -> Iterator[None]:
    """One look for all figures, whatever the user's own settings are."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        yield


def _panels(count: int) -> tuple["Figure", list["Axes"]]:
    """A figure with so many axes beside each other."""
    from matplotlib.figure import Figure

    width = 6.6 if count == 1 else 3.7 * count
    figure = Figure(figsize=(width, 3.6), dpi=150, layout="constrained")
    return figure, [figure.add_subplot(1, count, 1 + i) for i in range(count)]


def _lines() -> Iterator[dict[str, Any]]:
    """Colour and dashes of the first curve, the second, ..."""
    return ({"color": c, "linestyle": s} for c, s in zip(cycle(COLOURS), cycle(LINES)))


def _trailing_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """The mean of each value and up to window - 1 before it."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _plain_log_ticks(axes: "Axes") -> None:
    """0.05, 0.1, 0.2 on a logarithmic axis rather than powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _columns(
    rows: torch.Tensor, titles: Sequence[str] | None, row_names: Sequence[str] = ()
) -> "Figure":
    """Rows of images (rows, columns, c, h, w), the columns titled."""
    pixels = to_uint8(rows.flatten(0, 1))  # (rows columns, h, w, c)
    with _style():
        return sheet([Block(pixels, rows.shape[1], titles or ())], row_names)
