"""Losses and learning rates of a run, step by step: what `metrics.jsonl` and the bar show."""

import math
from dataclasses import dataclass, field

import torch

from workbench.trainer import Step

FLUSH_EVERY = 20  # steps between two readings of the losses, which make a GPU wait


@dataclass
class Metrics:
    """Losses and learning rates, step by step; what is unread stays on the device.

    Attributes:
        batch_size: images a step.
        num_images: of the data set.
        skips: whether a step that is not finite was taken back, and does not end the run.
        losses: one a step; NaN of a step that was taken back.
        rates: the learning rates.
    """

    batch_size: int
    num_images: int
    skips: bool = False
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    _unread: list[torch.Tensor] = field(default_factory=list)

    def go_on(self, rows: list[dict[str, float]]) -> None:
        """Start from the rows of the steps that are done."""
        self.losses = [row["loss"] for row in rows]
        self.rates = [row["learning_rate"] for row in rows]

    def add(self, step: Step) -> None:
        """One more, its loss and gradient unread."""
        self.rates.append(step.learning_rate)
        self._unread.append(torch.stack([step.loss, step.gradient_norm.to(step.loss)]))

    def read(self) -> None:
        """Fetch the unread losses in one go.

        Raises:
            ValueError: one, or the norm of a gradient, is not finite: the run has diverged.
        """
        new = torch.stack(self._unread).tolist() if self._unread else []
        for k, found in enumerate(new, start=len(self.losses)):
            for what, value in zip(("loss", "norm of the gradient"), found, strict=True):
                if not math.isfinite(value) and not self.skips:
                    raise ValueError(
                        f"the {what} of step {k} is {value}: the run has diverged; try a lower "
                        "learning_rate, or a gradient_clip (the last good checkpoint is kept); "
                        "skip_nonfinite leaves such steps out"
                    )
        self.losses += [loss if math.isfinite(norm) else math.nan for loss, norm in new]
        self._unread = []

    @property
    def skipped(self) -> list[int]:
        """The steps that were taken back."""
        return [k for k, loss in enumerate(self.losses) if not math.isfinite(loss)]

    def in_words(self, steps_per_second: float | None) -> dict[str, str]:
        """What the progress bar shows: the mean of the last losses, and images per second."""
        speed = (steps_per_second or 0) * self.batch_size
        said = {"loss": f"{_mean(self.losses[-FLUSH_EVERY:]):.4f}", "images/s": f"{speed:.0f}"}
        return said | ({"skipped": str(len(self.skipped))} if self.skipped else {})

    def rows(self) -> list[dict[str, float]]:
        """One row for each step, and after its last step one for each epoch.

        A step belongs to the epoch of its first image. Later rows never change earlier ones, so
        the file that holds them only grows.
        """
        rows: list[dict[str, float]] = []
        epoch: list[float] = []
        for k, (loss, rate) in enumerate(zip(self.losses, self.rates, strict=True)):
            rows.append({"step": k, "loss": loss, "learning_rate": rate})
            epoch.append(loss)
            number = k * self.batch_size // self.num_images
            if (k + 1) * self.batch_size >= (number + 1) * self.num_images:
                rows.append({"epoch": number, "mean_loss": _mean(epoch)})
                epoch = []
        return rows

    def epoch_losses(self) -> list[float]:
        """The mean loss of each whole epoch."""
        return [row["mean_loss"] for row in self.rows() if "epoch" in row]


def _mean(losses: list[float]) -> float:
    """Of the steps that were not taken back; NaN if all were."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    return sum(finite) / len(finite) if finite else math.nan
