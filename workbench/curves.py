"""Curves: losses over the step, schedules over t, pixels over their value.

Every function returns the figure; `workbench.plotting.save` writes it.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from workbench.look import style
from workbench.sheets import Images, as_tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which stay apart for every kind of colour vision."""
LINES = ("-", "--", "-.", ":")  # so that equal curves show through each other


def loss_curves(losses: Mapping[str, Sequence[float]], window: int | None = None) -> "Figure":
    """Losses of several runs over the step: faint as they are, and smoothed.

    Args:
        losses: for each name the loss of step 0, 1, ...; NaN leaves a gap.
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
    with style():
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
    with style():
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
    with style():
        figure, (axes,) = _panels(1)
        for (name, value), line in zip(values.items(), _lines(), strict=False):
            share = np.histogram(value, edges)[0] / len(value)
            axes.stairs(share, edges, label=name, linewidth=1.8, **line)
        axes.set(xlabel="pixel value (-1 black, 1 white)", ylabel="share of pixels", yscale="log")
        axes.set_title("Pixel values")
        axes.legend()
        return figure


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
    """The mean of each value and up to window - 1 before it, but for those that are NaN."""
    there = np.isfinite(values)
    sums, counts = (
        np.concatenate([[0.0], np.cumsum(each)]) for each in (np.where(there, values, 0), there)
    )
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    with np.errstate(invalid="ignore"):  # 0 / 0, where all are NaN
        return (sums[ends] - sums[starts]) / (counts[ends] - counts[starts])


def _plain_log_ticks(axes: "Axes") -> None:
    """0.05, 0.1, 0.2 on a logarithmic axis rather than powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
