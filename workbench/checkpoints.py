"""Checkpoints of a run: each a folder of its own, whole or not there, and bound to its run::

    training/checkpoints/step_000500/
        state.safetensors   the raw weights, the averaged ones, the optimizer, fp16's loss scale
        manifest.json       the step, the run's config, the data's fingerprint, and of every file,
                            and of `metrics.jsonl` up to here, the size and the checksum

It is written under a name that nobody else has, and moved into place when it is on the disk, so
that a run that is killed at any moment goes on from the newest whole one. `unet/` and `scheduler/`,
which Diffusers reads, are made from it and can always be made again.
"""

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workbench import history, runs
from workbench.checksums import mark, read_signed, refuse_other, write_signed
from workbench.config import RunConfig
from workbench.ema import sampling_weights
from workbench.files import remove, write_folder, write_json, write_new_folder
from workbench.metrics_file import MetricsFile, Rows
from workbench.one_step import TrainingState

FOLDER = Path("training", "checkpoints")
STATE, MANIFEST = "state.safetensors", "manifest.json"
WHEN = {  # not what it learns
    *("save_every", "keep", "keep_best", "steps", "epochs"),
    *("sample_every", "sample_grid", "sample_steps"),
    "fast",  # the same up to rounding; whoever changes it is told so
    *("scheduler_code", "unet_code"),  # who says them again is asked whether they are the same
}
MOMENTS = {"step", "exp_avg", "exp_avg_sq"}  # what Adam keeps for each parameter

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Resumed:
    """What `load` found.

    Attributes:
        rows: of the metrics, one for each step done, and one for each epoch.
        skipped: a line for each newer checkpoint that is not whole, or not of this run, and for
            each older one that is damaged.
    """

    rows: list[dict[str, float]]
    skipped: list[str]


