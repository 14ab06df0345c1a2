"""One look for all figures, whatever the user's own settings are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


@contextmanager
def style() -> Iterator[None]:
    """Figures that are made or saved inside the block have that look."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        yield
