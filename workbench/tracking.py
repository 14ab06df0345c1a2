"""Trackers: TensorBoard or Weights & Biases are told what `metrics.jsonl` holds too, and the grids.

Accelerate speaks to them. What they write themselves lies in the run's `training/`.
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.config import RunConfig

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

KINDS = ("tensorboard", "wandb")


def check(kind: str) -> None:
    """Refuse a tracker that cannot be used here.

    Raises:
        ValueError: it is unknown, or its library is not installed.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown tracker {kind!r}; choose one of {', '.join(KINDS)}")
    if find_spec(kind) is None:
        raise ValueError(f"to track by {kind} its library is needed: pip install {kind}")


class Tracking:
    """What one run tells its tracker.

    Args:
        kind: of the tracker, `tensorboard` or `wandb`; or one of your own, as Accelerate takes it.
        folder: the run's.
        config: the run's, told first.
        step: how many steps were done before, and told.

    Raises:
        ValueError: the tracker cannot be used; its own words say why.
    """

    def __init__(
        self, kind: "str | GeneralTracker", folder: Path, config: RunConfig, step: int
    ) -> None:
        from accelerate import Accelerator

        if isinstance(kind, str):
            check(kind)
        self._told = step
        self._accelerator = Accelerator(log_with=kind, project_dir=folder / "training")
        more: dict[str, dict[str, Any]] = {
            "tensorboard": {"purge_step": step},  # what a run that was killed told after it
            "wandb": {"dir": str(folder / "training"), "name": folder.name},
        }
        name = "ddpm" if kind == "wandb" else "tensorboard"  # of the project, or of its folder
        try:
            self._accelerator.init_trackers(name, dict(_flat(config.to_dict())), more)
        except Exception as error:  # each library has errors of its own
            raise ValueError(f"{kind} cannot be used: {' '.join(str(error).split())}") from None

    def tell(self, losses: Sequence[float], rates: Sequence[float]) -> None:
        """The steps that are new in the losses and learning rates of the whole run."""
        for k in range(self._told, len(losses)):
            self._accelerator.log({"loss": losses[k], "learning_rate": rates[k]}, step=k)
        self._told = max(self._told, len(losses))

    def show(self, grid: Path, step: int) -> None:
        """A picture that was drawn after `step` steps: it stands at the last of them."""
        import numpy as np
        from PIL import Image

        with Image.open(grid) as picture:
            pixels = np.asarray(picture.convert("RGB"))[None]  # (1, h, w, 3) uint8
        for tracker in self._accelerator.trackers:
            how = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images({"samples": pixels}, step=step - 1, **how)

    def finish(self) -> None:
        """Waits until all that was told is written."""
        for tracker in self._accelerator.trackers:
            tracker.finish()


def _flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """`part/name` and the value of each entry; what is no number is words."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}/")
        else:
            yield before + name, value if isinstance(value, int | float) else str(value)