class RunFiles:
    """What a run writes of itself: its config, metrics, checkpoints, and what one samples with.

    Args:
        folder: the run's; made if it is not there.
        config: the run's.
        data: `Dataset.fingerprint()` of what it learns from.
    """

    def __init__(self, folder: Path, config: RunConfig, data: str) -> None:
        self.folder, self.config, self.data = folder, config, data
        self.metrics = MetricsFile(folder / runs.METRICS)

    def save(self, state: TrainingState, scheduler: Any, rows: Rows) -> None:
        """Write a checkpoint and all that goes with it; remove all but the last
        `config.train.keep`, and the best one if that is asked for.

        The metrics come first: whatever interrupts this, they reach at least as far.

        Args:
            state: after any step.
            scheduler: the one that trained; only its config is written.
            rows: of the metrics, such as `Metrics.rows()`; all of the run so far.

        Raises:
            ValueError: a weight is not finite; what is there stays.
        """
        tensors = {name: t.detach().contiguous() for name, t in _tensors(state).items()}
        _refuse_not_finite(tensors, state.step)
        self.write_config(state.step)
        new = [row["loss"] for row in self.metrics.add(rows) if "loss" in row]
        losses = [loss for loss in new if math.isfinite(loss)]  # the others were left out
        loss = sum(losses) / len(losses) if losses else None
        path = self.folder / FOLDER / f"step_{state.step:06d}"
        remove(path)  # one of this step that was not whole
        write_new_folder(path, lambda made: self._fill(made, state.step, tensors, loss))
        every = _newest_first(self.folder)
        for later in every[: every.index(path)]:  # not whole: this run went on from before them
            remove(later)
        self.prune()
        self.write_pipeline(state, scheduler)

    def prune(self) -> None:
        """Remove the checkpoints that are not to stay beside the newest."""
        every = _newest_first(self.folder)
        kept = every[: self.config.train.keep]
        if self.config.train.keep_best and every:
            kept.append(_best(every) or every[0])
        for older in every:
            if older not in kept:
                remove(older)

    def _fill(self, made: Path, step: int, tensors: Tensors, loss: float | None) -> None:
        from safetensors.torch import save_file

        save_file(tensors, made / STATE, metadata={"step": str(step)})
        content = {
            "step": step,
            "config": self.config.to_dict(),
            "data": self.data,
            "loss": loss,  # the mean of the steps since the checkpoint before
            "metrics": self.metrics.mark(),
            "files": {STATE: mark(made / STATE)},
        }
        write_signed(made / MANIFEST, content)

    def write_config(self, step: int) -> None:
        """Write the run's config, and of its history what is new from this step on."""
        remove(self.folder / runs.LIST)
        write_json(self.folder / runs.CONFIG, self.config.to_dict())
        history.note(self.folder, step, self.config.train)

    def write_pipeline(self, state: TrainingState, scheduler: Any) -> None:
        """Write what one samples with: the averaged weights, if there are any, and the scheduler's
        config; and a list of what was written, by which a flipped bit is found."""
        remove(self.folder / runs.LIST)
        with sampling_weights(state.unet, state.ema) as unet:
            write_folder(self.folder / "unet", unet.save_pretrained)
        write_folder(self.folder / "scheduler", scheduler.save_pretrained)
        kind = state.unet.config.get("_class_name", "UNet2DModel")  # no library has one's own
        write_json(self.folder / "model_index.json", {**runs.INDEX, "unet": ["diffusers", kind]})
        runs.write_list(self.folder)

    def load(self, state: TrainingState) -> Resumed:
        """Put the newest whole checkpoint into `state`.

        Args:
            state: a fresh one of the run's config; changed only if such a checkpoint is found.

        Raises:
            ValueError: there is no checkpoint, or none that is whole and of this run.
        """
        skipped: list[str] = []
        for path in _newest_first(self.folder):
            try:
                step, rows, tensors = self._read(path, state)
            except ValueError as error:
                skipped.append(f"{path.name} is left out: {error}")
            else:
                _put(state, step, tensors)
                return Resumed(rows, [*skipped, *_damaged(_newest_first(self.folder), path)])
        old = self.folder / runs.STATE
        if old.exists():  # a run of an older version has this one alone
            step, tensors = _tensors_of(old, state)
            rows = _rows(runs.load_metrics(self.folder), step, self.metrics.path)
            _put(state, step, tensors)
            return Resumed(rows, skipped)
        if skipped:
            why = "; ".join(skipped)
            raise ValueError(f"{self.folder} has no whole checkpoint of this run: {why}")
        raise ValueError(
            f"{self.folder} holds no checkpoint to resume from; train it anew, with --force"
        )

    def _read(
        self, path: Path, state: TrainingState
    ) -> tuple[int, list[dict[str, float]], Tensors]:
        """Step, rows and tensors of a checkpoint, if it is whole and of this run."""
        content = _manifest(path)
        theirs = RunConfig.from_dict(content["config"]).to_dict()
        if other := list(_differences(theirs, self.config.to_dict())):
            raise ValueError(f"it is of another run: {', '.join(other)}")
        if content["data"] != self.data:
            raise ValueError("it learned from other data than are here now")
        step, tensors = _tensors_of(path / STATE, state)
        rows = runs.rows_of(self.metrics.read(content["metrics"]), self.metrics.path)
        return step, _rows(rows, step, self.metrics.path), tensors


def has_checkpoint(folder: Path) -> bool:
    """Whether a run has a checkpoint to go on with, whole or not."""
    return bool(_newest_first(folder)) or (folder / runs.STATE).exists()


def newest_step(folder: Path) -> int:
    """The step of a run's newest checkpoint, whole or not; 0 for one of an older version."""
    return max((int(path.name[5:]) for path in _newest_first(folder)), default=0)


def _newest_first(folder: Path) -> list[Path]:
    found = [p for p in (folder / FOLDER).glob("step_*") if p.name[5:].isdecimal()]
    return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)


def _best(checkpoints: list[Path]) -> Path | None:
    """The one before which the mean loss was lowest."""
    losses = {}
    for path in checkpoints:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            losses[path] = float(json.loads((path / MANIFEST).read_text())["content"]["loss"])
    return min(losses, key=lambda path: losses[path], default=None)


