"""Writing a run's folder while it trains, and going on from it.

All that resuming needs lies in one file, `training/state.safetensors`, so that it is whole or not
there: the raw weights, the averaged ones, the optimizer and the step.
"""

import json
from pathlib import Path
from typing import Any

import torch

from workbench import runs
from workbench.config import RunConfig
from workbench.ema import sampling_weights
from workbench.files import write_folder, write_json, write_text, write_whole
from workbench.trainer import TrainingState

MOMENTS = {"step", "exp_avg", "exp_avg_sq"}  # what Adam keeps for each parameter

Tensors = dict[str, torch.Tensor]


def save(
    folder: Path,
    config: RunConfig,
    state: TrainingState,
    scheduler: Any,
    metrics: list[dict[str, float]],
) -> None:
    """Write everything that sampling and resuming need; each file whole.

    The metrics come before the state: whatever interrupts this, they reach at least as far.

    Args:
        folder: made if it is not there.
        config: the run's.
        state: after any step.
        scheduler: the one that trained; only its config is written.
        metrics: rows of `metrics.jsonl`, such as `Metrics.rows()`.
    """
    from safetensors.torch import save_file

    write_json(folder / runs.CONFIG, config.to_dict())
    write_text(folder / runs.METRICS, "".join(json.dumps(row) + "\n" for row in metrics))
    tensors = {name: t.detach().contiguous() for name, t in _tensors(state).items()}
    step = {"step": str(state.step)}
    write_whole(folder / runs.STATE, lambda path: save_file(tensors, path, metadata=step))
    with sampling_weights(state.unet, state.ema) as unet:
        write_folder(folder / "unet", unet.save_pretrained)
    write_folder(folder / "scheduler", scheduler.save_pretrained)
    kind = state.unet.config.get("_class_name", "UNet2DModel")  # no library has one of your own
    write_json(folder / "model_index.json", {**runs.INDEX, "unet": ["diffusers", kind]})


def load(folder: Path, state: TrainingState) -> list[dict[str, float]]:
    """Put a checkpoint into `state`, and return its metrics: one row for each step done.

    Args:
        folder: a run.
        state: a fresh one of the run's config; changed only if the whole checkpoint is sound.

    Raises:
        ValueError: the checkpoint is missing, truncated, or of another model.
    """
    step, tensors = _read(folder, state)
    rows = [row for row in runs.load_metrics(folder) if "step" in row][:step]
    if len(rows) != step:
        raise ValueError(
            f"{folder / runs.METRICS} has {len(rows)} steps, but {folder / runs.STATE} is at step "
            f"{step}"
        )
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
    return rows


def _read(folder: Path, state: TrainingState) -> tuple[int, Tensors]:
    """The step and the tensors of a checkpoint; refused if they are not all that `state` has."""
    path = folder / runs.STATE
    if not path.exists():
        raise ValueError(f"{folder} holds no checkpoint to resume from; train it anew")
    tensors, metadata = runs.read_tensors(path)
    if not metadata.get("step", "").isdecimal():
        raise ValueError(f"{path} does not say at which step it was saved; it is no checkpoint")
    step = int(metadata["step"])
    optimized = {name for name in tensors if name.startswith("optimizer.")}
    own = {name: t.shape for name, t in _tensors(state).items()}
    if own != {name: t.shape for name, t in tensors.items() if name not in optimized}:
        raise ValueError(
            f"{path} is the checkpoint of another model than {folder / runs.CONFIG} says"
        )
    if optimized != {f"optimizer.{i}.{m}" for i in _optimized(state, step) for m in MOMENTS}:
        raise ValueError(f"{path} does not hold the whole state of the optimizer")
    return step, tensors


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
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    return tensors
