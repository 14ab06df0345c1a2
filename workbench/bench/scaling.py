"""One training step against picture size, batch and width: time, memory and FLOP."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from workbench.bench.ours import training_step
from workbench.bench.setting import Setting
from workbench.bench.timing import Contestant, Line, measure

SIZES, BATCHES, WIDTHS = (8, 16, 32, 64), (1, 4, 16, 64), (16, 32, 64, 128)
USUAL = {"size": 16, "batch_size": 16, "channels": (32, 64)}


def scaling(setting: Setting, seconds: float) -> Iterator[Line]:
    """A line for each; the first in each group is what its ratios are of.

    Args:
        setting: whose device it is; all else is `USUAL`, but for what grows.
        seconds: for each of the three groups.
    """
    usual = replace(setting, **USUAL)  # type: ignore[arg-type]
    groups = [
        {f"{n}x{n} pictures": replace(usual, size=n) for n in SIZES},
        {f"batch of {b}": replace(usual, batch_size=b) for b in BATCHES},
        {f"width {c}, {2 * c}": replace(usual, channels=(c, 2 * c)) for c in WIDTHS},
    ]
    for group in groups:
        yield from measure(
            [
                Contestant(name, partial(training_step, each, "scratch"), each.batch_size)
                for name, each in group.items()
            ],
            seconds,
            setting.device,
        )