def _manifest(path: Path) -> dict[str, Any]:
    """The content of a manifest; refused if it, or a file that it names, is not as it was."""
    content: dict[str, Any] = read_signed(path / MANIFEST)
    for name, said in content["files"].items():
        refuse_other(path / name, said)
    return content


def _damaged(checkpoints: list[Path], taken: Path) -> Iterator[str]:
    """A line for each checkpoint before the one that was taken that could not be gone back to."""
    for path in checkpoints[checkpoints.index(taken) + 1 :]:
        try:
            _manifest(path)
        except ValueError as error:
            yield f"{path.name}, which is not needed now, could not be gone back to: {error}"


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    """`name is A there and B here` for each entry that another config has otherwise; what decides
    only when something is written, or when the run ends, is not asked."""
    for key, value in ours.items():
        if key in WHEN:
            continue
        if isinstance(value, dict):
            yield from _differences(theirs[key], value)
        elif theirs[key] != value:
            yield f"its {key} is {theirs[key]!r}, and here it is {value!r}"


def _tensors_of(path: Path, state: TrainingState) -> tuple[int, Tensors]:
    """The step and the tensors of a file; refused if they are not all that `state` has."""
    tensors, metadata = runs.read_tensors(path)
    if not metadata.get("step", "").isdecimal():
        raise ValueError(f"{path} does not say at which step it was saved; it is no checkpoint")
    step = int(metadata["step"])
    optimized = {name for name in tensors if name.startswith("optimizer.")}
    own = {name: (t.shape, t.dtype) for name, t in _tensors(state).items()}
    found = {name: (t.shape, t.dtype) for name, t in tensors.items() if name not in optimized}
    if own != found:
        raise ValueError(f"{path} is the checkpoint of another model than the run's config says")
    if optimized != {f"optimizer.{i}.{m}" for i in _optimized(state, step) for m in MOMENTS}:
        raise ValueError(f"{path} does not hold the whole state of the optimizer")
    return step, tensors


def _rows(rows: list[dict[str, float]], step: int, path: Path) -> list[dict[str, float]]:
    """The rows up to a step, which must be all there."""
    done = [row for row in rows if "step" in row][:step]
    if len(done) != step:
        raise ValueError(f"{path} has {len(done)} steps, but the checkpoint is at step {step}")
    return done


def _put(state: TrainingState, step: int, tensors: Tensors) -> None:
    with torch.no_grad():
        for name, target in _tensors(state).items():
            target.copy_(tensors[name])
    moments = {
        i: {moment: tensors[f"optimizer.{i}.{moment}"] for moment in MOMENTS}
        for i in _optimized(state, step)
    }
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": moments})
    state.step = step
    if state.ema is not None:
        state.ema.updates = step  # one a step


def _refuse_not_finite(tensors: Tensors, step: int) -> None:
    """One wait for each device, and none for each tensor, while all is well."""
    finite = {name: t.isfinite().all() for name, t in tensors.items()}
    devices = {whole.device for whole in finite.values()}
    together = [torch.stack([w for w in finite.values() if w.device == d]).all() for d in devices]
    if not all(together):
        name = next(name for name, whole in finite.items() if not whole)
        raise ValueError(
            f"{name.partition('.')[2]} is not finite after step {step - 1}: the run has diverged; "
            "try a lower learning_rate, or a gradient_clip (the last good checkpoint is kept)"
        )


def _optimized(state: TrainingState, step: int) -> range:
    """The numbers of the parameters that the optimizer has moments of: none before a step."""
    return range(len(list(state.unet.parameters())) if step else 0)


def _tensors(state: TrainingState) -> Tensors:
    """Every tensor of a training state by a flat name."""
    tensors = {f"weights.{name}": p for name, p in state.unet.named_parameters()}
    kept = state.unet.state_dict()  # a table that can be made anew is not in it
    buffers = state.unet.named_buffers()  # such as the means of a BatchNorm
    tensors |= {f"buffers.{name}": value for name, value in buffers if name in kept}
    if state.ema is not None:
        tensors |= {f"ema.{name}": average for name, average in state.ema.average.items()}
    if state.loss_scale is not None:
        tensors["loss_scale"] = state.loss_scale
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    return tensors
