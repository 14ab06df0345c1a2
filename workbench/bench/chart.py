"""The plot of a bench: how many times faster than the first one of each contest."""

from typing import TYPE_CHECKING

from workbench.bench.report import Bench
from workbench.curves import COLOURS
from workbench.look import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ratios(bench: Bench) -> "Figure":
    """A bar for each contestant, with the middle half of its turns; one panel a contest."""
    from matplotlib.figure import Figure

    heights = [len(contest.lines) for contest in bench.contests]
    with style():
        figure = Figure(figsize=(8, 0.4 * sum(heights) + len(heights)), layout="constrained")
        panels = figure.subplots(
            len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights}
        )
        for contest, axes in zip(bench.contests, panels[:, 0], strict=True):
            names = [line.name for line in contest.lines]
            spreads = [line.spread for line in contest.lines]
            middles = [middle for _, middle, _ in spreads]
            reach = [[m - low for low, m, _ in spreads], [high - m for _, m, high in spreads]]
            axes.barh(names, middles, xerr=reach, color=COLOURS[0], ecolor=COLOURS[1])
            axes.axvline(1, color="black", linewidth=0.8)
            axes.invert_yaxis()
            axes.set(title=contest.title, xlabel=f"times as fast as {names[0]}")
        return figure
