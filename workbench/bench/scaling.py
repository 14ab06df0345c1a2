"""One training step against picture size, batch and width: time, memory and FLOP."""

from dataclasses import replace
from functools import partial

from workbench.bench.ours import training_step
from workbench.bench.setting import Setting
from workbench.bench.timing import Contestant

SIZES, BATCHES, WIDTHS = (8, 16, 32, 64), (1, 4, 16, 64), (16, 32, 64, 128)
USUAL = {"size": 16, "batch_size": 16, "channels": (32, 64)}


def scaling(setting: Setting) -> dict[str, list[Contestant]]:
    """What grows, and a contestant for each of its values; all else is `USUAL`.

    Args:
        setting: whose device it is.
    """
    usual = replace(setting, **USUAL)  # type: ignore[arg-type]
    groups = {
        "size": {f"{n}x{n} pictures": replace(usual, size=n) for n in SIZES},
        "batch": {f"batch of {b}": replace(usual, batch_size=b) for b in BATCHES},
        "width": {f"width {c}, {2 * c}": replace(usual, channels=(c, 2 * c)) for c in WIDTHS},
    }
    return {
        what: [
            Contestant(name, partial(training_step, each, "scratch"), each.batch_size)
            for name, each in group.items()
        ]
        for what, group in groups.items()
    }
